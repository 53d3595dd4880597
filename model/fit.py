"""Whether a small autoencoder can hold a picture: how far what comes back is from what went in, against what is needed.

The embedded model has only ever seen its own drawn world, and its autoencoder keeps what that world consists of. A picture
that comes back blurred or in other colours would talk, but not look like itself. Knows nothing of faces' detection.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.framing import Shares
from model.tiny_vae import TinyVAE

SETTLED = 4  # calls after which the autoencoder's memory holds nothing but the still
# Decibels, whole and face, of what is painted. Of 40 strangers drawn by lot 38 have as much, 27.7 and 24.3 on average; the
# two are inked. A portrait photograph has 19.3 and 18.7, and 23.6 where it is blurred so that eyes are spots.
NEEDED_DB, NEEDED_FACE_DB = 24.7, 20.0


@dataclass(frozen=True)
class Fit:
    """Peak signal to noise of the picture that comes back, whole and in its faces."""

    picture_db: float
    face_db: float  # of the worst face
    needed_db: float = NEEDED_DB
    needed_face_db: float = NEEDED_FACE_DB

    @property
    def holds(self) -> bool:
        return self.picture_db >= self.needed_db and self.face_db >= self.needed_face_db

    def plain(self) -> dict[str, float | bool]:
        return {name: round(value, 1) for name, value in asdict(self).items()} | {"holds": self.holds}

    def verdict(self) -> str:
        measured = f"{self.picture_db:.1f} dB of the picture and {self.face_db:.1f} dB of the face come back"
        return f"{measured}; {self.needed_db:g} and {self.needed_face_db:g} are needed"


@torch.inference_mode()
def still_latents(vae: TinyVAE, picture: Image.Image | Tensor) -> Tensor:
    """A still (or its 3 H W in 0 … 1) shown long enough for the encoder's memory to settle, c h w."""
    still = picture if isinstance(picture, Tensor) else _tensor(picture)
    shown = still.expand(SETTLED * vae.config.frames_per_latent, -1, -1, -1)
    latents, _ = vae.encode(shown[None].to(_dtype(vae)))
    return latents[0, -1].float()


@torch.inference_mode()
def fit_of(vae: TinyVAE, picture: Image.Image, latents: Tensor, faces: tuple[Shares, ...]) -> Fit:
    """How well the latents c h w hold the picture they were made of."""
    wanted, memory = _tensor(picture), None
    for _ in range(SETTLED):
        # What is carried along is the picture itself, and would always do: what counts is what the model has understood.
        painted, memory = vae.paint(latents[None, None].to(_dtype(vae)), latents[None].to(_dtype(vae)), memory)
    error = (painted.paint[0, -1].float().clamp(0, 1) - wanted) ** 2
    height, width = error.shape[1:]
    parts = [
        error[:, int(top * height) : int(bottom * height) + 1, int(left * width) : int(right * width) + 1]
        for left, top, right, bottom in faces
    ]
    return Fit(_decibels(error), min(map(_decibels, parts)))


def _decibels(error: Tensor) -> float:
    return float(-10 * torch.log10(error.mean().clamp(min=1e-6)))


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _dtype(vae: TinyVAE) -> torch.dtype:
    return next(vae.parameters()).dtype
