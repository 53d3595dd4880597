"""What is to be rendered: rows of a list as the released program takes it. Opens no picture and no sound.

    videoid,image,audio,prompt,fps
    1,portraits/1.png,speech/1.wav,A woman is talking.,25

Paths are relative to the folder that the program is started in, as they are there.
"""

import csv
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from model.rendering.problems import Problem

COLUMNS = ("videoid", "image", "audio", "prompt", "fps")
UNSAFE = '/\\:*?"<>|\0'  # in a file's name, here or elsewhere


@dataclass(frozen=True)
class Row:
    name: str
    audio: Path
    image: Path | None = None
    prompt: str = ""
    fps: float = 25.0


def read_rows(path: Path, optional: Collection[str] = (), fps: float = 25.0) -> list[Row | Problem]:
    """A list's rows in their order; a row that says nonsense is a problem, the others stay.

    `optional` columns may be missing or empty; an empty fps is the given one. Raises ValueError for what is no list."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, strict=True, restval="")
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ()) and name not in optional]
            if missing:
                raise ValueError(f"it lacks the columns {', '.join(missing)}; a list has {', '.join(COLUMNS)}")
            rows = [(table.line_num, {name: (row.get(name) or "").strip() for name in COLUMNS}) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as problem:
        why = getattr(problem, "strerror", None) or problem
        raise ValueError(f"the list {path} cannot be used: {why}") from problem
    if not rows:
        raise ValueError(f"the list {path} cannot be used: it has no rows")
    found: dict[str, Row | Problem] = {}
    for line, row in rows:
        made = _row(line, row, optional, fps)
        if made.name in found:
            made = Problem(f"line {line}", f"there is another row with the videoid {made.name!r}")
        found[made.name] = made
    return list(found.values())


def _row(line: int, row: dict[str, str], optional: Collection[str], fps: float) -> Row | Problem:
    name = row["videoid"]
    empty = [column for column in ("videoid", "image", "audio") if not row[column] and column not in optional]
    if empty:
        return Problem(name or f"line {line}", f"line {line} says no {' and no '.join(empty)}")
    if name.startswith(".") or set(name) & set(UNSAFE):
        return Problem(f"line {line}", f"the videoid names the film's file, which cannot be called {name!r}")
    try:
        fps = float(row["fps"] or fps)
    except ValueError:
        return Problem(name, f"line {line} says {row['fps']!r} for fps, which is no number")
    return Row(name, Path(row["audio"]), Path(row["image"]) if row["image"] else None, row["prompt"], fps)
