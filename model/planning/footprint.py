"""How large a computation is, found by running it on the meta device, where tensors have sizes and no contents.

So it holds for the code as it is, and takes no weights, no GPU and little time. What a kernel takes for itself while it
works, and what an allocator loses between tensors, is not in it.
"""

import math
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from model.attention import ByHead, CachedStream, WholeSequence
from model.cache import KVCache
from model.dit import Conditions, DiT, DiTConfig
from model.parallel import Group
from model.planning.work import Shape, video_frames

META = torch.device("meta")
Grid = tuple[int, int]  # rows and columns of latents


def weightless(make: Callable[[], nn.Module]) -> nn.Module:
    """The module in full size, in no memory."""
    with META:
        return make().to(torch.bfloat16).eval()


def empty(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def parameters(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


# --- looking on --------------------------------------------------------------------------------------------------------


def operations(work: Callable[[], object]) -> int:
    """Two for each multiplication that is added up in a product or a convolution."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def peak_bytes(work: Callable[[], object]) -> int:
    """The most that tensors made inside `work` take at one moment."""
    with torch.inference_mode(), Alive() as alive:
        work()
    return alive.peak


class Alive(TorchDispatchMode):
    """Adds up memory from the operation that makes it to the end of the last tensor that uses it."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        given = {id(x.untyped_storage()) for x in _tensors((args, kwargs))}
        made = operation(*args, **(kwargs or {}))
        new = {id(s): s for s in (x.untyped_storage() for x in _tensors(made))}  # less views, and what is written in place
        for storage in (s for key, s in new.items() if key not in given):
            self.now += storage.nbytes()
            weakref.finalize(storage, self.release, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return made

    def release(self, size: int) -> None:
        self.now -= size


def _tensors(tree: object) -> list[Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, Tensor)]


# --- the transformer, as the first rank of a group has it --------------------------------------------------------------


class OneRank(Group):
    """A rank whose partners answer with tensors of the right sizes."""

    def exchange(self, outgoing: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
        if self.size == 1:
            return list(outgoing)
        packed, received = torch.cat([x.reshape(-1) for x in outgoing]), [math.prod(shape) for shape in shapes]
        self.sent_bytes += packed.nbytes - outgoing[self.rank].nbytes
        arrived = packed.new_zeros(sum(received))
        return [part.view(shape) for part, shape in zip(arrived.split(received), shapes, strict=True)]


class Unmasked(DiT):
    """Takes the sequence for valid throughout and has no angles in its table: both would need numbers."""

    def pattern(self, x: Tensor, on: Conditions) -> ByHead:
        frames, tokens = x.shape[2] + 1, math.prod(self.grid(x))
        return ByHead(WholeSequence(*angles(self.config, frames * tokens)), self.group, frames, tokens)


def angles(c: DiTConfig, tokens: int) -> tuple[Tensor, Tensor]:
    return empty(tokens, c.head_width, dtype=torch.float32), empty(tokens, c.head_width, dtype=torch.float32)


def whole_pass_bytes(c: DiTConfig, s: Shape, grid: Grid) -> int:
    """What `DiT.forward` needs beside its weights."""
    dit = _shallow(c, s.ranks)
    return peak_bytes(lambda: dit(_latents(c, s, grid), _conditions(c, s, grid, (), s.frames)))


def stream_pass_bytes(c: DiTConfig, s: Shape, grid: Grid, past: int) -> int:
    """What `DiT.stream` needs beside weights and cache, for s.frames that are written into it."""
    dit = _shallow(c, s.ranks)
    cache, tokens = empty_cache(dit.config, s, past), s.frames * s.frame_tokens

    def run() -> Tensor:
        pattern = CachedStream(cache, *angles(c, tokens), remember=s.frames)
        sound = empty(s.rows, 1, s.frames, c.frames_per_latent * c.audio_context_tokens, c.hidden_size)
        face = empty(s.rows, 1, s.frames, s.frame_tokens, 1)
        return dit.stream(_latents(c, s, grid), _conditions(c, s, grid, (s.frames,), 1), sound, face, pattern)

    return peak_bytes(run)


def settling_bytes(c: DiTConfig, s: Shape, past: int) -> int:
    """What `KVCache.settle` needs beside the cache."""
    cache = empty_cache(c, s, past)
    return peak_bytes(lambda: cache.settle(*angles(c, (past + s.frames) * s.frame_tokens)))


def empty_cache(c: DiTConfig, s: Shape, past: int) -> KVCache:
    """Of one rank, for a sink of reference and text, a past of so many frames, and those that are being made."""
    sink, heads = s.frame_tokens + s.text, c.num_heads // s.ranks
    return KVCache.empty(c.layers, s.rows, sink, s.frame_tokens, past + s.frames, heads, c.head_width, torch.bfloat16, META)


def cache_bytes(cache: KVCache) -> int:
    return cache.keys.nbytes + cache.context_keys.nbytes + cache.context_values.nbytes


def _shallow(c: DiTConfig, ranks: int) -> DiT:
    """Two blocks of each kind: of more of them no more is alive at a time."""
    few = replace(c, depth_double_blocks=2, depth_single_blocks=2)
    return weightless(partial(Unmasked, few, OneRank(0, ranks)))


def _latents(c: DiTConfig, s: Shape, grid: Grid) -> Tensor:
    return empty(s.rows, c.in_channels, s.frames, *grid)


def _conditions(c: DiTConfig, s: Shape, grid: Grid, moments: tuple[int, ...], reference_frames: int) -> Conditions:
    """`moments` is the axis of what is given per frame, where there is one."""
    return Conditions(
        timestep=empty(s.rows, *moments),
        motion_exp=empty(s.rows, *moments, 4),
        motion_pose=empty(s.rows, *moments, 4),
        fps=empty(s.rows),
        text_states=empty(s.rows, s.text, c.text_states_dim),
        text_mask=empty(s.rows, s.text, dtype=torch.int),
        text_states_2=empty(s.rows, c.text_states_dim_2),
        ref_latents=empty(s.rows, c.in_channels, reference_frames, *grid),
        audio_prompts=empty(s.rows, video_frames(c, s.frames), c.audio_window, c.audio_blocks, c.audio_channels),
        face_mask=empty(s.rows, 1, 1, *grid),
    )
