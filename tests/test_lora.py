"""A LoRA file merged: the same as computing its update beside the weights, whatever the file's names, or refused whole."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from model.dit import Conditions, DiT
from model.lora import merge
from tests.tiny_checkpoint import CHANNELS
from tests.tiny_full_size import TinyCheckpoint

RANK, ALPHA = 2, 3.0
LAYERS = ("double_blocks.0.img_attn_qkv", "double_blocks.1.txt_mlp.fc2", "single_blocks.0.linear1", "time_in.mlp.0")
DIFFUSERS = {  # theirs -> ours, and which rows
    "transformer_blocks.1.attn.to_k": ("double_blocks.1.img_attn_qkv", slice(32, 64)),
    "transformer_blocks.0.attn.add_v_proj": ("double_blocks.0.txt_attn_qkv", slice(64, 96)),
    "transformer_blocks.0.ff_context.net.0.proj": ("double_blocks.0.txt_mlp.fc1", slice(None)),
    "single_transformer_blocks.0.attn.to_q": ("single_blocks.0.linear1", slice(0, 32)),
    "single_transformer_blocks.0.proj_mlp": ("single_blocks.0.linear1", slice(96, None)),
    "single_transformer_blocks.0.proj_out": ("single_blocks.0.linear2", slice(None)),
}


class Beside(nn.Module):
    """The layer with its update computed beside it, on some of its rows."""

    def __init__(self, layer: nn.Module, down: Tensor, up: Tensor, rows: slice) -> None:
        super().__init__()
        self.layer, self.down, self.up, self.rows = layer, down, up, rows
        self.out_features, self.weight = layer.out_features, layer.weight

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(x).clone()
        out[..., self.rows] += ALPHA / RANK * (x @ self.down.T @ self.up.T)
        return out


def transformer() -> DiT:
    return TinyCheckpoint().transformer("cpu")


def updates(layers: dict[str, tuple[str, slice]]) -> dict[str, tuple[Tensor, Tensor]]:
    random, dit = torch.Generator().manual_seed(3), transformer()
    made = {}
    for name, (layer, rows) in layers.items():
        out, into = dit.get_submodule(layer).weight[rows].shape
        made[name] = 0.3 * torch.randn(RANK, into, generator=random), 0.3 * torch.randn(out, RANK, generator=random)
    return made


def kohya(name: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    flat = "lora_unet_" + name.replace(".", "_")
    return {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(ALPHA)}


def with_alpha(prefix: str, middle: str = ""):
    def keys(name: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
        halves = {f"lora_A.{middle}weight": down, f"lora_B.{middle}weight": up, "alpha": torch.tensor(ALPHA)}
        return {f"{prefix}{name}.{end}": tensor for end, tensor in halves.items()}

    return keys


def prediction(dit: DiT) -> Tensor:
    random = torch.Generator().manual_seed(4)

    def noise(*shape: int) -> Tensor:
        return torch.randn(1, *shape, generator=random)

    on = Conditions(
        timestep=torch.tensor([500.0]), motion_exp=noise(4), motion_pose=noise(4), fps=torch.tensor([25.0]),
        text_states=noise(5, 16), text_mask=torch.ones(1, 5, dtype=torch.int), text_states_2=noise(8),
        ref_latents=noise(CHANNELS, 2, 4, 4), audio_prompts=noise(5, 10, 3, 8), face_mask=torch.ones(1, 1, 1, 4, 4),
    )  # fmt: skip
    with torch.inference_mode():
        return dit(noise(CHANNELS, 2, 4, 4), on)[0]


def unmerged(layers: dict[str, tuple[str, slice]]) -> Tensor:
    dit = transformer()
    for name, (down, up) in updates(layers).items():
        layer, rows = layers[name]
        parent, _, attribute = layer.rpartition(".")
        setattr(dit.get_submodule(parent), attribute, Beside(dit.get_submodule(layer), down, up, rows))
    return prediction(dit)


@pytest.mark.parametrize(
    "keys",
    [kohya, with_alpha("transformer."), with_alpha("diffusion_model."), with_alpha("base_model.model.", "default."),
     with_alpha("")],
)  # fmt: skip
@pytest.mark.parametrize("theirs", [False, True])
def test_merged_is_computed_beside(tmp_path, keys, theirs):
    layers = DIFFUSERS if theirs else {name: (name, slice(None)) for name in LAYERS}
    save(tmp_path / "lora.safetensors", layers, keys)
    dit = transformer()
    plain = prediction(dit)
    assert merge(dit, tmp_path / "lora.safetensors") == len(layers)
    merged, expected = prediction(dit), unmerged(layers)
    assert (merged - expected).norm() < 1e-5 * expected.norm() and (merged - plain).norm() > 0.01 * plain.norm()


def save(path, layers, keys, **more) -> None:
    tensors = {key: t for name, halves in updates(layers).items() for key, t in keys(name, *halves).items()}
    save_file(tensors | more.pop("extra", {}), path, **more)


@pytest.mark.parametrize("where", ["header", "beside"])
def test_an_alpha_that_is_said_once_is_that_of_all_layers(tmp_path, where):
    layers = {LAYERS[0]: (LAYERS[0], slice(None))}

    def bare(name, down, up):
        return {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}

    told = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": ALPHA})} if where == "header" else None
    if where == "beside":
        (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": ALPHA, "r": RANK}))
    save(tmp_path / "lora.safetensors", layers, bare, metadata=told)
    dit = transformer()
    merge(dit, tmp_path / "lora.safetensors")
    expected = unmerged(layers)
    assert (prediction(dit) - expected).norm() < 1e-5 * expected.norm()


def test_half_precision_is_rounded_once(tmp_path):
    layers = {LAYERS[0]: (LAYERS[0], slice(None))}
    save(tmp_path / "lora.safetensors", layers, kohya)
    half, full = transformer().bfloat16(), transformer()
    full.load_state_dict({name: tensor.float() for name, tensor in half.state_dict().items()})
    merge(half, tmp_path / "lora.safetensors"), merge(full, tmp_path / "lora.safetensors")
    for name in LAYERS[:1]:
        assert torch.equal(half.get_submodule(name).weight, full.get_submodule(name).weight.bfloat16())


def test_all_that_does_not_fit_is_told_at_once_and_nothing_is_changed(tmp_path):
    layers = {name: (name, slice(None)) for name in LAYERS}
    wrong = {
        "transformer.double_blocks.7.img_mlp.fc1.lora_A.weight": torch.ones(2, 32),
        "transformer.single_blocks.0.linear2.lora_A.weight": torch.ones(2, 160),
        "transformer.double_blocks.0.img_mlp.fc1.lora_A.weight": torch.ones(2, 33),
        "transformer.double_blocks.0.img_mlp.fc1.lora_B.weight": torch.ones(128, 2),
        "double_blocks.0.img_mlp.fc2.hada_w1_a": torch.ones(2, 2),
    }
    save(tmp_path / "lora.safetensors", layers, kohya, extra=wrong)
    dit = transformer()
    with pytest.raises(ValueError) as told:
        merge(dit, tmp_path / "lora.safetensors")
    for part in ("double_blocks.7.img_mlp.fc1", "one half of an update: single_blocks.0.linear2", "hada_w1_a", "128x33",
                 "lora.safetensors"):  # fmt: skip
        assert part in str(told.value)
    assert all(torch.equal(own, other) for own, other in zip(dit.parameters(), transformer().parameters(), strict=True))


def test_a_file_that_is_none_or_holds_nothing_is_told(tmp_path):
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(ValueError, match="cannot be read"):
        merge(transformer(), tmp_path / "text.safetensors")
    with pytest.raises(ValueError, match="cannot be read"):
        merge(transformer(), tmp_path / "missing.safetensors")
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(ValueError, match="it is empty"):
        merge(transformer(), tmp_path / "empty.safetensors")
