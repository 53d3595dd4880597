import numpy as np
import pytest

from stream.chunker import Chunker
from stream.messages import PresetInfo

INFO = PresetInfo(
    name="test", width=64, height=64, fps=25, frames_per_chunk=2, model_rate=16_000,
    window_samples=16_000, lookahead_samples=960, max_batch=4, steps=2,
)  # fmt: skip
CHUNK, LOOKAHEAD = 3840, 2880


def chunks_of(pcm_48k: np.ndarray, piece: int, gains=None) -> list:
    """All chunks of a sound that arrives in pieces."""
    chunker, chunks, at = Chunker(INFO), [], 0
    while at < len(pcm_48k):
        end = min(at + piece, chunker.need, len(pcm_48k))
        chunker.push(pcm_48k[None, at:end])
        at = end
        if chunk := chunker.take(gains and [gains], now=at / 48_000):
            chunks.append(chunk)
    return chunks


def speechlike(seconds: float) -> np.ndarray:
    at = np.arange(int(48_000 * seconds)) / 48_000
    return (6000 * np.sin(2 * np.pi * 300 * at) * np.sin(2 * np.pi * 3 * at)).astype(np.int16)


def window(chunk) -> np.ndarray:
    return np.frombuffer(chunk.windows_s16, np.int16)


def test_one_chunk_per_chunk_of_the_sample_clock_without_gap_or_overlap():
    pcm = speechlike(2.0)
    chunks = chunks_of(pcm, 960)
    assert [chunk.index for chunk in chunks] == list(range(24))
    assert [chunk.first_sample_48k for chunk in chunks] == [index * CHUNK for index in range(24)]
    assert np.array_equal(np.concatenate([np.frombuffer(one.pcm_48k, np.int16) for one in chunks]), pcm[: 24 * CHUNK])


def test_a_chunk_is_complete_with_the_last_sample_of_its_lookahead_and_not_before():
    chunker = Chunker(INFO)
    chunker.push(np.zeros((1, CHUNK + LOOKAHEAD - 1), np.int16))
    assert chunker.take(None, 0.0) is None
    chunker.push(np.zeros((1, 1), np.int16))
    assert chunker.take(None, 1.25).completed_at == 1.25
    assert chunker.take(None, 1.25) is None


@pytest.mark.parametrize("piece", [1, 331, 960, 100_000])
def test_windows_do_not_depend_on_how_the_sound_was_cut(piece):
    pcm = speechlike(0.5)
    for one, other in zip(chunks_of(pcm, piece), chunks_of(pcm, 480), strict=True):
        assert np.abs(window(one).astype(int) - window(other)).max() <= 1


def test_the_window_ends_exactly_at_the_chunks_end_plus_lookahead():
    pcm = np.zeros(48_000, np.int16)
    impulse = 5 * CHUNK + 1000
    pcm[impulse] = 30_000
    for chunk in chunks_of(pcm, 960):
        end = (chunk.index + 1) * CHUNK + LOOKAHEAD
        start = end - 3 * INFO.window_samples
        heard = window(chunk)
        assert len(heard) == INFO.window_samples
        if start <= impulse < end - 100:
            assert abs(3 * int(np.argmax(np.abs(heard))) + start - impulse) < 4
        else:
            assert np.abs(heard).max() < 300


def test_before_the_stream_there_is_silence():
    first = chunks_of(np.full(8_000, 9_000, np.int16), 960)[0]
    needed = (CHUNK + LOOKAHEAD) // 3
    assert not window(first)[: -needed - 20].any()
    assert (np.abs(window(first)[-needed + 20 : -20] - 9_000) < 20).all()


def test_gains_weigh_the_models_copy_only_and_count_from_the_streams_start():
    asked = []

    def gains(first: int, end: int) -> np.ndarray:
        asked.append((first, end))
        return np.zeros(end - first, np.float32)

    chunks = chunks_of(speechlike(0.5), 960, gains)
    assert not any(window(chunk).any() for chunk in chunks)
    assert any(np.frombuffer(chunk.pcm_48k, np.int16).any() for chunk in chunks)
    assert asked == [(first := (CHUNK * (n + 1) + LOOKAHEAD) // 3 - 16_000, first + 16_000) for n in range(len(chunks))]


def test_clear_silences_what_is_in_no_finished_chunk_and_begins_an_epoch():
    chunker = Chunker(INFO)
    loud = np.full((1, CHUNK + LOOKAHEAD), 9_000, np.int16)
    chunker.push(loud)
    before = chunker.take(None, 0.0)
    chunker.clear()
    chunker.push(np.zeros((1, CHUNK), np.int16))
    after = chunker.take(None, 0.1)
    assert (before.epoch, after.epoch) == (0, 1)
    assert not np.frombuffer(after.pcm_48k, np.int16).any()


def test_after_clear_the_model_hears_nothing_of_what_was_said_before():
    chunker = Chunker(INFO)
    chunker.push(np.full((1, CHUNK + LOOKAHEAD), 9_000, np.int16))
    assert window(chunker.take(None, 0.0)).any()
    chunker.clear()
    chunker.push(np.zeros((1, CHUNK), np.int16))
    assert not window(chunker.take(None, 0.1)).any()


def test_each_face_is_heard_by_itself_and_both_are_played():
    one, other = speechlike(0.5), speechlike(0.5)[::-1].copy()
    chunker, chunks = Chunker(INFO, faces=2), []
    for at in range(0, len(one), 480):
        chunker.push(np.stack([one, other])[:, at : at + 480])
        if chunk := chunker.take([lambda first, end: np.ones(end - first), lambda first, end: np.ones(end - first)], 0.0):
            chunks.append(chunk)
    for alone, of_face in zip((one, other), range(2), strict=True):
        for chunk, its_own in zip(chunks, chunks_of(alone, 480), strict=True):
            assert np.array_equal(window(chunk).reshape(2, -1)[of_face], window(its_own))
    assert np.array_equal(np.frombuffer(chunks[1].pcm_48k, np.int16), (one + other)[CHUNK : 2 * CHUNK])


def test_clear_of_one_face_leaves_the_other():
    chunker = Chunker(INFO, faces=2)
    chunker.push(np.full((2, CHUNK + LOOKAHEAD), 9_000, np.int16))
    chunker.take(None, 0.0)
    chunker.clear(1)
    chunker.push(np.zeros((2, CHUNK), np.int16))
    after = chunker.take(None, 0.1)
    first, second = window(after).reshape(2, -1)
    assert first.any() and not second.any()
    assert (np.frombuffer(after.pcm_48k, np.int16)[:LOOKAHEAD] == 9_000).all()


def test_a_face_that_comes_later_stands_at_the_same_positions():
    impulse = np.zeros((2, CHUNK), np.int16)
    impulse[:, 1000] = 30_000
    chunker = Chunker(INFO)
    chunker.push(np.zeros((1, CHUNK + LOOKAHEAD), np.int16))
    chunker.take(None, 0.0)
    chunker.change_faces(2)
    chunker.push(impulse)
    chunker.take(None, 0.1)
    chunker.push(np.zeros((2, CHUNK), np.int16))
    heard = window(chunker.take(None, 0.2)).reshape(2, -1)
    assert heard[0].any() and np.array_equal(heard[0], heard[1])
    chunker.change_faces(1)
    chunker.push(np.zeros((1, CHUNK), np.int16))
    assert len(window(chunker.take(None, 0.3))) == INFO.window_samples


def test_an_hour_of_sound_keeps_constant_memory():
    chunker = Chunker(INFO)
    chunker.index = 45_000  # as after an hour
    chunker.push(np.zeros((1, CHUNK + LOOKAHEAD), np.int16))
    assert chunker.take(None, 0.0).first_sample_48k == 45_000 * CHUNK
    for _ in range(100):
        chunker.push(np.zeros((1, CHUNK), np.int16))
        chunker.take(None, 0.0)
    assert chunker._voices_48k.shape == (1, LOOKAHEAD)
    assert chunker._voices_model.shape == (1, INFO.window_samples)
