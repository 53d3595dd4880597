"""A drawn character as a file that people pass on: JSON with its title and its look. Knows no pictures.

    {"format": "visavis-character", "version": 1, "title": "Ann", "look": {"skin": "#f3cdb0", "jaw": 0.25, …}}

What comes from outside is read with distrust. A number out of its range is brought to the nearest one that is allowed, and
said so; anything else that is wrong refuses the file. A field that is not given has the look's own default.
"""

import json
import math
from dataclasses import dataclass
from numbers import Real

from model.world.look import RANGES, Look

FORMAT, VERSION = "visavis-character", 1
LARGEST_TITLE = 80
PARTS = {"format", "version", "title", "look"}
WHOLE = "details"  # the number of a look that must be a whole one
SHOWN = 60  # letters of somebody's nonsense that are repeated to them


@dataclass(frozen=True)
class Design:
    """Who somebody is, and how they look. Raises ValueError for a title that is none."""

    title: str
    look: Look

    def __post_init__(self) -> None:
        if not (self.title.isprintable() and 0 < len(self.title.strip()) <= LARGEST_TITLE):
            raise ValueError(f"a name is one line of 1 to {LARGEST_TITLE} characters")


def written(design: Design) -> str:
    document = {"format": FORMAT, "version": VERSION, "title": design.title, "look": design.look.to_dict()}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def read(text: str) -> tuple[Design, tuple[str, ...]]:
    """The design, and what had to be changed in it, a sentence each. Raises ValueError that says what is wrong."""
    document = _document(text)
    unknown = document.keys() - PARTS
    if unknown:
        raise ValueError(f"the file has parts that this Visavis does not know: {_shown(', '.join(sorted(unknown)))}")
    look, title = document.get("look"), document.get("title")
    if not isinstance(look, dict) or not isinstance(title, str):
        raise ValueError(f"the file is damaged: it has no {'title' if isinstance(look, dict) else 'look'}")
    values, changes = within(look)
    try:
        return Design(title.strip(), look_of(values)), changes
    except ValueError as problem:
        raise ValueError(f"the file is damaged: {problem}") from problem


def look_of(values: dict) -> Look:
    """Raises ValueError that names the field, its value and what is allowed."""
    try:
        return Look.from_dict({name: _float(value) if _is_huge(value) else value for name, value in values.items()})
    except ValueError as problem:
        raise ValueError(_shown(str(problem), 4 * SHOWN)) from problem


def within(values: dict) -> tuple[dict, tuple[str, ...]]:
    """The same with every number in its range, and what was changed for that. Looks at nothing else."""
    brought, changes = dict(values), []
    for name in RANGES.keys() & values.keys():
        value, (low, high) = values[name], RANGES[name]
        if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(_float(value)):
            continue
        if name == WHOLE and math.isfinite(_float(value)) and value == int(value):
            value = brought[name] = int(value)  # JSON knows no whole numbers: 3 may come as 3.0
        nearest = min(max(value, low), high)
        if nearest != value:
            brought[name] = nearest
            changes.append(f"{name} was {_float(value):g} and is now {nearest:g}: it goes from {low:g} to {high:g}")
    return brought, tuple(sorted(changes))


def _document(text: str) -> dict:
    """Raises ValueError for what is no such file, or one of a newer version."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as problem:
        if FORMAT in text:
            raise ValueError(f"the file is damaged: {problem}") from problem
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ValueError("this is no character that Visavis has exported")
    version = document.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError("the file is damaged: it does not say its version")
    if version > VERSION:
        shown = _shown(str(version))
        raise ValueError(f"it was made by a newer Visavis (version {shown}); this one reads version {VERSION}: update it")
    return document


def _is_huge(value: object) -> bool:
    return isinstance(value, int) and value.bit_length() > 64  # JSON has no largest number, and a float has


def _float(value: Real) -> float:
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _shown(text: str, most: int = SHOWN) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
