"""The Audio Emotion Module: the face in one picture takes on the expression in another.

The reference for an emotion is a picture of anybody who shows it. Its latents become tokens through one fully connected
layer, and after every double block the tokens of a face attend to them, weighed by a learned scale, the face's mask and a
strength. It is described in the HunyuanVideo-Avatar paper and has never been released; the form of what the paper leaves
open (norms, one head, a block of its own for every double block) follows the released audio adapters.

Letters: b batch, n faces, e references for one face, t latent frames, p tokens of a frame, d width.
"""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from model.attention import attend


@dataclass(frozen=True)
class Feelings:
    """Latents b n e c h w of the references, and how strongly each shows, 0 … 1: b n e t. A strength of 0 changes nothing.

    More than one reference for a face serves a change from one emotion to another."""

    latents: Tensor
    strength: Tensor


class EmotionProjection(nn.Module):
    """Latents b n e c h w -> tokens b n e p d: the fully connected layer, on patches as the transformer's own."""

    def __init__(self, channels: int, patch: tuple[int, int, int], width: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Linear(channels * patch[1] * patch[2], width)

    def forward(self, latents: Tensor) -> Tensor:
        _, ph, pw = self.patch
        return self.proj(rearrange(latents, "b n e c (h ph) (w pw) -> b n e (h w) (c ph pw)", ph=ph, pw=pw))


class EmotionAdapter(nn.Module):
    """Spatial cross-attention: every frame's tokens ask the tokens of the reference pictures."""

    def __init__(self, width: int, adapter_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)  # of the references
        self.norm2 = nn.LayerNorm(width)  # of the image
        self.to_q = nn.Linear(width, adapter_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * adapter_width, bias=False)
        self.to_out = nn.Linear(adapter_width, width, bias=False)
        self.scale = nn.Parameter(torch.zeros(()))  # gamma_E: at first there are no emotions

    def forward(self, image: Tensor, references: Tensor, weight: Tensor) -> Tensor:
        """image b t p d, references b n e p d, weight b n e t p 1 (mask times strength) -> what is added, b t p d."""
        batch, faces, each = references.shape[:3]
        q = rearrange(self.to_q(self.norm2(image)), "b t p d -> b (t p) 1 d")
        keys, values = self.to_kv(self.norm1(references)).unsqueeze(-2).chunk(2, -1)
        felt = torch.zeros_like(q)
        for face in range(faces):
            for one in range(each):
                out = attend(q, keys[:, face, one], values[:, face, one])
                felt = felt + out * weight[:, face, one].reshape(batch, -1, 1, 1)
        return self.scale * self.to_out(felt.reshape(*image.shape[:3], -1))
