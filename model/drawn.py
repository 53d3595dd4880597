"""A drawn character on its way to whoever makes its folder: design, pictures, and where the face is. Draws nothing.

The process that draws has Skia and no networks, the one that has the networks no Skia; this is what goes between them.
"""

import base64
import json
import math
from dataclasses import dataclass

from model.design_file import Design, read, written

Shares = tuple[float, float, float, float]  # left, top, right, bottom of the picture's side


@dataclass(frozen=True)
class Drawn:
    design: Design
    box: Shares  # of the face
    still_png: bytes  # at rest, of the size that the model takes
    shown_png: bytes  # the same, larger: what stands for the character until it moves


def packed(drawn: Drawn) -> bytes:
    parts = {
        "design": written(drawn.design), "box": drawn.box,
        "still": base64.b64encode(drawn.still_png).decode(), "shown": base64.b64encode(drawn.shown_png).decode(),
    }  # fmt: skip
    return json.dumps(parts).encode()


def unpacked(sent: bytes) -> Drawn:
    """Raises ValueError."""
    try:
        parts = json.loads(sent)
        box = tuple(float(edge) for edge in parts["box"])
        pictures = [base64.b64decode(parts[name]) for name in ("still", "shown")]
        left, top, right, bottom = box
        if not (all(map(math.isfinite, box)) and 0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise ValueError(f"the face is at {box}")
        return Drawn(read(parts["design"])[0], box, *pictures)
    except (KeyError, TypeError, ValueError, RecursionError) as problem:
        raise ValueError(f"the drawn character is damaged: {problem}") from problem
