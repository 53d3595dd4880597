"""Sound enters the picture: Whisper windows become tokens, and each face of a latent frame attends to its own.

Knows nothing of how the windows were computed. n counts faces, f video frames, t latent frames, p tokens of a latent frame.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.attention import attend


class AudioProjection(nn.Module):
    """… f window states channels -> … f tokens d."""

    def __init__(self, features: int, hidden: int, tokens: int, width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.proj1 = nn.Linear(features, hidden)
        self.proj2 = nn.Linear(hidden, hidden)
        self.proj3 = nn.Linear(hidden, tokens * width)
        self.norm = nn.LayerNorm(width)

    def forward(self, windows: Tensor) -> Tensor:
        x = F.relu(self.proj2(F.relu(self.proj1(windows.flatten(-3)))))
        return self.norm(rearrange(self.proj3(x), "... f (a d) -> ... f a d", a=self.tokens))


def tokens_per_latent(tokens: Tensor, frames_per_latent: int, leading_frame: bool) -> Tensor:
    """… f a d -> … t (frames_per_latent a) d.

    With `leading_frame` the first latent stands for a single video frame (a causal 3-D VAE): its tokens are repeated."""
    if leading_frame:
        tokens = torch.cat((*[tokens[..., :1, :, :]] * (frames_per_latent - 1), tokens), -3)
    return rearrange(tokens, "... (t r) a d -> ... t (r a) d", r=frames_per_latent)


class AudioAdapter(nn.Module):
    """Cross-attention from the tokens of a latent frame to its own sound tokens: one head of the full adapter width."""

    def __init__(self, width: int, adapter_width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)  # of the sound
        self.norm2 = nn.LayerNorm(width)  # of the image
        self.to_q = nn.Linear(width, adapter_width, bias=False)
        self.to_kv = nn.Linear(width, 2 * adapter_width, bias=False)
        self.to_out = nn.Linear(adapter_width, width, bias=False)

    def forward(self, image: Tensor, sound: Tensor) -> Tensor:
        """image b t p d, sound b t a d -> b t p d."""
        batch = image.shape[0]
        q = rearrange(self.to_q(self.norm2(image)), "b t p d -> (b t) p 1 d")
        k, v = rearrange(self.to_kv(self.norm1(sound)), "b t a (two d) -> two (b t) a 1 d", two=2)
        out = attend(q, k, v).flatten(-2)
        return self.to_out(rearrange(out, "(b t) p d -> b t p d", b=batch))


def mask_per_token(face_mask: Tensor, frames: int, rows: int, columns: int) -> Tensor:
    """Face masks b n (1 or t) H W of any resolution -> b n t p 1, nearest neighbour."""
    if face_mask.shape[2] == 1:
        face_mask = face_mask.expand(-1, -1, frames, -1, -1)
    mask = F.interpolate(face_mask.float(), (frames, rows, columns), mode="nearest")
    return rearrange(mask, "b n t h w -> b n t (h w) 1")
