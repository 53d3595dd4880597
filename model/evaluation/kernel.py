"""Regression with a Gaussian kernel: from pixels to a few numbers that change smoothly with them. Knows no people."""

import numpy as np

WIDTH = 2.0  # of the kernel, in median distances between what it was taught with
RIDGE = 1e-4


class KernelRidge:
    def __init__(self, x: np.ndarray, values: np.ndarray) -> None:
        """x n pixels, values n outputs."""
        self._mean, self._offset = x.mean(0), values.mean(0)
        self._known = x - self._mean
        apart = _squares(self._known, self._known)
        self._scale = 2 * (WIDTH**2) * max(float(np.median(apart)), 1e-9)
        kernel = np.exp(-apart / self._scale)
        self._weights = np.linalg.solve(kernel + RIDGE * np.eye(len(x)), values - self._offset)

    def read(self, x: np.ndarray) -> np.ndarray:
        """m pixels -> m outputs."""
        return np.exp(-_squares(x - self._mean, self._known) / self._scale) @ self._weights + self._offset


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0)
