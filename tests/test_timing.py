from stream.timing import milliseconds, rescale, samples


def test_a_duration_is_the_nearest_whole_number_of_samples():
    assert samples(0.04) == 1920
    assert samples(1 / 3, 16_000) == 5333


def test_rescale_stays_exact_after_years():
    years = 10 * 365 * 86_400 * 48_000
    assert rescale(years + 3, 48_000, 16_000) == years // 3 + 1


def test_milliseconds_count_only_what_is_complete():
    assert milliseconds(47) == 0
    assert milliseconds(48) == 1
    assert milliseconds(15_999, 16_000) == 999
