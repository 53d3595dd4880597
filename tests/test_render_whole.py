"""Whole clips from the parts of the released model, tiny ones with random weights: alone, resumed, on two ranks."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.models.whisper.configuration_whisper import WhisperConfig

from model import render
from model.character import save_character
from model.dit import DiT, DiTConfig
from model.offline import Prompt, SamplingConfig, plan
from model.offline_audio import AS_RELEASED, THROUGHOUT, RecordingEncoder
from model.parallel import ALONE, Group
from model.planning.budget import HUNYUAN_AVATAR
from model.prepared import Conditions, save_conditions
from model.rendering import whole
from model.rendering.memory import Attempt
from model.rendering.problems import CannotGoOn
from model.rendering.recording import Recording
from model.rendering.rows import Row
from model.rendering.unfinished import Unfinished
from model.rendering.whole import ClipSettings, WholeFilms
from model.vae import VAE, VAEConfig
from tests.test_render import decoded, tone, wav
from tests.tiny_checkpoint import write_tiny_checkpoint

# Three latent frames to a window, and just enough steps for two from cached tokens, 16 and 17.
SAMPLING = SamplingConfig(steps=18, window=3)
SETTINGS = ClipSettings("weights", None, 64, 5, None, THROUGHOUT, SAMPLING)
ONE_WINDOW_S, TWO_WINDOWS_S = 0.3, 0.6
CPU = torch.device("cpu")


class Parts:
    """What a checkpoint gives."""

    def transformer(self, device, mode: str = "bf16", group: Group = ALONE) -> DiT:
        config = DiTConfig(
            hidden_size=24, num_heads=2, rope_dim_list=(4, 4, 4), in_channels=4, out_channels=4, depth_double_blocks=2,
            depth_single_blocks=2, refiner_depth=1, text_states_dim=4, text_states_dim_2=4, audio_blocks=3,
            audio_channels=8, audio_intermediate_dim=8, audio_adapter_dim_head=8,
        )  # fmt: skip
        return randomised(DiT(config, group), 0.15)

    def vae(self, device, dtype) -> VAE:
        config = VAEConfig(latent_channels=4, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4)
        return randomised(VAE(config), 0.2)

    def hearing(self, device) -> RecordingEncoder:
        config = WhisperConfig(
            d_model=8, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=8, max_source_positions=60,
        )  # fmt: skip
        made = RecordingEncoder(config)
        randomised(made.encoder, 0.3)
        return made.eval()

    def prompt_encoder(self, device) -> "Parts":
        return self

    def encode(self, prompt: str, picture: Image.Image) -> Prompt:
        return random_prompt(len(prompt), 4, 4)

    def negative(self, picture: Image.Image) -> Prompt:
        return self.encode("negative", picture)


def random_prompt(seed: int, width: int, pooled_width: int) -> Prompt:
    random = torch.Generator().manual_seed(seed)
    states, pooled = torch.randn(1, 5, width, generator=random), torch.randn(1, pooled_width, generator=random)
    return Prompt(states, torch.ones(1, 5), pooled)


def randomised(module, std: float):
    random = torch.Generator().manual_seed(1)
    for weight in module.parameters():
        torch.nn.init.normal_(weight, std=std, generator=random)
    return module.eval()


# --- complete runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds, frames", [(0.05, 1), (ONE_WINDOW_S, 7), (TWO_WINDOWS_S, 15)])
def test_a_portrait_speaks_a_recording(portrait, seconds, frames):
    made, shares = film(portrait, seconds)
    assert made.shape == (frames, 64, 128, 3) and made.dtype == np.uint8 and made.std() > 5
    assert shares == sorted(shares) and shares[-1] == 1.0


def test_the_same_seed_gives_the_same_film_and_other_inputs_another(portrait):
    first, _ = film(portrait, ONE_WINDOW_S)
    assert np.array_equal(first, film(portrait, ONE_WINDOW_S)[0])
    assert not np.array_equal(first, film(portrait, ONE_WINDOW_S, replace(SETTINGS, seed=6))[0])
    assert not np.array_equal(first, film(portrait, ONE_WINDOW_S, prompt="elsewhere")[0])
    assert not np.array_equal(first, film(portrait, ONE_WINDOW_S, tone=500)[0])


def test_most_frames_cut_a_film(portrait):
    assert len(film(portrait, TWO_WINDOWS_S, replace(SETTINGS, most_frames=4))[0]) == 4


def test_sound_that_the_released_program_leaves_out_is_remarked(portrait):
    """Of 31 s it hears 16, at 12.5 fps the first half of the pictures has all the sound."""
    films = films_of(replace(SETTINGS, hearing=AS_RELEASED))
    (remark,) = films.prepare(Row("x", Path(), portrait), recording(31))
    assert "of 31.0 s only the first 16.0 s are heard" in remark
    assert [films.frames(silence(seconds), 25.0) for seconds in (10, 31, 3600)] == [250, 400, 400]
    assert [films.frames(silence(seconds), 12.5) for seconds in (10, 31)] == [125, 388]
    assert films_of().frames(silence(3600), 12.5) == 45_000
    assert not films_of().prepare(Row("x", Path(), portrait, fps=12.5), recording(31))


def test_a_picture_without_a_face_is_remarked(portrait, monkeypatch):
    monkeypatch.setattr(whole, "find_faces", lambda picture: [])
    films = films_of()
    (remark,) = films.prepare(Row("x", Path(), portrait), recording(1))
    assert "no face was found" in remark and films.clip(films.sitters["x"], recording(1), 25.0).face_mask.all()


def test_the_largest_face_is_the_one_that_speaks(portrait, monkeypatch):
    monkeypatch.setattr(whole, "find_faces", lambda picture: [(0, 0, 8, 8), (40, 10, 16, 16), (100, 0, 9, 9)])
    films = films_of()
    assert not films.prepare(Row("x", Path(), portrait), recording(1))
    clip = films.clip(films.sitters["x"], recording(1), 25.0)
    assert clip.face_mask.shape == (1, 1, 1, 8, 16)
    assert clip.face_mask[0, 0, 0, 3].tolist() == [0, 0, 0] + [1] * 6 + [0] * 7


def test_a_prepared_character_needs_no_text_encoder_and_its_first_face_speaks(tmp_path, portrait, monkeypatch):
    parts, faces = Parts(), {"Left": (0.1, 0.2, 0.3, 0.7), "Right": (0.7, 0.2, 0.9, 0.7)}
    save_character(tmp_path / "duo", "Duo", faces, torch.zeros(4, 8, 16))
    reference = torch.randn(4, SAMPLING.window, 8, 16, generator=torch.Generator().manual_seed(4))
    save_conditions(tmp_path / "duo", Conditions(reference, parts.encode("x", None), parts.negative(None)))
    Image.open(portrait).resize((128, 64)).save(tmp_path / "duo" / "picture.png")
    monkeypatch.delattr(Parts, "prompt_encoder")
    films = films_of(replace(SETTINGS, character=tmp_path / "duo"))
    row, sound = Row("x", Path()), recording(ONE_WINDOW_S)
    assert not films.prepare(row, sound)
    clip = films.clip(films.sitters["x"], sound, 25.0)
    assert torch.equal(clip.ref_latents[0], reference)
    left, right = clip.face_mask[0, :, 0].amax(1)
    assert left[:4].amax() == right[-4:].amax() == 1 and not left[8:].any() and not right[:8].any()
    speaks, listens = clip.audio_prompts[0, :, :7].unbind()
    quiet = films.clip(films.sitters["x"], silence(ONE_WINDOW_S), 25.0).audio_prompts[0, 0, :7]
    assert torch.equal(listens, quiet) and not torch.equal(speaks, quiet)
    pieces = films.pictures(row, sound, Unfinished(tmp_path / "u", ""), lambda share: None)
    assert np.concatenate(list(pieces)).shape == (7, 64, 128, 3)


@pytest.mark.parametrize("name, content", [("text.png", b"no picture"), ("cut.png", None), ("none.png", None)])
def test_what_is_no_picture_is_said(tmp_path, portrait, name, content):
    if name == "cut.png":
        content = portrait.read_bytes()[:200]
    if content:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"the picture .*{name} cannot be (used|read): "):
        films_of().prepare(Row("x", Path(), tmp_path / name), recording(1))


def test_the_command_renders_from_a_checkpoint(tmp_path, portrait, capsys):
    """Without text encoders: a prepared character speaks, and a picture cannot."""
    folder, weights = tmp_path / "ann", write_tiny_checkpoint(tmp_path / "weights")
    save_character(folder, "Ann", {"Ann": (0.3, 0.2, 0.7, 0.8)}, torch.zeros(4, 8, 8))
    save_conditions(folder, Conditions(torch.randn(4, 33, 8, 8), *(random_prompt(seed, 16, 8) for seed in (1, 2))))
    Image.new("RGB", (64, 64)).save(folder / "picture.png")
    sound = wav(tmp_path / "sound.wav", tone(0.6))
    flags = ["--checkpoint", str(weights), "--audio", str(sound), "--infer-steps", "2", "--image-size", "64"]
    assert render.main([*flags, "--character", str(folder), "--out", str(tmp_path / "a.mp4")]) == 0
    seen = decoded(tmp_path / "a.mp4")
    assert seen.shape == (15, 64, 64, 3) and seen.std() > 5
    assert render.main([*flags, "--image", str(portrait), "--out", str(tmp_path / "b.mp4")]) == 1
    assert "prompts need their text encoders" in capsys.readouterr().err


# --- a killed run ------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    pass


def test_a_killed_clip_goes_on_where_it_was(tmp_path, portrait):
    """Killed in the last step, it begins anew at the last that needs no cached tokens, step 15, and makes the same film."""
    whole_film, _ = film(portrait, TWO_WINDOWS_S)
    unfinished = Unfinished(tmp_path / "u", "note")

    def killed_late(share: float) -> None:
        if share == 1.0:
            raise Killed

    with pytest.raises(Killed):
        film(portrait, TWO_WINDOWS_S, unfinished=unfinished, progress=killed_late)
    step, latents = unfinished.found()
    assert step == max(i for i, step in enumerate(plan(SAMPLING)) if not step.cached) and latents.dtype == torch.float16
    again, shares = film(portrait, TWO_WINDOWS_S, unfinished=unfinished)
    assert np.array_equal(again, whole_film) and shares[0] > 0.9


def test_latents_of_another_film_or_damaged_ones_are_not_used(tmp_path):
    unfinished = Unfinished(tmp_path / "u", "note")
    assert unfinished.found() is None
    unfinished.keep(3, torch.ones(2))
    assert unfinished.found()[0] == 3 and Unfinished(tmp_path / "u", "other").found() is None
    (tmp_path / "u").write_bytes((tmp_path / "u").read_bytes()[:-1])
    assert unfinished.found() is None


# --- memory --------------------------------------------------------------------------------------------------------------


def test_where_memory_does_not_suffice_the_plan_says_what_would(portrait, monkeypatch):
    def exhausted(*_) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(whole, "memory_bytes", lambda device: 24 * 10**9)
    monkeypatch.setattr(Parts, "vae", exhausted)
    with pytest.raises(ValueError, match=r"the GPU \(24 GB each\) does not suffice for 7 frames of 128x64 in mode bf16; "):
        film(portrait, ONE_WINDOW_S)
    with pytest.raises(CannotGoOn):  # other ranks wait for this one
        film(portrait, ONE_WINDOW_S, group=Group(0, 2))


def test_advice_names_modes_and_sizes_that_fit():
    advice = Attempt(HUNYUAN_AVATAR, 1216, 704, 129, 1, "bf16", 40 * 10**9).advice()
    assert "fit: --mode offload (" in advice and "--image-size 384" in advice and "--image-size 512" not in advice
    assert "neither" in Attempt(HUNYUAN_AVATAR, 384, 256, 129, 1, "offload", 10**9).advice()


# --- two ranks -----------------------------------------------------------------------------------------------------------


def test_two_processes_make_the_film_of_one(tmp_path, portrait):
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=one_of_two, args=(rank, tmp_path, portrait)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
    assert [process.exitcode for process in ranks] == [0, 0]
    together, (alone, _) = np.load(tmp_path / "film.npy"), film(portrait, TWO_WINDOWS_S)
    assert together.shape == alone.shape and np.abs(together.astype(int) - alone).max() <= 2


def one_of_two(rank: int, folder: Path, portrait: Path) -> None:
    torch.set_num_threads(1)
    group = Group.join(rank, 2, f"file://{folder}/meeting", CPU)
    if rank == 0:
        films = films_of(group=group)
        made = speak(films, portrait, TWO_WINDOWS_S)
        np.save(folder / "film.npy", made)
        films.dismiss()
    else:
        films_of(group=group).follow()
    group.leave()


# --- helpers ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def portrait(tmp_path, monkeypatch) -> Path:
    """Twice as wide as high, a face in the middle."""
    monkeypatch.setattr(whole, "find_faces", lambda picture: [(48, 16, 20, 20)])
    path = tmp_path / "portrait.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (100, 200, 3), np.uint8)).save(path)
    return path


def recording(seconds: float, tone: float = 0.1) -> Recording:
    pcm = (0.3 * np.sin(np.arange(round(seconds * 16_000)) * tone)).astype(np.float32)
    return Recording(pcm, np.zeros(3 * len(pcm), np.int16))


def silence(seconds: float) -> Recording:
    return Recording(np.zeros(round(seconds * 16_000), np.float32), np.zeros(0, np.int16))


def films_of(settings: ClipSettings = SETTINGS, group: Group = ALONE) -> WholeFilms:
    return WholeFilms(Parts(), settings, CPU, "bf16", group)


def film(portrait: Path, seconds: float, settings: ClipSettings = SETTINGS, group: Group = ALONE, **how):
    """The film, and the shares that progress was told."""
    shares: list[float] = []
    return speak(films_of(settings, group), portrait, seconds, **({"progress": shares.append} | how)), shares


def speak(films: WholeFilms, portrait: Path, seconds: float, prompt: str = "", tone: float = 0.1, unfinished=None,
          progress=lambda share: None) -> np.ndarray:  # fmt: skip
    row, sound = Row("x", Path(), portrait, prompt), recording(seconds, tone)
    films.prepare(row, sound)
    unfinished = unfinished or Unfinished(portrait.with_name("nothing"), "note")
    return np.concatenate(list(films.pictures(row, sound, unfinished, progress)))
