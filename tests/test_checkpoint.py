"""The published folder: whole or named as incomplete, strict about what is inside, the same after conversion."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from model import convert as converting
from model.checkpoint import AUTOENCODER, CONFIG, INDEX, STATES, TRANSFORMERS, WHISPER, find, read_tensors, sizes
from model.convert import convert
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
    assert DiTConfig(**sizes(tensors, {"d_model": 384, "encoder_layers": 4})) == DiTConfig()


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


# --- conversion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fp8", [False, True])
def test_a_converted_checkpoint_gives_the_same_weights(folder, fp8):
    checkpoint, mode = find(folder, fp8), "fp8" if fp8 else "bf16"
    before, vae = checkpoint.transformer(CPU, mode).state_dict(), checkpoint.vae(CPU, torch.float32).state_dict()
    convert(checkpoint, shard_bytes=20_000)
    assert len(list(checkpoint.converted_folder.glob("*.safetensors"))) > 2
    shutil.rmtree(folder / TRANSFORMERS / "elsewhere", ignore_errors=True)
    for old in (folder / TRANSFORMERS).glob("*.pt"):
        old.unlink()  # it needs them no more
    again = find(folder, fp8)
    after = again.transformer(CPU, mode).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor.float(), after[name].float()) for name, tensor in before.items())
    assert all(torch.equal(tensor, vae[name]) for name, tensor in again.vae(CPU, torch.float32).state_dict().items())
    assert convert(again) == []


def test_what_was_interrupted_is_not_loaded_and_is_made_anew(folder, monkeypatch):
    checkpoint, write = find(folder), converting.save_file
    calls = []

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(*arguments)

    monkeypatch.setattr(converting, "save_file", fails)
    with pytest.raises(OSError, match="No space"):
        convert(checkpoint, shard_bytes=20_000)
    assert not checkpoint.converted and not list((folder / TRANSFORMERS).glob("*.new"))
    (folder / TRANSFORMERS / "bf16.new").mkdir()  # as after a kill
    monkeypatch.setattr(converting, "save_file", write)
    convert(checkpoint, shard_bytes=20_000)
    assert find(folder).converted and (checkpoint.converted_folder / INDEX).is_file()


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(folder, monkeypatch):
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ValueError, match="make room"):
        convert(find(folder))
    assert not find(folder).converted


def test_the_command_says_what_it_wrote_and_what_it_cannot(folder, tmp_path, capsys):
    assert converting.main([str(folder)]) == 0 and "written" in capsys.readouterr().out
    assert converting.main([str(folder)]) == 0 and "before" in capsys.readouterr().out
    assert converting.main([str(tmp_path / "nothing")]) == 1 and "not a whole checkpoint" in capsys.readouterr().err
