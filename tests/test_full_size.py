"""From a folder of weights to a live generator: what is chosen, what is missing, and a server that shows it."""

import asyncio
import subprocess
import sys
from dataclasses import replace
from functools import partial

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from client.client import Visavis
from model.audio import AudioEncoder
from model.compiled import compiled
from model.device import Stages
from model.full_size import Choices, assemble, fill, sized, windows_of_sound
from model.loading import load
from model.parallel import Group
from model.planning.live_memory import enough_memory
from model.presets import HUNYUAN_AVATAR, HUNYUAN_AVATAR_CAUSAL
from model.tiny_vae import TinyVAE
from model.windowed import Windowed
from server import parse_config
from stream import protocol
from tests.live_server import NO_CHARACTERS, ROOT, live_server
from tests.test_lora import LAYERS, kohya, save
from tests.tiny_checkpoint import write_tiny_checkpoint
from tests.tiny_full_size import (
    CAUSAL,
    SIDE,
    TINY_DECODER,
    WINDOWED,
    TinyCheckpoint,
    save_person,
    save_tiny_decoder,
    tiny_live,
)

PERSON_SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint in the published layout and, in `people`, somebody to show."""
    made = write_tiny_checkpoint(tmp_path_factory.mktemp("weights"))
    save_person(made / "people" / "me", side=PERSON_SIDE)
    return made


def choices(folder, **more) -> dict[str, str]:
    return {"checkpoint": str(folder), "image_size": str(PERSON_SIDE), "decoder": "vae", **more}


# --- loading -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [HUNYUAN_AVATAR, HUNYUAN_AVATAR_CAUSAL])
def test_a_released_folder_becomes_a_live_generator(folder, preset):
    live = load(preset.name, **choices(folder))
    assert isinstance(live, Windowed) == (preset is HUNYUAN_AVATAR)
    assert live.learn(folder / "people" / "me").faces == ("Me",)
    window = np.zeros((1, live.info["window_samples"]), np.float32)
    state = live.open("me", 1)
    for _ in range(2):
        frames, (state,) = live.step([state], [window], steps=1)
    assert frames.shape == (1, preset.audio.frames_per_chunk, PERSON_SIDE, PERSON_SIDE, 3) and frames.std() > 0
    assert live.info["frames_per_chunk"] == preset.audio.frames_per_chunk and live.info["emotions"] == ()
    assert set(live.timings) == {"features", "denoise", "decode"}


def test_a_lora_changes_the_pictures(folder, tmp_path):
    save(tmp_path / "lora.safetensors", {LAYERS[0]: (LAYERS[0], slice(None))}, kohya)
    lora, name = {"lora": str(tmp_path / "lora.safetensors")}, f"{LAYERS[0]}.weight"
    plain, merged = (load("hunyuan-avatar", **choices(folder, **more)) for more in ({}, lora))
    assert not torch.equal(plain.dit.state_dict()[name], merged.dit.state_dict()[name])


@pytest.mark.parametrize("preset", [HUNYUAN_AVATAR, HUNYUAN_AVATAR_CAUSAL])
def test_a_compiled_transformer_makes_the_same_pictures(folder, preset, monkeypatch):
    # Traced in one piece; what turns the trace into machine code would take minutes here.
    monkeypatch.setattr("model.full_size.compiled", partial(compiled, backend="eager"))
    films = []
    for more in ({}, {"optimise": "compile"}):
        live = load(preset.name, **choices(folder, **more))
        live.learn(folder / "people" / "me")
        state, sound = live.open("me", 1), np.random.default_rng(2).normal(0, 3000, live.info["window_samples"])
        for _ in range(2):
            frames, (state,) = live.step([state], [sound[None].astype(np.float32)], steps=2)
        films.append(frames.astype(int))
    assert np.abs(films[0] - films[1]).max() <= 1


@pytest.mark.parametrize(
    ("more", "group", "words"),
    [
        ({"optimise": "graphs"}, Group(), "a GPU does, and there is none"),
        ({"optimise": "compile", "mode": "offload"}, Group(), "leave out --mode offload"),
        ({"optimise": "compile"}, Group(0, 2), "--sequence-parallel"),
    ],
)
def test_what_cannot_be_optimised_is_told(tmp_path, more, group, words):
    with pytest.raises(ValueError, match=words):
        assemble(WINDOWED, TinyCheckpoint(), Choices(tmp_path, **more), torch.device("cpu"), group)


def test_what_is_missing_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match="say where they are with --checkpoint"):
        load("hunyuan-avatar")
    with pytest.raises(ValueError, match=f"{tmp_path} is not a whole checkpoint"):
        load("hunyuan-avatar", checkpoint=str(tmp_path))
    with pytest.raises(ValueError, match="no taehv.safetensors or taehv.pth .*--decoder vae"):
        load("hunyuan-avatar", checkpoint=str(folder))
    with pytest.raises(ValueError, match="LoRA .*missing.safetensors cannot be read"):
        load("hunyuan-avatar", **choices(folder, lora=str(tmp_path / "missing.safetensors")))
    with pytest.raises(ValueError, match="--mode fp8"):
        assemble(HUNYUAN_AVATAR, TinyCheckpoint(), Choices(folder, folder, decoder="vae", mode="fp8"), torch.device("cpu"))
    with pytest.raises(ValueError, match="in the repository; leave --checkpoint, --image-size out"):
        load("embedded", checkpoint=str(folder), image_size="64")
    with pytest.raises(KeyError, match="hunyuan-avatar-causal"):
        load("hunyuan")


@pytest.mark.parametrize("size, sides", [("384", (384, 384)), ("704x1216", (704, 1216)), (None, (704, 704))])
def test_an_image_size_is_a_square_or_both_sides(size, sides):
    made = sized(HUNYUAN_AVATAR, size)
    assert (made.width, made.height) == sides


@pytest.mark.parametrize("size", ["large", "0", "384x", "1x2x3", "-64", "700"])
def test_an_image_size_that_is_none_is_told(size):
    with pytest.raises(ValueError, match="image size|multiples of 16"):
        sized(HUNYUAN_AVATAR, size)


def test_the_tiny_decoder_is_read_as_published(tmp_path):
    """Also from a pickle, and where time grew by more than it does here, the last frames are meant."""
    save_tiny_decoder(tmp_path)
    own = load_file(tmp_path / "taehv.safetensors")
    grown = {name for name in own if name in ("decoder.5.conv.weight", "decoder.8.conv.weight")}
    wider = {name: torch.cat((torch.ones_like(part), part)) if name in grown else part for name, part in own.items()}
    for number, tensors in enumerate((own, wider)):
        place = tmp_path / str(number)
        place.mkdir()
        torch.save(tensors, place / "taehv.pth")
        vae = TinyVAE(TINY_DECODER)
        fill(vae, place)
        assert all(torch.equal(part, own[name]) for name, part in vae.state_dict().items())
    assert grown


@pytest.mark.parametrize("damage", ["foreign", "no file of tensors", "cut off"])
def test_a_tiny_decoder_of_another_kind_is_told(tmp_path, damage):
    path = tmp_path / "taehv.safetensors"
    save_tiny_decoder(tmp_path)
    if damage == "foreign":
        save_file({"encoder.0.weight": torch.ones(3)}, path)
    else:
        path.write_bytes(b"none" if damage == "no file of tensors" else path.read_bytes()[:5000])
    with pytest.raises(ValueError, match="taehv.safetensors cannot be used"):
        fill(TinyVAE(TINY_DECODER), tmp_path)


def test_a_short_window_is_heard_by_the_same_whisper():
    """With windows as long as its pieces nothing is cut off, and states are those of a recording."""
    hearing = TinyCheckpoint().hearing("cpu")
    config = replace(WINDOWED.audio, window_samples=60 * 320, chunk_samples=2_560)
    audio = windows_of_sound(hearing, config).eval()
    pcm = torch.randn(1, 60 * 320) * 0.1
    with torch.inference_mode():
        assert torch.allclose(audio(pcm), hearing.states(audio.log_mel(pcm)), atol=1e-6)
    assert isinstance(windows_of_sound(hearing, WINDOWED.audio), AudioEncoder)


# --- characters --------------------------------------------------------------------------------------------------------


def test_characters_of_other_presets_sizes_and_lengths_are_refused(folder, tmp_path):
    live = tiny_live(WINDOWED, tmp_path)
    with pytest.raises(ValueError, match=r"has latents of \(4, 8, 8\), not \(4, 4, 4\): prepare it anew"):
        live.learn(folder / "people" / "me")
    with pytest.raises(ValueError, match="for the preset None"):
        live.learn(ROOT / "model" / "characters" / "ada")
    (tmp_path / "duo" / "conditions.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no usable conditions.safetensors"):
        live.learn(tmp_path / "duo")
    live.preset = replace(live.preset, window=replace(live.preset.window, latents=12))
    with pytest.raises(ValueError, match="9 latents of its still, and this preset needs 12"):
        live.learn(tmp_path / "me")


def test_masks_are_the_released_ones(tmp_path):
    """A face three times as large, cut at the picture's edge; of two faces each a little larger."""
    live = tiny_live(WINDOWED, tmp_path)
    (alone,), both = (live.look(live.characters[name]).mask[0, :, 0] for name in ("me", "duo"))
    assert alone.shape == (4, 4) and torch.equal(alone, torch.ones(4, 4))
    left, right = both
    assert left[:, 0].mean() > 0.7 and left[:, 3].max() == 0 and right[:, 3].mean() > 0.7 and right[:, 0].max() == 0


@pytest.mark.parametrize("preset", [WINDOWED, CAUSAL])
def test_a_prompt_and_a_face_reach_the_pictures(tmp_path, preset):
    live = tiny_live(preset, tmp_path)
    window = np.zeros((1, preset.audio.window_samples), np.float32)

    def pictures() -> np.ndarray:
        return live.step([live.open("me", 1)], [window])[0]

    before, path = pictures(), tmp_path / "me" / "conditions.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"prompt.states": tensors["prompt.states"] + 1}, path)
    assert np.array_equal(before, pictures())  # known already
    live.learn(tmp_path / "me")
    assert not np.array_equal(before, pictures())


# --- the device --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", [WINDOWED, CAUSAL])
@pytest.mark.parametrize("decoder", ["taehv", "vae"])
def test_a_chunk_is_made_on_the_device_without_asking_it_anything(tmp_path, preset, decoder):
    """On a device that has no values whatever asks for one fails, and so does whatever mixes it with another device."""
    live = tiny_live(preset, tmp_path, decoder)
    for part in (live.audio, live.dit, live.vae):
        part.to("meta")
    if hasattr(live, "_table"):
        live._table = [part.to("meta") for part in live._table]
    states = [live.open("me", 1)]
    with torch.inference_mode():
        for _ in range(2):
            window = np.zeros((1, preset.audio.window_samples), np.float32)
            frames, states = live._chunk(states, [window], [[("neutral", 0.0)]], 2, Stages(live.device))
    assert frames.device.type == "meta" and frames.shape[2:] == (SIDE, SIDE, 3) and frames.dtype == torch.uint8


def test_memory_that_does_not_suffice_is_told_with_what_would(tmp_path, monkeypatch):
    live = tiny_live(WINDOWED, tmp_path)

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(live.dit, "forward", full)
    window = np.zeros((1, WINDOWED.audio.window_samples), np.float32)
    with pytest.raises(MemoryError, match=r"tiny-windowed at 32x32.*kB with --mode bf16.*--mode fp8.*--image-size"):
        live.step([live.open("me", 1)], [window])
    monkeypatch.setattr(TinyCheckpoint, "transformer", full)
    with pytest.raises(MemoryError, match="25.98 GB with --mode bf16, 13.5"), enough_memory(HUNYUAN_AVATAR):
        assemble(WINDOWED, TinyCheckpoint(), Choices(tmp_path), torch.device("cpu"))


# --- the server --------------------------------------------------------------------------------------------------------


def test_flags_reach_the_loader():
    flags = ["--preset", "hunyuan-avatar", "--checkpoint", "/w", "--lora", "/l", "--mode", "fp8"]
    config = parse_config(flags, {"VISAVIS_IMAGE_SIZE": "384"})
    assert config.model_choices == {"checkpoint": "/w", "lora": "/l", "image_size": "384", "mode": "fp8"}
    assert parse_config([], {}).model_choices == {}


@pytest.mark.parametrize("preset", ["hunyuan-avatar", "hunyuan-avatar-causal"])
def test_a_server_shows_a_full_size_preset(folder, preset):
    """At a tiny size, with random weights, as an operator would start it."""

    async def watch(url: str) -> int:
        async with Visavis(url) as visavis:
            session = await visavis.create_session("me")
            async with session.connect(output=protocol.Output(video="jpeg")) as bot:
                pictures = set()
                async for received in bot:
                    if isinstance(received, protocol.MediaFrame) and received.kind == protocol.Kind.VIDEO_OUT:
                        pictures.add(received.payload)
                    if len(pictures) >= 20:  # more than a chunk of either preset
                        return len(pictures)

    flags = [f"--{name.replace('_', '-')}={value}" for name, value in choices(folder).items()]
    with live_server("--loader", "model.loading:load", "--preset", preset, "--characters", str(folder / "people"),
                     *flags) as server:  # fmt: skip
        assert [one["name"] for one in httpx.get(f"{server.url}/v1/characters").json()] == ["me"]
        assert asyncio.run(asyncio.wait_for(watch(server.url), 60)) == 20


@pytest.mark.parametrize(
    "flags, words", [([], "--checkpoint"), (["--checkpoint", "FOLDER", "--decoder", "vae"], "server.py prepare")]
)
def test_a_server_that_lacks_weights_or_people_says_so_in_one_line(folder, flags, words):
    flags = [str(folder) if flag == "FOLDER" else flag for flag in flags]
    command = [sys.executable, "server.py", "--preset", "hunyuan-avatar", "--port", "0", "--characters", NO_CHARACTERS]
    ended = subprocess.run([*command, *flags], cwd=ROOT, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 1 and words in ended.stderr.strip().splitlines()[-1]
