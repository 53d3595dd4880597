"""Characters that a generator learns while it serves: new ones, damaged ones, and ones that are changed meanwhile."""

import numpy as np
import pytest
import torch
from PIL import Image

from model import renewed
from model.character import Character, save_character
from model.fingerprint import fingerprint
from model.fit import still_latents
from model.look import drawn
from model.prepared import encoder_of, mark
from stream.worker import Worker
from tests.tiny import TINY, tiny_generator

FACE = {"Me": (0.2, 0.2, 0.8, 0.8)}


@pytest.fixture
def generator():
    return tiny_generator()


def written(folder, name: str = "me", title: str = "Me", brightness: int = 128):
    save_character(folder / name, title, FACE, torch.randn(4, 4, 4))
    mark(folder / name, TINY.characters_of)
    Image.fromarray(np.full((32, 32, 3), brightness, np.uint8)).save(folder / name / "picture.png")
    return folder / name


def test_a_changed_character_is_never_missing_and_comes_to_rest_anew(generator, tmp_path, monkeypatch):
    generator.learn(written(tmp_path, title="Before"))
    come_to_rest = generator._come_to_rest

    def changed_meanwhile(character):
        rest = come_to_rest(character)
        if character.title == "Before":
            generator.learn(written(tmp_path, title="After"))
        return rest

    monkeypatch.setattr(generator, "_come_to_rest", changed_meanwhile)
    assert generator.open("me", 1).character.title == "Before"  # who asked before the change
    assert generator.open("me", 1).character.title == "After"
    assert generator.open("me", 2).character is generator.characters["me"]


def test_a_character_is_there_at_every_moment_of_its_change(generator, tmp_path, monkeypatch):
    generator.learn(written(tmp_path))
    seen = []
    monkeypatch.setattr(generator._rest, "forget", lambda name: seen.append(generator.characters[name].title))
    generator.learn(written(tmp_path, title="After"))
    assert seen == ["After"]


def brought_by_another_autoencoder(folder, **emotions):
    me = written(folder)
    save_character(me, "Me", FACE, torch.full((4, 4, 4), 9.0), emotions)
    mark(me, TINY.characters_of)  # as before there were fingerprints
    return me


def test_latents_of_another_autoencoder_are_made_anew_of_the_picture_and_kept(generator, tmp_path, caplog):
    me = brought_by_another_autoencoder(tmp_path, happy=torch.ones(4, 4, 4))
    learnt = generator.learn(me)
    expected = still_latents(generator.vae, Image.open(me / "picture.png"))
    torch.testing.assert_close(learnt.ref_latents, expected, atol=0.01, rtol=0.01)
    assert learnt.emotions == {} and "loses its own happy" in caplog.text
    assert encoder_of(me) == fingerprint(generator.vae)
    assert sorted(path.name for path in me.iterdir()) == ["character.json", "latents.safetensors", "picture.png"]
    caplog.clear()
    assert torch.equal(generator.learn(me).ref_latents, learnt.ref_latents) and not caplog.text  # known from now on


def test_where_new_latents_cannot_be_kept_the_character_speaks_all_the_same(generator, tmp_path, monkeypatch, caplog):
    me = brought_by_another_autoencoder(tmp_path)
    before = (me / "latents.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(renewed, "save_file", full)
    assert not (generator.learn(me).ref_latents == 9).any()
    assert "cannot be kept" in caplog.text and encoder_of(me) is None
    assert (me / "latents.safetensors").read_bytes() == before


def test_a_fingerprint_tells_encoders_apart_and_knows_one_in_any_type():
    one, other = tiny_generator().vae, tiny_generator().vae.bfloat16()
    assert fingerprint(one) == fingerprint(other) and len(fingerprint(one)) == 16
    other.decoder[-1].bias.data += 1
    assert fingerprint(one) == fingerprint(other)  # which only reads
    other.encoder[0].bias.data += 1
    assert fingerprint(one) != fingerprint(other)


def damaged(file, kind: str) -> None:
    whole = file.read_bytes()
    broken = {
        "empty": b"",
        "half": whole[: len(whole) // 2],
        "chunk": whole[:33] + b"\0\0\0\1" + whole[37:],  # a length that is wrong: Pillow says SyntaxError
        "huge": whole[:16] + b"\0\1\0\0\0\1\0\0" + whole[24:],
    }
    file.write_bytes(broken[kind])


@pytest.mark.parametrize("kind", ["empty", "half", "chunk", "huge"])
def test_a_damaged_picture_is_told_as_a_damaged_character(tmp_path, kind):
    picture = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(picture)
    damaged(picture, kind)
    me = Character("me", "Me", str(picture), ("Me",), tuple(FACE.values()), torch.randn(4, 4, 4))
    with pytest.raises(ValueError, match="picture of character me cannot be read"):
        drawn(me, 4, 4, torch.float32, torch.device("cpu"), (32, 32))


def test_a_character_with_unforeseen_damage_is_left_out_and_the_others_stay(generator, tmp_path, monkeypatch, caplog):
    written(tmp_path, "good")
    written(tmp_path, "odd")
    look = generator.look

    def stumbles(character):
        if character.name == "odd":
            raise RuntimeError("nobody thought of this")
        return look(character)

    monkeypatch.setattr(generator, "look", stumbles)
    Worker(generator).learn_all(str(tmp_path))
    assert "good" in generator.characters and "odd" not in generator.characters
    assert "odd is left out" in caplog.text
