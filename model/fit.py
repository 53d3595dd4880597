"""Whether a small autoencoder can hold a picture: how far what comes back is from what went in, against what is needed.

The embedded model has only ever seen its own drawn world, and its autoencoder keeps what that world consists of. A picture
that comes back blurred or in other colours would talk, but not look like itself. Knows nothing of faces' detection.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from model.framing import Shares
from model.tiny_vae import TinyVAE

SETTLED = 4  # calls after which the autoencoder's memory holds nothing but the still
FINE = 4.0  # pixels, as the deviation of a Gaussian: what it takes away is the picture's detail
# Per cent of the detail, whole and of the face, that is painted. Of 40 strangers all but one (whose hair is dyed, and has
# none) have 29 and 37 or more, 52 and 56
# on average; a portrait photograph has 3 and 17, and nothing and 20 where it is blurred so that eyes are spots.
NEEDED, NEEDED_IN_FACE = 12.0, 18.0


@dataclass(frozen=True)
class Fit:
    """Per cent of the detail of a picture, whole and in its faces, that comes back."""

    picture: float
    face: float  # of the worst face
    needed: float = NEEDED
    needed_in_face: float = NEEDED_IN_FACE

    @property
    def holds(self) -> bool:
        return self.picture >= self.needed and self.face >= self.needed_in_face

    def plain(self) -> dict[str, float | bool]:
        return {name: round(value, 1) for name, value in asdict(self).items()} | {"holds": self.holds}

    def verdict(self) -> str:
        measured = f"{self.picture:.0f} % of the picture's detail and {self.face:.0f} % of the face's come back"
        return f"{measured}; {self.needed:g} and {self.needed_in_face:g} % are needed"


@torch.inference_mode()
def still_latents(vae: TinyVAE, picture: Image.Image | Tensor) -> Tensor:
    """A still (or its 3 H W in 0 … 1) shown long enough for the encoder's memory to settle, c h w."""
    still = picture if isinstance(picture, Tensor) else _tensor(picture)
    shown = still.expand(SETTLED * vae.config.frames_per_latent, -1, -1, -1)
    latents, _ = vae.encode(shown[None].to(_dtype(vae)))
    return latents[0, -1].float()


@torch.inference_mode()
def fit_of(vae: TinyVAE, picture: Image.Image, latents: Tensor, faces: tuple[Shares, ...]) -> Fit:
    """How well the latents c h w hold the picture they were made of.

    What is lost is set against the detail that there is: so a blurred picture is not taken for one that is understood."""
    wanted, memory = _tensor(picture), None
    for _ in range(SETTLED):
        # What is carried along is the picture itself, and would always do: what counts is what the model has understood.
        painted, memory = vae.paint(latents[None, None].to(_dtype(vae)), latents[None].to(_dtype(vae)), memory)
    lost = (painted.paint[0, -1].float().clamp(0, 1) - wanted) ** 2
    detail = (wanted - _smooth(wanted)) ** 2
    height, width = lost.shape[1:]
    parts = [
        (slice(None), slice(int(top * height), int(bottom * height) + 1), slice(int(left * width), int(right * width) + 1))
        for left, top, right, bottom in faces
    ]
    return Fit(_back(lost, detail), min(_back(lost[part], detail[part]) for part in parts))


def _back(lost: Tensor, detail: Tensor) -> float:
    return 100 * max(0.0, 1 - float(lost.mean() / detail.mean().clamp(min=1e-6)))


def _smooth(picture: Tensor) -> Tensor:
    reach = round(3 * FINE)
    bell = torch.exp(-((torch.arange(-reach, reach + 1) / FINE) ** 2) / 2)
    bell /= bell.sum()
    wide = F.pad(picture[:, None], (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(wide, bell[None, None, None]), bell[None, None, :, None])[:, 0]


def _tensor(picture: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _dtype(vae: TinyVAE) -> torch.dtype:
    return next(vae.parameters()).dtype
