"""Somebody's speech for measurements, spoken by flite. Knows nothing of who listens."""

import subprocess
import tempfile
import wave
from functools import lru_cache
from pathlib import Path

import numpy as np

RATE_HZ = 16_000
TEXT = (
    "Good morning, and thank you for calling. My name is Pamela, and I am happy to help you with your booking. "
    "Before we begin, may I have your number, please? Wonderful. I see that both of you arrive on Monday, "
    "leave on Thursday, and have asked for a room with a view over the river. Would you like breakfast as well?"
)


@lru_cache
def speech(seconds: float) -> np.ndarray:
    """int16 mono at RATE_HZ of exactly this length: the same few sentences again and again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        try:
            subprocess.run(["flite", "-voice", "slt", "-t", TEXT, "-o", str(path)], check=True, capture_output=True)
        except FileNotFoundError:
            raise RuntimeError("flite speaks for this measurement and is not installed: apt-get install flite") from None
        with wave.open(str(path)) as file:
            if file.getframerate() != RATE_HZ:
                raise RuntimeError(f"flite spoke at {file.getframerate()} Hz, {RATE_HZ} Hz was expected")
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    return np.resize(pcm, round(seconds * RATE_HZ))
