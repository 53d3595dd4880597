"""Double-stream and single-stream blocks of the multimodal diffusion transformer, and their output layer.

Image tokens come as b f p d: f frames (the reference first) of p tokens, modulated by a vector per frame, or by one for
all (f = 1 in the vector). Text tokens come as b l d. Who sees whom is the business of the pattern passed in.
"""

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

QKV = tuple[Tensor, Tensor, Tensor]


class Pattern(Protocol):
    def attend(self, layer: int, image: QKV, text: QKV) -> Tensor:
        """Queries, keys and values, b l n d each -> attended image and text tokens in one sequence, b l n d."""


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Modulation(nn.Module):
    """The conditioning vector b … d -> `parts` tensors of the same shape, each with an axis for tokens put in."""

    def __init__(self, width: int, parts: int) -> None:
        super().__init__()
        self.parts = parts
        self.linear = nn.Linear(width, parts * width)

    def forward(self, vec: Tensor) -> tuple[Tensor, ...]:
        return self.linear(F.silu(vec)).unsqueeze(-2).chunk(self.parts, -1)


def gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int, activation: Callable[[Tensor], Tensor] = gelu) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(x)))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


def split_heads(qkv: Tensor, heads: int, q_norm: RMSNorm, k_norm: RMSNorm) -> QKV:
    q, k, v = rearrange(qkv, "b ... (three n d) -> three b (...) n d", three=3, n=heads)
    return q_norm(q), k_norm(k), v


ENTRANCE, EXIT = ("mod", "attn_qkv", "attn_q_norm", "attn_k_norm"), ("attn_proj", "mlp")  # of a stream in a double block


class DoubleBlock(nn.Module):
    """Image and text keep their own weights and meet in one attention."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        for stream in ("img", "txt"):
            self.add_module(f"{stream}_mod", Modulation(width, 6))
            self.add_module(f"{stream}_attn_qkv", nn.Linear(width, 3 * width))
            self.add_module(f"{stream}_attn_q_norm", RMSNorm(width // heads))
            self.add_module(f"{stream}_attn_k_norm", RMSNorm(width // heads))
            self.add_module(f"{stream}_attn_proj", nn.Linear(width, width))
            self.add_module(f"{stream}_mlp", MLP(width, hidden))

    def forward(
        self, layer: int, img: Tensor, txt: Tensor, vec_img: Tensor, vec_txt: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor]:
        image, img_rest = self.enter("img", img, vec_img)
        text, txt_rest = self.enter("txt", txt, vec_txt)
        attended = pattern.attend(layer, image, text).flatten(-2)
        from_image, from_text = attended.split((img.shape[1] * img.shape[2], txt.shape[1]), 1)
        return (
            self.leave("img", img, from_image.reshape(img.shape), img_rest),
            self.leave("txt", txt, from_text, txt_rest),
        )

    def enter(self, stream: str, x: Tensor, vec: Tensor) -> tuple[QKV, tuple[Tensor, ...]]:
        """What a stream brings to the attention, and what modulates the rest of its way."""
        if not x.shape[1]:  # frames against a cache bring no text: weights that nothing passes through need not be read
            return (x.new_empty(x.shape[0], 0, self.heads, x.shape[2] // self.heads),) * 3, ()
        mod, qkv, q_norm, k_norm = (getattr(self, f"{stream}_{part}") for part in ENTRANCE)
        shift, scale, *rest = mod(vec)
        return split_heads(qkv(modulate(x, shift, scale)), self.heads, q_norm, k_norm), tuple(rest)

    def leave(self, stream: str, x: Tensor, attended: Tensor, rest: tuple[Tensor, ...]) -> Tensor:
        if not rest:
            return x
        gate1, shift, scale, gate2 = rest
        proj, mlp = (getattr(self, f"{stream}_{part}") for part in EXIT)
        x = torch.addcmul(x, gate1, proj(attended))
        return torch.addcmul(x, gate2, mlp(modulate(x, shift, scale)))


class SingleBlock(nn.Module):
    """Image and text share weights; attention and the MLP run side by side."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads, self.width = heads, width
        self.linear1 = nn.Linear(width, 3 * width + hidden)
        self.linear2 = nn.Linear(width + hidden, width)
        self.q_norm = RMSNorm(width // heads)
        self.k_norm = RMSNorm(width // heads)
        self.modulation = Modulation(width, 3)

    def forward(
        self, layer: int, img: Tensor, txt: Tensor, vec_img: Tensor, vec_txt: Tensor, pattern: Pattern
    ) -> tuple[Tensor, Tensor]:
        lengths = (img.shape[1] * img.shape[2], txt.shape[1])
        shift, scale, gate = self.modulation(vec_img)
        x = modulate(img, shift, scale).flatten(1, 2)
        if txt.shape[1]:
            t_shift, t_scale, t_gate = self.modulation(vec_txt)
            x = torch.cat((x, modulate(txt, t_shift, t_scale)), 1)
        qkv, hidden = self.linear1(x).tensor_split((3 * self.width,), -1)
        qkv = split_heads(qkv, self.heads, self.q_norm, self.k_norm)
        image, text = zip(*(part.split(lengths, 1) for part in qkv), strict=True)
        attended = pattern.attend(layer, image, text).flatten(-2)
        out = self.linear2(torch.cat((attended, gelu(hidden)), -1))

        from_image, from_text = out.split(lengths, 1)
        img = torch.addcmul(img, gate, from_image.reshape(img.shape))
        return img, torch.addcmul(txt, t_gate, from_text) if txt.shape[1] else txt


class FinalLayer(nn.Module):
    """Tokens b f p d -> patches b f p (c pt ph pw). Shift comes before scale in the modulation."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, features)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec).unsqueeze(-2).chunk(2, -1)
        return self.linear(modulate(x, shift, scale))
