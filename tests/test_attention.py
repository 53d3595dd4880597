"""One door to attention: whatever stands behind it gives the same, and the choice follows device, type and mask."""

from types import SimpleNamespace

import pytest
import torch

from model import attention
from model.attention import attend, flash, fused, kernel, two_products


def qkv(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(6)
    return tuple(torch.randn(2, length, 3, 8, generator=random).to(dtype) for length in (5, 9, 9))


def mask() -> torch.Tensor:
    may_see = torch.rand(2, 1, 5, 9, generator=torch.Generator().manual_seed(7)) > 0.4
    may_see[..., 0] = True
    return may_see


def spelt_out(q, k, v, may_see):
    scores = torch.einsum("bqnd,bknd->bnqk", q.double(), k.double()) / q.shape[-1] ** 0.5
    if may_see is not None:
        scores = scores.masked_fill(~may_see, float("-inf"))
    return torch.einsum("bnqk,bknd->bqnd", scores.softmax(-1), v.double())


@pytest.mark.parametrize("door", [fused, two_products])
@pytest.mark.parametrize("may_see", [None, mask()], ids=["whole", "masked"])
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-6), (torch.bfloat16, 2e-2)])
def test_all_doors_agree(door, may_see, dtype, limit):
    q, k, v = qkv(dtype)
    expected = spelt_out(q, k, v, may_see)
    assert (door(q, k, v, may_see).double() - expected).abs().max() <= limit
    assert (attend(q, k, v, may_see).double() - expected).abs().max() <= limit


def test_scores_kept_for_a_gradient_give_the_same():
    q, k, v = qkv()
    grown = q.clone().requires_grad_()
    made = two_products(grown, k, v, mask())
    assert torch.equal(made.detach(), two_products(q, k, v, mask()))
    again = q.clone().requires_grad_()
    for x, out in ((grown, made), (again, fused(again, k, v, mask()))):
        out.square().sum().backward()
        assert x.grad is not None
    assert torch.allclose(grown.grad, again.grad, atol=1e-5)


def test_the_choice(monkeypatch):
    monkeypatch.setattr(attention, "flash_package", lambda: None)
    assert kernel("cpu", torch.bfloat16, True) is two_products
    assert kernel("cpu", torch.float32, False) is kernel("cuda", torch.bfloat16, False) is fused
    asked = []
    package = SimpleNamespace(flash_attn_func=lambda q, k, v: asked.append(q.shape) or fused(q, k, v, None))
    monkeypatch.setattr(attention, "flash_package", lambda: package)
    assert kernel("cuda", torch.bfloat16, False) is flash
    assert kernel("cuda", torch.bfloat16, True) is kernel("cuda", torch.float32, False) is fused
    q, k, v = qkv()
    assert torch.equal(flash(q, k, v, None), fused(q, k, v, None))
    assert asked == [(2, 5, 3, 8)], "batch, tokens, heads, width: as the package has it"
