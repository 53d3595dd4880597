"""A character on disk: picture, name, where its faces are, and what was computed from them once. Knows nothing of networks.

    ada/character.json   title; faces, each with a title and a box (shares of width and height)
    ada/picture.png
    ada/latents.safetensors   `reference`: the picture's latents, of one preset's autoencoder; and, where the character
                              brings expressions of its own, `emotion.happy` and so on: latents of pictures that show them
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

Box = tuple[float, float, float, float]  # left, top, right, bottom as shares of width and height
EMOTION = "emotion."
LATENTS = "latents.safetensors"


@dataclass(frozen=True)
class Character:
    name: str
    title: str
    picture: str  # path of the PNG
    faces: tuple[str, ...]  # titles of the people in the picture, at least one
    face_boxes: tuple[Box, ...]
    ref_latents: Tensor  # c h w
    emotions: dict[str, Tensor] = field(default_factory=dict)  # references of its own, c h w each

    def face_mask(self) -> Tensor:
        """Share of each latent cell that each face box covers, 1 n 1 h w."""
        masks = [box_mask(box, *self.ref_latents.shape[1:]) for box in self.face_boxes]
        return torch.stack(masks)[None, :, None]


def load_character(folder: Path) -> Character:
    """Raises ValueError with the folder's name and what is wrong with it."""
    try:
        about = json.loads((folder / "character.json").read_text())
        faces = about["faces"]
        if not faces:
            raise ValueError("it has no faces")
        tensors = {name: tensor.float() for name, tensor in load_file(folder / LATENTS).items()}
        return Character(
            folder.name,
            about["title"],
            str(folder / "picture.png"),
            tuple(face["title"] for face in faces),
            tuple(tuple(face["box"]) for face in faces),
            tensors["reference"],
            {name.removeprefix(EMOTION): tensor for name, tensor in tensors.items() if name.startswith(EMOTION)},
        )
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as problem:
        raise ValueError(f"character folder {folder} cannot be used: {problem!r}") from problem


def save_character(
    folder: Path, title: str, faces: dict[str, Box], ref_latents: Tensor, emotions: dict[str, Tensor] | None = None
) -> None:
    """Everything but the picture, which the caller has put there. `faces`: title -> box."""
    folder.mkdir(parents=True, exist_ok=True)
    boxes = [{"title": name, "box": [round(float(x), 4) for x in box]} for name, box in faces.items()]
    (folder / "character.json").write_text(json.dumps({"title": title, "faces": boxes}, indent=2) + "\n")
    save_file(tensors_of(ref_latents, emotions or {}), folder / LATENTS)


def tensors_of(ref_latents: Tensor, emotions: dict[str, Tensor]) -> dict[str, Tensor]:
    """What the file of latents holds."""
    tensors = {"reference": ref_latents} | {EMOTION + name: latents for name, latents in emotions.items()}
    return {name: tensor.half().contiguous() for name, tensor in tensors.items()}


def box_mask(box: Sequence[float], rows: int, columns: int) -> Tensor:
    """Share of each cell of a rows x columns grid that a box (left, top, right, bottom in 0 … 1) covers."""
    left, top, right, bottom = box

    def covered(start: float, stop: float, cells: int) -> Tensor:
        edges = torch.arange(cells + 1) / cells
        return (edges[1:].clamp(max=stop) - edges[:-1].clamp(min=start)).clamp(min=0) * cells

    return covered(top, bottom, rows)[:, None] * covered(left, right, columns)[None, :]
