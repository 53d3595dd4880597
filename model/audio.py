"""Sound becomes what the transformer hears: log-mel windows, Whisper encoder states, one prompt per video frame.

A stream is heard through windows of fixed length that end a fixed look-ahead after the chunk they serve; whatever lies
outside has no influence. So chunk by chunk and all at once are the same computation, and there is no state to keep.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank
from transformers.models.whisper.configuration_whisper import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

SAMPLE_RATE = 16_000
N_FFT = 400
HOP = 160
MEL_BINS = 80
SAMPLES_PER_POSITION = 2 * HOP  # the encoder's second convolution halves time: 20 ms a position

# Whisper clips a recording at 8 decades below its own maximum. A stream has no maximum yet, so the floor stands still,
# 8 decades below the level of a loud voice close to the microphone.
LOUD_VOICE_LOG10 = 1.5


@dataclass(frozen=True)
class AudioConfig:
    """The encoder's sizes and the stretch of sound that a chunk is made from. Times in samples at 16 kHz."""

    channels: int = 192
    layers: int = 4
    heads: int = 4
    window_samples: int = 16_000
    lookahead_samples: int = 640
    chunk_samples: int = 1_280
    samples_per_frame: int = 640
    prompt_positions: int = 10
    prompt_lead: int = 6  # positions before the frame's first one

    def __post_init__(self) -> None:
        if self.prompt_positions - self.prompt_lead > (self.samples_per_frame + self.lookahead_samples) // 320:
            raise ValueError(
                f"a prompt reaches {self.prompt_positions - self.prompt_lead} positions past its frame's start, "
                f"but frame and look-ahead hold {(self.samples_per_frame + self.lookahead_samples) // 320}"
            )

    @property
    def positions(self) -> int:
        return self.window_samples // SAMPLES_PER_POSITION

    @property
    def frames_per_chunk(self) -> int:
        return self.chunk_samples // self.samples_per_frame

    @property
    def states(self) -> int:
        return self.layers + 1

    @property
    def first_position(self) -> int:
        """Position of the chunk's first sample inside the window."""
        return (self.window_samples - self.lookahead_samples - self.chunk_samples) // SAMPLES_PER_POSITION


class LogMel(nn.Module):
    """Whisper's log-mel, with a floor that does not depend on the rest of the recording."""

    def __init__(self) -> None:
        super().__init__()
        filters = mel_filter_bank(1 + N_FFT // 2, MEL_BINS, 0.0, 8000.0, SAMPLE_RATE, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.from_numpy(filters).float().T.contiguous(), persistent=False)
        self.register_buffer("taper", torch.hann_window(N_FFT), persistent=False)

    def forward(self, pcm: Tensor) -> Tensor:
        """pcm b n in [-1, 1] -> b 80 n/160."""
        return (self.log10_power(pcm).clamp(min=LOUD_VOICE_LOG10 - 8) + 4) / 4

    def log10_power(self, pcm: Tensor) -> Tensor:
        """The same with no floor and no scale."""
        spectrum = torch.stft(pcm, N_FFT, HOP, window=self.taper, return_complex=True)[..., :-1]
        return (self.filters @ (spectrum.real**2 + spectrum.imag**2)).clamp(min=1e-10).log10()


class AudioEncoder(nn.Module):
    """Whisper's encoder over one short window."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        self.log_mel = LogMel()
        self.encoder = WhisperEncoder(
            WhisperConfig(
                d_model=config.channels,
                encoder_layers=config.layers,
                encoder_attention_heads=config.heads,
                encoder_ffn_dim=4 * config.channels,
                num_mel_bins=MEL_BINS,
                max_source_positions=config.positions,
            )
        )

    def forward(self, windows: Tensor) -> Tensor:
        """windows b window_samples -> hidden states b positions states channels (the last one normalised)."""
        return self.of_mel(self.log_mel(windows))

    def of_mel(self, mel: Tensor) -> Tensor:
        """The same of log-mels b 80 2 * positions."""
        out = self.encoder(mel.to(self.encoder.conv1.weight.dtype), output_hidden_states=True)
        return torch.stack(out.hidden_states, 2)

    def prompts(self, windows: Tensor) -> Tensor:
        """windows b window_samples -> one prompt for each frame of the chunk: b f prompt_positions states channels."""
        return frame_prompts(self(windows), self.config)


def frame_prompts(states: Tensor, config: AudioConfig) -> Tensor:
    """Hidden states b positions states channels -> b f prompt_positions states channels."""
    step = config.samples_per_frame // SAMPLES_PER_POSITION
    first = config.first_position - config.prompt_lead
    starts = [first + step * frame for frame in range(config.frames_per_chunk)]
    return torch.stack([states[:, s : s + config.prompt_positions] for s in starts], 1)


def windows_of(pcm: Tensor, config: AudioConfig) -> Tensor:
    """A whole recording b n -> the windows of all its chunks, b chunks window_samples. What lies outside is silence."""
    chunks = -(-pcm.shape[-1] // config.chunk_samples)
    before = config.window_samples - config.lookahead_samples - config.chunk_samples
    after = chunks * config.chunk_samples - pcm.shape[-1] + config.lookahead_samples
    return F.pad(pcm, (before, after)).unfold(-1, config.window_samples, config.chunk_samples)
