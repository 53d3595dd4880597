"""The numbers of the original at small sizes, and what the command says when they are not met."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from model import parity

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize("case", ["dit_a_one_face", "dit_a_batch2", "dit_a_cached_step", "taehv_a", "scheduler_shift5_50"])
def test_golden_case_is_matched(case, golden):
    assert golden[case] and all(c.passed for c in golden[case])


def test_every_shipped_case_is_covered(golden):
    assert all(golden.values())


def test_a_wrong_weight_fails_the_case(tmp_path, capsys):
    for path in (*GOLDEN.glob("dit_a_one_face*"), *GOLDEN.glob("dit_a_weights*")):
        shutil.copy(path, tmp_path)
    weights = load_file(tmp_path / "dit_a_weights.safetensors")
    weights["audio_adapter_blocks.0.to_q.weight"] *= 0.5
    save_file(weights, tmp_path / "dit_a_weights.safetensors")
    assert parity.main(tmp_path) == 1
    assert "FAIL" in capsys.readouterr().out


def test_an_unknown_kind_is_named_not_covered(tmp_path, capsys):
    (tmp_path / "other.json").write_text(json.dumps({"kind": "something else"}))
    shutil.copy(GOLDEN / "scheduler_shift5_50.safetensors", tmp_path / "other.safetensors")
    assert parity.main(tmp_path) == 0
    assert "not covered" in capsys.readouterr().out


def test_a_missing_folder_is_told(tmp_path, capsys):
    assert parity.main(tmp_path / "nowhere") == 2
    assert "not a folder" in capsys.readouterr().out


@pytest.fixture(scope="module")
def golden():
    return parity.check(GOLDEN)
