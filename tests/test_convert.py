"""Conversion: the same weights after it, and nothing at all after one that failed."""

import shutil

import pytest
import torch
from safetensors import SafetensorError

from model import convert as converting
from model.checkpoint import TRANSFORMERS, find
from model.convert import convert
from tests.test_checkpoint import CPU, folder, whole  # noqa: F401  (fixtures)
from tests.tiny_checkpoint import TINY_DIT


@pytest.mark.parametrize("fp8", [False, True])
def test_a_converted_checkpoint_gives_the_same_weights(folder, fp8):  # noqa: F811
    checkpoint, mode = find(folder, fp8), "fp8" if fp8 else "bf16"
    before, vae = checkpoint.transformer(CPU, mode).state_dict(), checkpoint.vae(CPU, torch.float32).state_dict()
    convert(checkpoint, shard_bytes=20_000)
    assert len(list(checkpoint.converted_folder.glob("*.safetensors"))) > 2
    for old in (folder / TRANSFORMERS).glob("*.pt"):
        old.unlink()  # it needs them no more
    again = find(folder, fp8)
    after = again.transformer(CPU, mode).state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(tensor.float(), after[name].float()) for name, tensor in before.items())
    assert all(torch.equal(tensor, vae[name]) for name, tensor in again.vae(CPU, torch.float32).state_dict().items())
    assert convert(again) == []


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_what_was_interrupted_is_not_loaded_and_is_made_anew(folder, monkeypatch, failure):  # noqa: F811
    write, calls = converting.save_file, []

    def fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise failure
        write(*arguments)

    monkeypatch.setattr(converting, "save_file", fails)
    with pytest.raises(type(failure)):
        convert(find(folder), shard_bytes=20_000)
    assert not find(folder).converted and not list((folder / TRANSFORMERS).glob("*.new"))
    assert converting.main([str(folder)]) == 0  # the second call was the one that failed
    assert find(folder).converted and find(folder).transformer(CPU).config == TINY_DIT


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_a_disk_that_fails_is_reported_and_what_a_kill_left_is_in_nobodys_way(folder, monkeypatch, capsys, failure):  # noqa: F811
    def fails(*arguments):
        raise failure

    with monkeypatch.context() as failing:
        failing.setattr(converting, "save_file", fails)
        assert converting.main([str(folder)]) == 1 and str(failure) in capsys.readouterr().err
    (folder / TRANSFORMERS / "bf16.new").mkdir()
    assert not find(folder).converted
    assert converting.main([str(folder)]) == 0 and find(folder).converted


def test_a_shard_that_is_gone_is_named(folder):  # noqa: F811
    convert(find(folder), shard_bytes=20_000)
    gone = find(folder).converted_folder / "model-00002.safetensors"
    gone.unlink()
    with pytest.raises(ValueError, match="model-00002.safetensors"):
        find(folder)


def test_converted_weights_may_be_changed_in_memory_and_stay_as_they_are_on_disk(folder):  # noqa: F811
    convert(find(folder))
    shard = find(folder).converted_folder / "model-00001.safetensors"
    before = shard.read_bytes()
    with torch.no_grad():
        find(folder).transformer(CPU).before_proj.weight.add_(1)
    assert shard.read_bytes() == before


def test_a_disk_that_is_too_small_is_told_before_anything_is_written(folder, monkeypatch):  # noqa: F811
    monkeypatch.setattr(converting.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(ValueError, match="make room"):
        convert(find(folder))
    assert not find(folder).converted


def test_the_command_says_what_it_wrote_and_what_it_cannot(folder, tmp_path, capsys):  # noqa: F811
    assert converting.main([str(folder)]) == 0 and "written" in capsys.readouterr().out
    assert converting.main([str(folder)]) == 0 and "before" in capsys.readouterr().out
    assert converting.main([str(tmp_path / "nothing")]) == 1 and "not a whole checkpoint" in capsys.readouterr().err
