"""Real synthetic speech for tests, spoken once per text and process."""

import subprocess
import tempfile
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np

from stream.resample import Resampler


@lru_cache
def spoken(text: str = "she sells many sea shells", rate: int = 48_000) -> np.ndarray:
    """int16 mono; read-only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run(["flite", "-voice", "slt", "-t", text, "-o", str(path)], check=True)
        with wave.open(str(path)) as file:
            pcm = Resampler(file.getframerate()).push(np.frombuffer(file.readframes(-1), np.int16))
    pcm = pcm if rate == 48_000 else Resampler(48_000, rate).push(pcm)
    pcm.flags.writeable = False
    return pcm
