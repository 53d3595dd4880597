"""A design as a file: it comes back as it went, and what is wrong with one is said in plain words."""

import json
import math

import numpy as np
import pytest

from model.design_controls import GROUPS, groups
from model.design_file import FORMAT, VERSION, Design, read, written
from model.world.cast import CHARACTERS
from model.world.look import CHOICES, RANGES, Look

ANN = Design("Ann, who draws", CHARACTERS["ada"])


def document(**changed) -> str:
    return json.dumps(json.loads(written(ANN)) | changed)


def look(**changed) -> str:
    return document(look=ANN.look.to_dict() | changed)


def test_a_design_comes_back_as_it_went():
    for seed in range(20):
        design = Design(f"Somebody {seed}, żółw 🐢", Look.random(np.random.default_rng(seed)))
        assert read(written(design)) == (design, ())


def test_a_field_that_is_missing_has_its_default():
    design, changes = read(document(look={"jaw": 0.25}))
    assert design.look == Look(jaw=0.25) and changes == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no character that Visavis has exported"),
        ("PNG...", "no character that Visavis has exported"),
        ("[1, 2]", "no character that Visavis has exported"),
        ('{"format": "something-else"}', "no character that Visavis has exported"),
        ("[" * 100_000, "no character that Visavis has exported"),
        (written(ANN)[:200], "the file is damaged"),
        (document(version=2), "made by a newer Visavis (version 2); this one reads version 1"),
        (document(version="1"), "damaged: it does not say its version"),
        (document(version=True), "damaged: it does not say its version"),
        (document(version=0), "damaged: it does not say its version"),
        (document(look=[]), "damaged: it has no look"),
        (document(title=None), "damaged: it has no title"),
        (document(title=" "), "damaged: a name is one line"),
        (document(title="two\nlines"), "damaged: a name is one line"),
        (document(surprise=1), "parts that this Visavis does not know: surprise"),
        (look(tail=1), "a look has no tail"),
        (look(hair="mohawk"), "hair is 'mohawk'; choose one of bald, shaved"),
        (look(skin="red"), "skin is 'red'"),
        (look(skin=None), "skin is None"),
        (look(jaw="wide"), "jaw is 'wide'; it must be a number from 0"),
        (look(jaw=float("nan")), "jaw is nan"),
        (look(jaw=True), "jaw is True"),
        (look(hair=["bald"]), "hair is ['bald']"),
        (look(details=3.5), "details is 3.5; it must be a whole number"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_is_wrong(text, words):
    with pytest.raises(ValueError) as refusal:
        read(text)
    assert words in str(refusal.value) and len(str(refusal.value)) < 400


@pytest.mark.parametrize(
    ("name", "value", "nearest"),
    [("jaw", 1e9, 1.0), ("jaw", -3, 0.0), ("chin", -1.5, -1.0), ("eye_size", math.inf, None), ("details", 10**400, None)],
)
def test_a_number_out_of_its_range_is_brought_into_it_and_said_so(name, value, nearest):
    low, high = RANGES[name]
    design, changes = read(look(**{name: value}))
    assert getattr(design.look, name) == (high if nearest is None else nearest)
    assert len(changes) == 1 and changes[0].startswith(name) and f"from {low:g} to {high:g}" in changes[0]


def test_a_whole_number_is_whole_also_where_the_file_writes_it_with_a_point():
    design, changes = read(look(details=3.0))
    assert isinstance(design.look.details, int) and design.look.details == 3 and changes == ()
    with pytest.raises(ValueError, match="details is 3.0; it must be a whole number"):
        Look(details=3.0)


def test_nonsense_is_not_repeated_at_length():
    with pytest.raises(ValueError) as refusal:
        read(document(**{"x" * 10_000: 1}))
    assert len(str(refusal.value)) < 200


def test_a_format_is_named_in_the_file():
    assert json.loads(written(ANN)) | {"look": 0} == {"format": FORMAT, "version": VERSION, "title": ANN.title, "look": 0}


def test_every_field_of_a_look_has_one_control():
    offered = [control.field for group in GROUPS for control in group.controls]
    assert sorted(offered) == sorted(Look().to_dict())


def test_controls_offer_what_a_look_allows():
    controls = {one["field"]: one for group in groups() for one in group["controls"]}
    for field, allowed in CHOICES.items():
        assert [option["value"] for option in controls[field]["options"]] == list(allowed)
    for field, (low, high) in RANGES.items():
        assert (controls[field]["low"], controls[field]["high"]) == (low, high)
    for control in controls.values():
        for swatch in control.get("swatches", ()):
            Look(**{control["field"]: swatch})
        for field, values in control["hidden"].items():
            assert set(values) < set(CHOICES[field])
        assert set(control["brings"]) <= set(controls)
