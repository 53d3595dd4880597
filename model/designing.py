"""What the character designer asks of the drawn world: controls, people by lot, pictures. Needs Skia and no networks."""

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from model.design_controls import groups
from model.design_file import FORMAT, VERSION, Design, look_of, read
from model.drawn import Drawn, packed
from model.world import background
from model.world.cast import CHARACTER_TITLES, CHARACTERS
from model.world.drawing import render
from model.world.emotion import EMOTIONS, felt
from model.world.look import CHOICES, Look
from model.world.pose import Pose
from model.world.scene import Scene

SMALLEST_SIDE, LARGEST_SIDE = 64, 1024
STILL_SIDE = 256  # of the picture that the embedded weights take
SHOWN_SIDE = 512  # of the picture that stands for a character until it moves
NEUTRAL = "neutral"
NEAR = ("hair", "hat", "beard", "glasses", "earrings")  # choices that a portrait shows best; the others need the body
MOST_THROWS = 2000  # of the dice, for one of a species: every twentieth is


def controls() -> dict:
    """Everything a page must know to offer a look's fields, and the shipped people to start from."""
    people = [{"name": name, "title": CHARACTER_TITLES[name], "look": look.to_dict()} for name, look in CHARACTERS.items()]
    return {
        "format": FORMAT, "version": VERSION, "groups": groups(), "defaults": Look().to_dict(), "people": people,
        "sizes": [SMALLEST_SIDE, LARGEST_SIDE], "emotions": [NEUTRAL, *EMOTIONS],
    }  # fmt: skip


def drawn_by_lot(seed: int, species: str | None = None) -> dict:
    """The same look for the same seed; of one species, where that is given. Raises ValueError for an unknown one."""
    if species is not None and species not in CHOICES["species"]:
        raise ValueError(f"species is {species!r}; choose one of {', '.join(CHOICES['species'])}")
    rng = np.random.default_rng(seed)
    throws = (Look.random(rng) for _ in range(MOST_THROWS))
    return next(look for look in throws if species in (None, look.species)).to_dict()


def picture(look: dict, size: int, emotion: str = NEUTRAL) -> bytes:
    """A PNG of size x size. Raises ValueError."""
    if emotion not in (NEUTRAL, *EMOTIONS):
        raise ValueError(f"emotion is {emotion!r}; choose one of {', '.join((NEUTRAL, *EMOTIONS))}")
    return _png(_drawn(look_of(look), _sized(size), emotion))


def choices(look: dict, field: str, size: int) -> bytes:
    """A PNG with a picture of size x size for each value that the field may have, side by side. Raises ValueError."""
    if field not in CHOICES:
        raise ValueError(f"field is {field!r}; choose one of {', '.join(CHOICES)}")
    one = replace(look_of(look), closeness=1.0 if field in NEAR else 0.0)
    return _png(np.hstack([_drawn(replace(one, **{field: value}), _sized(size)) for value in CHOICES[field]]))


def imported(text: str) -> dict:
    """A file's title and look, and what was changed in it. Raises ValueError."""
    design, changes = read(text)
    return {"title": design.title, "look": design.look.to_dict(), "changes": list(changes)}


def composed(title: str, look: dict) -> bytes:
    """All that a character's folder is made of, as model/drawn.py has it. Raises ValueError."""
    design = Design(title, look_of(look))
    (box,) = Scene((design.look,)).face_boxes(SHOWN_SIDE)
    shares = tuple(edge / SHOWN_SIDE for edge in box)
    still, shown = (_png(_drawn(design.look, size)) for size in (STILL_SIDE, SHOWN_SIDE))
    return packed(Drawn(design, shares, still, shown))


def _sized(size: int) -> int:
    if not SMALLEST_SIDE <= size <= LARGEST_SIDE:
        raise ValueError(f"size is {size}; it must be a whole number from {SMALLEST_SIDE} to {LARGEST_SIDE}")
    return size


def _drawn(look: Look, size: int, emotion: str = NEUTRAL) -> np.ndarray:
    background.picture.cache_clear()  # nobody looks the same twice here, and large pictures would pile up
    return render(look, felt(Pose.neutral(), emotion, 1.0), size)


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)  # quick; it does not go far
    return file.getvalue()
