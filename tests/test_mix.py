import numpy as np

from stream.mix import mix, with_voices


def test_one_voice_stays_as_it_is():
    voice = np.arange(-3, 3, dtype=np.int16)[None]
    assert np.shares_memory(mix(voice), voice)


def test_what_is_too_loud_together_is_cut_off_and_not_wrapped_round():
    voices = np.array([[30_000, -30_000, 100], [30_000, -30_000, -30]], np.int16)
    assert mix(voices).tolist() == [32_767, -32_768, 70]
    assert mix(voices).dtype == np.int16


def test_new_voices_have_been_silent_and_others_are_dropped():
    voices = np.ones((2, 4), np.int16)
    assert with_voices(voices, 3).tolist() == [[1] * 4, [1] * 4, [0] * 4]
    assert with_voices(voices, 1).tolist() == [[1] * 4]
    assert with_voices(np.ones((1, 0), np.int16), 2).shape == (2, 0)
