"""Linear layers of a finished network in the layout that a processor's matrix product works in.

PyTorch hands float32 products to MKL, which on some processors runs at half of what oneDNN reaches (measured with 2.13:
92 against 215 GFLOP/s on one core), and bfloat16 ones to oneDNN, which then lays the weights out anew at every call: a
tenth of a large product, half of a single row's. Packed once, a layer costs what its arithmetic costs, and a GELU after
it a quarter. For inference: packed weights know no gradients and are in no state_dict.
"""

import torch
from torch import Tensor, nn

from model.blocks import MLP, gelu


class PackedLinear(nn.Module):
    """A linear layer, with GELU (its tanh form) after it or without."""

    def __init__(self, linear: nn.Linear, then_gelu: bool = False) -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)
        self.bias = None if linear.bias is None else linear.bias.detach()
        self.then = ("gelu", [], "tanh") if then_gelu else ("none", [], "")

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, *self.then)


def pack(network: nn.Module) -> None:
    """Replaces the linear layers that are on a processor; others, and all where PyTorch cannot pack, stay as they are."""
    if not can_pack():
        return
    for part in list(network.modules()):
        if isinstance(part, MLP) and part.activation is gelu and _packable(part.fc1):
            part.fc1, part.activation = PackedLinear(part.fc1, then_gelu=True), nn.Identity()
        for name, layer in list(part.named_children()):
            if _packable(layer):
                setattr(part, name, PackedLinear(layer))


def can_pack() -> bool:
    """The operators are those of PyTorch's own compiler, and not promised for ever."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")


def types() -> tuple[torch.dtype, ...]:
    """Those that the processor's products are made for: without AVX-512 or its like there are none in bfloat16."""
    return (torch.float32, torch.bfloat16) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else (torch.float32,)


def _packable(layer: nn.Module) -> bool:
    # Exactly nn.Linear: what is derived from it (attention's output in PyTorch, quantised layers) means more than that.
    return type(layer) is nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype in types()
