"""The published folder: whole or named as incomplete, strict about what is inside."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model.checkpoint import (
    AUTOENCODER,
    CLIP,
    CONFIG,
    INDEX,
    LLAVA,
    STATES,
    TRANSFORMERS,
    WHISPER,
    find,
    read_tensors,
    sizes,
)
from model.dit import DiT, DiTConfig
from model.vae import VAE, VAEConfig
from tests.tiny_checkpoint import TINY_DIT, TINY_VAE, write_tiny_checkpoint, write_tiny_fp8

CPU = torch.device("cpu")
SHAPES = Path(__file__).parent / "golden" / "parameter_shapes.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = write_tiny_checkpoint(tmp_path_factory.mktemp("weights") / "ckpts")
    write_tiny_fp8(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "ckpts"))


def states_of(folder: Path) -> dict:
    return torch.load(folder / TRANSFORMERS / f"{STATES}.pt", weights_only=True)["module"]


def rewrite(folder: Path, states: dict) -> None:
    torch.save({"module": states}, folder / TRANSFORMERS / f"{STATES}.pt")


@pytest.mark.parametrize(("part", "make"), [("transformer", lambda: DiT(DiTConfig())), ("vae", lambda: VAE(VAEConfig()))])
def test_every_released_tensor_has_its_place_and_shape(part, make):
    released = json.loads(SHAPES.read_text())[part]
    with torch.device("meta"):
        ours = {name: list(tensor.shape) for name, tensor in make().state_dict().items()}
    assert ours == released and len(ours) == {"transformer": 946, "vae": 248}[part]


def test_the_released_sizes_are_read_off_the_released_shapes():
    shapes = json.loads(SHAPES.read_text())["transformer"]
    tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert DiTConfig(**sizes(tensors, WhisperConfig(d_model=384, encoder_layers=4))) == DiTConfig()


def test_the_transformer_is_what_the_file_says(folder):
    dit = find(folder).transformer(CPU)
    assert dit.config == TINY_DIT
    states = states_of(folder)
    assert all(torch.equal(tensor, states[name]) for name, tensor in dit.state_dict().items())


def test_the_autoencoder_and_whisper_are_what_their_files_say(folder):
    checkpoint = find(folder)
    vae, hearing = checkpoint.vae(CPU, torch.float32), checkpoint.hearing(CPU)
    assert vae.config == TINY_VAE
    saved = torch.load(folder / AUTOENCODER / "pytorch_model.pt", weights_only=True)["state_dict"]
    assert all(torch.equal(tensor, saved[f"vae.{name}"].float()) for name, tensor in vae.state_dict().items())
    heard = read_tensors(folder / WHISPER / "model.safetensors")
    own = hearing.encoder.state_dict()
    assert all(torch.equal(tensor, heard[f"model.encoder.{name}"]) for name, tensor in own.items())


def test_all_that_is_missing_is_said_at_once(tmp_path):
    with pytest.raises(ValueError, match="not a whole checkpoint") as problem:
        find(tmp_path, fp8=True)
    for name in (f"{STATES}_fp8.pt", f"{STATES}_fp8_map.pt", "vae/config.json", "whisper-tiny", "llava_llama_image"):
        assert name in str(problem.value)


def test_text_encoders_may_be_missing_until_they_are_needed(folder):
    with pytest.raises(ValueError, match="text_encoder_2"):
        find(folder).prompt_encoder(CPU)


def test_a_missing_tensor_and_one_too_many_are_named(folder):
    states = states_of(folder)
    states["before_proj.weigth"] = states.pop("before_proj.weight")
    rewrite(folder, states)
    with pytest.raises(ValueError, match="missing before_proj.weight; unexpected before_proj.weigth"):
        find(folder).transformer(CPU)


def test_another_shape_is_named(folder):
    states = states_of(folder)
    states["before_proj.bias"] = states["before_proj.bias"][:-1]
    rewrite(folder, states)
    with pytest.raises(ValueError, match=r"before_proj.bias is \(31,\), should be \(32,\)"):
        find(folder).transformer(CPU)


def test_whole_numbers_are_no_weights(folder):
    states = states_of(folder)
    states["before_proj.bias"] = states["before_proj.bias"].to(torch.int8)
    rewrite(folder, states)
    with pytest.raises(ValueError, match="before_proj.bias is torch.int8"):
        find(folder).transformer(CPU)


def test_another_network_is_told_from_ours(folder):
    rewrite(folder, {"conv.weight": torch.zeros(3)})
    with pytest.raises(ValueError, match="not HunyuanVideo-Avatar's transformer"):
        find(folder).transformer(CPU)


def test_weights_without_their_key_are_told(folder):
    torch.save(states_of(folder), folder / TRANSFORMERS / f"{STATES}.pt")
    with pytest.raises(ValueError, match="has no 'module'"):
        find(folder).transformer(CPU)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_file_that_is_cut_off_is_named(folder, size):
    path = folder / TRANSFORMERS / f"{STATES}.pt"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match="cannot be read"):
        find(folder).transformer(CPU)


def test_a_pickle_that_would_run_code_is_refused(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"module": Trap()}, folder / TRANSFORMERS / f"{STATES}.pt")
    with pytest.raises(ValueError, match="cannot be read"):
        find(folder).transformer(CPU)
    assert not (tmp_path / "sprung").exists()


def test_a_whisper_of_another_size_is_told(folder):
    path = folder / WHISPER / CONFIG
    path.write_text(json.dumps(json.loads(path.read_text()) | {"d_model": 16}))
    with pytest.raises(ValueError, match="it hears 240 numbers a frame"):
        find(folder).transformer(CPU)


def test_an_unknown_mode_and_one_that_does_not_fit_are_refused(folder):
    with pytest.raises(ValueError, match="one of bf16, fp8, offload"):
        find(folder).transformer(CPU, "int4")
    with pytest.raises(ValueError, match="without fp8"):
        find(folder).transformer(CPU, "fp8")


# --- what has been found elsewhere ---------------------------------------------------------------------------------------


def test_pickles_of_before_zip_files_are_read(folder):
    path = folder / AUTOENCODER / "pytorch_model.pt"
    weights = torch.load(path, weights_only=True)
    torch.save(weights["state_dict"], path, _use_new_zipfile_serialization=False)
    read = find(folder).vae(CPU, torch.float16).state_dict()
    assert all(torch.equal(tensor, weights["state_dict"][f"vae.{name}"]) for name, tensor in read.items())


@pytest.mark.parametrize("held", [torch.zeros(3), [torch.zeros(3)], {"state_dict": {"a": "b"}}, {"a": {"b": 1}}])
def test_files_of_another_make_are_told(folder, held):
    path = folder / AUTOENCODER / "pytorch_model.pt"
    torch.save(held, path)
    with pytest.raises(ValueError, match="pytorch_model.pt"):
        find(folder).vae(CPU, torch.float16)


def test_fp8_without_its_scales_is_not_taken_for_bfloat16(folder):
    states = states_of(folder)
    states["single_blocks.0.linear1.weight"] = states["single_blocks.0.linear1.weight"].to(torch.float8_e4m3fn)
    rewrite(folder, states)
    with pytest.raises(ValueError, match="single_blocks.0.linear1.weight is torch.float8_e4m3fn"):
        find(folder).transformer(CPU)


def test_what_is_changed_in_memory_does_not_reach_the_file(folder):
    """The weights are the file itself, mapped; a LoRA is added to them."""
    before = (folder / TRANSFORMERS / f"{STATES}.pt").read_bytes()
    with torch.no_grad():
        find(folder).transformer(CPU).before_proj.weight.add_(1)
    assert (folder / TRANSFORMERS / f"{STATES}.pt").read_bytes() == before


@pytest.mark.parametrize("text", ["[]", "{", "{}"])
def test_a_damaged_config_is_named(folder, text):
    (folder / WHISPER / CONFIG).write_text(text)
    with pytest.raises(ValueError, match="whisper-tiny|it hears"):
        find(folder).transformer(CPU)


def test_missing_shards_are_listed_where_they_are_expected(folder):
    (folder / LLAVA).mkdir()
    (folder / LLAVA / CONFIG).write_text("{}")
    (folder / LLAVA / INDEX).write_text(json.dumps({"weight_map": {"a": "model-1-of-2.safetensors", "b": "two"}}))
    with pytest.raises(ValueError, match="text encoders") as problem:
        find(folder).prompt_encoder(CPU)
    expected = [LLAVA / "tokenizer.json", CLIP / CONFIG, LLAVA / "model-1-of-2.safetensors", LLAVA / "two"]
    assert all(str(folder / name) in str(problem.value) for name in expected)
    assert str(folder / LLAVA / CONFIG) not in str(problem.value)
