"""Keys and values of a causal stream: a reference sink that stays, and a rolling window of frames, past ones and those
that are being made.

Allocated once and written in place. Keys are kept unrotated; `settle` rotates the whole window to its relative
positions once per chunk, so the cost and the numbers are the same in the first second and after a month.
Layout: layers, batch, tokens, heads, head width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from model.rope import rotate


@dataclass
class KVCache:
    sink_tokens: int
    frame_tokens: int
    keys: Tensor  # window tokens, unrotated
    context_keys: Tensor  # sink and window tokens, rotated: what a query meets
    context_values: Tensor

    @classmethod
    def empty(
        cls, layers: int, batch: int, sink_tokens: int, frame_tokens: int, window: int, heads: int, width: int,
        dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu",
    ) -> "KVCache":  # fmt: skip
        past = frame_tokens * window

        def zeros(tokens: int) -> Tensor:
            return torch.zeros(layers, batch, tokens, heads, width, dtype=dtype, device=device)

        return cls(sink_tokens, frame_tokens, zeros(past), zeros(sink_tokens + past), zeros(sink_tokens + past))

    @property
    def window(self) -> int:
        return self.keys.shape[2] // self.frame_tokens

    def write_sink(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keys come rotated: the sink's place never changes."""
        self.context_keys[layer, :, : self.sink_tokens] = keys
        self.context_values[layer, :, : self.sink_tokens] = values

    def roll(self, frames: int = 1) -> None:
        """Forget the oldest frames; the freed places at the end are for those to be made."""
        shift = frames * self.frame_tokens
        if shift < self.keys.shape[2]:
            self.keys[:, :, :-shift] = self.keys[:, :, shift:].clone()
            past = self.context_values[:, :, self.sink_tokens :]
            past[:, :, :-shift] = past[:, :, shift:].clone()

    def write(self, layer: int, frames: int, keys: Tensor, rotated_keys: Tensor, values: Tensor) -> None:
        """Put the first `frames` of the given tokens into the window's last places."""
        tokens = frames * self.frame_tokens
        self.keys[layer, :, -tokens:] = keys[:, :tokens]
        self.context_keys[layer, :, -tokens:] = rotated_keys[:, :tokens]
        self.context_values[layer, :, -tokens:] = values[:, :tokens]

    def settle(self, cosine: Tensor, sine: Tensor) -> None:
        """Rotate the window to its places 0 … (tables: window tokens, width)."""
        for keys, context in zip(self.keys, self.context_keys, strict=True):  # a layer at a time: small and still cached
            context[:, self.sink_tokens :] = rotate(keys, cosine, sine)

    def read(self, layer: int, without_newest: int = 0) -> tuple[Tensor, Tensor]:
        """Keys and values that a new frame meets: sink and window, less the window's last `without_newest` places."""
        end = self.context_keys.shape[2] - without_newest * self.frame_tokens
        return self.context_keys[layer, :, :end], self.context_values[layer, :, :end]

    def clone(self) -> "KVCache":
        parts = (self.keys, self.context_keys, self.context_values)
        return KVCache(self.sink_tokens, self.frame_tokens, *(part.clone() for part in parts))

    def select(self, row: int) -> "KVCache":
        """One session's part of a batch, as a view."""
        parts = (x[:, row : row + 1] for x in (self.keys, self.context_keys, self.context_values))
        return KVCache(self.sink_tokens, self.frame_tokens, *parts)

    @classmethod
    def join(cls, caches: list["KVCache"]) -> "KVCache":
        """Many sessions' caches as one batch (a copy unless there is just one)."""
        if len(caches) == 1:
            return caches[0]
        first = caches[0]
        parts = (torch.cat([getattr(c, name) for c in caches], 1) for name in ("keys", "context_keys", "context_values"))
        return cls(first.sink_tokens, first.frame_tokens, *parts)
