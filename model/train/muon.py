"""Muon: momentum whose update matrix is made orthogonal, so that every direction learns at the same pace.

For matrices and convolutions; biases and gains are AdamW's.
Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
"""

import torch
from torch import Tensor, nn

from model.train.precision import quick_type

# Coefficients of the quintic iteration that pushes all singular values towards one, from the source above.
A, B, C = 3.4445, -4.7750, 2.0315
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    def __init__(self, weights, lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01) -> None:
        super().__init__(list(weights), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure=None) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["momentum"], group["momentum"])
                update = orthogonal(ahead.reshape(len(ahead), -1)).view(weight.shape)
                rows, columns = len(weight), weight[0].numel()
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(update, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly."""
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = (x / (x.norm() + 1e-7)).to(quick_type(x.device.type))
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = A * x + (B * gram + C * gram @ gram) @ x
    x = x.to(matrix.dtype)
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Both:
    """Muon for matrices and AdamW for the rest, as one optimiser with one learning rate (AdamW's is a share of it)."""

    def __init__(
        self, matrices: list[nn.Parameter], rest: list[nn.Parameter], lr: float, adam_share: float, weight_decay: float
    ) -> None:
        self.muon = Muon(matrices, lr=lr, weight_decay=weight_decay)
        self.adam = torch.optim.AdamW(rest, lr=lr * adam_share, betas=(0.9, 0.98), weight_decay=weight_decay)
        self.adam_share = adam_share

    def set_learning_rate(self, value: float) -> None:
        for group in self.muon.param_groups:
            group["lr"] = value
        for group in self.adam.param_groups:
            group["lr"] = value * self.adam_share

    def step(self) -> None:
        self.muon.step()
        self.adam.step()

    def zero_grad(self) -> None:
        self.muon.zero_grad()
        self.adam.zero_grad()

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def muon_with_adam(
    model: nn.Module, lr: float, adam_share: float, edges: tuple[str, ...] = (), weight_decay: float = 0.01
) -> Both:
    """`edges` are found in the names of parts that AdamW keeps although they are matrices: what touches the outside
    world, and what is too small a part of the work to be worth an orthogonal update."""
    matrices, rest = [], []
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            (rest if weight.ndim < 2 or any(edge in name for edge in edges) else matrices).append(weight)
    return Both(matrices, rest, lr, adam_share, weight_decay)
