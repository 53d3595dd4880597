"""What the cache saves: a chunk of a causal stream, against running its whole past through the network at every step.

Both do all that a chunk asks of the transformer at the same weights. With the cache: roll the window, rotate it to its new
places, and at each step a pass over the new latent frame, which writes it into the cache. Without: at each step one causal
pass over reference, window and new frame, as in training. Weights are random, which takes as long. One frame is computed
instead of eight: eight times as fast is the most that products allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from model.attention import CachedStream
from model.cache import KVCache
from model.dit import Conditions, DiT, DiTConfig
from model.loading import fastest_dtype
from model.packed import pack
from model.presets import EMBEDDED
from ops.figures import Figure
from ops.race import race

PAST = 6  # latent frames, one to a chunk
AT_LEAST = 3.0  # times as fast as recomputing
ROUNDS = 7


@dataclass(frozen=True)
class Size:
    name: str
    config: DiTConfig
    rows: int
    columns: int
    new: int = 1  # latent frames of a chunk
    text: int = 1  # tokens


SMALL = replace(EMBEDDED.dit, causal_window=PAST)
LARGER = replace(SMALL, hidden_size=768, num_heads=6, rope_dim_list=(16, 56, 56))
SIZES = (Size("embedded, 8x8 tokens", SMALL, 8, 8), Size("width 768, 16x16 tokens", LARGER, 16, 16))


def cache(loader: str, preset: str) -> Iterator[Figure]:
    """Neither loader nor preset matters: weights are random."""
    torch.set_num_threads(1)
    for size in SIZES:
        chunk = Chunk(size, fastest_dtype())
        for steps in (1, 2):
            kind = f"{size.name}, {PAST} past latent frames, {steps} step{'s' if steps > 1 else ''}"
            outcome = race(lambda n=steps, c=chunk: c.cached(n), lambda n=steps, c=chunk: c.recomputed(n), ROUNDS)
            lower, median, upper = outcome.ratios
            yield Figure(f"with cache, {kind}", round(outcome.first_ms, 1), "ms")
            yield Figure(f"all again, {kind}", round(outcome.second_ms, 1), "ms")
            yield Figure(f"  as fast ({lower:.2f} … {upper:.2f})", round(median, 2), "times", AT_LEAST, at_least=True)


class Chunk:
    """One session's next chunk, at some age of the stream."""

    def __init__(self, size: Size, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        self.size, self.config = size, size.config
        c, new, window = size.config, size.new, size.config.causal_window
        with torch.device(device):
            torch.set_default_dtype(dtype)  # made as it is used: in float32 the largest would not fit
            try:
                self.dit = DiT(c).eval()
            finally:
                torch.set_default_dtype(torch.float32)
            pack(self.dit)
            self.tokens, frames = size.rows * size.columns, window + new
            latent = (size.rows * c.patch_size[1], size.columns * c.patch_size[2])
            sounds = (frames * c.frames_per_latent, c.audio_window, c.audio_blocks, c.audio_channels)
            self.latents = torch.randn(1, c.in_channels, frames, *latent, dtype=dtype)
            self.on = Conditions(
                timestep=torch.tensor([[0.0] * window + [1000.0] * new]),
                motion_exp=torch.full((1, frames, 4), 30.0),
                motion_pose=torch.full((1, frames, 4), 30.0),
                fps=torch.full((1,), 25.0),
                text_states=torch.randn(1, size.text, c.text_states_dim, dtype=dtype),
                text_mask=torch.ones(1, size.text, dtype=torch.long),
                text_states_2=torch.zeros(1, c.text_states_dim_2, dtype=dtype),
                ref_latents=torch.randn(1, c.in_channels, 1, *latent, dtype=dtype),
                audio_prompts=torch.randn(1, *sounds, dtype=dtype),
                face_mask=torch.ones(1, 1, 1, *latent),
            )
        self.rope = self.dit.rope(torch.arange(frames), size.rows, size.columns, self.latents.device)
        self.cache = KVCache.empty(
            c.layers, 1, self.tokens + size.text, self.tokens, frames, c.num_heads, c.head_width, dtype, device
        )
        with torch.inference_mode():
            self.dit.prefill(self.on, self.cache)
            self.sound = self.dit.audio_tokens(self.on.audio_prompts)
            self.mask = self.dit.token_mask(self.on.face_mask, self.latents[:, :, :1])

    @torch.inference_mode()
    def cached(self, steps: int) -> None:
        window, new = self.config.causal_window, self.size.new
        self.cache.roll(new)
        self.cache.settle(*self.rope)
        last = slice(window, None)
        on = replace(
            self.on, timestep=self.on.timestep[:, last], motion_exp=self.on.motion_exp[:, last],
            motion_pose=self.on.motion_pose[:, last],
        )  # fmt: skip
        seen = CachedStream(self.cache, *(table[window * self.tokens :] for table in self.rope), remember=new)
        mask = self.mask.expand(-1, -1, new, -1, -1)
        for _ in range(steps):
            self.dit.stream(self.latents[:, :, last], on, self.sound[:, :, last], mask, seen)

    @torch.inference_mode()
    def recomputed(self, steps: int) -> None:
        for _ in range(steps):
            self.dit(self.latents, self.on)
