"""Last stage: the trained parts become the repository's weights, and the drawn characters become character folders.

    python -m model.train.publish                        # settings: [publish] in recipe.toml, and flags of its names

Writes what the recipe names: the weights, the pictures of emotions and the character folders.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from model.audio import AudioEncoder
from model.character import save_character
from model.dit import DiT
from model.presets import EMBEDDED
from model.tiny_vae import TinyVAE
from model.train.clips import SHOWS_EMOTIONS, reference_latents
from model.train.recipe import from_command_line
from model.train.run import trained
from model.train.warm import warm_start
from model.weights import save_parts
from model.world.cast import CHARACTER_TITLES, CHARACTERS
from model.world.drawing import render
from model.world.emotion import EMOTIONS, felt
from model.world.pose import Pose
from model.world.scene import Scene

PICTURE_SIZE = 512
PAIRS = {("ada", "kofi"): "Ada and Kofi, two people with a voice each"}


@dataclass(frozen=True)
class Recipe:
    audio_encoder: Path
    autoencoder: Path
    transformer: Path
    began_from: str  # published weights that the transformer's run began from, to be mixed in; empty: none
    trained_share: float  # of the mixture, 0 … 1
    weights: Path
    emotions: Path
    characters: Path


def published(recipe: Recipe) -> dict[str, torch.nn.Module]:
    """The parts as their runs left them."""
    parts = {"audio": AudioEncoder(EMBEDDED.audio), "dit": DiT(EMBEDDED.dit), "vae": TinyVAE(EMBEDDED.vae)}
    parts["audio"].load_state_dict(trained(recipe.audio_encoder, "encoder"))
    parts["vae"].load_state_dict(trained(recipe.autoencoder, "vae"))
    parts["dit"].load_state_dict(trained(recipe.transformer, "dit"))
    if recipe.began_from:
        mix_in(parts["dit"], recipe.began_from, 1 - recipe.trained_share)
    return parts


@torch.no_grad()
def mix_in(dit: DiT, weights: str, share: float) -> None:
    """So much of what training began from: a run at a high rate forgets while it learns, and then the mean of both
    shows strangers better than either does. Source: Wortsman et al., "Robust fine-tuning of zero-shot models" (2022)."""
    before = DiT(dit.config)
    warm_start(before, "dit", weights)
    for now, then in zip(dit.parameters(), before.parameters(), strict=True):
        now.lerp_(then, share)


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
    recipe = from_command_line(Recipe, "publish", __doc__)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parts = published(recipe)
    save_parts(recipe.weights, parts)
    logging.info("%s, %.1f MB", recipe.weights, recipe.weights.stat().st_size / 1e6)
    publish_characters(parts["vae"].eval(), recipe.characters)
    publish_emotions(parts["vae"], recipe.emotions)


if __name__ == "__main__":
    main()
