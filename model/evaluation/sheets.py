"""Sheets of frames for the eye: generated above true, emotions, pairs. Scores nothing."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from model.evaluation.takes import Duet, Felt, Take

SIDE = 128  # of a frame on a sheet
LABEL = 14  # height of the line above a row
PAPER, INK = (250, 249, 246), (60, 60, 60)


def strips(parts: Sequence[Take | Duet]) -> Image.Image:
    """For each, a row of generated frames above the true ones of the same moments."""
    return _sheet([(f"{part.sitters.name}, {part.sitters.kind}", part.strip) for part in parts])


def emotions(felt: Sequence[Felt]) -> Image.Image:
    """A row for each person, everything they were to feel."""
    rows: dict[str, list[Felt]] = defaultdict(list)
    for one in felt:
        rows[one.sitters.name].append(one)
    names = ", ".join(dict.fromkeys(one.emotion for one in felt))
    return _sheet([(f"{name}: {names}", ([one.picture for one in row],)) for name, row in rows.items()])


def _sheet(rows: Sequence[tuple[str, Sequence[Sequence[np.ndarray]]]]) -> Image.Image:
    width = SIDE * max(len(line) for _, lines in rows for line in lines)
    sheet = Image.new("RGB", (width, sum(LABEL + SIDE * len(lines) for _, lines in rows)), PAPER)
    pen, top = ImageDraw.Draw(sheet), 0
    for label, lines in rows:
        pen.text((3, top + 1), label, INK)
        top += LABEL
        for line in lines:
            for place, frame in enumerate(line):
                sheet.paste(Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.BOX), (SIDE * place, top))
            top += SIDE
    return sheet
