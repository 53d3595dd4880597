"""The benchmark of a GPU, on a processor and tiny: its counting and its order; the times mean nothing."""

from dataclasses import replace

import pytest
import torch

from model.planning import footprint
from ops import bench_gpu
from ops.bench_blocks import Size as BlockSize
from ops.bench_cache import Chunk
from ops.bench_cache import Size as ChunkSize
from tests.test_causal_stream import CONFIG

HERE = torch.device("cpu")
CLIP = BlockSize("tiny clip", replace(CONFIG, causal_window=None), frames=3, rows=2, columns=4, text_tokens=5)
CHUNK = ChunkSize("tiny chunk", CONFIG, rows=2, columns=3, new=2, text=4)


def test_all_figures_but_those_of_a_gpu_s_own(monkeypatch):
    monkeypatch.setattr(bench_gpu, "ROUNDS", 2)
    peak, block, share, chunk = bench_gpu.figures(HERE, 32, CLIP, CHUNK)
    assert peak.unit == "TFLOP/s" and block.what.endswith("29 tokens") and chunk.unit == "ms"
    assert share.value > 0 and share.budget == 0.6 and share.at_least
    assert chunk.budget == 160.0, "two latent frames of two pictures each, at 25 a second"


def test_the_share_of_the_peak_is_operations_a_second(monkeypatch):
    monkeypatch.setattr(bench_gpu, "fastest_s", lambda run, device: 0.5)
    _, share = bench_gpu.double_block(HERE, CLIP, peak=1e6)
    width, tokens = 48, 29
    operations = 24 * tokens * width**2 + 4 * tokens**2 * width
    assert share.value == pytest.approx(operations / 0.5 / 1e6, rel=1e-2)


def test_what_is_planned_covers_weights_and_cache():
    chunk = Chunk(CHUNK, torch.bfloat16)
    planned = bench_gpu.planned_bytes(chunk)
    kept = footprint.cache_bytes(chunk.cache)
    assert kept < planned < 2 * 2**20


def test_without_a_gpu_it_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert bench_gpu.main() == 1
    assert "PyTorch sees none" in capsys.readouterr().err
