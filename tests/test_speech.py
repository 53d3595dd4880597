import numpy as np
import pytest

from stream.speech import HARD_CAP_MS, HIGH_WATER_MS, Piece, SpeechQueue, SpeechRefused

SECOND = np.full(48_000, 7, np.int16)


def test_speech_comes_out_in_order_with_its_segment_and_offset():
    queue = SpeechQueue()
    assert queue.push(SECOND[:1000], 48_000, 1) == 20
    queue.push(SECOND[:500] * 2, 48_000, 2)
    sound, pieces = queue.take(1200)
    assert pieces == [Piece(1, 0, 1000, True), Piece(2, 0, 200, False)]
    assert sound.tolist() == [7] * 1000 + [14] * 200
    queue.end(2)
    assert queue.take(1000)[1] == [Piece(2, 200, 300, True)]
    assert not queue.active


def test_an_end_that_comes_after_all_sound_is_taken_is_still_told():
    queue = SpeechQueue()
    queue.push(SECOND[:100], 48_000, 5)
    assert queue.take(100)[1] == [Piece(5, 0, 100, False)]
    queue.end(5)
    assert queue.take(100)[1] == [Piece(5, 100, 0, True)]


def test_a_new_segment_ends_the_one_before():
    queue = SpeechQueue()
    queue.push(SECOND[:100], 48_000, 1)
    queue.push(SECOND[:100], 48_000, 2)
    assert queue.take(100)[1] == [Piece(1, 0, 100, True)]


def test_other_rates_are_converted_and_lose_nothing_at_a_segments_end():
    queue = SpeechQueue()
    for block in np.split(SECOND[:16_000], 50):
        queue.push(block, 16_000, 1)
    queue.end(1)
    assert queue.buffered_ms == 1000
    sound, _ = queue.take(48_000)
    assert len(sound) == 48_000
    assert set(sound[1000:-1000].tolist()) == {7}


def test_overflow_is_refused_and_takes_nothing():
    queue = SpeechQueue()
    for _ in range(HARD_CAP_MS // 1000):
        queue.push(SECOND, 48_000, 1)
    assert queue.available_ms == 0
    with pytest.raises(SpeechRefused, match="credit") as refusal:
        queue.push(SECOND[:4800], 48_000, 1)
    assert refusal.value.code == "buffer_overflow"
    assert queue.buffered_ms == HARD_CAP_MS
    queue.take(48_000 * 29)
    assert queue.push(SECOND, 48_000, 1) == 2000
    assert queue.available_ms == HIGH_WATER_MS - 2000


def test_clear_drops_everything_and_says_how_much():
    queue = SpeechQueue()
    queue.push(SECOND, 48_000, 1)
    queue.push(SECOND, 48_000, 2)
    queue.take(24_000)
    assert queue.clear() == (72_000, [1, 2])
    assert not queue.active
    assert queue.push(SECOND[:480], 48_000, 3) == 10


def test_a_dry_segment_keeps_the_floor_for_a_moment_only():
    queue = SpeechQueue()
    queue.push(SECOND[:960], 48_000, 1)
    assert len(queue.take(1920)[0]) == 1920  # the rest is silence, not the microphone
    kept = 0
    while len(queue.take(960)[0]):
        kept += 1
    assert 20 <= kept <= 25
    queue.push(SECOND[:960], 48_000, 1)
    assert queue.take(960)[1] == [Piece(1, 960, 960, False)]


def test_an_impossible_rate_is_refused_without_opening_a_segment():
    queue = SpeechQueue()
    with pytest.raises(ValueError):
        queue.push(SECOND, 3, 1)
    assert not queue.active
