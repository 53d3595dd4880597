"""Blocks that visit the device: the numbers of a pass, who is there when, and passes that begin at the end.

The visits are real copies between two places of the same memory here; a GPU differs in when they end.
"""

import copy

import pytest
import torch

from model.checkpoint import find
from model.dit import DiT
from model.offload import Visits, offload
from tests.test_checkpoint import CPU, folder, whole  # noqa: F401  (fixtures)
from tests.tiny_checkpoint import TINY_DIT, randomised
from tests.tiny_scene import tiny_scene


def visited_by(count: int):
    """A transformer, and its twin of which the first blocks visit the device."""
    plain = randomised(DiT(TINY_DIT))
    twin = copy.deepcopy(plain)
    return plain, twin, Visits([*twin.double_blocks, *twin.single_blocks][:count], CPU)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@torch.inference_mode()
def test_a_pass_is_what_it_was(count):
    plain, twin, _ = visited_by(count)
    x, on = tiny_scene(TINY_DIT)
    for _ in range(2):
        (expected, kept), (made, kept_too) = plain(x, on), twin(x, on)
        assert torch.equal(made, expected)
        assert torch.equal(twin(x, on, kept_too)[0], plain(x, on, kept)[0])  # a cached step runs the last block only


@pytest.mark.parametrize("count", [3, 4])
@torch.inference_mode()
def test_at_most_two_blocks_are_there_the_one_that_computes_and_the_next(count):
    _, twin, visits = visited_by(count)
    seen = []
    for place, block in enumerate(visits.blocks):
        block.register_forward_pre_hook(lambda module, inputs, place=place: seen.append((place, set(visits.on_device))))
    x, on = tiny_scene(TINY_DIT)
    _, kept = twin(x, on)
    twin(x, on, kept)
    twin(x, on)
    last = [count - 1] if count == len(twin.double_blocks) + len(twin.single_blocks) else []
    assert [place for place, _ in seen] == [*range(count), *last, *range(count)]
    assert all(there == {place, (place + 1) % count} for place, there in seen)


@torch.inference_mode()
def test_a_pass_may_begin_anywhere():
    plain, twin, visits = visited_by(4)
    for place in (2, 0, 3, 1, 1, 2):
        own = [*plain.double_blocks, *plain.single_blocks][place]
        visits._enter(place)
        for weight, expected in zip(visits.blocks[place].parameters(), own.parameters(), strict=True):
            assert torch.equal(weight, expected)


def test_weights_are_the_same_to_whoever_asks_between_passes():
    plain, twin, visits = visited_by(4)
    visits._enter(1)
    assert all(torch.equal(weight, twin.state_dict()[name]) for name, weight in plain.state_dict().items())


@torch.inference_mode()
def test_on_a_processor_the_mode_is_the_plain_one(folder):  # noqa: F811
    x, on = tiny_scene(TINY_DIT)
    plain, visited = find(folder).transformer(CPU).float(), find(folder).transformer(CPU, "offload").float()
    offload(visited, CPU)
    assert torch.equal(plain(x, on)[0], visited(x, on)[0])
    assert not any(block._forward_pre_hooks for block in visited.double_blocks)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@torch.inference_mode()
def test_on_a_gpu_a_pass_is_what_it_was_and_two_blocks_suffice():
    device = torch.device("cuda")
    plain = randomised(DiT(TINY_DIT))
    visited = copy.deepcopy(plain)
    offload(visited, device)
    x, on = tiny_scene(TINY_DIT)
    x, on = x.to(device), type(on)(**{name: value.to(device) for name, value in vars(on).items() if value is not None})
    expected = plain.to(device)(x, on)[0]
    assert all(torch.equal(visited(x, on)[0], expected) for _ in range(3))
    homes = [weight.device.type for block in visited.single_blocks for weight in block.parameters()]
    assert "cpu" in homes
