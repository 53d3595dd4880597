import numpy as np
import pytest

from stream.resample import Resampler, check_rate

ROUTES = [(8_000, 48_000), (16_000, 48_000), (22_050, 48_000), (24_000, 48_000), (44_100, 48_000), (48_000, 16_000)]


def noise(sample_count: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=sample_count) * 3000).astype(np.int16)


def in_pieces(resampler: Resampler, pcm: np.ndarray, seed: int) -> np.ndarray:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(pcm), 40))
    return np.concatenate([*(resampler.push(piece) for piece in np.split(pcm, cuts)), resampler.flush()])


@pytest.mark.parametrize(("rate_in", "rate_out"), ROUTES)
def test_chunked_equals_whole(rate_in, rate_out):
    pcm = noise(rate_in // 2)
    whole = Resampler(rate_in, rate_out)
    expected = np.concatenate([whole.push(pcm), whole.flush()])
    assert len(expected) == rate_out // 2
    difference = in_pieces(Resampler(rate_in, rate_out), pcm, 1).astype(int) - expected
    assert np.abs(difference).max() <= 1  # rounding of a sum that was cut differently


@pytest.mark.parametrize(("rate_in", "rate_out"), ROUTES)
def test_an_impulse_stays_at_its_time(rate_in, rate_out):
    pcm = np.zeros(rate_in, np.int16)
    at = rate_in // 2 + 7
    pcm[at] = 20_000
    out = in_pieces(Resampler(rate_in, rate_out), pcm, 2)
    assert abs(np.argmax(np.abs(out)) / rate_out - at / rate_in) <= 1 / min(rate_in, rate_out)


@pytest.mark.parametrize(("rate_in", "rate_out"), ROUTES)
def test_a_tone_keeps_its_shape(rate_in, rate_out):
    def tone(rate: int) -> np.ndarray:
        return 10_000 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate)

    out = Resampler(rate_in, rate_out).push(tone(rate_in).astype(np.int16))
    inner = slice(rate_out // 10, len(out) - rate_out // 10)
    assert np.abs(out[inner] - tone(rate_out)[: len(out)][inner]).max() < 10


def test_what_the_lower_rate_cannot_carry_is_removed_not_folded():
    high = (10_000 * np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000)).astype(np.int16)
    out = Resampler(48_000, 16_000).push(high)[500:-500]
    assert np.abs(out).max() < 10


def test_output_waits_for_two_milliseconds_of_input_at_most():
    for rate in (8_000, 16_000, 24_000, 48_000):
        resampler, pcm = Resampler(rate, 48_000), noise(rate // 10)
        made = sum(len(resampler.push(piece)) for piece in np.split(pcm, 5))
        assert 0.1 - made / 48_000 <= 0.0021, rate


def test_looking_at_the_tail_changes_nothing():
    pcm, looked, plain = noise(4_800), Resampler(48_000, 16_000), Resampler(48_000, 16_000)
    first = looked.push(pcm)
    tail = looked.tail()
    assert len(first) + len(tail) == 1_600
    assert np.array_equal(first, plain.push(pcm))
    assert np.array_equal(looked.push(pcm), plain.push(pcm))


def test_an_hour_keeps_constant_memory():
    resampler = Resampler(44_100, 48_000)
    held = {len(resampler._history) for _ in range(3_000) if len(resampler.push(np.zeros(441, np.int16))) >= 0}
    assert max(held) < 500


@pytest.mark.parametrize("rate", [0, -8_000, 7_999, 48_001, 96_000, 44_101, 10**9])
def test_an_impossible_rate_is_refused_in_words(rate):
    with pytest.raises(ValueError, match="8000 to 48000 Hz"):
        check_rate(rate)
