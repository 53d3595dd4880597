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
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def split_heads(qkv: Tensor, heads: int, q_norm: RMSNorm, k_norm: RMSNorm) -> QKV:
    q, k, v = rearrange(qkv, "b ... (three n d) -> three b (...) n d", three=3, n=heads)
    return q_norm(q), k_norm(k), v


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
        shift1, scale1, gate1, shift2, scale2, gate2 = self.img_mod(vec_img)
        t_shift1, t_scale1, t_gate1, t_shift2, t_scale2, t_gate2 = self.txt_mod(vec_txt)

        image = self.img_attn_qkv(modulate(img, shift1, scale1))
        text = self.txt_attn_qkv(modulate(txt, t_shift1, t_scale1))
        image = split_heads(image, self.heads, self.img_attn_q_norm, self.img_attn_k_norm)
        text = split_heads(text, self.heads, self.txt_attn_q_norm, self.txt_attn_k_norm)
        attended = pattern.attend(layer, image, text).flatten(-2)
        from_image, from_text = attended.split((img.shape[1] * img.shape[2], txt.shape[1]), 1)

        img = img + gate1 * self.img_attn_proj(from_image.reshape(img.shape))
        img = img + gate2 * self.img_mlp(modulate(img, shift2, scale2))
        txt = txt + t_gate1 * self.txt_attn_proj(from_text)
        txt = txt + t_gate2 * self.txt_mlp(modulate(txt, t_shift2, t_scale2))
        return img, txt


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
        shift, scale, gate = self.modulation(vec_img)
        t_shift, t_scale, t_gate = self.modulation(vec_txt)
        lengths = (img.shape[1] * img.shape[2], txt.shape[1])

        x = torch.cat((modulate(img, shift, scale).flatten(1, 2), modulate(txt, t_shift, t_scale)), 1)
        qkv, hidden = self.linear1(x).split((3 * self.width, self.linear1.out_features - 3 * self.width), -1)
        image, text = (split_heads(part, self.heads, self.q_norm, self.k_norm) for part in qkv.split(lengths, 1))
        attended = pattern.attend(layer, image, text).flatten(-2)
        out = self.linear2(torch.cat((attended, gelu(hidden)), -1))

        from_image, from_text = out.split(lengths, 1)
        return img + gate * from_image.reshape(img.shape), txt + t_gate * from_text


class FinalLayer(nn.Module):
    """Tokens b f p d -> patches b f p (c pt ph pw). Shift comes before scale in the modulation."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, features)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(vec).unsqueeze(-2).chunk(2, -1)
        return self.linear(modulate(x, shift, scale))
