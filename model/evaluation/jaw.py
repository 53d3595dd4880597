"""The mouth to beat: lips that know of a voice nothing but its loudness."""

from collections.abc import Iterable

import numpy as np

SAMPLES = 640  # of a frame, at 16 kHz
FLOOR = 1e-4


class Jaw:
    """Opening, width and rounding as straight lines from the level of the sound, fitted to true mouths."""

    def __init__(self, heard: Iterable[tuple[np.ndarray, np.ndarray]]) -> None:
        """Sounds, n samples each, and true mouths of their frames, f 4."""
        both = [(self.level(pcm), mouth) for pcm, mouth in heard]
        levels, mouths = np.concatenate([level for level, _ in both]), np.concatenate([mouth for _, mouth in both])
        self._line = np.linalg.lstsq(self._design(levels), mouths, rcond=None)[0]

    @staticmethod
    def level(pcm: np.ndarray) -> np.ndarray:
        """Logarithm of the loudness of each whole frame, smoothed a little as a jaw would be."""
        power = np.sqrt(np.square(pcm[: len(pcm) // SAMPLES * SAMPLES].reshape(-1, SAMPLES)).mean(1))
        return np.log10(np.convolve(power, [0.25, 0.5, 0.25], "same") + FLOOR)

    def lips(self, level: np.ndarray) -> np.ndarray:
        """f -> f 4, within what lips can do."""
        return np.clip(self._design(level) @ self._line, (0, -1, 0, 0), 1)

    @staticmethod
    def _design(level: np.ndarray) -> np.ndarray:
        return np.stack((level, np.ones_like(level)), 1)
