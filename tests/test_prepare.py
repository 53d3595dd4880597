"""From a picture to a character folder that serves: faces, framing, latents, the verdict, and every way to fail."""

import json
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from model import prepare
from model.character import load_character
from model.fit import NEEDED, NEEDED_IN_FACE, fit_of, still_latents
from model.framing import cut_for, cut_out
from model.loading import CHARACTERS, load
from model.offline import Prompt
from model.prepare import NotHeld, Order, faces_of, parse_faces, prepare_embedded, prepare_full
from model.prepared import load_conditions, preset_of
from model.presets import EMBEDDED
from model.vae import VAE, VAEConfig
from stream.config import ServerConfig

PEOPLE = ("ada", "bo", "ines", "kofi", "mei", "otto")
FACE = ((150.0, 130.0, 215.0, 215.0),)  # of each of them, in 512 x 512


def portrait(name: str) -> Image.Image:
    return Image.open(CHARACTERS / name / "picture.png").convert("RGB")


def photograph() -> Image.Image:
    """A portrait that comes with matplotlib."""
    return Image.open(Path(matplotlib.get_data_path(), "sample_data", "grace_hopper.jpg")).convert("RGB")


def quiet(stage: str) -> None:
    pass


@pytest.fixture(scope="module")
def generator():
    return load("embedded")


@pytest.fixture(scope="module")
def vae(generator):
    return generator.vae


# --- the verdict -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEOPLE)
def test_the_models_own_people_are_held(vae, name):
    fit = fit_in_frame(vae, portrait(name), FACE[0])
    assert fit.holds
    assert fit.picture > NEEDED + 10 and fit.face > NEEDED_IN_FACE + 10


@pytest.mark.parametrize("blur", [0, 2, 4])
def test_a_photograph_is_not_held_and_blurring_it_does_not_help(vae, blur):
    fit = fit_in_frame(vae, photograph().filter(ImageFilter.GaussianBlur(blur)), (156.0, 104.0, 222.0, 222.0))
    assert not fit.holds
    assert fit.picture < NEEDED - 5


def test_noise_is_not_held(vae):
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (512, 512, 3), np.uint8))
    assert fit_in_frame(vae, noise, FACE[0]).picture == 0


def fit_in_frame(vae, picture, box):
    cut = cut_for([box])
    framed = cut_out(picture, cut, EMBEDDED.width)
    return fit_of(vae, framed, still_latents(vae, framed), (cut.shares(box),))


# --- the embedded preset ---------------------------------------------------------------------------------------------


def test_a_prepared_character_is_the_one_it_was_made_from(generator, tmp_path):
    stages = []
    fit = prepare_embedded(Order("me", "Me, again", portrait("kofi")), generator.vae, tmp_path, stages.append)
    assert fit.holds and stages == ["faces", "latents", "fit", "writing"]
    made, kofi = load_character(tmp_path / "me"), load_character(CHARACTERS / "kofi")
    assert (made.title, made.faces, preset_of(tmp_path / "me")) == ("Me, again", ("Me",), "embedded")
    assert made.face_boxes[0] == pytest.approx(kofi.face_boxes[0], abs=0.03)
    with Image.open(made.picture) as shown:
        assert shown.size == (512, 512)
    assert not [path for path in tmp_path.iterdir() if path.name != "me"]  # nothing half made is left


def test_a_prepared_character_speaks(generator, tmp_path):
    prepare_embedded(Order("me", "Me", portrait("mei"), FACE), generator.vae, tmp_path, quiet)
    generator.learn(tmp_path / "me")
    try:
        sound = np.random.default_rng(1).normal(0, 0.1, (1, EMBEDDED.audio.window_samples)).astype(np.float32)
        frames, _ = generator.step([generator.open("me", 1)], [sound])
        shown = Image.open(tmp_path / "me" / "picture.png").resize((256, 256), Image.Resampling.LANCZOS)
        assert np.abs(frames[0, 0].astype(int) - np.asarray(shown, int)).mean() < 12
    finally:
        generator.forget("me")
    with pytest.raises(KeyError):
        generator.open("me", 1)


def test_what_cannot_be_held_is_refused_with_numbers_and_made_when_insisted_on(vae, tmp_path):
    order = Order("grace", "Grace", photograph())
    with pytest.raises(NotHeld, match=r"\d+ % of the picture's detail.*12 and 18 % are needed.*hunyuan-avatar") as refusal:
        prepare_embedded(order, vae, tmp_path, quiet)
    assert refusal.value.fit.picture < NEEDED
    assert list(tmp_path.iterdir()) == []
    assert not prepare_embedded(replace(order, anyway=True), vae, tmp_path, quiet).holds
    assert load_character(tmp_path / "grace").faces == ("Grace",)


def test_two_people_have_a_face_each(vae, tmp_path):
    both = Image.new("RGB", (1024, 512))
    both.paste(portrait("kofi"), (0, 0))
    both.paste(portrait("mei"), (512, 0))
    prepare_embedded(Order("both", "Both", both, anyway=True), vae, tmp_path, quiet)
    made = load_character(tmp_path / "both")
    assert made.faces == ("Left", "Right")
    assert made.face_boxes[0][2] < made.face_boxes[1][0]


def test_emotion_pictures_become_references(vae, tmp_path):
    order = Order("me", "Me", portrait("ada"), FACE, {"happy": portrait("ines")})
    prepare_embedded(order, vae, tmp_path, quiet)
    made = load_character(tmp_path / "me")
    assert made.emotions["happy"].shape == made.ref_latents.shape
    assert not torch.equal(made.emotions["happy"], made.ref_latents)


def test_a_picture_without_a_face_asks_for_boxes(vae, tmp_path):
    wall = Image.new("RGB", (300, 200), (200, 210, 220))
    with pytest.raises(ValueError, match="no face was found.*x0,y0,x1,y1"):
        prepare_embedded(Order("wall", "Wall", wall), vae, tmp_path, quiet)


@pytest.mark.parametrize(
    ("faces", "word"),
    [
        ("600,10,700,110", "600,10,700,110 is outside the picture, which is 512x512"),
        ("-300,10,-200,110", "outside the picture"),
        ("-5000,-5000,5000,5000", "larger than the picture"),
        ("100,100,100,200", "x0 left of x1"),
        ("200,100,100,200", "x0 left of x1"),
        ("nan,0,10,10", "x0 left of x1"),
        ("1,2,3", "x0,y0,x1,y1 in pixels"),
        ("left", "x0,y0,x1,y1 in pixels"),
        ("", "at least one face"),
    ],
)
def test_bad_boxes_are_told_why(faces, word):
    with pytest.raises(ValueError, match=word):
        faces_of(portrait("ada"), parse_faces(faces))


def test_boxes_are_sorted_from_left_to_right():
    boxes = parse_faces("300,50,400,150; 20,60,120,160")
    assert faces_of(portrait("ada"), boxes) == [(20, 60, 100, 100), (300, 50, 100, 100)]


@pytest.mark.parametrize("name", ["", "Ada", "../x", "a b", ".hidden", "é", "a" * 41])
def test_bad_names_are_refused(name):
    with pytest.raises(ValueError, match="is no name"):
        Order(name, "Title", portrait("ada"))


@pytest.mark.parametrize("title", ["", "two\nlines", "x" * 81])
def test_bad_titles_are_refused(title):
    with pytest.raises(ValueError, match="one line"):
        Order("name", title, portrait("ada"))


def test_a_character_that_is_there_is_not_written_over(vae, tmp_path):
    order = Order("me", "Me", portrait("ada"), FACE)
    prepare_embedded(order, vae, tmp_path, quiet)
    with pytest.raises(ValueError, match="'me' already"):
        prepare_embedded(order, vae, tmp_path, quiet)


def test_a_full_disk_leaves_nothing_behind(vae, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "mark", full)
    with pytest.raises(ValueError, match="cannot be written.*No space left"):
        prepare_embedded(Order("me", "Me", portrait("ada"), FACE), vae, tmp_path, quiet)
    assert list(tmp_path.iterdir()) == []


def test_a_character_of_another_preset_is_not_learnt(generator, tmp_path):
    prepare_embedded(Order("me", "Me", portrait("ada"), FACE), generator.vae, tmp_path, quiet)
    about = tmp_path / "me" / "character.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"preset": "hunyuan-avatar"}))
    with pytest.raises(ValueError, match="for the preset hunyuan-avatar"):
        generator.learn(tmp_path / "me")
    about.write_text("{")
    with pytest.raises(ValueError, match="cannot be used"):
        generator.learn(tmp_path / "me")


# --- full-size presets -----------------------------------------------------------------------------------------------


class Words:
    """Stands for the text encoders."""

    def encode(self, prompt: str, picture: Image.Image) -> Prompt:
        value = float(len(prompt))
        return Prompt(torch.full((1, 6, 4), value), torch.ones(1, 6, dtype=torch.int64), torch.full((1, 3), value))

    def negative(self, picture: Image.Image) -> Prompt:
        return self.encode("", picture)


def small_vae() -> VAE:
    torch.manual_seed(1)
    return VAE(VAEConfig(block_out_channels=(8, 8, 8, 8), norm_num_groups=4, latent_channels=4, layers_per_block=1)).eval()


def test_a_full_size_character_carries_all_that_its_preset_needs(tmp_path):
    picture = Image.new("RGB", (400, 200), (120, 130, 140))
    picture.paste(portrait("ada").resize((200, 200)), (200, 0))
    order = Order("me", "Me", picture, ((40, 50, 80, 80), (250, 50, 90, 90)), {"happy": picture})
    size = prepare_full(order, "hello", small_vae(), Words(), tmp_path, quiet, short_side=128, window=3)
    made, conditions = load_character(tmp_path / "me"), load_conditions(tmp_path / "me")
    assert preset_of(tmp_path / "me") == "hunyuan-avatar"
    with Image.open(made.picture) as shown:
        assert shown.size == size == (192, 128)
    assert made.face_boxes == ((0.1, 0.25, 0.3, 0.65), (0.625, 0.25, 0.85, 0.7))
    assert conditions.reference.shape == (4, 3, 16, 24)
    assert torch.equal(made.ref_latents, conditions.reference[:, 0].float())
    assert made.emotions["happy"].shape == (4, 16, 24)
    assert conditions.prompt.states[0, 0, 0] == 5 and conditions.negative.pooled[0, 0] == 0


def test_an_embedded_character_has_no_text_conditions(vae, tmp_path):
    prepare_embedded(Order("me", "Me", portrait("ada"), FACE), vae, tmp_path, quiet)
    with pytest.raises(ValueError, match="prepare --checkpoint"):
        load_conditions(tmp_path / "me")


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [[], ["--preset", "embedded-512"]])
def test_the_command_makes_a_folder_and_says_where(preset, tmp_path, capsys):
    arguments = [str(CHARACTERS / "ines" / "picture.png"), "--name", "my-ines", "--out", str(tmp_path)]
    assert prepare.main([*arguments, *preset]) == 0
    told = capsys.readouterr()
    assert told.out.strip() == str(tmp_path / "my-ines")
    assert "12 and 18 % are needed" in told.err
    assert load_character(tmp_path / "my-ines").title == "My Ines" and preset_of(tmp_path / "my-ines") == "embedded"


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none.png", "--name", "x"], "none.png cannot be read"),
        ([__file__, "--name", "x"], "no picture that can be read"),
        ([str(CHARACTERS / "ada" / "picture.png"), "--name", "X"], "is no name"),
        ([str(CHARACTERS / "ada" / "picture.png"), "--name", "x", "--preset", "hunyuan-avatar"], "--checkpoint"),
        ([str(CHARACTERS / "ada" / "picture.png"), "--name", "x", "--emotion-image", "happy"], "NAME=FILE"),
    ],
)
def test_the_command_says_what_is_wrong(arguments, word, tmp_path, capsys):
    assert prepare.main([*arguments, "--out", str(tmp_path)]) == 1
    assert word in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_command_and_server_look_in_the_same_place():
    assert str(prepare.default_folder()) == ServerConfig().characters
