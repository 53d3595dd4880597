"""Blocks that visit the device: the numbers of a pass, who is there when, and passes that begin at the end.

On a processor nothing moves, but the order of visits is the one that a GPU sees.
"""

import copy

import pytest
import torch

from model.checkpoint import find
from model.dit import DiT
from model.offload import offload
from tests.test_checkpoint import CPU, folder, whole  # noqa: F401  (fixtures)
from tests.tiny_checkpoint import TINY_DIT, randomised
from tests.tiny_scene import tiny_scene


@pytest.fixture
def both():
    plain = randomised(DiT(TINY_DIT))
    visited = copy.deepcopy(plain)
    return plain, visited, offload(visited, CPU)


@torch.inference_mode()
def test_a_pass_is_what_it_was(both):
    plain, visited, _ = both
    x, on = tiny_scene(TINY_DIT)
    expected, kept = plain(x, on)
    made, kept_too = visited(x, on)
    assert torch.equal(made, expected)
    assert torch.equal(visited(x, on, kept_too)[0], plain(x, on, kept)[0])  # a cached step runs the last block only


@torch.inference_mode()
def test_at_most_two_blocks_are_there_the_one_that_computes_and_the_next(both):
    _, visited, visits = both
    seen = []
    for place, block in enumerate(visits.blocks):
        block.register_forward_pre_hook(lambda module, inputs, place=place: seen.append((place, set(visits.on_device))))
    x, on = tiny_scene(TINY_DIT)
    _, kept = visited(x, on)
    visited(x, on, kept)
    count = len(visits.blocks)
    assert [place for place, _ in seen] == [*range(count), count - 1]
    assert all(there == {place, (place + 1) % count} for place, there in seen)


def test_the_mode_is_one_of_a_checkpoints(folder):  # noqa: F811
    x, on = tiny_scene(TINY_DIT)
    plain, visited = find(folder).transformer(CPU).float(), find(folder).transformer(CPU, "offload").float()
    with torch.inference_mode():
        assert torch.equal(plain(x, on)[0], visited(x, on)[0])
