"""A whole recording as the released pipeline hears it, and as it hears one of any length without its accidents."""

from dataclasses import replace

import pytest
import torch
from transformers import WhisperFeatureExtractor
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model.offline_audio import (
    AS_RELEASED,
    THROUGHOUT,
    RecordingEncoder,
    cut_prompts,
    frame_count,
    joined,
    padded,
)

POSITIONS = 150  # of a piece: 3 s in place of 30
PIECE = POSITIONS * 320
UNROUNDED = replace(AS_RELEASED, rounded_to_float16=False)


def test_log_mel_of_a_piece_is_whispers(encoder):
    pcm = torch.cat((noise(20_000, 0.3), noise(20_000, 1e-5)))  # the quiet part lies below the floor
    theirs = WhisperFeatureExtractor(chunk_length=PIECE // 16_000)(pcm.numpy(), sampling_rate=16_000, return_tensors="pt")
    assert torch.allclose(encoder.mel_pieces(pcm), theirs.input_features, atol=1e-4)


def test_a_recording_is_cut_into_pieces_with_silence_behind(encoder):
    pcm = noise(PIECE + 100, 0.1)
    mel = encoder.mel_pieces(pcm)
    assert mel.shape == (2, 80, 2 * POSITIONS)
    assert torch.allclose(mel[0], encoder.mel_pieces(pcm[:PIECE])[0])
    assert torch.equal(mel[1, :, 10:], mel[1].min().expand(80, 2 * POSITIONS - 10))
    assert len(encoder.mel_pieces(pcm[:PIECE])) == 1


def test_states_are_the_input_and_each_layer_with_the_last_normalised(encoder):
    states = encoder.states(encoder.mel_pieces(noise(PIECE, 0.1)))
    assert states.shape == (1, POSITIONS, 3, 8)
    spread = states.mean(-1).abs().amax((0, 1))
    assert spread[2] < 1e-5 and spread[:2].min() > 1e-2


@pytest.mark.parametrize("fps, step", [(25, 2), (12.5, 4)])
def test_a_prompt_reaches_from_four_positions_before_its_frame_to_six_after_the_start(fps, step):
    prompts = cut_prompts(positions(60), 12, fps)[0, :, :, 0, 0]
    assert prompts.shape == (12, 10)
    assert prompts[0].tolist() == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]
    assert prompts[11].tolist() == list(range(11 * step - 3, 11 * step + 7))


def test_positions_behind_the_last_are_zeros():
    assert cut_prompts(positions(6), 2, 25)[0, 1, :, 0, 0].tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 0, 0]


@pytest.mark.parametrize("fps", [24, 30, 50, 0])
def test_any_other_frame_rate_is_refused(encoder, fps):
    with pytest.raises(ValueError, match=r"25.0 or 12.5 fps, not for"):
        encoder.prompts(noise(16_000, 0.1), fps)


def test_the_released_loader_counts_frames_at_25_fps_and_stops_at_400():
    assert frame_count(torch.zeros(2 * 16_000 + 639), 25, AS_RELEASED) == 50
    assert frame_count(torch.zeros(2 * 16_000), 12.5, AS_RELEASED) == 50
    assert frame_count(torch.zeros(20 * 16_000), 25, AS_RELEASED) == 400


def test_throughout_every_frame_is_counted():
    assert frame_count(torch.zeros(40 * 16_000), 25, THROUGHOUT) == 1000
    assert frame_count(torch.zeros(40 * 16_000), 12.5, THROUGHOUT) == 500


def test_as_released_nothing_after_the_first_piece_is_heard(encoder):
    pcm = noise(2 * PIECE, 0.1)
    changed = torch.cat((pcm[:PIECE], noise(PIECE, 0.5)))
    prompts = encoder.prompts(pcm, 25)
    assert prompts.shape == (1, 150, 10, 3, 8)
    assert torch.equal(prompts, encoder.prompts(changed, 25))
    assert not prompts[:, 77:].any() and prompts[:, :77].any(-1).any(-1).any(-1).all()


def test_as_released_prompts_are_rounded_to_float16(encoder):
    pcm = noise(16_000, 0.1)
    rounded, exact = encoder.prompts(pcm, 25), encoder.prompts(pcm, 25, UNROUNDED)
    assert rounded.dtype == torch.float32 and torch.equal(rounded, rounded.half().float())
    assert not torch.equal(rounded, exact) and torch.allclose(rounded, exact, atol=2e-2)


def test_throughout_a_short_recording_gets_the_released_numbers(encoder):
    pcm = noise(PIECE - 2_000, 0.1)
    assert torch.equal(encoder.prompts(pcm, 25, THROUGHOUT), encoder.prompts(pcm, 25, UNROUNDED))


def test_throughout_a_later_piece_is_heard_as_if_the_recording_began_there(encoder):
    pcm = noise(3 * PIECE, 0.1)
    prompts = encoder.prompts(pcm, 25, THROUGHOUT)
    assert prompts.shape[1] == 225
    later = POSITIONS - encoder.overlap
    alone = encoder.prompts(pcm[later * 320 : later * 320 + PIECE], 25, UNROUNDED)
    inside = slice(encoder.overlap // 2, 65)  # frames whose whole prompt lies nearer to this piece's middle
    assert torch.allclose(prompts[:, later // 2 :][:, inside], alone[:, inside], atol=1e-5)


def test_throughout_the_last_frame_hears_the_last_sound(encoder):
    pcm = noise(2 * PIECE, 0.1)
    changed = torch.cat((pcm[:-640], noise(640, 0.5)))
    made, other = encoder.prompts(pcm, 25, THROUGHOUT), encoder.prompts(changed, 25, THROUGHOUT)
    assert not torch.allclose(made[:, -1], other[:, -1], atol=1e-3)
    assert made[:, 2:].any(-1).all()  # no zeros but in front


def test_overlapping_pieces_are_joined_in_the_middle_of_the_overlap():
    first, second = positions(10), 100 + positions(10)
    whole = joined(torch.cat((first, second)), 4)
    assert whole[0, :, 0, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 103, 104, 105, 106, 107, 108, 109, 110]


@pytest.mark.parametrize("frames, filled", [(1, 129), (129, 129), (130, 135), (400, 405)])
def test_prompts_are_filled_up_to_a_window_or_by_five(frames, filled):
    prompts = padded(torch.ones(1, frames, 10, 3, 8))
    assert prompts.shape == (1, filled, 10, 3, 8)
    assert prompts[:, :frames].all() and not prompts[:, frames:].any()


def test_sound_shorter_than_a_frame_is_refused(encoder):
    with pytest.raises(ValueError, match="639 samples of sound do not fill a frame of 640"):
        encoder.prompts(torch.zeros(639), 25)


def test_several_channels_are_refused(encoder):
    with pytest.raises(ValueError, match=r"one mono recording is expected.*\(2, 16000\)"):
        encoder.prompts(torch.zeros(2, 16_000), 25)


def test_a_whisper_of_another_ear_is_refused():
    with pytest.raises(ValueError, match="80 bins, but this Whisper hears 128"):
        RecordingEncoder(WhisperConfig(num_mel_bins=128))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(5)
    sizes = dict(d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=16)
    encoder = RecordingEncoder(WhisperConfig(max_source_positions=POSITIONS, **sizes)).eval()
    for name, weight in encoder.named_parameters():
        if "norm" not in name:
            torch.nn.init.normal_(weight, std=0.3)
    return encoder.requires_grad_(False)


def noise(samples: int, level: float) -> torch.Tensor:
    return level * torch.randn(samples, generator=torch.Generator().manual_seed(samples))


def positions(count: int) -> torch.Tensor:
    """Hidden states that say which position they are, the first of them 1: b p s c."""
    return torch.arange(1.0, count + 1).view(1, -1, 1, 1).expand(1, -1, 3, 8)
