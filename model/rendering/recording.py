"""Any sound file as the model hears it and as a film plays it: mono at 16 kHz and at 48 kHz. Knows nothing of pictures."""

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import soxr

MODEL_RATE, FILM_RATE = 16_000, 48_000
SILENCE = 10 ** (-60 / 20)  # of full scale


@dataclass(frozen=True)
class Recording:
    """The same sound twice: float32 in [-1, 1], and int16 for the film, which takes less memory."""

    pcm_16k: np.ndarray
    pcm_48k: np.ndarray

    @property
    def seconds(self) -> float:
        return len(self.pcm_16k) / MODEL_RATE

    @property
    def silent(self) -> bool:
        return float(np.abs(self.pcm_16k).max()) < SILENCE


def read_recording(path: Path) -> Recording:
    """All of a file's sound, channels averaged. Raises ValueError where there is none or it cannot be read."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError(f"{path} has no sound in it")
            heard = _decoded(container)
    except (OSError, av.FFmpegError) as problem:
        raise ValueError(f"cannot read sound from {path}: {problem.strerror or problem}") from problem
    if not len(heard.pcm_16k):
        raise ValueError(f"{path} has no sound in it: it is 0 seconds long")
    if not np.isfinite(heard.pcm_16k).all():
        raise ValueError(f"the sound of {path} is damaged: not all of it is numbers")
    return heard


def _decoded(container: av.container.InputContainer) -> Recording:
    """Rates are changed while decoding: an hour in stereo need never be in memory."""
    stream = container.streams.audio[0]
    to_float = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    rates = {rate: soxr.ResampleStream(stream.rate, rate, 1, dtype="float32") for rate in (MODEL_RATE, FILM_RATE)}
    pieces: dict[int, list[np.ndarray]] = {rate: [] for rate in rates}

    def add(mono: np.ndarray, last: bool = False) -> None:
        for rate, resampler in rates.items():
            made = resampler.resample_chunk(mono, last=last)
            pieces[rate].append(_s16(made) if rate == FILM_RATE else made)

    for frame in container.decode(stream):
        for part in to_float.resample(frame):
            add(part.to_ndarray().mean(0, dtype=np.float32))
    for part in to_float.resample(None):
        add(part.to_ndarray().mean(0, dtype=np.float32))
    add(np.zeros(0, np.float32), last=True)
    return Recording(np.concatenate(pieces[MODEL_RATE]), np.concatenate(pieces[FILM_RATE]))


def _s16(pcm: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(np.nan_to_num(pcm) * 32767), -32768, 32767).astype(np.int16)
