"""fp8 weights: one byte each, close to what they were, in exactly the released layers."""

import pytest
import torch
from torch import nn

from model.checkpoint import find
from model.dit import DiT, DiTConfig
from model.fp8 import FLOAT8, Float8Linear, fill_float8, float8_layers, quantised
from tests.test_checkpoint import CPU, folder, whole  # noqa: F401  (fixtures)
from tests.test_emotion import prediction
from tests.tiny_checkpoint import TINY_DIT, randomised


def test_the_layers_are_the_released_320():
    with torch.device("meta"):
        dit = DiT(DiTConfig())
    layers = float8_layers(dit)
    assert len(layers) == 320
    weights = sum(dit.get_submodule(name).weight.numel() for name in layers)
    assert round(weights / 1e9, 3) == 12.457
    assert not any("adapter" in name or "txt_in" in name for name in layers)


def test_a_layer_in_fp8_is_close_and_half_as_large():
    torch.manual_seed(1)
    linear, x = nn.Linear(64, 96, dtype=torch.bfloat16), torch.randn(5, 7, 64, dtype=torch.bfloat16)
    small = Float8Linear(linear)
    weight, scale = quantised(linear.weight)
    small.load_state_dict({"weight": weight, "scale": scale, "bias": linear.bias})
    expected, made = linear(x).float(), small(x).float()
    assert (made - expected).norm() / expected.norm() < 0.03  # e4m3 keeps four significant bits
    assert small.weight.nbytes * 2 == linear.weight.nbytes and small(x).dtype == torch.bfloat16


@pytest.mark.parametrize("shape", [(1, 64), (5, 7, 64), (2, 4, 8, 64)])
def test_a_product_of_fp8_is_that_of_the_rounded_numbers(shape):
    """The very call that a GPU makes: both sides in e4m3, one scale each, summed in more."""
    torch.manual_seed(2)
    linear, x = nn.Linear(64, 96, dtype=torch.bfloat16), 50 * torch.randn(shape, dtype=torch.bfloat16)
    small = Float8Linear(linear)
    weight, scale = quantised(linear.weight)
    small.load_state_dict({"weight": weight, "scale": scale, "bias": linear.bias})
    factor = x.abs().amax().float() / 448
    rounded = (x / factor).to(FLOAT8)
    expected = (rounded.float() * factor) @ (weight.float() * scale).T + linear.bias.float()
    made = small._product(x)
    assert made.dtype == x.dtype and made.shape == (*shape[:-1], 96)
    assert (made.float() - expected).norm() / expected.norm() < 0.01  # what is left is bfloat16's own rounding
    assert (made.float() - linear(x).float()).norm() / expected.norm() < 0.05


def test_the_largest_weight_is_kept_exactly():
    weight = torch.tensor([[0.5, -7.0], [0.0, 3.0]])
    small, scale = quantised(weight)
    assert (small.float() * scale)[0, 1] == -7


def test_a_layer_of_zeros_stays_zero():
    small, scale = quantised(torch.zeros(4, 4))
    assert not (small.float() * scale).any()


def test_the_released_pair_of_files_gives_a_transformer_close_to_bfloat16(folder):  # noqa: F811
    plain, small = find(folder).transformer(CPU), find(folder, fp8=True).transformer(CPU, "fp8")
    layers = [one for one in small.modules() if isinstance(one, Float8Linear)]
    assert len(layers) == len(float8_layers(plain)) and all(layer.weight.dtype == FLOAT8 for layer in layers)
    for name in float8_layers(plain):
        before, layer = plain.get_submodule(name).weight.float(), small.get_submodule(name)
        after = layer.weight.float() * layer.scale
        assert (after - before).norm() / before.norm() < 0.04
    assert small.before_proj.weight.dtype == torch.bfloat16


def test_a_missing_scale_is_named(folder):  # noqa: F811
    checkpoint = find(folder, fp8=True)
    tensors, scales = checkpoint.transformer_tensors()
    scales.pop("single_blocks.0.linear1")
    with torch.device("meta"):
        dit = DiT(TINY_DIT)
    with pytest.raises(ValueError, match="missing single_blocks.0.linear1.scale"):
        fill_float8(dit, tensors, scales, CPU, checkpoint.transformer_file)


def test_a_forward_pass_in_fp8_stays_near_the_plain_one(scene_of_tiny):
    plain = randomised(DiT(TINY_DIT), 0.05)
    with torch.device("meta"):
        small = DiT(TINY_DIT)
    tensors, scales = plain.state_dict(), {}
    for name in float8_layers(plain):
        tensors[f"{name}.weight"], scales[name] = quantised(tensors[f"{name}.weight"])
    fill_float8(small, tensors, scales, CPU, None)
    expected, made = (prediction(dit.eval(), *scene_of_tiny) for dit in (plain, small))
    assert 0 < (made - expected).norm() / expected.norm() < 0.1


@pytest.fixture
def scene_of_tiny():
    from tests.tiny_scene import tiny_scene

    return tiny_scene(TINY_DIT)
