"""What a character's folder says beyond model/character.py: the preset it is for, and what text encoders made of it.

    character.json              also `preset` and, of embedded presets, `encoder`: the fingerprint of what made its latents
    conditions.safetensors      full-size presets only: `reference`, the still's latents over a whole window, c t h w, and
                                of `prompt` and `negative` the `states` (b l c), `mask` (b l) and `pooled` (b c)

So whoever serves a character needs no text encoder. Computes nothing itself.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from model.fingerprint import fingerprint
from model.offline import Prompt
from model.tiny_vae import TinyVAE

CONDITIONS = "conditions.safetensors"
PARTS = ("states", "mask", "pooled")


@dataclass(frozen=True)
class Conditions:
    reference: Tensor  # c t h w
    prompt: Prompt
    negative: Prompt


def preset_of(folder: Path) -> str | None:
    """The preset that a character was prepared for; None where its folder does not say."""
    return _about(folder).get("preset")


def _about(folder: Path) -> dict:
    try:
        return {} | json.loads((folder / "character.json").read_text())
    except (OSError, ValueError, TypeError) as problem:
        raise ValueError(f"character folder {folder} cannot be used: {problem!r}") from problem


def encoder_of(folder: Path) -> str | None:
    """The fingerprint of the autoencoder that made a character's latents; None where its folder does not say."""
    return _about(folder).get("encoder")


def mark(folder: Path, preset: str, vae: TinyVAE | None = None) -> None:
    """For which preset a character is, and of which small autoencoder its latents are."""
    path = folder / "character.json"
    about = json.loads(path.read_text()) | {"preset": preset} | ({"encoder": fingerprint(vae)} if vae else {})
    written = path.with_name(f".{path.name}-{os.getpid()}")
    written.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n")
    os.replace(written, path)  # in one step: another process may be reading


def save_conditions(folder: Path, conditions: Conditions) -> None:
    tensors = {"reference": conditions.reference}
    for name in ("prompt", "negative"):
        tensors |= {f"{name}.{part}": getattr(getattr(conditions, name), part) for part in PARTS}
    save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, folder / CONDITIONS)


def load_conditions(folder: Path) -> Conditions:
    """Raises ValueError for a character that was not prepared for a full-size preset, or is damaged."""
    try:
        found = load_file(folder / CONDITIONS)
        prompts = (Prompt(*(found[f"{name}.{part}"] for part in PARTS)) for name in ("prompt", "negative"))
        return Conditions(found["reference"], *prompts)
    except (OSError, KeyError, SafetensorError) as problem:
        raise ValueError(
            f"character folder {folder} has no usable {CONDITIONS} ({problem!r}); server.py prepare --checkpoint makes it"
        ) from problem


@contextmanager
def whole_or_not_at_all(folder: Path) -> Iterator[Path]:
    """A place to write in, which becomes the folder when all went well. Raises ValueError where the folder is there
    already, or the disk does not take it."""
    if folder.exists():
        raise ValueError(f"{folder.parent} has a character {folder.name!r} already: choose another name, or delete it")
    place = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        yield place
        place.chmod(0o755)
        os.rename(place, folder)
    except OSError as problem:
        raise ValueError(f"the character cannot be written to {folder.parent}: {problem.strerror or problem}") from problem
    finally:
        if place:
            shutil.rmtree(place, ignore_errors=True)
