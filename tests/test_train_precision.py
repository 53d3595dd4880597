"""Training computes in what the machine has instructions for."""

import pytest
import torch

from model.train.precision import mixed, quick_type


@pytest.fixture
def able(monkeypatch):
    """Makes the processor one that has these instructions alone."""

    def only(*names: str) -> None:
        quick_type.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True) | {"amx_tile": False})

    yield only
    quick_type.cache_clear()


@pytest.mark.parametrize("instructions", [("avx512_bf16",), ("avx2", "amx_bf16")])
def test_bfloat16_where_there_are_instructions_for_it(able, instructions):
    able(*instructions)
    with mixed("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == quick_type("cpu") == torch.bfloat16


def test_float32_where_they_would_be_imitated(able):
    able("avx2", "fma3")
    with mixed("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == quick_type("cpu") == torch.float32


def test_a_gpu_has_them(able):
    able()
    assert quick_type("cuda") == torch.bfloat16
