"""The shared frame ring."""

import numpy as np
import pytest

from stream.frames import FrameRing
from stream.messages import PresetInfo

INFO = PresetInfo("t", 8, 6, 25, 2, 16_000, 16_000, 960, 4, 2)


@pytest.fixture
def ring():
    made = FrameRing(INFO, slots=3)
    yield made
    made.close()


def test_what_one_side_writes_the_other_reads(ring):
    worker = FrameRing(INFO, name=ring.name)
    for slot in range(3):
        worker.write(slot, np.full((2, 6, 8, 3), slot + 1, np.uint8))
    assert [int(ring.read(slot).mean()) for slot in range(3)] == [1, 2, 3]
    worker.close()


def test_a_reading_is_a_copy(ring):
    ring.write(0, np.ones((2, 6, 8, 3), np.uint8))
    frames = ring.read(0)
    ring.write(0, np.zeros((2, 6, 8, 3), np.uint8))
    assert frames.all()


def test_slots_run_out_and_come_back(ring):
    taken = [ring.take() for _ in range(3)]
    assert sorted(taken) == [0, 1, 2] and ring.take() is None
    ring.give_back(taken[1])
    assert ring.take() == taken[1]


def test_a_closed_ring_leaves_nothing_behind():
    ring = FrameRing(INFO, slots=1)
    name = ring.name
    ring.close()
    with pytest.raises(FileNotFoundError):
        FrameRing(INFO, name=name)
