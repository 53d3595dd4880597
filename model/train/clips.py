"""What the transformer learns from: filmed people saying recorded speech, as latents, sound and motion on disk.

    python -m model.train.clips --count 500 --autoencoder runs/autoencoder/checkpoint.pt

One safetensors file a clip; a killed run goes on where it stopped, and several may share the work (--part 0/2).
"""

import argparse
import logging
import os
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from model.audio import SAMPLE_RATE
from model.motion import motion_inputs
from model.presets import EMBEDDED
from model.tiny_vae import TinyVAE
from model.train.augment import AugmentConfig
from model.train.pictures import FPS, choose_look, film, random_motion
from model.train.speech import TRACK_HZ, Corpus, cut_off
from model.train.world import Pose, face_box, mouth_box, render

SECONDS = 3.2
LEAD_S = 0.96  # sound before the first frame, whole chunks of it, so that the first window is full
TAIL_S = 0.06  # and the look-ahead after the last one
# Only what moves time is done before filming; everything else about the sound varies each time a clip is heard.
SPEED_ONLY = AugmentConfig(untouched=0, colour=0, room=0, noise=0, phone_line=0, clip=0, level=0)


def make_film(rng: np.random.Generator, corpus: Corpus, shipped_share: float, cut_share: float) -> dict[str, torch.Tensor]:
    """Frames f h w 3 uint8 of somebody speaking, the resting picture, the sound, and what moved."""
    frames, lead = round(SECONDS * FPS), round(LEAD_S * FPS)
    sound = corpus.sample(rng, LEAD_S + SECONDS + TAIL_S + 0.04, augmented=True)
    if rng.random() < cut_share:
        sound = cut_off(sound, int(TRACK_HZ * rng.uniform(LEAD_S + 0.4, LEAD_S + SECONDS - 0.4)))
    mouth = sound.mouth[: (lead + frames) * 4].reshape(-1, 4, 4).mean(1)[lead:]
    look, motion = choose_look(rng, shipped_share), random_motion(rng, frames)
    exp, pose = motion_inputs(motion, EMBEDDED.dit.frames_per_latent)
    samples = round((LEAD_S + SECONDS + TAIL_S) * SAMPLE_RATE)
    return {
        "frames": torch.from_numpy(film(look, motion, mouth, EMBEDDED.width)),
        "still": torch.from_numpy(render(look, Pose.neutral(), EMBEDDED.width)),
        "exp": torch.from_numpy(exp),
        "pose": torch.from_numpy(pose),
        "mouth": torch.from_numpy(mouth.astype(np.float32)),
        "pcm": torch.from_numpy((sound.pcm_16k[:samples].clip(-1, 1) * 32767).astype(np.int16)),
        "face_box": torch.tensor(face_box(look, EMBEDDED.width)).float() / EMBEDDED.width,
        "mouth_box": torch.tensor(mouth_box(look, EMBEDDED.width)).float() / EMBEDDED.width,
    }


def encode_film(vae: TinyVAE, film: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with latents t c h w and reference latents c h w (float16) in place of pictures."""
    rest = {name: tensor for name, tensor in film.items() if name not in ("frames", "still")}
    return rest | {"latents": _encode(vae, film["frames"]), "reference": reference_latents(vae, film["still"])}


def reference_latents(vae: TinyVAE, still: torch.Tensor) -> torch.Tensor:
    """A picture h w 3 uint8, shown long enough for the encoder's memory to settle, c h w float16."""
    return _encode(vae, still.expand(4 * EMBEDDED.vae.frames_per_latent, -1, -1, -1))[-1]


def _encode(vae: TinyVAE, frames: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        latents, _ = vae.encode(frames.permute(0, 3, 1, 2)[None].float() / 255)
    return latents[0].half().contiguous()


def load_vae(checkpoint: Path) -> TinyVAE:
    vae = TinyVAE(EMBEDDED.vae).eval()
    vae.load_state_dict(torch.load(checkpoint, weights_only=True)["vae"])
    return vae.to(memory_format=torch.channels_last)


def save_whole(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Written beside and renamed: what is there is complete."""
    save_file(tensors, path.with_suffix(".new"))
    os.replace(path.with_suffix(".new"), path)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/clips"))
    parser.add_argument("--autoencoder", type=Path, default=Path("runs/autoencoder/checkpoint.pt"))
    parser.add_argument("--speech", type=Path, default=Path("runs/speech"))
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="number of the first clip to make")
    parser.add_argument("--shipped-share", type=float, default=0.5, help="share of clips of the shipped characters")
    parser.add_argument("--cut-share", type=float, default=0.2, help="share of clips whose voice breaks off")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--film-only", action="store_true", help="draw now, encode in a later run")
    parser.add_argument("--part", default="0/1", help="which part of the work, as index/parts")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    part, parts = map(int, options.part.split("/"))
    options.out.mkdir(parents=True, exist_ok=True)
    corpus = Corpus(options.speech, SPEED_ONLY)
    vae = None if options.film_only else load_vae(options.autoencoder)
    for index in range(options.first + part, options.count, parts):
        path = options.out / f"{index:05d}.safetensors"
        drawn = path.with_suffix(".film")
        if not path.exists() and not drawn.exists():
            rng = np.random.default_rng((options.seed, index))
            save_whole(make_film(rng, corpus, options.shipped_share, options.cut_share), drawn)
        if vae and not path.exists():
            save_whole(encode_film(vae, load_file(drawn)), path)
            drawn.unlink()
        if index % 50 < parts:
            logging.info("clip %d of %d", index, options.count)


if __name__ == "__main__":
    main()
