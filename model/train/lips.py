"""The mouth that can be heard: what the audio encoder's last state says of it, and what of that is filmed.

Films for the transformer show this mouth and not the true one. Where the sound leaves the truth open, the truth would teach
the average of what might be, a mouth that is never quite shut; the reading is a function of the sound, so there is nothing
to average. How close it comes to the truth is the audio encoder's business, and is scored there.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from model.audio import AudioConfig, AudioEncoder, windows_of
from model.presets import EMBEDDED
from model.train.phones import PHONES
from model.train.precision import mixed
from model.train.run import trained
from model.train.visemes import CHANNELS

SHUT_BELOW = 0.06  # a true opening that counts as shut
SHUT_STEEPNESS, SHUT_BIAS = 4.0, 1.6  # rather a closure too many than one that nobody sees
STILL = (0.03, 0.05, 0.05, 0.05)  # readings this small are rest


class Reader(nn.Module):
    """What the encoder's last state says: the mouth (4 numbers), whether it is shut (a logit), and the phoneme."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mouth = nn.Linear(channels, len(CHANNELS))
        self.shut = nn.Linear(channels, 1)
        self.phone = nn.Linear(channels, len(PHONES))

    def forward(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.mouth(states), self.shut(states)[..., 0], self.phone(states)


class Lips(nn.Module):
    """Encoder and reader at the end of their training."""

    def __init__(self, encoder: AudioEncoder, reader: Reader) -> None:
        super().__init__()
        self.encoder, self.reader = encoder, reader

    @classmethod
    def load(cls, checkpoint: Path) -> "Lips":
        encoder, reader = AudioEncoder(EMBEDDED.audio).eval(), Reader(EMBEDDED.audio.channels)
        encoder.load_state_dict(trained(checkpoint, "encoder"))
        reader.load_state_dict(trained(checkpoint, "reader"))
        return cls(encoder, reader)

    @torch.inference_mode()
    def read(self, pcm_16k: np.ndarray) -> np.ndarray:
        """Sound n -> mouth of every frame of its chunks, f 4, as the stream hears it."""
        config = self.encoder.config
        windows = windows_of(torch.from_numpy(pcm_16k.astype(np.float32))[None], config)[0]
        with mixed("cpu"):
            mouth, shut, _ = self.reader(self.encoder(windows)[:, chunk_positions(config), -1])
        return decided(per_frame(mouth.float(), config), per_frame(shut.float(), config)).flatten(0, 1).numpy()


def chunk_positions(config: AudioConfig) -> slice:
    """The positions of a window that are its chunk's own."""
    return slice(config.first_position, config.first_position + config.chunk_samples // 320)


def per_frame(values: Tensor, config: AudioConfig) -> Tensor:
    """b positions … -> b frames …, means."""
    return values.unflatten(1, (config.frames_per_chunk, -1)).mean(2)


def decided(mouth: Tensor, shut: Tensor) -> Tensor:
    """mouth … 4 and the logit … of its being shut -> the mouth … 4 that is filmed."""
    opening = mouth[..., :1] * torch.sigmoid(-SHUT_STEEPNESS * (shut[..., None] + SHUT_BIAS))
    mouth, still = torch.cat((opening, mouth[..., 1:]), -1), torch.tensor(STILL)
    mouth = mouth.sign() * (mouth.abs() - still).clamp(min=0) * (1 + still)
    return mouth.clamp(torch.tensor([0.0, -1, 0, 0]), torch.ones(4))
