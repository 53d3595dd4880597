"""What the transformer hears: Whisper's features, windows that know no future, and prompts per frame."""

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from model.audio import LOUD_VOICE_LOG10, AudioConfig, AudioEncoder, LogMel, frame_prompts, windows_of

CONFIG = AudioConfig(channels=8, layers=2, heads=2)


def test_log_mel_is_whispers_where_the_floors_agree():
    pcm = torch.from_numpy(np.random.default_rng(1).standard_normal(16_000).astype(np.float32)) * 0.3
    ours = LogMel()(pcm[None])[0].numpy()
    theirs = WhisperFeatureExtractor(feature_size=80)(pcm.numpy(), sampling_rate=16_000, padding=False)
    theirs = theirs["input_features"][0]
    assert theirs.min() > (LOUD_VOICE_LOG10 - 8 + 4) / 4  # noise this loud touches neither floor
    assert np.abs(ours - theirs).max() < 1e-3


def test_log_mel_of_a_quiet_stretch_does_not_depend_on_a_loud_one():
    quiet = 1e-3 * torch.randn(1, 8_000)
    loud = torch.cat((quiet, torch.randn(1, 8_000)), 1)
    assert torch.allclose(LogMel()(quiet)[..., :45], LogMel()(loud)[..., :45], atol=1e-5)


def test_windows_end_the_lookahead_after_their_chunk():
    pcm = torch.arange(4 * CONFIG.chunk_samples).float()[None]
    windows = windows_of(pcm, CONFIG)
    assert windows.shape == (1, 4, CONFIG.window_samples)
    assert windows[0, 1, -1] == 2 * CONFIG.chunk_samples + CONFIG.lookahead_samples - 1
    assert windows[0, 0, 0] == 0 and windows[0, 3, -1] == 0


def test_chunked_features_equal_those_of_the_whole():
    torch.manual_seed(1)
    encoder, pcm = AudioEncoder(CONFIG).eval(), 0.1 * torch.randn(1, 5 * CONFIG.chunk_samples)
    with torch.inference_mode():
        whole = encoder.prompts(windows_of(pcm, CONFIG)[0])
        one_by_one = torch.cat([encoder.prompts(window[None]) for window in windows_of(pcm, CONFIG)[0]])
    assert torch.allclose(whole, one_by_one, atol=1e-5)


def test_sound_after_the_lookahead_changes_nothing():
    pcm = 0.1 * torch.randn(1, 6 * CONFIG.chunk_samples)
    changed = pcm.clone()
    changed[:, 2 * CONFIG.chunk_samples + CONFIG.lookahead_samples :] = 0
    assert torch.equal(windows_of(pcm, CONFIG)[0, 1], windows_of(changed, CONFIG)[0, 1])


def test_prompts_are_consecutive_cuts_around_their_frames():
    states = torch.arange(CONFIG.positions).float().view(1, -1, 1, 1).expand(-1, -1, CONFIG.states, 8)
    prompts = frame_prompts(states, CONFIG)
    assert prompts.shape == (1, 2, 10, CONFIG.states, 8)
    assert prompts[0, 0, :, 0, 0].tolist() == list(range(38, 48))
    assert prompts[0, 1, :, 0, 0].tolist() == list(range(40, 50))


def test_a_prompt_that_reaches_past_the_window_is_refused():
    with pytest.raises(ValueError, match="look-ahead"):
        AudioConfig(prompt_lead=1)
