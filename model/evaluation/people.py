"""Who is scored: strangers that no training has seen, the shipped cast, and pairs of both. Films nobody.

Strangers are drawn with seeds kept for this alone, from every kind of person in turn, and become characters as an uploaded
picture would: their resting picture, through the generator's own autoencoder.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from model.character import Character
from model.fit import still_latents
from model.generator import Generator
from model.world.cast import CHARACTERS
from model.world.drawing import Box
from model.world.look import SPECIES, STYLES, Look
from model.world.pose import Pose
from model.world.scene import Scene

RESERVED_SEED = 20261129  # training draws its people with other seeds
POOL = 600  # strangers to choose from, so that rare kinds are among them
CAST, STRANGERS = "cast", "strangers"


@dataclass(frozen=True)
class Sitters:
    """A scene that is filmed under a character's name."""

    name: str
    group: str  # CAST or STRANGERS
    scene: Scene

    @property
    def kind(self) -> str:
        return " and ".join(dict.fromkeys(kind_of(look) for look in self.scene.people))

    def at_rest(self, size: int) -> np.ndarray:
        return self.scene.render((Pose.neutral(),) * len(self.scene.people), size)


def kind_of(look: Look) -> str:
    return f"{look.style} {look.species}"


def cast(names: Sequence[str]) -> list[Sitters]:
    """Shipped characters, whose folders are named after the people in them."""
    return [Sitters(name, CAST, Scene(tuple(CHARACTERS[who] for who in name.split("_")))) for name in names]


def strangers(count: int) -> list[Sitters]:
    """People alone, of as many styles and species as there is room for; the first of many are those of few."""
    kinds: dict[str, list[Look]] = defaultdict(list)
    for number in range(POOL):
        look = Look.random(np.random.default_rng([RESERVED_SEED, number]))
        kinds[kind_of(look)].append(look)
    in_turn = chain.from_iterable(zip_longest(*(kinds[kind] for kind in _kinds())))
    chosen = [look for look in in_turn if look is not None][:count]
    return [Sitters(f"stranger {number:02d}", STRANGERS, Scene((look,))) for number, look in enumerate(chosen)]


def _kinds() -> list[str]:
    """All kinds, styles and species both changing from each to the next."""
    places = range(len(STYLES) * len(SPECIES))
    return [f"{STYLES[k % len(STYLES)]} {SPECIES[(k + k // len(SPECIES)) % len(SPECIES)]}" for k in places]


def pairs(count: int) -> list[Sitters]:
    """Two strangers beside each other, none of whom is among `strangers`."""
    looks = [Look.random(np.random.default_rng([RESERVED_SEED, POOL + number])) for number in range(2 * count)]
    scenes = [Scene((looks[2 * number], looks[2 * number + 1])) for number in range(count)]
    return [Sitters(f"pair {number:02d}", STRANGERS, scene) for number, scene in enumerate(scenes)]


def admit(generator: Generator, sitters: Sitters, folder: Path) -> None:
    """Strangers become characters of the generator, as somebody's upload would; their picture is kept in the folder."""
    preset = generator.preset
    faces = tuple(f"face {place}" for place in range(len(sitters.scene.people)))
    boxes = tuple(shares(box, preset.width) for box in sitters.scene.face_boxes(preset.width))
    latents = still_latents(generator.vae, Image.fromarray(sitters.at_rest(preset.painted[0])))
    folder.mkdir(parents=True, exist_ok=True)
    picture = folder / f"{sitters.name.replace(' ', '_')}.png"
    Image.fromarray(sitters.at_rest(preset.width)).save(picture)
    generator.characters[sitters.name] = Character(sitters.name, sitters.name, str(picture), faces, boxes, latents)


def shares(box: Box, size: int) -> tuple[float, float, float, float]:
    left, top, right, bottom = (edge / size for edge in box)
    return left, top, right, bottom


@torch.inference_mode()
def through(generator: Generator, sitters: Sitters, frames: np.ndarray) -> np.ndarray:
    """Frames f h w 3 uint8 encoded and decoded again: what a perfect transformer could show."""
    at_rest = sitters.at_rest(generator.preset.painted[0])
    small = F.interpolate(torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255, generator.preset.painted, mode="area")
    still = torch.from_numpy(at_rest).permute(2, 0, 1)[None].to(generator.dtype) / 255
    latents, _ = generator.vae.encode(small[None].to(generator.dtype), still=still)
    back, _ = generator.decoder.decode(latents.transpose(1, 2), [generator.open(sitters.name, 0).memory])
    return (back[0, : len(frames)].float() * 255).clamp(0, 255).round().byte().permute(0, 2, 3, 1).numpy()
