"""Scalars, pooled text and latent patches as vectors of the transformer's width. Knows nothing of blocks."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

SINUSOID_WIDTH = 256
SINUSOID_PERIOD = 10000.0


def sinusoid(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Raw scalars of any shape -> (…, 256), cosines first, computed in float32."""
    half = SINUSOID_WIDTH // 2
    frequencies = SINUSOID_PERIOD ** (-torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = x.float().unsqueeze(-1) * frequencies
    return torch.cat((angles.cos(), angles.sin()), -1).to(dtype)


class ScalarEmbedder(nn.Module):
    """One number -> one vector: a timestep, a frame rate, or one of the four motion values."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(SINUSOID_WIDTH, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(sinusoid(x, self.mlp[0].weight.dtype))


class VectorEmbedder(nn.Module):
    """The pooled text vector."""

    def __init__(self, i: int, width: int) -> None:
        super().__init__()
        self.in_layer = nn.Linear(i, width)
        self.out_layer = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(x)))


class PatchEmbed(nn.Module):
    """Latents b c t h w -> tokens b t p d, where p runs over patches row by row."""

    def __init__(self, patch: tuple[int, int, int], channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv3d(channels, width, patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        # Kernel and stride agree, so this is a matrix product; the convolution kernels are far slower on a CPU.
        _, pt, ph, pw = self.proj.weight.shape[1:]
        patches = rearrange(x, "b c (t pt) (h ph) (w pw) -> b t (h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)
        return F.linear(patches, self.proj.weight.flatten(1), self.proj.bias)
