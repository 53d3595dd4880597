"""A character on disk: picture, name, where the face is, and what was computed from them once. Knows nothing of networks.

    ada/character.json   title, face box (shares of width and height)
    ada/picture.png
    ada/latents.safetensors   reference latents of one preset's autoencoder
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor


@dataclass(frozen=True)
class Character:
    name: str
    title: str
    picture: str  # path of the PNG
    face_box: tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height
    ref_latents: Tensor  # c h w

    def face_mask(self) -> Tensor:
        """Share of each latent cell that the face box covers, 1 1 1 h w."""
        return box_mask(self.face_box, *self.ref_latents.shape[1:])[None, None, None]


def load_character(folder: Path) -> Character:
    """Raises ValueError with the folder's name and what is wrong with it."""
    try:
        about = json.loads((folder / "character.json").read_text())
        latents = load_file(folder / "latents.safetensors")["reference"].float()
        return Character(folder.name, about["title"], str(folder / "picture.png"), tuple(about["face_box"]), latents)
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as problem:
        raise ValueError(f"character folder {folder} cannot be used: {problem}") from problem


def save_character(folder: Path, title: str, face_box: tuple[float, ...], ref_latents: Tensor) -> None:
    """Everything but the picture, which the caller has put there."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"title": title, "face_box": [round(float(x), 4) for x in face_box]}
    (folder / "character.json").write_text(json.dumps(about, indent=2) + "\n")
    save_file({"reference": ref_latents.half().contiguous()}, folder / "latents.safetensors")


def box_mask(box: Sequence[float], rows: int, columns: int) -> Tensor:
    """Share of each cell of a rows x columns grid that a box (left, top, right, bottom in 0 … 1) covers."""
    left, top, right, bottom = box

    def covered(start: float, stop: float, cells: int) -> Tensor:
        edges = torch.arange(cells + 1) / cells
        return (edges[1:].clamp(max=stop) - edges[:-1].clamp(min=start)).clamp(min=0) * cells

    return covered(top, bottom, rows)[:, None] * covered(left, right, columns)[None, :]
