"""Pictures for the eye, and how like the truth they are. All pictures are uint8, f h w 3."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor


def save_sheet(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Rows of pictures of one size as one PNG."""
    Image.fromarray(np.concatenate([np.concatenate(list(row), 1) for row in rows])).save(path)


def pictures_of(frames: Tensor) -> np.ndarray:
    """Frames f 3 h w in 0 … 1, as an autoencoder makes them."""
    return (frames.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def psnr(made: np.ndarray, true: np.ndarray) -> float:
    """In dB."""
    return decibels(np.square((made.astype(np.float32) - true.astype(np.float32)) / 255).mean())


def decibels(error: float) -> float:
    """Peak signal to noise of a mean squared error between pictures in 0 … 1."""
    return float(-10 * np.log10(max(error, 1e-12)))


def sharpness(pictures: np.ndarray) -> float:
    """Mean size of the steps between neighbouring pixels."""
    grey = pictures.astype(np.float32).mean(-1)
    return float(np.abs(np.diff(grey, axis=1)).mean() + np.abs(np.diff(grey, axis=2)).mean())
