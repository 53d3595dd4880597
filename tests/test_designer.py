"""The designer over HTTP, before the embedded model: controls, pictures, files, and drawn characters that are kept."""

import io
import json
from dataclasses import replace

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from client.client import Visavis, VisavisError
from model.design_file import VERSION, Design, written
from model.designed import main as design
from model.designing import composed
from model.drawn import unpacked
from model.fit import still_latents
from model.loading import load, prepare_drawn
from model.presets import PRESETS
from model.world.cast import CHARACTERS
from model.world.drawing import face_box, render
from model.world.look import CHOICES, Look
from model.world.pose import Pose
from tests.live_server import live_server

JSON = {"Content-Type": "application/json"}
FOX = {"species": "fox", "skin": "#dc7b3c", "hat": "beanie"}
MADE = ["latents", "writing", "done"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("characters")


@pytest.fixture(scope="module")
def http(folder):
    with (
        live_server("--loader", "model.loading:load", "--characters", str(folder)) as server,
        httpx.Client(base_url=server.url, timeout=30) as client,
    ):
        yield client


def keep(http, look: dict, title: str, **about) -> list[dict]:
    response = http.post("/v1/characters/designed", json={"look": look}, params={"title": title} | about)
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def problem(response: httpx.Response, status: int, *words: str) -> None:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    for word in words:
        assert word in response.json()["detail"]


def listed(http) -> dict[str, dict]:
    return {one["name"]: one for one in http.get("/v1/characters").json()}


def test_the_controls_are_told_with_the_people_to_start_from(http):
    told = http.get("/v1/designer").json()
    assert told["version"] == VERSION and told["defaults"] == Look().to_dict()
    assert {one["name"]: Look.from_dict(one["look"]) for one in told["people"]} == CHARACTERS
    assert {control["field"] for group in told["groups"] for control in group["controls"]} == set(told["defaults"])


def test_a_picture_is_the_worlds_own(http):
    response = http.post("/v1/designer/picture", json={"look": FOX, "size": 200})
    assert response.headers["content-type"] == "image/png"
    drawn = np.array(Image.open(io.BytesIO(response.content)))
    assert np.array_equal(drawn, render(Look.from_dict(FOX), Pose.neutral(), 200))


def test_a_picture_shows_an_emotion(http):
    pictures = [
        http.post("/v1/designer/picture", json={"look": FOX, "size": 128, "emotion": emotion}).content
        for emotion in http.get("/v1/designer").json()["emotions"]
    ]
    assert len(set(pictures)) == len(pictures) == 6


def test_the_choices_of_a_field_stand_side_by_side(http):
    response = http.post("/v1/designer/choices", json={"look": FOX, "field": "hat", "size": 64})
    drawn = np.array(Image.open(io.BytesIO(response.content)))
    look = Look.from_dict(FOX | {"closeness": 1.0})
    expected = [render(replace(look, hat=hat), Pose.neutral(), 64) for hat in CHOICES["hat"]]
    assert np.array_equal(drawn, np.hstack(expected))


def test_one_colour_behind_is_exactly_that_colour(http):
    look = {"background": "solid", "background_colour": "#00b140"}
    drawn = np.array(Image.open(io.BytesIO(http.post("/v1/designer/picture", json={"look": look}).content)))
    for corner in (drawn[0, 0], drawn[0, -1]):
        assert tuple(corner) == (0x00, 0xB1, 0x40)


def test_the_same_seed_gives_the_same_person(http):
    first = http.post("/v1/designer/random", json={"seed": 7}).json()
    assert first == http.post("/v1/designer/random", json={"seed": 7}).json()
    assert first["seed"] == 7 and Look.from_dict(first["look"])
    others = [http.post("/v1/designer/random", json={}).json()["look"] for _ in range(5)]
    assert len({json.dumps(look) for look in others}) == 5
    assert http.post("/v1/designer/random", json={"species": "cat"}).json()["look"]["species"] == "cat"


@pytest.mark.parametrize(
    ("look", "words"),
    [
        ({"jaw": 1e9}, ("jaw is 1000000000.0", "from 0.0 to 1.0")),
        ({"jaw": "wide"}, ("jaw is 'wide'", "from 0.0 to 1.0")),
        ({"jaw": None}, ("jaw is None",)),
        ({"jaw": 10**400}, ("jaw is inf", "from 0.0 to 1.0")),
        ({"hair": "mohawk"}, ("hair is 'mohawk'", "bald, shaved")),
        ({"skin": "red"}, ("skin is 'red'", "#")),
        ({"tail": 1}, ("tail",)),
    ],
)
def test_an_absurd_look_is_refused_with_field_value_and_range(http, look, words):
    problem(http.post("/v1/designer/picture", json={"look": look}), 422, *words)
    problem(http.post("/v1/characters/designed", json={"look": look}, params={"title": "X"}), 422, *words)


def test_a_number_that_is_none_is_refused(http):
    content = '{"look": {"jaw": NaN}}'
    problem(http.post("/v1/designer/picture", content=content, headers=JSON), 422, "jaw is nan")


@pytest.mark.parametrize(
    ("path", "content", "status", "word"),
    [
        ("/v1/designer/picture", "{", 400, "not JSON"),
        ("/v1/designer/picture", '{"look": 1}', 422, "look"),
        ("/v1/designer/picture", '{"look": {}, "size": 5000}', 422, "size"),
        ("/v1/designer/picture", '{"look": {}, "colour": 1}', 422, "colour"),
        ("/v1/designer/picture", '{"look": {}, "emotion": "bored"}', 422, "neutral"),
        ("/v1/designer/choices", '{"look": {}, "field": "jaw"}', 422, "hair"),
        ("/v1/designer/choices", '{"look": {"jaw": 2}, "field": "hat"}', 422, "jaw is 2"),
        ("/v1/designer/choices", '{"look": {}, "field": "hat", "size": 1000}', 422, "size"),
        ("/v1/designer/random", '{"seed": -1}', 422, "seed"),
        ("/v1/designer/random", '{"species": "yeti"}', 422, "person, cat"),
        ("/v1/designer/import", " " * 70_000, 413, "larger"),
        ("/v1/designer/import", "hello", 422, "no character that Visavis has exported"),
        ("/v1/designer/import", '{"format": "visavis-character", "version": 2}', 422, "newer Visavis (version 2)"),
        ("/v1/characters/designed?title=", '{"look": {}}', 422, "title"),
        ("/v1/characters/designed?title=X&name=ada", '{"look": {}}', 409, "'ada' already"),
        ("/v1/characters/designed?title=X&replace=ada", '{"look": {}}', 409, "not made in the designer"),
        ("/v1/characters/designed?title=X&replace=nobody", '{"look": {}}', 404, "nobody"),
    ],
)
def test_bad_requests_are_told_why(http, path, content, status, word):
    problem(http.post(path, content=content, headers=JSON), status, word)


def test_other_sites_cannot_draw_or_keep(http):
    for path in ("/v1/designer/picture", "/v1/characters/designed?title=X"):
        assert http.post(path, json={"look": {}}, headers={"Origin": "https://evil.example"}).status_code == 403


def test_a_look_becomes_a_character_with_its_own_place_and_latents(http, folder):
    told = keep(http, FOX, "Fenn, a fox")
    assert [line["stage"] for line in told] == MADE
    character = told[-1]["character"]
    assert character == listed(http)["fenn-a-fox"]
    assert character["own"] and character["designed"] and character["faces"] == ["Fenn"]
    look = Look.from_dict(FOX)
    shown = np.array(Image.open(io.BytesIO(http.get(character["picture"]).content)))
    assert np.array_equal(shown, render(look, Pose.neutral(), 512))
    about = json.loads((folder / "fenn-a-fox" / "character.json").read_text())
    assert np.allclose(np.array(about["faces"][0]["box"]) * 256, face_box(look, 256), atol=0.6)
    latents = load_file(folder / "fenn-a-fox" / "latents.safetensors")["reference"].float()
    expected = still_latents(load("embedded").vae, Image.fromarray(render(look, Pose.neutral(), 256)))
    assert torch.allclose(latents, expected, atol=0.02, rtol=0.02)


def test_what_was_kept_is_exported_and_imported_again(http):
    keep(http, FOX, "Traveller")
    file = http.get("/v1/characters/traveller/design")
    assert 'filename="traveller.json"' in file.headers["content-disposition"]
    back = http.post("/v1/designer/import", content=file.content, headers=JSON).json()
    assert back == {"title": "Traveller", "look": Look.from_dict(FOX).to_dict(), "changes": []}
    document = file.json()
    document["look"]["jaw"] = 99
    back = http.post("/v1/designer/import", json=document).json()
    assert back["look"]["jaw"] == 1.0 and back["changes"] == ["jaw was 99 and is now 1: it goes from 0 to 1"]
    problem(http.get("/v1/characters/ada/design"), 409, "not made in the designer")
    problem(http.get("/v1/characters/nobody/design"), 404)


def test_a_kept_character_is_changed_in_its_place_also_while_somebody_speaks_with_it(http, folder):
    before = keep(http, FOX, "Kim")[-1]["character"]
    session = http.post("/v1/sessions", json={"character": "kim"}).json()
    after = keep(http, FOX | {"species": "cat"}, "Kim the cat", replace="kim")[-1]["character"]
    assert after["name"] == "kim" and after["title"] == "Kim the cat" and after["picture"] != before["picture"]
    assert http.get("/v1/characters/kim/design").json()["look"]["species"] == "cat"
    assert http.patch(f"/v1/sessions/{session['id']}", json={"character": "kim"}).status_code == 200
    http.delete(f"/v1/sessions/{session['id']}")
    assert not [place.name for place in folder.iterdir() if place.name.startswith(".")]


def test_a_designed_character_can_be_deleted(http, folder):
    keep(http, {}, "Gone")
    assert http.delete("/v1/characters/gone").status_code == 204
    assert "gone" not in listed(http) and not (folder / "gone").exists()


def test_a_design_that_is_sent_as_a_picture_is_none(http):
    forged = composed("Forged", FOX)
    assert unpacked(forged).design.title == "Forged"  # all that the designer itself would send
    answer = http.post("/v1/characters?title=Forged", content=forged, headers={"Content-Type": "image/png"})
    problem(answer, 422, "no picture that can be read")
    assert "forged" not in listed(http)


def test_a_damaged_design_is_told_so():
    whole = json.loads(composed("Ann", {}))
    for damage in ({"box": [0, 0, 9, 9]}, {"still": 7}, {"design": "{}"}):
        with pytest.raises(ValueError, match="the drawn character is damaged"):
            unpacked(json.dumps(whole | damage).encode())


def test_other_presets_say_that_they_cannot_show_drawn_characters(tmp_path):
    class Elsewhere:
        preset = PRESETS["hunyuan-avatar"]

    with pytest.raises(ValueError, match="hunyuan-avatar.*prepare --checkpoint"):
        prepare_drawn(Elsewhere, composed("X", {}), "x", False, tmp_path, print)


def test_a_file_becomes_a_character_from_the_command_line(http, tmp_path):
    file = tmp_path / "fenn.json"
    file.write_text(written(Design("Fenn", Look.from_dict(FOX))))
    arguments = [str(file), "--name", "fenn", "--out", str(tmp_path)]
    assert design(arguments) == 0
    assert json.loads((tmp_path / "fenn" / "character.json").read_text())["title"] == "Fenn"
    assert design(arguments) == 1 and design([*arguments, "--replace"]) == 0
    file.write_text("hello")
    assert design(arguments) == 1


def test_the_description_has_the_bodies(http):
    description = http.get("/openapi.json").json()
    assert {"PictureWish", "Lot", "Drawn"} <= set(description["components"]["schemas"])
    assert "/v1/characters/designed" in description["paths"]


async def test_the_python_client_designs_exports_and_replaces(http, tmp_path):
    async with Visavis(str(http.base_url)) as visavis:
        made = await visavis.design_character(FOX, "Reynard")
        exported = await visavis.design(made["name"])
        assert made["title"] == "Reynard" and Look.from_dict(exported["look"]) == Look.from_dict(FOX)
        (tmp_path / "fox.json").write_text(json.dumps(exported))
        again = await visavis.design_character(tmp_path / "fox.json", replace=made["name"])
        assert again["name"] == made["name"] and again["title"] == "Reynard"
        await visavis.delete_character(made["name"])
        with pytest.raises(VisavisError, match="hat"):
            await visavis.design_character({"hat": "crown"}, "King")
        with pytest.raises(VisavisError) as refusal:
            await visavis.design_character("{", "Nobody")
        assert refusal.value.status == 422
