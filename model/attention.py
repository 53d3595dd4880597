"""The one door to attention kernels, and who may see whom: whole sequences, causal ones, and cached streams.

Layout: batch, tokens, heads, head width. A pattern is handed to every block, which asks it to attend; so the blocks
hold no branch for streaming.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor

from model.cache import KVCache
from model.parallel import Group
from model.rope import rotate


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kT / sqrt(d)) v over b l n d; mask is boolean (True = may see), broadcast to b n lq lk."""
    return kernel(q.device.type, q.dtype, mask is not None)(q, k, v, mask)


def kernel(device: str, dtype: torch.dtype, masked: bool) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """The fastest of those below that can do it."""
    if device == "cpu" and dtype == torch.bfloat16:
        return two_products
    if device == "cuda" and dtype in (torch.bfloat16, torch.float16) and not masked and flash_package() is not None:
        return flash
    return fused


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """PyTorch's own, for whatever there is."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2)


def flash(q: Tensor, k: Tensor, v: Tensor, mask: None) -> Tensor:
    return flash_package().flash_attn_func(q, k, v)


@cache
def flash_package() -> ModuleType | None:
    """flash_attn where somebody built it: it comes with no PyTorch."""
    return importlib.import_module("flash_attn") if importlib.util.find_spec("flash_attn") else None


def two_products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention spelt out. On a processor with bfloat16 instructions the plain products run at full speed, and PyTorch's
    fused kernel at half of it (measured with 2.13: 130 against 283 ms forward and backward, 16 x 385 tokens).

    Heads first in memory, or the product lays the keys out itself, and slowly (0.20 against 0.32 ms for 64 x 449 tokens).
    Scores turn into weights where they lie, if no gradient asks for them: untouched memory costs more than the sums."""
    q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    weights = torch.softmax(scores, -1, out=None if scores.requires_grad else scores)
    return (weights.to(v.dtype) @ v).transpose(1, 2)


@dataclass(frozen=True)
class WholeSequence:
    """Attention over [image tokens, text tokens] that are all present, with an optional mask over them."""

    cosine: Tensor  # image tokens, head width
    sine: Tensor
    mask: Tensor | None = None

    def attend(self, layer: int, image: tuple[Tensor, Tensor, Tensor], text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        q, k = (rotate(x, self.cosine, self.sine) for x in image[:2])
        q, k, v = (torch.cat(pair, 1) for pair in zip((q, k, image[2]), text, strict=True))
        return attend(q, k, v, self.mask)


@dataclass(frozen=True)
class Prefill(WholeSequence):
    """The reference frame and the text see each other and nothing else; what they say is kept as the cache's sink."""

    cache: KVCache | None = None

    def attend(self, layer: int, image: tuple[Tensor, Tensor, Tensor], text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        k = torch.cat((rotate(image[1], self.cosine, self.sine), text[1]), 1)
        v = torch.cat((image[2], text[2]), 1)
        self.cache.write_sink(layer, k, v)
        q = torch.cat((rotate(image[0], self.cosine, self.sine), text[0]), 1)
        return attend(q, k, v)


@dataclass(frozen=True)
class CausalSequence:
    """A causal stream with all its frames at hand, for training: [reference, frame 0 …, text].

    Reference and text see each other; a frame sees them, itself and at most W frames before it. It all stands where it
    would stand in the cache at that moment, the oldest frame at place 0 and the reference before it, however late it is."""

    cosine: Tensor  # of the reference and of places 0 … W: W + 2, tokens of a frame, head width
    sine: Tensor

    def attend(self, layer: int, image: tuple[Tensor, Tensor, Tensor], text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        tokens, window = self.cosine.shape[1], len(self.cosine) - 2
        (reference_q, q), (reference_k, k), (reference_v, v) = (x.split((tokens, x.shape[1] - tokens), 1) for x in image)
        sink_q, sink_k = (
            torch.cat((rotate(x, self.cosine[0], self.sine[0]), words), 1)
            for x, words in zip((reference_q, reference_k), text[:2], strict=True)
        )
        sink_v = torch.cat((reference_v, text[2]), 1)
        shown, words = attend(sink_q, sink_k, sink_v).split((tokens, text[0].shape[1]), 1)
        out = [shown]
        for frame, end in enumerate(range(tokens, q.shape[1] + 1, tokens)):
            places = slice(1, min(frame, window) + 2)
            cosine, sine = (table[places].flatten(0, 1) for table in (self.cosine, self.sine))
            past = slice(end - len(cosine), end)
            now_q = rotate(q[:, end - tokens : end], cosine[-tokens:], sine[-tokens:])
            seen_k = torch.cat((sink_k, rotate(k[:, past], cosine, sine)), 1)
            out.append(attend(now_q, seen_k, torch.cat((sink_v, v[:, past]), 1)))
        return torch.cat((*out, words), 1)


@dataclass(frozen=True)
class CachedStream:
    """New frames see the sink, the rolling past, themselves and the new ones before them; or, with a mask, all it allows.

    Positions are relative to the window: the frame being made stands at its last place, so a stream may run for ever. With
    `remember`, so many new frames are written into the window's last places as they pass."""

    cache: KVCache
    cosine: Tensor  # new image tokens, head width
    sine: Tensor
    mask: Tensor | None = None
    remember: int = 0

    def attend(self, layer: int, image: tuple[Tensor, Tensor, Tensor], text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        q, k = (rotate(x, self.cosine, self.sine) for x in image[:2])
        past_k, past_v = self.cache.read(layer, without_newest=self.remember)
        keys, values = torch.cat((past_k, k), 1), torch.cat((past_v, image[2]), 1)
        if self.mask is None:
            # Frame by frame: what a frame may not see is left out, which costs less than to compute it and then to hide it.
            ends = range(past_k.shape[1] + self.cache.frame_tokens, keys.shape[1] + 1, self.cache.frame_tokens)
            frames = zip(q.split(self.cache.frame_tokens, 1), ends, strict=True)
            out = torch.cat([attend(frame, keys[:, :end], values[:, :end]) for frame, end in frames], 1)
        else:
            out = attend(q, keys, values, self.mask)
        if self.remember:
            self.cache.write(layer, self.remember, image[1], k, image[2])
        return out


@dataclass(frozen=True)
class ByHead:
    """Any of the patterns over a group: it sees all tokens, of the heads that are this rank's.

    Positions are applied inside, so tables are whole, and a cache holds this rank's heads only."""

    pattern: WholeSequence | CausalSequence | CachedStream
    group: Group
    frames: int
    frame_tokens: int  # of a whole frame

    def attend(self, layer: int, image: tuple[Tensor, Tensor, Tensor], text: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        image = self.group.to_heads(image, self.frames, self.frame_tokens)
        q, k, v = (self.group.own(x, 2) for x in text)
        return self.group.to_tokens(self.pattern.attend(layer, image, (q, k, v)), self.frames, self.frame_tokens)


def segment_mask(image_tokens: int, text_mask: Tensor) -> Tensor | None:
    """The released model's variable-length attention: image and the first n text tokens form one segment, the other text
    tokens a second one. Only the count n = sum(text_mask) matters, holes do not. None where everything is valid."""
    batch, length = text_mask.shape
    valid = text_mask.sum(1)
    if bool((valid == length).all()):
        return None
    text = torch.arange(length, device=text_mask.device) < valid[:, None]
    first = torch.cat((torch.ones(batch, image_tokens, dtype=torch.bool, device=text.device), text), 1)
    return (first[:, :, None] == first[:, None, :])[:, None]
