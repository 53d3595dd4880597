"""python -m ops.bench_gpu: the full-size transformer on one GPU, with random weights in bfloat16. Downloads nothing.

How near a double block comes to the matrix products that this GPU is seen to reach; how long a live chunk takes against
how long it lasts, as it is and as a CUDA graph; and the most memory that it needed, against what is planned for it. Needs
about 50 GB of GPU memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace

import torch

from model.compiled import replayed
from model.dit import DiTConfig
from model.planning import footprint
from model.planning.budget import HUNYUAN_AVATAR, VALUE_BYTES
from model.planning.work import Shape, attention, block
from ops import bench_blocks, bench_cache
from ops.figures import COLUMNS, WIDTHS, Figure, line
from ops.race import seconds

DTYPE = torch.bfloat16
ROUNDS = 10
SQUARE = 8192  # a product this wide keeps every part of a GPU busy
OF_THE_PEAK = 0.6

LIVE = HUNYUAN_AVATAR.live
# 129 frames at 704x704: 33 latents and the reference, of 44x44 tokens.
CLIP = bench_blocks.Size("704x704, 129 frames", DiTConfig(), 34, 44, 44, HUNYUAN_AVATAR.text_tokens)
CHUNK = bench_cache.Size(
    "384x384", replace(DiTConfig(), causal_window=LIVE.past, leading_frame=False), 24, 24, LIVE.chunk,
    HUNYUAN_AVATAR.text_tokens,
)  # fmt: skip


def figures(
    device: torch.device, square: int = SQUARE, clip: bench_blocks.Size = CLIP, chunk: bench_cache.Size = CHUNK
) -> Iterator[Figure]:
    """Smaller sizes are for tests."""
    peak = products(device, square)
    yield Figure(f"matrix product, {square} x {square} x {square}", round(peak / 1e12, 3), "TFLOP/s")
    yield from double_block(device, clip, peak)
    yield from live_chunk(device, chunk)


def products(device: torch.device, square: int) -> float:
    """Operations a second."""
    a, b = (torch.randn(square, square, dtype=DTYPE, device=device) for _ in range(2))
    return 2 * square**3 / fastest_s(lambda: a @ b, device)


def double_block(device: torch.device, size: bench_blocks.Size, peak: float) -> Iterator[Figure]:
    c, tokens = size.config, size.tokens + size.text_tokens
    operations = block(c, tokens) + attention(c, tokens, tokens, 1)
    taken_s = fastest_s(bench_blocks.double_blocks(size, DTYPE, device.type).ours, device)
    yield Figure(f"double block, {size.name}: {tokens} tokens", round(1000 * taken_s, 2), "ms")
    share = operations / taken_s / peak
    yield Figure("  of the matrix product's operations a second", round(share, 3), "", OF_THE_PEAK, at_least=True)


def live_chunk(device: torch.device, size: bench_cache.Size) -> Iterator[Figure]:
    """The transformer's part of a chunk; in a server sound and pictures come on top, a few hundredths of it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    chunk = bench_cache.Chunk(size, DTYPE, device)
    case = f"chunk of {size.name}, {size.new} latent frames, {LIVE.steps} steps"
    lasts_ms = 1000 * size.new * size.config.frames_per_latent / HUNYUAN_AVATAR.fps
    taken_ms = 1000 * fastest_s(lambda: chunk.cached(LIVE.steps), device)
    yield Figure(f"{case}: takes", round(taken_ms, 1), "ms", round(lasts_ms, 1))
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        yield Figure("  most memory", round(most / 1e9, 2), "GB")
        yield Figure("  of what is planned for it", round(most / planned_bytes(chunk), 3))
        replayed(chunk.dit, "stream")
        graph_ms = 1000 * fastest_s(lambda: chunk.cached(LIVE.steps), device)
        yield Figure(f"{case}, as CUDA graphs: takes", round(graph_ms, 1), "ms", round(lasts_ms, 1))


def planned_bytes(chunk: bench_cache.Chunk) -> int:
    """As `server.py plan` counts them: weights, one session's keys and values, and a pass over the chunk."""
    c, size = chunk.config, chunk.size
    shape = Shape(size.new, chunk.tokens, size.text)
    working = max(
        footprint.stream_pass_bytes(c, shape, chunk.latents.shape[-2:], c.causal_window),
        footprint.settling_bytes(c, shape, c.causal_window),
    )
    weights = VALUE_BYTES * footprint.parameters(chunk.dit)
    return weights + footprint.cache_bytes(chunk.cache) + working


@torch.inference_mode()
def fastest_s(run, device: torch.device) -> float:
    """Of several runs, after two that nobody times: a GPU's clock and its caches settle."""
    for _ in range(2):
        run()
    return min(seconds(run, device) for _ in range(ROUNDS))


def main() -> int:
    if not torch.cuda.is_available():
        print("This measures a GPU, and PyTorch sees none here; on a processor: python -m ops.bench", file=sys.stderr)
        return 1
    device = torch.device("cuda")
    print(f"{torch.cuda.get_device_name(device)}; PyTorch {torch.__version__}\n\n{line(COLUMNS)}\n{'-' * sum(WIDTHS)}")
    for figure in figures(device):
        print(line(figure.row), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
