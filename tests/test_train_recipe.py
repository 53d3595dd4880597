"""A recipe says everything once, flags override it, and mistakes in it are named."""

import importlib
import itertools
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from model.train.all import STAGES
from model.train.recipe import RECIPE, from_command_line, read_recipe


@dataclass(frozen=True)
class Soup:
    pot: Path
    litres: float
    carrots: int
    salted: bool
    name: str


GOOD = 'pot = "runs/pot"\nlitres = 2\ncarrots = 3\nsalted = true\nname = "plain"\n'


@pytest.fixture
def written(tmp_path):
    def write(lines: str, section: str = "soup") -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(f"[{section}]\n{lines}")
        return path

    return write


def test_every_stage_finds_all_its_settings_in_the_shipped_recipe():
    for section, module in STAGES.items():
        read_recipe(importlib.import_module(f"model.train.{module}").Recipe, section)
    assert tomllib.loads(RECIPE.read_text()).keys() == STAGES.keys()


def test_stages_follow_each_other():
    """What one writes is where the next one looks."""
    sections = tomllib.loads(RECIPE.read_text())
    for reader, key in (
        ("audio_encoder", "speech"), ("audio_encoder", "speech_test"), ("clips", "speech"), ("transformer", "clips"),
    ):  # fmt: skip
        assert sections[reader][key] == sections[key]["out"]
    for reader, made in itertools.product(("clips", "transformer", "publish"), ("autoencoder", "audio_encoder")):
        assert sections[reader][made] == sections[made]["out"] + "/checkpoint.pt"
    assert sections["publish"]["transformer"] == sections["transformer"]["out"] + "/checkpoint.pt"
    order = list(STAGES)
    for reader in ("clips", "transformer", "publish"):
        assert order.index(reader) > max(map(order.index, sections.keys() & sections[reader].keys()))


def test_values_have_their_types(written):
    assert read_recipe(Soup, "soup", written(GOOD)) == Soup(Path("runs/pot"), 2.0, 3, True, "plain")


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (GOOD + "leeks = 1\n", "unknown leeks; its keys are pot, litres, carrots, salted, name"),
        (GOOD.replace("carrots = 3\n", ""), "missing carrots"),
        (GOOD.replace("= 3", "= 3.5"), "carrots must be a whole number, is 3.5"),
        (GOOD.replace("= 3", "= true"), "carrots must be a whole number, is True"),
        (GOOD.replace("true", '"yes"'), "salted must be true or false, is 'yes'"),
        (GOOD.replace("litres = 2", 'litres = "2"'), "litres must be a number, is '2'"),
        (GOOD.replace('"runs/pot"', "7"), "pot must be a path, is 7"),
        ("pot = ", "cannot be read"),
    ],
)
def test_a_mistake_is_named(written, lines, complaint):
    with pytest.raises(ValueError, match=complaint.replace("(", r"\(")):
        read_recipe(Soup, "soup", written(lines))


def test_a_section_that_is_not_there_is_named(written):
    with pytest.raises(ValueError, match=r"no section \[soup\]; it has stew"):
        read_recipe(Soup, "soup", written(GOOD, "stew"))


def test_flags_override_the_recipe(written):
    said = ["--recipe", str(written(GOOD, "stew")), "--section", "stew", "--carrots", "5", "--no-salted", "--pot", "pan"]
    assert from_command_line(Soup, "soup", "", said) == Soup(Path("pan"), 2.0, 5, False, "plain")


def test_a_mistake_ends_the_program_with_words(written, capsys):
    with pytest.raises(SystemExit):
        from_command_line(Soup, "soup", "", ["--recipe", str(written(GOOD + "leeks = 1\n"))])
    assert "unknown leeks" in capsys.readouterr().err
