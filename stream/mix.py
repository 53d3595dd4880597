"""Several people's sound as one. Knows nothing of who they are or of time."""

import numpy as np


def mix(voices_s16: np.ndarray) -> np.ndarray:
    """n samples -> samples, int16. What is too loud together is cut off, not wrapped round. One voice stays as it is."""
    if len(voices_s16) == 1:
        return voices_s16[0]
    return np.clip(voices_s16.sum(axis=0, dtype=np.int32), -32768, 32767).astype(np.int16)


def with_voices(voices_s16: np.ndarray, count: int) -> np.ndarray:
    """So many voices: those that are new have been silent, those that are gone are dropped."""
    kept = voices_s16[:count]
    if len(kept) == count:
        return kept
    return np.concatenate([kept, np.zeros((count - len(kept), *kept.shape[1:]), np.int16)])
