"""What a character is to the networks: reference, places of its faces and text, on the device that computes.

Small, and shared by all sessions that have the character. Computes none of it: a picture was encoded and a prompt was read
when the character was prepared.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.character import Character
from model.device import onto
from model.masks import latent_masks, pixel_masks
from model.offline import Prompt
from model.prepared import load_conditions
from model.text import no_text

DAMAGED = (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError)  # as Pillow says it


@dataclass(frozen=True)
class Look:
    reference: Tensor  # 1 c t h w: the still, one latent of it or a whole window
    mask: Tensor  # 1 n 1 h w, what each sound moves
    prompt: Prompt
    words: int  # how many refined text tokens take part, counted here so that no device is asked for it
    picture: Tensor | None = None  # the still itself, 1 3 H W float32 in 0 … 1, for decoders that carry it along


def drawn(
    character: Character, text_width: int, pooled_width: int, dtype: torch.dtype, device: torch.device,
    carried: tuple[int, int] | None = None,
) -> Look:  # fmt: skip
    """Of a model that was trained without prompts, on the faces' own places. `carried`: the width and height in which the
    decoder is to carry the character's picture along.

    Raises ValueError for a picture that cannot be read."""
    states, mask = no_text(1, text_width)
    prompt = Prompt(states, mask, torch.zeros(1, pooled_width))
    look = _look(character.ref_latents[None, :, None], character.face_mask(), prompt, dtype, device)
    return replace(look, picture=onto(device, picture_of(character, carried))) if carried else look


def picture_of(character: Character, size: tuple[int, int]) -> Tensor:
    """Its picture of this width and height, 1 3 H W float32 in 0 … 1. Raises ValueError where it cannot be read."""
    try:
        with Image.open(character.picture) as file:
            picture = file.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except DAMAGED as problem:
        raise ValueError(f"the picture of character {character.name} cannot be read: {problem}") from problem
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255


def photographed(character: Character, factor: int, frames: int, dtype: torch.dtype, device: torch.device) -> Look:
    """Of a full-size preset, with the released model's masks: faces enlarged. `factor` pixels of a side are one latent.

    Raises ValueError for a character that was not prepared for such a preset, or whose still is shorter than `frames`."""
    folder = Path(character.picture).parent
    known = load_conditions(folder)
    if known.reference.shape[1] < frames:
        raise ValueError(
            f"character folder {folder} holds {known.reference.shape[1]} latents of its still, and this preset needs "
            f"{frames}: prepare it anew"
        )
    rows, columns = known.reference.shape[-2:]
    height, width = factor * rows, factor * columns
    boxes = [
        (left * width, top * height, (right - left) * width, (bottom - top) * height)
        for left, top, right, bottom in character.face_boxes
    ]
    masks = pixel_masks(boxes, height, width)
    mask = latent_masks(masks, rows, columns)[None, :, 0]
    return _look(known.reference[None, :, :frames], mask, known.prompt, dtype, device)


def _look(reference: Tensor, mask: Tensor, prompt: Prompt, dtype: torch.dtype, device: torch.device) -> Look:
    def there(x: Tensor) -> Tensor:
        return onto(device, x.to(dtype))

    on_device = Prompt(there(prompt.states), onto(device, prompt.mask), there(prompt.pooled))
    return Look(there(reference), onto(device, mask), on_device, int(prompt.mask.sum()))
