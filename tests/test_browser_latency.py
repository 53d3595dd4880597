import pytest

from ops.browser_latency import figures


def conversation(glass_ms: float, ear_ms: float, tones: int = 20) -> dict:
    """What the browser would report if every tone came back after exactly these times."""
    spoken = [1_000.0 + 1_500 * n for n in range(tones)]
    return {
        "spoken": spoken,
        "seen": [moment + glass_ms for moment in spoken],
        "heard": [moment + ear_ms - 30 for moment in spoken],
        "outputMs": 30.0,
        "endMs": spoken[-1] + 3_000,
        "firstPictureMs": 400.0,
        "readings": [{"delayMs": 240, "fps": 25.0, "syncMs": 3}] * 30,
        "video": {"freezeCount": 0, "framesDropped": 0},
    }


def test_delays_are_counted_from_the_tone_to_the_screen_and_to_the_ear():
    result = figures(conversation(glass_ms=230.0, ear_ms=250.0))
    assert result["mic_to_glass_ms"] == {"median": 230.0, "p5": 230.0, "p95": 230.0, "trend_per_minute": 0.0}
    assert result["mic_to_ear_ms"]["median"] == 250.0
    assert result["missed"] == 0


def test_a_picture_in_the_middle_of_its_sound_is_in_step():
    result = figures(conversation(glass_ms=230.0, ear_ms=250.0))
    assert result["picture_after_sound_ms"]["median"] == 0.0
    assert result["picture_after_sound_ms"]["p95_of_size"] == 0.0


def test_a_picture_that_comes_later_and_later_shows_as_a_trend():
    found = conversation(glass_ms=230.0, ear_ms=250.0)
    found["seen"] = [seen + 0.01 * (seen - found["seen"][0]) / 1_000 * 60 for seen in found["seen"]]
    assert figures(found)["picture_after_sound_ms"]["trend_per_minute"] == pytest.approx(36, rel=0.01)


def test_a_tone_without_an_answer_is_missed_and_not_paired_with_the_next_answer():
    found = conversation(glass_ms=230.0, ear_ms=250.0)
    del found["seen"][10]
    result = figures(found)
    assert result["missed"] == 1
    assert result["mic_to_glass_ms"]["p95"] == 230.0


def test_silence_is_an_error_that_says_what_came_back():
    found = conversation(glass_ms=230.0, ear_ms=250.0) | {"seen": []}
    with pytest.raises(ValueError, match="'seen': 0"):
        figures(found)
