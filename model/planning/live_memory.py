"""What to do where a GPU's memory does not suffice for a live model: computed from the preset's sizes, nothing is tried."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from model.dit import DiT
from model.presets import Preset


@contextmanager
def enough_memory(preset: Preset) -> Iterator[None]:
    """Where it is not, MemoryError says what would do."""
    try:
        yield
    except torch.OutOfMemoryError as problem:
        has = torch.cuda.get_device_properties().total_memory if torch.cuda.is_available() else None
        raise MemoryError(advice(preset, has)) from problem


def advice(preset: Preset, gpu_bytes: int | None = None) -> str:
    """A sentence for whoever started the server. `gpu_bytes`: what the GPU has, where that is known."""
    # Plans import much that a server does without: for the start it is better to have them only where all is over anyway.
    from model.planning.budget import MODES, bytes_by_part, shown
    from model.planning.footprint import weightless

    dit = weightless(lambda: DiT(preset.dit))
    sizes = {mode: sum(bytes_by_part(dit, mode).values()) for mode in MODES}
    weights = ", ".join(f"{shown(size, 'B')} with --mode {mode}" for mode, size in sizes.items())
    has = "" if gpu_bytes is None else f" of {shown(gpu_bytes, 'B')}"
    return (
        f"the GPU's memory{has} does not suffice for {preset.name} at {preset.width}x{preset.height}. Its transformer "
        f"takes {weights}; a smaller --image-size, --decoder taehv and more GPUs with --sequence-parallel make the rest "
        f"smaller"
    )
