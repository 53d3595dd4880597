"""Last stage: the trained parts become the repository's weights, and the drawn characters become character folders.

    python -m model.train.publish --runs runs

Writes model/embedded.safetensors and model/characters/.
"""

import argparse
import logging
from pathlib import Path

import torch
from PIL import Image

from model.audio import AudioEncoder
from model.character import save_character
from model.dit import DiT
from model.loading import CHARACTERS as FOLDER
from model.loading import WEIGHTS
from model.presets import EMBEDDED
from model.tiny_vae import TinyVAE
from model.train.clips import reference_latents
from model.train.world import CHARACTER_TITLES, CHARACTERS, Pose, face_box, render
from model.weights import save_parts

PICTURE_SIZE = 512


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
    for name, look in CHARACTERS.items():
        still = torch.from_numpy(render(look, Pose.neutral(), EMBEDDED.width))
        box = [edge / EMBEDDED.width for edge in face_box(look, EMBEDDED.width)]
        save_character(folder / name, CHARACTER_TITLES[name], tuple(box), reference_latents(vae, still))
        picture = Image.fromarray(render(look, Pose.neutral(), PICTURE_SIZE))
        picture.save(folder / name / "picture.png", optimize=True)


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


if __name__ == "__main__":
    main()
