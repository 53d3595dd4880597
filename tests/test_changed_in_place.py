"""A designed character that is changed: the old one or the new one is there, whatever happens in between."""

import os

import pytest

from model import designed
from stream.messages import CharacterInfo
from stream.put_back import put_back
from stream.uploads import Uploads


@pytest.fixture
def kim(tmp_path):
    with designed._in_place_of(tmp_path / "kim") as place:
        (place / "design.json").write_text("old")
    return tmp_path / "kim"


def change(folder) -> None:
    with designed._in_place_of(folder) as place:
        (place / "design.json").write_text("new")


def stop_at_second_rename(monkeypatch, trouble: type[BaseException]) -> None:
    """Of those that move the character itself."""
    rename = os.rename

    def stops(source, target):
        if str(source).endswith("kim-new"):
            raise trouble(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(designed.os, "rename", stops)


def test_a_change_leaves_only_the_new_one(kim):
    change(kim)
    assert (kim / "design.json").read_text() == "new"
    assert os.listdir(kim.parent) == ["kim"]


def test_a_change_that_fails_leaves_only_the_old_one(kim, monkeypatch):
    stop_at_second_rename(monkeypatch, OSError)
    with pytest.raises(ValueError, match="kim cannot be replaced: No space left"):
        change(kim)
    assert (kim / "design.json").read_text() == "old"
    assert os.listdir(kim.parent) == ["kim"]


@pytest.mark.parametrize("healed_by", [lambda kim: put_back(kim.parent), change])
def test_after_a_change_that_was_cut_off_the_character_comes_back(kim, monkeypatch, healed_by):
    class Killed(BaseException):
        pass

    with monkeypatch.context() as cut:
        stop_at_second_rename(cut, Killed)
        with pytest.raises(Killed):
            change(kim)
    assert not kim.exists()
    healed_by(kim)
    assert (kim / "design.json").read_text() == ("new" if healed_by is change else "old")
    change(kim)
    assert os.listdir(kim.parent) == ["kim"]


def test_in_between_a_character_is_listed_all_the_same(kim):
    class Pool:
        characters = {"kim": CharacterInfo("kim", "Kim", str(kim / "picture.png"), ("Kim",))}

    uploads = Uploads(Pool(), kim.parent)
    assert uploads.designed("kim") and uploads.design_version("kim") == (kim / "design.json").stat().st_mtime_ns
    kim.rename(kim.with_name(".kim-old"))
    assert not uploads.designed("kim") and uploads.design_version("kim") is None
