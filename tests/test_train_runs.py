"""Training that is killed at any step and started again ends with the weights of training that was not."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from model.audio import AudioEncoder
from model.dit import DiT
from model.motion import MOTION_CENTRE
from model.tiny_vae import TinyVAE, TinyVAEConfig
from model.train import audio_encoder, autoencoder, clips, lips, onlooker, transformer
from model.train.augment import AugmentConfig
from model.train.muon import muon_with_adam
from model.train.pictures import choose_look
from model.train.publish import mix_in
from model.train.run import Run
from model.train.speech import Clip
from model.train.warm import warm_start
from model.weights import save_parts
from model.world.look import Look
from model.world.marks import IRIS_MARKS, IRISES
from model.world.pose import Pose
from model.world.scene import Scene
from tests.tiny import TINY

STEPS, KILLED_AFTER, SAVED_AT = 6, 5, 3
TRAINED = {"steps": STEPS, "seed": 4, "threads": 1, "device": "cpu", "save_every": SAVED_AT, "init": "", "peak": 0.01}


class Killed(BaseException):
    pass


def with_a_kill(train, recipe, monkeypatch) -> nn.Module:
    """Everything that training makes after it was killed with two steps unsaved, and started again."""
    record = Run.record

    def deadly(run, *args, **values):
        saved = record(run, *args, **values)
        if run.step == KILLED_AFTER:
            raise Killed
        return saved

    with monkeypatch.context() as patch:
        patch.setattr(Run, "record", deadly)
        with pytest.raises(Killed):
            train(recipe)
    saved = torch.load(recipe.out / "checkpoint.pt", weights_only=True)
    trained = train(recipe)
    assert saved["step"] == SAVED_AT
    assert not any(equal(state, trained.state_dict()) for state in saved.values() if isinstance(state, dict))
    return trained


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def assert_killed_equals_straight(train, recipe, monkeypatch):
    straight = train(replace(recipe, out=recipe.out / "straight"))
    again = with_a_kill(train, replace(recipe, out=recipe.out / "killed"), monkeypatch)
    assert equal(straight.state_dict(), again.state_dict())
    for table in recipe.out.glob("straight/*.csv"):
        both = [list(csv.DictReader((recipe.out / name / table.name).open())) for name in ("straight", "killed")]
        assert [{**row, "minutes": 0} for row in both[0]] == [{**row, "minutes": 0} for row in both[1]]


# --- autoencoder -----------------------------------------------------------------------------------------------------

SMALL_VAE = TinyVAEConfig(
    patch_size=4, latent_channels=4, encoder_width=8, encoder_blocks=1, encoder_time_downscale=(True, False),
    decoder_widths=(8, 8, 8), decoder_blocks=(1, 1), decoder_time_upscale=(False, True),
    decoder_space_upscale=(True, True), frames_to_trim=0, carries=True,
)  # fmt: skip


@pytest.fixture
def autoencoder_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(autoencoder, "EMBEDDED", replace(TINY, vae=SMALL_VAE))
    monkeypatch.setattr(autoencoder, "HELD_OUT", 1)
    monkeypatch.setattr(autoencoder, "RENEWED", 0.7)
    return autoencoder.Recipe(out=tmp_path, decoder_only=False, batch=2, pool=2, **TRAINED)


def test_a_killed_autoencoder_ends_as_one_that_was_not(autoencoder_recipe, monkeypatch):
    assert_killed_equals_straight(autoencoder.train, autoencoder_recipe, monkeypatch)


def test_the_clips_of_a_step_follow_from_the_step_and_are_renewed():
    went, came = autoencoder.Clips(7, 2), autoencoder.Clips(7, 2)
    went.move_to(0)
    first = went.pool.copy()
    for step in range(1, 9):
        went.move_to(step)
    came.move_to(8)
    assert np.array_equal(went.pool, came.pool) and not (went.pool == first).all((1, 2, 3, 4)).any()


def test_marks_that_are_carried_from_home_are_not_astray():
    """Of one point that has moved by (3, -2) pixels in a crop that begins at (16, 32)."""
    mark, home = torch.tensor([[[[40.0, 50.0]]]]), torch.tensor([[[37.0, 52.0]]])
    covered = torch.full_like(mark, float("nan"))
    piece = autoencoder.Piece(
        torch.zeros(1, 1, 3, 64, 64), torch.ones(1, 1, 1, 64, 64), torch.zeros(1, 3, 256, 256),
        torch.tensor([[16.0, 32.0]]), torch.cat((mark, covered), 2), torch.cat((home, home), 1),
    )  # fmt: skip
    flow = torch.tensor([-3.0, 2.0])[None, None, :, None, None].expand(1, 1, 2, 32, 32)
    assert autoencoder.astray(flow, piece) == 0
    assert autoencoder.astray(torch.zeros_like(flow), piece) == pytest.approx(2.5 + 1.5)  # Huber's, beyond one pixel


def test_marks_are_where_the_drawing_has_them():
    """The middle of an iris is dark in every look's pupil."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        look = Look.random(rng)
        pose = Pose(yaw=0.5, pitch=-0.3, roll=0.6, gaze_x=0.4, gaze_y=-0.2, x=0.5)
        picture, (places,) = Scene((look,)).render((pose,)), Scene((look,)).marks((pose,))
        for x, y in places[IRISES][::IRIS_MARKS]:
            assert picture[round(y - 0.5), round(x - 0.5)].max() < 90
    assert np.isnan(Scene((look,)).marks((Pose(blink=1.0),))[0, IRISES]).all()


# --- audio encoder ---------------------------------------------------------------------------------------------------


class Noise:
    """A corpus of noise whose loudness opens the mouth."""

    duration_s = 60.0

    def __init__(self, path: Path, config: AugmentConfig | None = None) -> None:
        pass

    def sample(self, rng: np.random.Generator, seconds: float, augmented: bool) -> Clip:
        n = round(seconds * 100)
        mouth = rng.random((n, 4)).astype(np.float32)
        pcm = rng.normal(0, 0.1, n * 160) * mouth[:, 0].repeat(160)
        return Clip(pcm.astype(np.float32), mouth, rng.integers(0, 30, n).astype(np.uint8))


@pytest.fixture
def audio_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_encoder, "EMBEDDED", TINY)
    monkeypatch.setattr(audio_encoder, "Corpus", Noise)
    monkeypatch.setattr(audio_encoder, "SCORED", 4)
    return audio_encoder.Recipe(
        out=tmp_path, reader_only=False, speech=tmp_path, speech_test=tmp_path, clips=2, **TRAINED
    )  # fmt: skip


def test_a_reader_can_be_taught_alone(audio_recipe, tmp_path):
    torch.manual_seed(10)
    encoder = AudioEncoder(TINY.audio)
    save_parts(tmp_path / "published.safetensors", {"audio": encoder}, torch.float32)
    alone = replace(audio_recipe, out=tmp_path / "alone", reader_only=True, init=str(tmp_path / "published.safetensors"))
    assert equal(audio_encoder.train(alone).state_dict(), encoder.state_dict())
    untaught = replace(alone, out=tmp_path / "untaught", steps=1, peak=0.0)
    audio_encoder.train(untaught)
    first, last = (torch.load(run.out / "checkpoint.pt", weights_only=True)["reader"] for run in (untaught, alone))
    assert not torch.equal(first["mouth.weight"], last["mouth.weight"])


def test_a_killed_audio_encoder_ends_as_one_that_was_not(audio_recipe, monkeypatch):
    assert_killed_equals_straight(audio_encoder.train, audio_recipe, monkeypatch)


def test_scores_say_how_good_and_on_which_machine(audio_recipe):
    audio_encoder.train(audio_recipe)
    found = json.loads((audio_recipe.out / "scores.json").read_text())
    assert {f"unseen voices: {name}, correlation" for name in audio_encoder.CHANNELS} < found["scores"].keys()
    assert 0 <= found["scores"]["unseen voices: phones recognised"] <= 1
    assert found["took"]["steps"] == STEPS and found["took"]["seconds a step"] > 0 and found["machine"]["cores"]
    assert "phones recognised" in (audio_recipe.out / "scores.md").read_text()
    assert (audio_recipe.out / "curves.png").exists() and (audio_recipe.out / "held_out.png").exists()


# --- clips -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def clips_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(clips, "EMBEDDED", TINY)
    monkeypatch.setattr(clips, "Corpus", Noise)
    monkeypatch.setattr(clips, "REFERENCES", 1)
    monkeypatch.setattr(clips, "SECONDS", 1.28)
    torch.manual_seed(11)
    monkeypatch.setattr(lips, "EMBEDDED", TINY)
    torch.save({"vae": TinyVAE(TINY.vae).state_dict()}, tmp_path / "checkpoint.pt")
    heard = {"encoder": AudioEncoder(TINY.audio), "reader": lips.Reader(TINY.audio.channels)}
    torch.save({name: part.state_dict() for name, part in heard.items()}, tmp_path / "heard.pt")
    return clips.Recipe(
        out=tmp_path / "clips", autoencoder=tmp_path / "checkpoint.pt", audio_encoder=tmp_path / "heard.pt",
        speech=tmp_path, count=2, seed=3, shipped=0.5,
        pairs=0.5, cut=0.2, felt=0.5, changing=0.5, part="0/1", film_only=False,
    )  # fmt: skip


def test_clips_made_in_parts_and_after_a_kill_are_those_made_at_once(clips_recipe, monkeypatch):
    clips.make(clips_recipe)
    scattered = replace(clips_recipe, out=clips_recipe.out.with_name("scattered"))
    clips.make(replace(scattered, part="1/2"))

    def deadly(vae, film):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(clips, "encode_film", deadly)
        with pytest.raises(Killed):
            clips.make(scattered)
    clips.make(scattered)
    for name in ("00000.safetensors", "00001.safetensors", clips.EMOTION_FILE):
        one, other = load_file(clips_recipe.out / name), load_file(scattered.out / name)
        assert equal(one, other)
    assert json.loads((scattered.out / "scores.json").read_text())["scores"]["clips"] == 2
    assert (scattered.out / "sheet.png").exists() and not list(scattered.out.glob("*.film"))


def test_a_folder_of_clips_refuses_others(clips_recipe):
    clips.make(replace(clips_recipe, count=1, film_only=True))
    with pytest.raises(ValueError, match="pairs 0.5, now 0.1"):
        clips.make(replace(clips_recipe, pairs=0.1))


# --- onlooker --------------------------------------------------------------------------------------------------------


@pytest.fixture
def onlooker_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(onlooker, "EMBEDDED", TINY)
    save_random_clips(tmp_path, 5)
    trained = {name: value for name, value in TRAINED.items() if name != "init"}
    return onlooker.Recipe(out=tmp_path, clips=tmp_path, held_out=2, batch=4, **trained)


def test_a_killed_onlooker_ends_as_one_that_was_not(onlooker_recipe, monkeypatch):
    assert_killed_equals_straight(onlooker.train, onlooker_recipe, monkeypatch)


def test_what_a_clip_shows_is_told_for_each_person(onlooker_recipe):
    clip = load_file(onlooker_recipe.clips / "00001.safetensors")  # two people, from neutral to the second of all
    shown = onlooker.shown(clip)
    left, right = (dict(zip(onlooker.SEEN, person.unbind(-1), strict=True)) for person in shown)
    assert torch.equal(left["open first"], clip["mouth"][0, ::2, 0])
    assert torch.equal(left["open last"], clip["mouth"][0, 1::2, 0])
    assert torch.allclose(left["yaw"], clip["pose"][:, 0] - MOTION_CENTRE) and torch.equal(right["yaw"], -left["yaw"])
    assert torch.equal(right["pitch"], left["pitch"])
    assert [name for name in clips.EMOTION_NAMES[1:] if left[name].any()] == [clips.EMOTION_NAMES[2]]


def test_a_face_is_read_where_its_box_is():
    across = torch.arange(16.0).expand(1, 1, 16, 16) + 0.5  # each cell says how far to the right its middle is
    seen = onlooker.at_face(across, torch.tensor([[0.25, 0.25, 0.75, 0.75]]))
    margin = onlooker.MARGIN * 8
    step = (8 + 2 * margin) / onlooker.SIDE
    assert torch.allclose(seen[0, 0, 3], 4 - margin + step * (torch.arange(float(onlooker.SIDE)) + 0.5))


# --- transformer -----------------------------------------------------------------------------------------------------


def save_random_clips(folder: Path, count: int) -> None:
    """Some of one person, some of two, each with an emotion that changes."""
    torch.manual_seed(8)
    frames = round(clips.SECONDS * TINY.fps)
    samples = round((clips.LEAD_S + clips.SECONDS + clips.TAIL_S) * 16_000)
    for number in range(count):
        people = 1 + number % 2
        clip = {
            "latents": torch.randn(frames // 2, 4, 4, 4).half(),
            "reference": torch.randn(4, 4, 4).half(),
            "still": torch.randint(256, (32, 32, 3), dtype=torch.uint8),
            "mouth": torch.rand(people, frames, 4),
            "exp": torch.randn(frames // 2, 4),
            "pose": torch.randn(frames // 2, 4),
            "pcm": torch.randint(-9000, 9000, (people, samples), dtype=torch.int16),
            "face_box": torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(people, 1),
            "mouth_box": torch.tensor([[0.3, 0.6, 0.7, 0.8]]).repeat(people, 1),
            "emotion": torch.tensor([[1, 2]]).repeat(people, 1),
            "intensity": torch.tensor([[0.0, 0.8]]).repeat(people, 1),
            "changes_at": torch.tensor([frames // 2]).repeat(people),
        }
        save_file(clip, folder / f"{number:05d}.safetensors")
    save_file({"emotions": torch.randn(7, 3, 4, 4, 4).half()}, folder / clips.EMOTION_FILE)


@pytest.fixture
def transformer_recipe(tmp_path, monkeypatch):
    monkeypatch.setattr(transformer, "EMBEDDED", TINY)
    save_random_clips(tmp_path, 7)
    return transformer.Recipe(
        out=tmp_path, clips=tmp_path, audio_encoder=tmp_path, autoencoder=tmp_path, onlooker=tmp_path, held_out=2,
        variants=2, batch=2, looked_at=1, **TRAINED,
    )  # fmt: skip


def load(recipe: transformer.Recipe) -> tuple[list[transformer.Clips], list[transformer.Clips]]:
    torch.manual_seed(9)
    encoder = AudioEncoder(TINY.audio).eval()
    return transformer.load_clips(recipe.clips, encoder, recipe.variants, 1, recipe.held_out)


def autoencoder_of_tiny() -> TinyVAE:
    torch.manual_seed(11)
    return TinyVAE(TINY.vae)


def onlooker_of_tiny() -> onlooker.Onlooker:
    torch.manual_seed(12)
    return onlooker.Onlooker(TINY.vae.latent_channels).requires_grad_(False)


def test_a_killed_transformer_ends_as_one_that_was_not(transformer_recipe, monkeypatch):
    def train(recipe: transformer.Recipe) -> DiT:
        pools, held_out = load(recipe)
        dit, _ = transformer.train(recipe, autoencoder_of_tiny(), onlooker_of_tiny(), pools, held_out)
        return dit

    assert_killed_equals_straight(train, transformer_recipe, monkeypatch)
    (noted,) = csv.DictReader((transformer_recipe.out / "straight" / "held_out.csv").open())
    assert int(noted["step"]) == SAVED_AT and float(noted["one person: error of a film, half-way"]) > 0


def test_what_looks_at_pictures_is_learned_with_muon_and_what_reads_numbers_is_not():
    dit = DiT(TINY.dit)
    names = {id(weight): name for name, weight in dit.named_parameters()}
    both = muon_with_adam(dit, lr=0.1, adam_share=0.1, edges=transformer.EDGES)
    hidden, edges = ({names[id(w)] for w in part.param_groups[0]["params"]} for part in (both.muon, both.adam))
    assert {"double_blocks.0.img_attn_qkv.weight", "audio_adapter_blocks.0.to_q.weight"} <= hidden
    assert {"motion_exp.mlp.0.weight", "emotion_adapter_blocks.0.to_q.weight", "img_in.proj.weight"} <= edges


def test_no_pictures_need_be_looked_at(transformer_recipe):
    pools, held_out = load(transformer_recipe)
    recipe = replace(transformer_recipe, looked_at=0)
    transformer.train(recipe, autoencoder_of_tiny(), onlooker_of_tiny(), pools, held_out)
    (row,) = csv.DictReader((recipe.out / "curves.csv").open())
    assert float(row["pictures"]) == 0 < float(row["loss"]) and float(row["impression"]) > 0


def test_a_film_is_made_from_nothing_and_knows_none_of_the_truth(transformer_recipe):
    (pool, _), _ = load(transformer_recipe)
    batch, dit = pool.whole(np.random.default_rng(1), np.arange(2)), DiT(TINY.dit)
    for weight in dit.parameters():
        torch.nn.init.normal_(weight, std=0.2)

    def film(latents: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(1)
        return transformer.films(dit, replace(batch, latents=latents))

    made = film(batch.latents)
    assert made.shape == batch.latents.shape and (made - batch.reference[:, None]).std() > 0.1
    assert torch.equal(made, film(torch.randn_like(batch.latents)))


def test_an_onlooker_judges_every_frame_of_everybody(transformer_recipe):
    (_, pool), _ = load(transformer_recipe)
    batch = pool.batch(np.random.default_rng(1), 2, 3)
    batch = replace(batch, boxes=torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]).expand(2, 2, 4))
    judged = onlooker_of_tiny()
    assert transformer.impression_error(judged, batch.latents, batch) == 0
    errors = []
    for row, frame, half in np.ndindex(2, 3, 2):
        made = batch.latents.clone()
        made[row, frame, :, :, 2 * half : 2 * half + 2] += 1
        errors.append(transformer.impression_error(judged, made, batch))
    assert min(errors) > 0


def test_a_transformer_refuses_to_go_on_with_clips_that_were_made_anew(transformer_recipe):
    recipe = replace(transformer_recipe, steps=1)
    pools, _ = load(recipe)
    transformer.train(recipe, autoencoder_of_tiny(), onlooker_of_tiny(), pools, [])
    pools[0].latents[0] += 1
    with pytest.raises(ValueError, match="was begun with fingerprint"):
        transformer.train(recipe, autoencoder_of_tiny(), onlooker_of_tiny(), pools, [])


def test_clips_kept_out_of_training_are_scored(transformer_recipe):
    (one, two), (held_one, held_two) = load(transformer_recipe)
    assert [len(pool.latents) for pool in (one, two, held_one, held_two)] == [3, 2, 1, 1]
    dit, vae = DiT(TINY.dit), TinyVAE(TINY.vae)
    transformer.start_still(dit)  # predicts the resting picture
    scores = transformer.score(dit, vae, [held_one, held_two], transformer_recipe.out, 1)
    for who in ("one person", "two people"):
        still, film = (scores[f"{who}: error of {what}"] for what in ("the resting picture", "a film, its last second"))
        assert film == pytest.approx(still, rel=0.02)
    assert (transformer_recipe.out / "sheet.png").exists()


def test_sound_is_heard_again_when_the_encoder_has_changed(transformer_recipe):
    recordings = torch.randint(-9000, 9000, (1, 70_000), dtype=torch.int16)
    first, other = AudioEncoder(TINY.audio).eval(), AudioEncoder(TINY.audio).eval()
    heard = transformer.hear(transformer_recipe.clips, recordings, first, 1, 1)
    assert torch.equal(transformer.hear(transformer_recipe.clips, recordings, first, 1, 1), heard)
    assert not torch.equal(transformer.hear(transformer_recipe.clips, recordings, other, 1, 1), heard)


# --- all -------------------------------------------------------------------------------------------------------------


def test_a_run_refuses_to_go_on_with_other_settings(audio_recipe):
    audio_encoder.train(audio_recipe)
    with pytest.raises(ValueError, match="peak 0.01, now 0.02"):
        audio_encoder.train(replace(audio_recipe, peak=0.02))
    audio_encoder.train(replace(audio_recipe, save_every=50))


def test_training_can_begin_from_published_weights(autoencoder_recipe, audio_recipe, transformer_recipe):
    """At a rate of nothing it ends there."""
    torch.manual_seed(10)
    parts = {"audio": AudioEncoder(TINY.audio), "dit": DiT(TINY.dit), "vae": TinyVAE(SMALL_VAE)}
    published = audio_recipe.out / "published.safetensors"
    save_parts(published, parts, torch.float32)
    begun = {"init": str(published), "steps": 1, "peak": 0.0}
    pools, held_out = load(transformer_recipe)
    trained = {
        "vae": autoencoder.train(replace(autoencoder_recipe, out=published.with_name("vae"), **begun)),
        "audio": audio_encoder.train(replace(audio_recipe, out=published.with_name("audio"), **begun)),
        "dit": transformer.train(
            replace(transformer_recipe, out=published.with_name("dit"), **begun),
            autoencoder_of_tiny(), onlooker_of_tiny(), pools, held_out,
        )[0],
    }
    for name, part in parts.items():
        assert equal(part.state_dict(), trained[name].state_dict())


def test_what_is_published_holds_a_share_of_what_training_began_from(tmp_path):
    torch.manual_seed(12)
    before, trained = DiT(TINY.dit), DiT(TINY.dit)
    own = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    save_parts(tmp_path / "before.safetensors", {"dit": before}, torch.float32)
    mix_in(trained, str(tmp_path / "before.safetensors"), 0.3)
    for name, was in before.named_parameters():
        assert torch.allclose(trained.get_parameter(name), 0.7 * own[name] + 0.3 * was, atol=1e-6)


def test_faces_of_strangers_are_learned_near_and_far():
    rng = np.random.default_rng(5)
    near = np.mean([choose_look(rng, 0.0).closeness > 0.5 for _ in range(300)])
    assert 0.33 < near < 0.52, "dice alone would throw a quarter"


def test_weights_to_begin_from_must_fit(tmp_path):
    save_parts(tmp_path / "other.safetensors", {"vae": TinyVAE(SMALL_VAE)})
    with pytest.raises(ValueError, match="missing"):
        warm_start(AudioEncoder(TINY.audio), "audio", str(tmp_path / "other.safetensors"))
    with pytest.raises(ValueError, match="cannot be read"):
        warm_start(TinyVAE(SMALL_VAE), "vae", "nowhere.safetensors")
