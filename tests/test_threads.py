"""Threads: one where that is in time, more where it is not, and never more than there may be."""

import os

import pytest
import torch

from model import threads
from model.threads import enough
from tests.tiny import tiny_generator


@pytest.mark.parametrize(
    ("most", "chosen", "measured"), [(1, 1, []), (2, 2, [1, 2]), (3, 2, [1, 2]), (4, 4, [1, 2, 4]), (16, 4, [1, 2, 4])]
)
def test_the_fewest_that_are_in_time(most, chosen, measured):
    asked = []

    def chunk_s(threads: int) -> float:
        asked.append(threads)
        return 0.1 / threads

    assert enough(chunk_s, 0.03, most) == chosen
    assert asked == measured


def test_where_none_is_in_time_the_quickest():
    assert enough({1: 0.5, 2: 0.3, 4: 0.4}.__getitem__, 0.1, 7) == 2


def test_one_that_is_in_time_is_not_measured_against_more():
    assert enough({1: 0.02}.__getitem__, 0.03, 8) == 1


def test_a_generator_is_timed_and_its_threads_set(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    before, used = torch.get_num_threads(), []
    took = {1: 1.0, 2: 0.01}
    monkeypatch.setattr(threads, "_chunk_s", lambda generator: used.append(torch.get_num_threads()) or took[used[-1]])
    try:
        threads.use_enough(tiny_generator())
        assert used == [1, 2] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_timed_is_a_chunk():
    assert 0 < threads._chunk_s(tiny_generator()) < 60
