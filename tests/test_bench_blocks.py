"""The comparison with diffusers compares like with like: their modules with our weights compute what ours compute."""

from dataclasses import replace

import pytest
import torch

from ops import bench_blocks, diffusers_twin
from ops.bench_blocks import Pair, Size, compared, double_blocks, forwards, single_blocks
from ops.bench_cache import Chunk
from ops.bench_cache import Size as ChunkSize
from ops.race import Outcome, race
from tests.test_causal_stream import CONFIG

TINY = Size("tiny", replace(CONFIG, causal_window=None), frames=3, rows=2, columns=4, text_tokens=5)


@pytest.mark.parametrize("make", [double_blocks, single_blocks, forwards])
def test_theirs_with_our_weights_is_ours(make):
    torch.manual_seed(8)
    pair = make(TINY, torch.float64, "cpu")
    with torch.inference_mode():
        assert pair.difference < 1e-6  # in float64, but for the sinusoids and rotations, which are in float32


@pytest.mark.parametrize("place", ["img_mod.linear", "txt_attn_k_norm", "img_mlp.fc2"])
def test_a_weight_that_is_not_theirs_would_be_noticed(monkeypatch, place):
    torch.manual_seed(8)
    twin_of = diffusers_twin.double_block

    def twin(ours):
        theirs = twin_of(ours)
        with torch.no_grad():
            ours.get_submodule(place).weight.mul_(1.5)
        return theirs

    monkeypatch.setattr(diffusers_twin, "double_block", twin)
    with torch.inference_mode():
        assert double_blocks(TINY, torch.float64, "cpu").difference > 1e-3


def test_times_of_different_results_are_not_told():
    pair = Pair(lambda: (torch.ones(2),), lambda: (torch.full((2,), 1.1),))
    with pytest.raises(RuntimeError, match="the outputs differ by 9.1e-02"):
        list(compared("some block", pair, torch.float32, "cpu"))


def test_three_figures_for_a_pair(monkeypatch):
    monkeypatch.setattr(bench_blocks, "ROUNDS", 3)
    figures = list(compared("block", double_blocks(TINY, torch.float32, "cpu"), torch.float32, "cpu"))
    ours, theirs, ratio = (figure.value for figure in figures)
    assert min(ours, theirs) > 0 and figures[2].at_least and figures[2].budget == 1.2
    assert ratio > 0


def test_a_ratio_is_of_rounds_not_of_sums():
    outcome = Outcome((1.0, 1.0, 10.0), (2.0, 2.0, 20.0))
    assert outcome.ratios == (2.0, 2.0, 2.0)
    assert (outcome.first_ms, outcome.second_ms) == (1000, 2000)


def test_both_run_as_often():
    runs = []
    race(lambda: runs.append("first"), lambda: runs.append("second"), rounds=4)
    assert runs.count("first") == runs.count("second")
    assert runs[-4:] == ["second", "first", "first", "second"] or runs[-4:] == ["first", "second", "second", "first"]


@pytest.mark.parametrize("new", [1, 2])
def test_a_chunk_with_cache_computes_fewer_frames(monkeypatch, new):
    chunk = Chunk(ChunkSize("tiny", CONFIG, 2, 3, new, text=2), torch.float32)
    frames = []
    embed = chunk.dit.embed_frames
    monkeypatch.setattr(chunk.dit, "embed_frames", lambda x, reference: frames.append(x.shape[2]) or embed(x, reference))
    chunk.cached(3)
    chunk.recomputed(3)
    past = CONFIG.causal_window
    assert frames == 3 * [new] + 3 * [past + new]
