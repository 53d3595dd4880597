"""Our transformer against diffusers' HunyuanVideo blocks: same weights, same shapes, in one run and by turns.

Outputs are compared before anything is timed. Ours are as they serve: on a processor with their weights packed
(model/packed.py). Theirs are given what suits them: blocks without the attention mask that their forward pass builds; and
ours leaves out in the whole forward pass what theirs lacks (sound). On one thread, or on a GPU where there is one.

The floor is the matrix products, which are the same for both. At width 3072 they take over nine tenths of either's time,
so what can be won there is how fast they run; at width 256 they take a third.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.attention import ByHead, WholeSequence
from model.blocks import DoubleBlock, SingleBlock
from model.dit import Conditions, DiT, DiTConfig
from model.loading import fastest_dtype
from model.packed import pack
from model.parallel import ALONE
from model.presets import EMBEDDED
from model.rope import rope_table
from ops import diffusers_twin
from ops.figures import Figure
from ops.race import race

AT_LEAST = 1.2  # times as fast as diffusers
ROUNDS = 15
TEXT_TOKENS = 32
LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}  # of the outputs, relative to theirs


@dataclass(frozen=True)
class Size:
    """A width, and how much is seen at once."""

    name: str
    config: DiTConfig
    frames: int  # the reference's included
    rows: int
    columns: int
    text_tokens: int

    @property
    def tokens(self) -> int:
        return self.frames * self.rows * self.columns


RELEASED, SMALL = DiTConfig(), replace(EMBEDDED.dit, causal_window=None)
ON_A_PROCESSOR = (Size("width 3072", RELEASED, 2, 12, 12, TEXT_TOKENS), Size("width 256", SMALL, 6, 8, 8, TEXT_TOKENS))
ON_A_GPU = (Size("width 3072", RELEASED, 34, 22, 38, 256), Size("width 256", SMALL, 6, 8, 8, TEXT_TOKENS))


@dataclass(frozen=True)
class Pair:
    """The same computation twice. Each returns image and text tokens, or latents."""

    ours: Callable[[], tuple[Tensor, ...]]
    theirs: Callable[[], tuple[Tensor, ...]]

    @property
    def difference(self) -> float:
        """Relative L2 difference of what they return."""
        ours, theirs = (torch.cat([x.double().flatten() for x in run()]) for run in (self.ours, self.theirs))
        return float((ours - theirs).norm() / theirs.norm())


def blocks(loader: str, preset: str) -> Iterator[Figure]:
    """Neither loader nor preset matters: weights are random, sizes the released and the embedded ones."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = (torch.bfloat16,) if device == "cuda" else (torch.float32, torch.bfloat16)
    if fastest_dtype() == torch.float32 and device == "cpu":
        dtypes = (torch.float32,)
    for size in ON_A_GPU if device == "cuda" else ON_A_PROCESSOR:
        for dtype in dtypes:
            for name, make in (("double block", double_blocks), ("single block", single_blocks), ("forward", forwards)):
                if make is forwards and size.config is RELEASED:
                    continue  # 13 billion parameters, twice
                tokens = f"{size.tokens} + {size.text_tokens} tokens"
                kind = f"{name}, {size.name}, {tokens}, {str(dtype).removeprefix('torch.')}"
                yield from compared(kind, make(size, dtype, device), dtype, device)


def compared(what: str, pair: Pair, dtype: torch.dtype, device: str) -> Iterator[Figure]:
    """Raises RuntimeError where the two do not compute the same."""
    with torch.inference_mode():
        difference = pair.difference
        if not difference < LARGEST_DIFFERENCE[dtype]:
            raise RuntimeError(f"{what}: the outputs differ by {difference:.1e}, so their times say nothing")
        outcome = race(pair.ours, pair.theirs, ROUNDS, device)
    lower, median, upper = outcome.ratios
    yield Figure(f"{what}: ours", round(outcome.first_ms, 2), "ms")
    yield Figure(f"{what}: diffusers (differs by {difference:.0e})", round(outcome.second_ms, 2), "ms")
    yield Figure(f"  as fast ({lower:.2f} … {upper:.2f})", round(median, 2), "times", AT_LEAST, at_least=True)


def double_blocks(size: Size, dtype: torch.dtype, device: str) -> Pair:
    return _blocks(DoubleBlock, diffusers_twin.double_block, size, dtype, device)


def single_blocks(size: Size, dtype: torch.dtype, device: str) -> Pair:
    return _blocks(SingleBlock, diffusers_twin.single_block, size, dtype, device)


def _blocks(kind: type[DoubleBlock | SingleBlock], twin_of: Callable, size: Size, dtype: torch.dtype, device: str) -> Pair:
    c = size.config
    with torch.device(device):
        ours = kind(c.hidden_size, c.num_heads, int(c.hidden_size * c.mlp_width_ratio)).to(dtype).eval()
        img = torch.randn(1, size.frames, size.rows * size.columns, c.hidden_size, dtype=dtype)
        txt, vec = torch.randn(1, size.text_tokens, c.hidden_size, dtype=dtype), torch.randn(1, c.hidden_size, dtype=dtype)
    theirs, flat, pattern = twin_of(ours), img.flatten(1, 2), everything(size, torch.device(device))
    pack(ours)
    return Pair(
        lambda: ours(0, img, txt, vec[:, None], vec, pattern),
        lambda: theirs(flat, txt, vec, None, (pattern.pattern.cosine, pattern.pattern.sine)),
    )


def forwards(size: Size, dtype: torch.dtype, device: str) -> Pair:
    """Latents to prediction. Theirs takes the reference as the first frame of its latents, and predicts that too."""
    c = size.config
    with torch.device(device):
        ours = DiT(c).to(dtype).eval()
    for muted in (ours.before_proj, ours.motion_exp.mlp[2], ours.motion_pose.mlp[2], ours.fps_proj.mlp[2]):
        for weight in muted.parameters():
            torch.nn.init.zeros_(weight)  # theirs has no place for it
    theirs = diffusers_twin.transformer(ours)
    pack(ours)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=dtype, device=device)

    latents = random(1, c.in_channels, size.frames, c.patch_size[1] * size.rows, c.patch_size[2] * size.columns)
    reference, x = latents[:, :, :1], latents[:, :, 1:]
    on = Conditions(
        timestep=torch.full((1,), 500.0, device=device),
        motion_exp=torch.full((1, 4), 30.0, device=device),
        motion_pose=torch.full((1, 4), 30.0, device=device),
        fps=torch.full((1,), 25.0, device=device),
        text_states=random(1, size.text_tokens, c.text_states_dim),
        text_mask=torch.ones(1, size.text_tokens, dtype=torch.long, device=device),
        text_states_2=random(1, c.text_states_dim_2),
        ref_latents=reference.expand_as(x),
        audio_prompts=torch.empty(0),
        face_mask=torch.empty(0),
    )
    pattern = everything(size, torch.device(device))
    return Pair(
        lambda: (without_sound(ours, x, on, pattern),),
        lambda: (theirs(latents, on.timestep, on.text_states, on.text_mask, on.text_states_2).sample[:, :, 1:],),
    )


def without_sound(dit: DiT, x: Tensor, on: Conditions, pattern: ByHead) -> Tensor:
    """Our forward pass less the adapters, which theirs has none of."""
    vec = dit.conditioning(on)
    img, txt = dit.run(*dit.embed(x, on), vec, vec[:, 0], pattern, None, None)
    return dit.project(img[:, 1:], vec, x.shape)


def everything(size: Size, device: torch.device) -> ByHead:
    """All see all. Times count from 0 as theirs do; ours begin at -1, and text, which stands still, would notice."""
    times, c = torch.arange(size.frames), size.config
    cosine, sine = rope_table(times, size.rows, size.columns, c.rope_dim_list, c.rope_theta)
    return ByHead(WholeSequence(cosine.to(device), sine.to(device)), ALONE, size.frames, size.rows * size.columns)
