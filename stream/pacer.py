"""Decides which picture and which sound are due at an instant. Knows nothing of codecs, tracks, tasks or the model."""

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Tick:
    """One frame interval of the session: a picture and the sound that drove it, released together."""

    index: int  # frame number on the sample clock
    frame: np.ndarray | None  # uint8 h w c, RGB, read-only; None before the first picture
    repeated: bool  # the picture is the one of an earlier tick
    late_s: float  # how much older than the sound the picture is
    pcm_48k: np.ndarray  # int16, the sound of this interval, always complete
    pts_48k: int  # index of its first sample on the session's clock
    speech_segment: int | None = None  # queued segment heard in it
    stamps: dict[str, float] = field(default_factory=dict)  # stage -> monotonic seconds
