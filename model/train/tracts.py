"""Other people's vocal tracts, on log-mels: formants moved up or down, bands and moments that were not heard.

Synthetic voices are few; a longer or shorter throat makes many of each. Changes a spectrum only, so every moment stays
where it was. Source: Jaitly and Hinton, "Vocal Tract Length Perturbation improves speech recognition" (2013); Park et al.,
"SpecAugment" (2019).
"""

import numpy as np
import torch
from torch import Tensor
from transformers.audio_utils import mel_to_hertz

from model.audio import MEL_BINS

FACTORS = (0.84, 1.19)  # of all frequencies
CHANGED, BAND_LOST, MOMENT_LOST = 0.8, 0.5, 0.2  # probabilities of each step
BAND, MOMENT = (3, 12), (2, 7)  # how wide what is lost is, in bins and in hops of 10 ms
_HZ = mel_to_hertz(np.linspace(0, 45.2456, MEL_BINS + 2)[1:-1], mel_scale="slaney")  # middles of the bins up to 8 kHz


def another_tract(mel: Tensor, rng: np.random.Generator) -> Tensor:
    """Log-mels b 80 t, each as if another throat had said it."""
    changed = rng.random(len(mel)) < CHANGED
    factors = np.where(changed, np.exp(rng.uniform(*np.log(FACTORS), len(mel))), 1.0)
    place = np.stack([np.interp(_HZ * factor, _HZ, np.arange(MEL_BINS)) for factor in factors])
    below = np.minimum(place.astype(int), MEL_BINS - 2)
    share = torch.from_numpy(place - below).to(mel)[:, :, None]
    below = torch.from_numpy(below).to(mel.device)[:, :, None].expand_as(mel)
    moved = torch.lerp(mel.gather(1, below), mel.gather(1, below + 1), share)
    for one in moved:
        floor = one.min()
        if rng.random() < BAND_LOST:
            first, width = rng.integers(MEL_BINS - BAND[1]), rng.integers(*BAND)
            one[first : first + width] = floor
        if rng.random() < MOMENT_LOST:
            first, width = rng.integers(one.shape[1] - MOMENT[1]), rng.integers(*MOMENT)
            one[:, first : first + width] = floor
    return moved
