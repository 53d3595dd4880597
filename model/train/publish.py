"""Last stage: the trained parts become the repository's weights, and the drawn characters become character folders.

    python -m model.train.publish --runs runs

Writes model/embedded.safetensors, model/embedded_emotions.safetensors and model/characters/.
"""

import argparse
import logging
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from model.audio import AudioEncoder
from model.character import save_character
from model.dit import DiT
from model.loading import CHARACTERS as FOLDER
from model.loading import WEIGHTS, emotions_file
from model.presets import EMBEDDED
from model.tiny_vae import TinyVAE
from model.train.clips import SHOWS_EMOTIONS, reference_latents
from model.weights import save_parts
from model.world.cast import CHARACTER_TITLES, CHARACTERS
from model.world.drawing import render
from model.world.emotion import EMOTIONS, felt
from model.world.pose import Pose
from model.world.scene import Scene

PICTURE_SIZE = 512
PAIRS = {("ada", "kofi"): "Ada and Kofi, two people with a voice each"}


def published(runs: Path) -> dict[str, torch.nn.Module]:
    """The parts at the end of their runs."""

    def checkpoint(stage: str) -> dict:
        return torch.load(runs / stage / "checkpoint.pt", weights_only=True)

    parts = {"audio": AudioEncoder(EMBEDDED.audio), "dit": DiT(EMBEDDED.dit), "vae": TinyVAE(EMBEDDED.vae)}
    parts["audio"].load_state_dict(checkpoint("audio_encoder")["encoder"])
    parts["vae"].load_state_dict(checkpoint("autoencoder")["vae"])
    parts["dit"].load_state_dict(checkpoint("transformer")["dit"])
    return parts


@torch.inference_mode()
def publish_characters(vae: TinyVAE, folder: Path) -> None:
    """The people alone, and the pairs."""
    for names in (*((name,) for name in CHARACTERS), *PAIRS):
        scene = Scene(tuple(CHARACTERS[name] for name in names))
        at_rest = (Pose.neutral(),) * len(names)
        title = PAIRS.get(names) or CHARACTER_TITLES[names[0]]
        faces = {
            name.title(): tuple(edge / EMBEDDED.width for edge in box)
            for name, box in zip(names, scene.face_boxes(EMBEDDED.width), strict=True)
        }
        place = folder / "_".join(names)
        latents = reference_latents(vae, torch.from_numpy(scene.render(at_rest, EMBEDDED.width)))
        save_character(place, title, faces, latents)
        Image.fromarray(scene.render(at_rest, PICTURE_SIZE)).save(place / "picture.png", optimize=True)


@torch.inference_mode()
def publish_emotions(vae: TinyVAE, path: Path) -> None:
    """One stranger shows them all: what the characters are to look like comes from a face that is nobody's."""
    pictures = {name: render(SHOWS_EMOTIONS, felt(Pose.neutral(), name, 1.0), EMBEDDED.width) for name in EMOTIONS}
    save_file({name: reference_latents(vae, torch.from_numpy(picture)) for name, picture in pictures.items()}, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--out", type=Path, default=WEIGHTS / f"{EMBEDDED.name}.safetensors")
    parser.add_argument("--characters", type=Path, default=FOLDER)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parts = published(options.runs)
    save_parts(options.out, parts)
    logging.info("%s, %.1f MB", options.out, options.out.stat().st_size / 1e6)
    publish_characters(parts["vae"].eval(), options.characters)
    publish_emotions(parts["vae"], emotions_file(EMBEDDED.name))


if __name__ == "__main__":
    main()
