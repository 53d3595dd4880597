"""The transformer's blocks in one byte a weight: e4m3, with one scale for each layer.

    y = (x / s) @ W8.T * s * scale + b        s = max|x| / 448, where the GPU multiplies fp8 (Ada, Hopper and later)
    y = x @ (W8 * scale).T + b                elsewhere, as the released program does everywhere

The layers are the released ones: every linear of the double and single blocks (320 at full size, 12.5 of 13 billion
weights). Biases, norms and all else stay as they are. Knows nothing of files.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.dit import DiT
from model.weights import fill

FLOAT8 = torch.float8_e4m3fn
LARGEST = torch.finfo(FLOAT8).max  # 448
BLOCKS = ("double_blocks.", "single_blocks.")


class Float8Linear(nn.Module):
    """In place of a linear layer; made empty, on the layer's device."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight, bias = linear.weight, linear.bias
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight = nn.Parameter(torch.empty_like(weight, dtype=FLOAT8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty((), dtype=torch.float32, device=weight.device), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(torch.empty_like(bias), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if multiplies_float8(x.device):
            return self._product(x)
        return F.linear(x, self.weight.to(x.dtype) * self.scale.to(x.dtype), self.bias)

    def _product(self, x: Tensor) -> Tensor:
        """All on the device: no number is fetched in order to choose a scale."""
        rows = x.reshape(-1, self.in_features)
        scale = (torch.linalg.vector_norm(rows, torch.inf).float() / LARGEST).clamp(min=1e-12)
        small = (rows / scale).to(FLOAT8)
        made = torch._scaled_mm(
            small, self.weight.t(), scale_a=scale, scale_b=self.scale, bias=self.bias, out_dtype=torch.bfloat16
        )
        return made.view(*x.shape[:-1], self.out_features).to(x.dtype)


@cache
def multiplies_float8(device: torch.device) -> bool:
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 9)


def float8_layers(dit: DiT) -> list[str]:
    """Names of the layers that are kept in fp8."""
    return [name for name, one in dit.named_modules() if name.startswith(BLOCKS) and isinstance(one, nn.Linear)]


def quantised(weight: Tensor) -> tuple[Tensor, Tensor]:
    """A weight of any type -> the same in fp8, and its scale: max|W| / 448, as the released map has them."""
    scale = (weight.abs().amax().float() / LARGEST).clamp(min=1e-12)
    return (weight.float() / scale).to(FLOAT8), scale


def fill_float8(
    dit: DiT, tensors: Mapping[str, Tensor], scales: Mapping[str, Tensor], device: torch.device, path: Path
) -> DiT:
    """Give a transformer, which may be on the meta device, its fp8 layers and all its weights, one by one onto the device.

    `tensors` hold values divided by their scale, in whatever type; `scales` are by the layer's name. Raises ValueError that
    lists what is missing, unexpected or of another shape."""
    layers = float8_layers(dit)
    for name in layers:
        parent, _, own = name.rpartition(".")
        setattr(dit.get_submodule(parent), own, Float8Linear(dit.get_submodule(name)))
    given = dict(tensors) | {f"{layer}.scale": scale.squeeze() for layer, scale in scales.items()}
    return fill(dit, given, device, None, path)
