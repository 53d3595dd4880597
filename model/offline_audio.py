"""A whole recording becomes audio prompts as the released pipeline makes them: Whisper over pieces of 30 s.

The counterpart of model/audio.py for sound that is complete before the first frame is made: here Whisper hears what
comes after a frame, too, and the floor of the log-mel follows the loudest moment of the piece. Reads no files, and
does not know how a long clip is cut into windows of latents.

f counts video frames, p positions of the encoder (20 ms), s its hidden states.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from transformers.models.whisper.configuration_whisper import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from model.audio import MEL_BINS, SAMPLES_PER_POSITION, LogMel

POSITIONS_PER_FRAME = {25.0: 2, 12.5: 4}
PROMPT_POSITIONS = 10
PROMPT_LEAD = 4  # positions before the frame's first one; before the recording they are zeros, not silence
WINDOW_FRAMES = 129  # the transformer never sees fewer: 33 latents of 4 frames, the first of a single frame
TAIL_FRAMES = 5  # zero prompts behind a recording that is longer than that


@dataclass(frozen=True)
class Hearing:
    """How much of a recording is heard. There are two: AS_RELEASED with the released loader's accidents, or THROUGHOUT."""

    first_piece_only: bool
    frames_counted_at_25_fps: bool  # whatever the fps, so at 12.5 the second half of the frames lies behind the sound
    most_frames: int | None
    rounded_to_float16: bool  # the values of log-mel and prompts; they stay float32


AS_RELEASED = Hearing(first_piece_only=True, frames_counted_at_25_fps=True, most_frames=400, rounded_to_float16=True)

# Every frame of a recording of any length. Pieces overlap, so each state has heard some of what is on either side of it.
# What fits into one piece gets the released numbers, unrounded.
THROUGHOUT = Hearing(first_piece_only=False, frames_counted_at_25_fps=False, most_frames=None, rounded_to_float16=False)


class RecordingEncoder(nn.Module):
    """Whisper's encoder over a recording, sized by the configuration of a Whisper checkpoint (the default is tiny)."""

    def __init__(self, config: WhisperConfig | None = None) -> None:
        super().__init__()
        config = config or WhisperConfig()
        if config.num_mel_bins != MEL_BINS:
            raise ValueError(f"the log-mel has {MEL_BINS} bins, but this Whisper hears {config.num_mel_bins}")
        self.positions = config.max_source_positions  # of a piece
        self.overlap = 2 * (self.positions // 30)  # of two pieces where a recording is heard throughout
        self.log_mel = LogMel()
        self.encoder = WhisperEncoder(config)

    def prompts(self, pcm_16k: Tensor, fps: float, hearing: Hearing = AS_RELEASED) -> Tensor:
        """A mono recording n in [-1, 1] at 16 kHz -> one prompt a frame, 1 f 10 s c, without padding.

        Raises ValueError for an fps other than 25 and 12.5, and for sound that does not fill a frame."""
        frames = frame_count(pcm_16k, fps, hearing)
        if hearing.first_piece_only:
            pcm_16k, overlap = pcm_16k[: self.positions * SAMPLES_PER_POSITION], 0
        else:
            end = positions_needed(frames, fps) * SAMPLES_PER_POSITION
            pcm_16k = F.pad(pcm_16k, (0, max(0, end - len(pcm_16k))))  # the last prompt looks past the end: silence
            overlap = self.overlap
        states = joined(self.states(_rounded(self.mel_pieces(pcm_16k, overlap), hearing)), overlap)
        return _rounded(cut_prompts(states, frames, fps), hearing)

    def mel_pieces(self, pcm_16k: Tensor, overlap: int = 0) -> Tensor:
        """n -> log-mel of each piece, silence behind the last: pieces 80 2p. `overlap` in positions.

        Eight decades below the maximum of the piece is its floor, as in Whisper."""
        piece, overlap = self.positions * SAMPLES_PER_POSITION, overlap * SAMPLES_PER_POSITION
        count = max(1, -(-(len(pcm_16k) - overlap) // (piece - overlap)))
        whole = F.pad(pcm_16k, (0, count * (piece - overlap) + overlap - len(pcm_16k)))
        log10 = self.log_mel.log10_power(whole.unfold(0, piece, piece - overlap))
        return (log10.maximum(log10.amax((1, 2), keepdim=True) - 8) + 4) / 4

    def states(self, mel: Tensor) -> Tensor:
        """pieces 80 2p -> pieces p s c: what enters the first layer and what leaves each, the last of them normalised."""
        mel = mel.to(self.encoder.conv1.weight.dtype)
        # One by one: attention over 30 s is the larger part of the memory, and nothing is gained side by side.
        heard = [self.encoder(piece, output_hidden_states=True).hidden_states for piece in mel.split(1)]
        return torch.cat([torch.stack(states, 2) for states in heard])


def joined(states: Tensor, overlap: int) -> Tensor:
    """pieces p s c -> 1 p s c. Of an overlap the first half comes from the earlier piece, the second from the later."""
    half, last = overlap // 2, len(states) - 1
    starts = [0] + [half] * last
    stops = [states.shape[1] - half] * last + [states.shape[1]]
    return torch.cat([piece[i:j] for piece, i, j in zip(states, starts, stops, strict=True)])[None]


def frame_count(pcm_16k: Tensor, fps: float, hearing: Hearing) -> int:
    """How many prompts a recording n gets. Raises ValueError, as `RecordingEncoder.prompts` says."""
    if pcm_16k.ndim != 1:
        raise ValueError(f"one mono recording is expected, got a tensor of shape {tuple(pcm_16k.shape)}")
    positions = positions_per_frame(fps)
    if hearing.frames_counted_at_25_fps:
        positions = POSITIONS_PER_FRAME[25.0]
    frames = len(pcm_16k) // (positions * SAMPLES_PER_POSITION)
    if frames == 0:
        raise ValueError(f"{len(pcm_16k)} samples of sound do not fill a frame of {positions * SAMPLES_PER_POSITION}")
    return frames if hearing.most_frames is None else min(frames, hearing.most_frames)


def positions_per_frame(fps: float) -> int:
    if fps not in POSITIONS_PER_FRAME:
        raise ValueError(f"audio prompts are made for {' or '.join(map(str, POSITIONS_PER_FRAME))} fps, not for {fps}")
    return POSITIONS_PER_FRAME[fps]


def positions_needed(frames: int, fps: float) -> int:
    """Where the last frame's prompt ends."""
    return positions_per_frame(fps) * (frames - 1) + PROMPT_POSITIONS - PROMPT_LEAD


def cut_prompts(states: Tensor, frames: int, fps: float) -> Tensor:
    """b p s c -> b f 10 s c. Positions before the first and behind the last are zeros.

    Behind the last there are some only where frames at 12.5 fps are counted at 25; more than 15 s of sound is an error
    in the released code then."""
    behind = max(0, positions_needed(frames, fps) - states.shape[1])
    states = F.pad(states, (0, 0, 0, 0, PROMPT_LEAD, behind))
    cuts = states.unfold(1, PROMPT_POSITIONS, positions_per_frame(fps))[:, :frames]
    return rearrange(cuts, "b f s c p -> b f p s c")


def padded(prompts: Tensor, window_frames: int = WINDOW_FRAMES) -> Tensor:
    """b f 10 s c with zero prompts behind: up to one window, or a few where there is more than a window."""
    frames = prompts.shape[1]
    behind = window_frames - frames if frames <= window_frames else TAIL_FRAMES
    return F.pad(prompts, (0, 0, 0, 0, 0, 0, 0, behind))


def _rounded(x: Tensor, hearing: Hearing) -> Tensor:
    return x.half().to(x.dtype) if hearing.rounded_to_float16 else x
