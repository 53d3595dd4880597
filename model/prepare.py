"""Makes a character folder from a picture: server.py prepare portrait.png --name me

Faces are found or given, the picture gets the size that its model takes, and all that serving needs is computed once:
latents, and for a full-size preset also what the text encoders say. The embedded model's characters come with a measured
verdict on whether it can hold such a picture.
"""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image

from model.character import Box as FaceShares
from model.character import save_character
from model.faces import find_faces
from model.fit import Fit, fit_of, still_latents
from model.framing import cut_for, cut_out
from model.masks import Box
from model.offline import SamplingConfig
from model.picture import SHORT_SIDE, fitted, pixels
from model.portrait import read_portrait
from model.prepared import Conditions, mark, save_conditions, whole_or_not_at_all
from model.presets import EMBEDDED, PRESETS, Preset
from model.tiny_vae import TinyVAE

if TYPE_CHECKING:
    from model.prompting import PromptEncoder
    from model.vae import VAE

FULL_SIZE = "hunyuan-avatar"  # the preset that was made for photographs
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
LARGEST_TITLE = 80
SHOWN_SIDE = 512  # of the picture that stands for an embedded character until it moves
SECOND_FACE = 0.6  # a smaller second face, by the side of the largest, is somebody in the background
REFERENCE_SEED = 1024  # the released program draws from the encoder's distribution; the mean would be another picture

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What a character is made of. The portrait is upright; boxes are in its pixels, None: to be found."""

    name: str
    title: str
    portrait: Image.Image
    boxes: tuple[Box, ...] | None = None
    emotions: Mapping[str, Image.Image] = field(default_factory=dict)
    anyway: bool = False  # even where the model cannot hold the picture

    def __post_init__(self) -> None:
        for name in (self.name, *self.emotions):
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: use a to z, digits, - and _, 40 at most, a letter or digit first")
        if not (self.title.isprintable() and 0 < len(self.title) <= LARGEST_TITLE):
            raise ValueError(f"a title is one line of 1 to {LARGEST_TITLE} characters")


class NotHeld(ValueError):
    """The embedded model cannot be expected to hold this picture; `fit` says by how much."""

    def __init__(self, fit: Fit) -> None:
        super().__init__(
            f"the embedded model cannot be expected to hold this picture: {fit.verdict()}. It holds what is drawn like its "
            f"own characters; the preset {FULL_SIZE} is made for photographs"
        )
        self.fit = fit


def prepare_embedded(order: Order, vae: TinyVAE, folder: Path, tell: Tell, preset: Preset = EMBEDDED) -> Fit:
    """Writes folder/name and returns how well the model holds the picture; `tell` is told each stage.

    Raises NotHeld, unless `anyway`, and ValueError for a picture without a face that can be used."""
    tell("faces")
    boxes = _main_faces(faces_of(order.portrait, order.boxes), order.boxes is None)
    cut = cut_for(boxes)
    shares = tuple(cut.shares(box) for box in boxes)
    tell("latents")
    picture = cut_out(order.portrait, cut, preset.painted[1])
    latents = still_latents(vae, picture)
    tell("fit")
    fit = fit_of(vae, picture, latents, shares)
    if not (fit.holds or order.anyway):
        raise NotHeld(fit)
    emotions = {name: still_latents(vae, _cut_like(one, boxes, preset)) for name, one in order.emotions.items()}
    tell("writing")
    with whole_or_not_at_all(folder / order.name) as place:
        save_character(place, order.title, _titled(order.title, shares), latents, emotions)
        mark(place, preset.characters_of, vae)
        cut_out(order.portrait, cut, SHOWN_SIDE).save(place / "picture.png")
    return fit


@torch.inference_mode()
def prepare_full(
    order: Order, prompt: str, vae: "VAE", encoder: "PromptEncoder", folder: Path, tell: Tell,
    preset: str = FULL_SIZE, short_side: int = SHORT_SIDE, window: int = SamplingConfig().window,
) -> tuple[int, int]:  # fmt: skip
    """Writes folder/name for a preset with HunyuanVideo's VAE and text encoders -> its picture's width and height.

    Raises ValueError for faces that cannot be used."""
    tell("faces")
    picture = fitted(order.portrait, short_side)
    across, down = (new / old for new, old in zip(picture.size, order.portrait.size, strict=True))
    boxes = faces_of(order.portrait, order.boxes)
    shares = tuple(
        _shares((left * across, top * down, width * across, height * down), picture.size)
        for left, top, width, height in boxes
    )

    def encoded(still: Image.Image) -> torch.Tensor:
        weight = vae.post_quant_conv.weight
        frames = vae.config.time_compression_ratio * (window - 1) + 1
        clip = pixels(still).to(weight)[None, :, None].expand(-1, -1, frames, -1, -1)
        posterior = vae.tiled_encode(clip)
        return vae.scaled(posterior.sample(torch.Generator().manual_seed(REFERENCE_SEED)))[0].half()

    tell("latents")
    reference = encoded(picture)
    emotions = {name: encoded(one.resize(picture.size))[:, 0] for name, one in order.emotions.items()}
    tell("prompt")
    conditions = Conditions(reference, encoder.encode(prompt, picture), encoder.negative(picture))
    tell("writing")
    with whole_or_not_at_all(folder / order.name) as place:
        save_character(place, order.title, _titled(order.title, shares), reference[:, 0], emotions)
        save_conditions(place, conditions)
        mark(place, preset)
        picture.save(place / "picture.png")
    return picture.size


def faces_of(picture: Image.Image, boxes: tuple[Box, ...] | None) -> list[Box]:
    """The given boxes, if they can be used, or the faces that are found, from left to right. Raises ValueError."""
    if boxes is None:
        found = find_faces(picture)
        if not found:
            raise ValueError("no face was found in the picture: say where it is, as x0,y0,x1,y1 in pixels (faces)")
        return found
    if not boxes:
        raise ValueError("give at least one face, as x0,y0,x1,y1 in pixels")
    width, height = picture.size
    for box in boxes:
        left, top, box_width, box_height = box
        shown = f"{left:g},{top:g},{left + box_width:g},{top + box_height:g}"
        if not (all(map(math.isfinite, box)) and box_width > 0 and box_height > 0):
            raise ValueError(f"a face is x0,y0,x1,y1 with x0 left of x1 and y0 above y1, got {shown}")
        if not (0 <= left + box_width / 2 <= width and 0 <= top + box_height / 2 <= height):
            raise ValueError(f"the face {shown} is outside the picture, which is {width}x{height}")
        if max(box_width / width, box_height / height) > 1.5:
            raise ValueError(f"the face {shown} is larger than the picture, which is {width}x{height}")
    return sorted(boxes)


def parse_faces(text: str) -> tuple[Box, ...]:
    """`x0,y0,x1,y1;…` -> boxes. Raises ValueError."""
    try:
        corners = [tuple(map(float, face.split(","))) for face in text.split(";") if face.strip()]
        return tuple((x0, y0, x1 - x0, y1 - y0) for x0, y0, x1, y1 in corners)
    except ValueError:
        raise ValueError(f"faces are x0,y0,x1,y1 in pixels, with ; between them, got {text!r}") from None


def default_folder() -> Path:
    """Where the server looks for characters of the user's own."""
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "visavis" / "characters"


def _main_faces(boxes: Sequence[Box], found: bool) -> list[Box]:
    """All that were given; of those found the largest, and a second one of about its size."""
    if not found:
        return list(boxes)
    largest = sorted(boxes, key=lambda box: -box[2])[:2]
    return sorted(box for box in largest if box[2] >= SECOND_FACE * largest[0][2])


def _cut_like(picture: Image.Image, boxes: Sequence[Box], preset: Preset) -> Image.Image:
    """An emotion's picture, with as many faces as the portrait has."""
    faces = _main_faces(faces_of(picture, None), True)
    if len(faces) != len(boxes):
        raise ValueError(f"the portrait has {len(boxes)} faces, and a picture of an emotion {len(faces)}")
    return cut_out(picture, cut_for(faces), preset.painted[1])


def _shares(box: Box, size: tuple[int, int]) -> FaceShares:
    left, top, width, height = box
    edges = (left / size[0], top / size[1], (left + width) / size[0], (top + height) / size[1])
    return tuple(min(1.0, max(0.0, edge)) for edge in edges)


def _titled(title: str, shares: Sequence[FaceShares]) -> dict[str, FaceShares]:
    """Each face with a title of its own."""
    titles = {1: [title.split(",")[0]], 2: ["Left", "Right"]}
    return dict(zip(titles.get(len(shares), [f"Face {n + 1}" for n in range(len(shares))]), shares, strict=True))


# --- the command -----------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    try:
        boxes = parse_faces(options.faces) if options.faces is not None else None
        pictures = dict(map(_named_file, options.emotion_image))
        title = options.title or options.name.replace("-", " ").replace("_", " ").title()
        emotions = {name: _read(path) for name, path in pictures.items()}
        order = Order(options.name, title, _read(options.portrait), boxes, emotions, options.anyway)
        _prepare(order, options)
    except ValueError as problem:
        print(f"server.py prepare: {problem}", file=sys.stderr)
        if isinstance(problem, NotHeld):
            print("With --anyway it is made nevertheless.", file=sys.stderr)
        return 1
    print(options.out / options.name)
    return 0


def _prepare(order: Order, options: argparse.Namespace) -> None:
    def tell(stage: str) -> None:
        print(f"{stage} …", file=sys.stderr)

    if options.checkpoint is None:
        preset = PRESETS.get(options.preset or EMBEDDED.name)
        if preset is None or preset.weights != EMBEDDED.name:
            raise ValueError(f"the preset {options.preset} needs its weights: say where they are with --checkpoint")
        from model.loading import load

        fit = prepare_embedded(order, load(EMBEDDED.name).vae, options.out, tell, preset)
        warning = "" if fit.holds else " It is made anyway, and will not look like itself when it moves."
        print(f"{fit.verdict()}.{warning}", file=sys.stderr)
        return
    from model.checkpoint import find

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    checkpoint = find(options.checkpoint)
    vae = checkpoint.vae(device, torch.float16 if device.type == "cuda" else torch.float32)
    encoder = checkpoint.prompt_encoder(device)
    preset = PRESETS.get(options.preset or FULL_SIZE)
    name = preset.characters_of if preset else options.preset
    size = prepare_full(order, options.prompt, vae, encoder, options.out, tell, name, options.image_size)
    if preset and size != (preset.width, preset.height):
        shapes = f"{size[0]}x{size[1]}, and a live stream of {preset.name} {preset.width}x{preset.height}"
        print(f"The character is {shapes}: to be served it must be cut to that shape first.", file=sys.stderr)


def _named_file(text: str) -> tuple[str, Path]:
    name, given, path = text.partition("=")
    if not given:
        raise ValueError(f"--emotion-image is NAME=FILE, got {text!r}")
    return name, Path(path)


def _read(path: Path) -> Image.Image:
    try:
        return read_portrait(path.read_bytes())
    except OSError as problem:
        raise ValueError(f"the picture {path} cannot be read: {problem.strerror or problem}") from problem
    except ValueError as problem:
        raise ValueError(f"{path}: {problem}") from problem


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server.py prepare", description="Make a character from a picture.")
    parser.add_argument("portrait", type=Path, help="a PNG, JPEG or WebP file")
    parser.add_argument("--name", required=True, help="the character's name in addresses, and its folder's")
    parser.add_argument("--title", help="what people read (default: the name)")
    parser.add_argument("--prompt", default="", help="what the picture is to look like; full-size presets only")
    parser.add_argument("--faces", help='"x0,y0,x1,y1;…" in pixels of the picture (default: the faces that are found)')
    parser.add_argument("--emotion-image", action="append", default=[], metavar="NAME=FILE",
                        help="the same person, or another, showing an emotion; may be given several times")  # fmt: skip
    parser.add_argument("--preset", help=f"the model that is to show it (default: {EMBEDDED.name}, or {FULL_SIZE} with "
                        f"--checkpoint)")  # fmt: skip
    parser.add_argument("--checkpoint", type=Path, help="folder of the released weights, for full-size presets")
    parser.add_argument("--image-size", type=int, default=SHORT_SIDE, help="short side, full-size only (%(default)s)")
    parser.add_argument("--out", type=Path, default=default_folder(), help="folder of characters (%(default)s)")
    parser.add_argument("--anyway", action="store_true", help="even where the embedded model cannot hold the picture")
    return parser
