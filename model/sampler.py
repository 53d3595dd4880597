"""Flow-matching schedules and steps as pure functions. sigma runs from 1 (noise) to 0 (picture)."""

import torch
from torch import Tensor


def shifted_sigmas(steps: int, shift: float) -> Tensor:
    """The released schedule: steps + 1 values from 1 to 0, pushed towards noise by `shift`."""
    u = torch.linspace(1, 0, steps + 1)
    return shift * u / (1 + (shift - 1) * u)


def euler_step(x: Tensor, velocity: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """velocity = noise - data."""
    return x + velocity * (sigma_next - sigma)


def step_to(x: Tensor, sample: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """The same step where the network predicts the clean sample instead of the velocity."""
    if sigma_next == 0:
        return sample
    return euler_step(x, (x - sample) / sigma, sigma, sigma_next)


def add_noise(sample: Tensor, noise: Tensor, sigma: Tensor | float) -> Tensor:
    """The point between sample and noise at sigma (broadcast)."""
    return (1 - sigma) * sample + sigma * noise
