"""Growing in time and in space, and the convolution after it, as one convolution at the small size.

Nothing between the three bends, so they are one linear map. Enlarging by repetition only decides on which of the small
pixels each tap of the convolution falls: two by two of them, in four ways, one for each of the pixels that a small one
becomes. Of a decoder stage that doubles both, three fifths of the arithmetic go. For inference.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from model.tiny_vae import TGrow

# On which of two neighbouring small pixels the three taps fall, for the first and for the second of the pixels between.
TAPS = torch.tensor([[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


class Grown(nn.Module):
    """nn.Upsample (nearest), TGrow and a convolution of 3 x 3 without a bias, in this order."""

    def __init__(self, enlarge: nn.Upsample, grow: TGrow, conv: nn.Conv2d) -> None:
        super().__init__()
        self.scale, self.frames = int(enlarge.scale_factor), grow.stride
        each = rearrange(grow.conv.weight.detach().float(), "(s c) i 1 1 -> s c i", s=self.frames)
        kernel = torch.einsum("o c y x, s c i -> s o i y x", conv.weight.detach().float(), each)
        if self.scale == 2:
            taps = TAPS.to(kernel.device)
            kernel = torch.einsum("p a y, q b x, s o i y x -> p q s o i a b", taps, taps, kernel)
        weight = kernel.flatten(0, -4).to(conv.weight.dtype)
        self.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """l i h w -> l * frames o h * scale w * scale."""
        made = F.conv2d(x, self.weight, padding=1)
        if self.scale == 1:
            return rearrange(made, "l (s o) h w -> (l s) o h w", s=self.frames)
        (length, _, height, width), sides = x.shape, (2, 2, self.frames)
        made = made.unflatten(1, (*sides, -1))
        grown = made.new_empty(length * self.frames, 2 * height, 2 * width, made.shape[4]).permute(0, 3, 1, 2)
        steps = grown.unflatten(0, (length, self.frames))
        for p in (0, 1):
            for q in (0, 1):
                steps[..., p::2, q::2] = made[:, p, q, ..., p : p + height, q : q + width]
        return grown


def fold(layers: nn.Sequential) -> None:
    """Puts one such layer in the place of each three; what is left of the places does nothing."""
    for at in range(len(layers) - 2):
        enlarge, grow, conv = layers[at : at + 3]
        if isinstance(enlarge, nn.Upsample) and isinstance(grow, TGrow) and enlarge.scale_factor in (1, 2):
            layers[at], layers[at + 1], layers[at + 2] = nn.Identity(), nn.Identity(), Grown(enlarge, grow, conv)
