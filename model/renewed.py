"""A character whose latents another autoencoder made gets new ones of its picture, and keeps them where it can."""

import logging
import os
import tempfile
from dataclasses import replace
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from model.character import LATENTS, Character, tensors_of
from model.fit import still_latents
from model.look import picture_of
from model.prepared import mark
from model.presets import Preset
from model.tiny_vae import TinyVAE

log = logging.getLogger(__name__)


def renewed(character: Character, vae: TinyVAE, preset: Preset) -> Character:
    """The same character with latents of this autoencoder.

    Its own pictures of emotions are not kept in its folder, so those references go: the model's take their place. Raises
    ValueError for a picture that cannot be read."""
    folder = Path(character.picture).parent
    height, width = preset.painted
    latents = still_latents(vae, picture_of(character, (width, height))[0])
    fresh = replace(character, ref_latents=latents.half().float(), emotions={})
    log.warning("character %s was made with another autoencoder: its latents are made anew", character.name)
    if character.emotions:
        lost = ", ".join(character.emotions)
        log.warning("character %s loses its own %s: prepare it anew with their pictures", character.name, lost)
    try:
        _keep(folder, fresh)
        mark(folder, preset.characters_of, vae)  # last: who is cut off before begins again
    except (OSError, SafetensorError) as problem:
        log.warning("the new latents cannot be kept, and are made again at the next start: %s", problem)
    return fresh


def _keep(folder: Path, character: Character) -> None:
    """In one step: another process may be reading."""
    handle, place = tempfile.mkstemp(prefix=".latents-", dir=folder)
    os.close(handle)
    try:
        save_file(tensors_of(character.ref_latents, character.emotions), place)
        os.chmod(place, 0o644)
        os.replace(place, folder / LATENTS)
    except BaseException:
        os.unlink(place)
        raise
