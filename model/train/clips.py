"""What the transformer learns from: filmed people saying recorded speech, as latents, sound and motion on disk.

    python -m model.train.clips                          # settings: [clips] in recipe.toml, and flags of its names

One safetensors file a clip; a killed run goes on where it stopped, and several may share the work (--part 0/2).
"""

import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from model.audio import SAMPLE_RATE
from model.carried import Still
from model.motion import motion_inputs
from model.presets import EMBEDDED
from model.tiny_vae import TinyVAE
from model.train.augment import SPEED_ONLY
from model.train.lips import Lips
from model.train.pictures import FPS, NEUTRAL, choose_feeling, choose_scene, film, random_motion
from model.train.precision import mixed
from model.train.recipe import from_command_line
from model.train.run import trained
from model.train.scores import write_scores
from model.train.sheets import pictures_of, save_sheet
from model.train.speech import TRACK_HZ, Clip, Corpus, begun_at, cut_off
from model.world.drawing import render
from model.world.emotion import EMOTIONS, felt
from model.world.look import Look
from model.world.pose import Pose

SECONDS = 1.6  # many people shortly rather than few for long: a new face is harder than a new moment
LEAD_S = 0.96  # sound before the first frame, whole chunks of it, so that the first window is full
TAIL_S = 0.06  # and the look-ahead after the last one
REFERENCES = 48  # strangers who show an emotion, for each of them
# A stranger whose pictures ship, first of all in training: of no style but the softest, as near as can be to everybody.
SHOWS_EMOTIONS = replace(Look.random(np.random.default_rng(12)), style="soft", species="person", hat="none", closeness=0.0)
EMOTION_FILE = "emotions.safetensors"
SHOWN = 6  # clips on the sheet
EMOTION_NAMES = ("neutral", *EMOTIONS)


@dataclass(frozen=True)
class Recipe:
    out: Path
    autoencoder: Path
    audio_encoder: Path
    speech: Path
    count: int
    seed: int
    # Shares of the clips, each 0 … 1.
    shipped: float  # of the shipped characters
    pairs: float  # of two people
    cut: float  # of one person whose voice breaks off
    felt: float  # of the people, those with an emotion
    changing: float  # of these, those whose emotion changes
    part: str  # which part of the work, as index/parts
    film_only: bool  # draw now, encode in a later run


def make_film(rng: np.random.Generator, corpus: Corpus, lips: Lips, recipe: Recipe) -> dict[str, torch.Tensor]:
    """Frames f h w 3 uint8 of people speaking, the resting picture, and of each person sound, movement and emotion.

    mouth n f 4, pcm n samples, face_box and mouth_box n 4 (shares), emotion n 2 (numbers in EMOTIONS, the first and the
    second), intensity n 2, changes_at n (frame)."""
    frames, size = round(SECONDS * FPS), EMBEDDED.width
    scene = choose_scene(rng, recipe.shipped, recipe.pairs)
    people = len(scene.people)
    sounds = [corpus.sample(rng, LEAD_S + SECONDS + TAIL_S + 0.04, augmented=True) for _ in range(people)]
    if people == 2:
        sounds = take_turns(rng, sounds)
    elif rng.random() < recipe.cut:
        sounds = [cut_off(sounds[0], _moment(rng))]
    mouths, motion = np.stack([_mouth(sound, lips) for sound in sounds]), random_motion(rng, frames)
    feelings = [
        choose_feeling(rng, frames, recipe.changing) if rng.random() < recipe.felt else NEUTRAL for _ in range(people)
    ]
    exp, pose = motion_inputs(motion, EMBEDDED.dit.frames_per_latent)
    samples = round((LEAD_S + SECONDS + TAIL_S) * SAMPLE_RATE)
    shown = [(feeling.first, feeling.second) for feeling in feelings]
    return {
        "frames": torch.from_numpy(film(scene, motion, mouths, feelings, size)),
        "still": torch.from_numpy(scene.render((Pose.neutral(),) * people, size)),
        "exp": torch.from_numpy(exp),
        "pose": torch.from_numpy(pose),
        "mouth": torch.from_numpy(mouths.astype(np.float32)),
        "pcm": torch.from_numpy(np.stack([(s.pcm_16k[:samples].clip(-1, 1) * 32767).astype(np.int16) for s in sounds])),
        "face_box": torch.tensor(scene.face_boxes(size)).float() / size,
        "mouth_box": torch.tensor(scene.mouth_boxes(size)).float() / size,
        "emotion": torch.tensor([[EMOTION_NAMES.index(name) for name, _ in both] for both in shown]),
        "intensity": torch.tensor([[intensity for _, intensity in both] for both in shown]),
        "changes_at": torch.tensor([feeling.changes_at for feeling in feelings]),
    }


def take_turns(rng: np.random.Generator, sounds: list[Clip]) -> list[Clip]:
    """Mostly one speaks and then the other; sometimes only one of them, sometimes both at once."""
    first, second = rng.permutation(2)
    how = rng.random()
    if how < 0.6:
        at = _moment(rng)
        sounds[first], sounds[second] = cut_off(sounds[first], at), begun_at(sounds[second], at)
    elif how < 0.9:
        sounds[first] = cut_off(sounds[first], 0)
    return sounds


def _moment(rng: np.random.Generator) -> int:
    return int(TRACK_HZ * rng.uniform(LEAD_S + 0.4, LEAD_S + SECONDS - 0.4))


def _mouth(sound: Clip, lips: Lips) -> np.ndarray:
    """Mouth of every frame, f 4."""
    frames, lead = round(SECONDS * FPS), round(LEAD_S * FPS)
    return lips.read(sound.pcm_16k)[lead : lead + frames]


def encode_film(vae: TinyVAE, film: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with latents t c h w and reference latents c h w (float16) in place of the frames."""
    rest, still = {name: tensor for name, tensor in film.items() if name != "frames"}, film["still"]
    return rest | {"latents": _encode(vae, film["frames"], still), "reference": reference_latents(vae, still)}


def emotion_latents(vae: TinyVAE, seed: int) -> torch.Tensor:
    """Strangers who show each emotion, as references to learn from: emotions people c h w, float16. The first of them shows
    what ships."""
    rng = np.random.default_rng(seed)
    looks = [SHOWS_EMOTIONS, *(Look.random(rng) for _ in range(REFERENCES - 1))]

    def latents(emotion: str, look: Look) -> torch.Tensor:
        return reference_latents(vae, torch.from_numpy(render(look, felt(Pose.neutral(), emotion, 1.0), EMBEDDED.width)))

    return torch.stack([torch.stack([latents(emotion, look) for look in looks]) for emotion in EMOTION_NAMES])


def reference_latents(vae: TinyVAE, still: torch.Tensor) -> torch.Tensor:
    """A picture h w 3 uint8, shown long enough for the encoder's memory to settle, c h w float16."""
    return _encode(vae, still.expand(4 * EMBEDDED.vae.frames_per_latent, -1, -1, -1), still)[-1]


def _encode(vae: TinyVAE, frames: torch.Tensor, still: torch.Tensor) -> torch.Tensor:
    frames, still = (pictures.movedim(-1, -3)[None].float() / 255 for pictures in (frames, still))
    with mixed("cpu"):
        latents, _ = vae.encode(frames, still=still)
    return latents[0].half().contiguous()


def strengths(clip: dict[str, torch.Tensor]) -> torch.Tensor:
    """How strong both emotions of each person are to be in each latent frame, n 2 t; the face takes its time to change."""
    frames, per_latent = clip["latents"].shape[0], EMBEDDED.dit.frames_per_latent
    changed = (torch.arange(frames) * per_latent + per_latent > clip["changes_at"][:, None]).float()
    return clip["intensity"][:, :, None] * torch.stack((1 - changed, changed), 1)


def decoded(vae: TinyVAE, latents: torch.Tensor, reference: torch.Tensor, still: torch.Tensor) -> np.ndarray:
    """Latents t c h w -> pictures f h w 3; the resting picture h w 3 and its latents c h w are for a decoder that carries
    it along."""
    rest = Still(reference[None].float(), still.permute(2, 0, 1)[None].float() / 255)
    return pictures_of(vae.decode(latents[None].float(), still=rest)[0][0])


def load_vae(checkpoint: Path) -> TinyVAE:
    vae = TinyVAE(EMBEDDED.vae).eval()
    vae.load_state_dict(trained(checkpoint, "vae"))
    return vae.to(memory_format=torch.channels_last)


def save_whole(tensors: dict[str, torch.Tensor], path: Path, about: dict[str, str] | None = None) -> None:
    """Written beside and renamed: what is there is complete."""
    save_file(tensors, path.with_suffix(".new"), about)
    os.replace(path.with_suffix(".new"), path)


def fingerprint(*tensors: torch.Tensor) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()[:16]


def keep_to(path: Path, about: dict[str, int | float | str]) -> None:
    """All clips of a folder are made alike: notes how. Raises ValueError where it was begun otherwise."""
    found = json.loads(path.read_text()) if path.exists() else {}
    other = [f"{name} {found[name]}, now {about[name]}" for name in found.keys() & about if found[name] != about[name]]
    if other:
        raise ValueError(f"{path.parent} was begun with {', '.join(sorted(other))}: choose another --out, or remove it")
    written = path.with_suffix(f".{os.getpid()}")  # several parts may begin at once
    written.write_text(json.dumps(found | about, indent=1) + "\n")
    os.replace(written, path)


@torch.inference_mode()
def describe(vae: TinyVAE, paths: list[Path], folder: Path) -> dict[str, float]:
    """Figures of the clips, and sheet.png: a strip of each of the first."""
    first = [load_file(path) for path in paths[:100]]
    strips = [decoded(vae, *(clip[name] for name in ("latents", "reference", "still"))) for clip in first[:SHOWN]]
    save_sheet(folder / "sheet.png", [frames[3::8] for frames in strips])
    latents = torch.stack([clip["latents"] for clip in first]).float()
    intensities = [load_file(path)["intensity"] for path in paths]
    return {
        "clips": len(paths),
        "with two people": float(np.mean([len(intensity) == 2 for intensity in intensities])),
        "people with an emotion": torch.cat(intensities).any(1).float().mean().item(),
        "variance of the latents": latents.var((0, 1, 3, 4)).mean().item(),
    }


@torch.inference_mode()
def make(recipe: Recipe) -> None:
    """Makes the clips of this part that are not there yet."""
    part, parts = map(int, recipe.part.split("/"))
    recipe.out.mkdir(parents=True, exist_ok=True)
    # Only what moves time is done before filming; everything else about the sound varies each time a clip is heard.
    corpus = Corpus(recipe.speech, SPEED_ONLY)
    decided = ("seed", "shipped", "pairs", "cut", "felt", "changing")
    about = {name: getattr(recipe, name) for name in decided} | {"speech_s": corpus.duration_s}
    lips = Lips.load(recipe.audio_encoder)
    about["audio_encoder"] = fingerprint(*lips.state_dict().values())
    vae = None if recipe.film_only else load_vae(recipe.autoencoder)
    keep_to(recipe.out / "clips.json", about | ({"autoencoder": fingerprint(*vae.state_dict().values())} if vae else {}))
    if vae and part == 0 and not (recipe.out / EMOTION_FILE).exists():
        save_whole({"emotions": emotion_latents(vae, recipe.seed)}, recipe.out / EMOTION_FILE)
    paths = [recipe.out / f"{index:05d}.safetensors" for index in range(recipe.count)]
    began_s, made = time.monotonic(), 0
    for index in range(part, recipe.count, parts):
        path, drawn = paths[index], paths[index].with_suffix(".film")
        if path.exists():
            continue
        if not drawn.exists():
            save_whole(make_film(np.random.default_rng((recipe.seed, index)), corpus, lips, recipe), drawn)
        if vae:
            save_whole(encode_film(vae, load_file(drawn)), path)
            drawn.unlink()
        made += 1
        if made % 50 == 0:
            logging.info("clip %d of %d", index, recipe.count)
    if vae and (made or not (recipe.out / "scores.json").exists()):
        took = {"seconds a clip": (time.monotonic() - began_s) / made} if made else {}
        write_scores(recipe.out, describe(vae, [path for path in paths if path.exists()], recipe.out), took)


def main() -> None:
    recipe = from_command_line(Recipe, "clips", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    make(recipe)


if __name__ == "__main__":
    main()
