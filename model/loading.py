"""From a preset's name to a generator that can serve: weights and characters from the repository, or a full-size preset's
from the folder that is named. Nothing is downloaded.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from model.audio import AudioEncoder
from model.character import Character, load_character
from model.dit import DiT
from model.folded import fold
from model.generator import Generator
from model.live import Live
from model.packed import pack
from model.parallel import ALONE, Group
from model.planning.live_memory import enough_memory
from model.presets import EMBEDDED, PRESETS, Preset
from model.threads import use_enough
from model.tiny_vae import TinyVAE
from model.weights import load_parts

WEIGHTS = Path(__file__).parent
CHARACTERS = WEIGHTS / "characters"
DTYPES = (torch.float32, torch.bfloat16)


def load(preset: str, threads: int = 1, place: tuple[int, int, str] | None = None, **choices: str) -> Live:
    """A generator: the embedded one on this machine's processor, a full-size one on its GPU where it has one, as `choices`
    say (the fields of model/full_size.py's Choices). `threads` compute; 0 stands for as many as make a chunk in time.
    `place`, of a process that computes together with others: its rank, their number, and where they meet
    (model/parallel.py).

    Raises KeyError for an unknown preset, ValueError for unusable files."""
    if preset not in PRESETS:
        raise KeyError(f"unknown preset {preset!r}; there are: {', '.join(PRESETS)}")
    torch.set_num_threads(max(1, threads))
    config = PRESETS[preset]
    if config.prepared_as:
        return load_full_size(config, place, **choices)
    if choices:
        flags = ", ".join("--" + name.replace("_", "-") for name in choices)
        raise ValueError(f"the preset {preset} has its weights in the repository; leave {flags} out")
    group = joined(place, torch.device("cpu"))
    audio, dit, vae = AudioEncoder(config.audio), DiT(config.dit, group), TinyVAE(config.vae)
    load_parts(WEIGHTS / f"{config.weights}.safetensors", {"audio": audio, "dit": dit, "vae": vae})
    characters, emotions = load_characters(CHARACTERS), load_emotions(emotions_file(config.weights))
    dtype = DTYPES[group.agreed(DTYPES.index(fastest_dtype()))]
    generator = Generator(config, audio, dit, vae, characters, dtype=dtype, emotions=emotions)
    fold(vae.decoder)
    for network in (audio, dit, vae):
        pack(network)
    if not threads and not place:
        use_enough(generator)
    return generator


def joined(place: tuple[int, int, str] | None, device: torch.device) -> Group:
    return Group.join(*place, device) if place else ALONE


def load_full_size(
    preset: Preset, place: tuple[int, int, str] | None = None, checkpoint: str | None = None, lora: str | None = None,
    **choices: str,
) -> Live:  # fmt: skip
    """Without characters: those are prepared by whoever serves. Errors as `load`."""
    if checkpoint is None:
        raise ValueError(f"the preset {preset.name} needs its weights: say where they are with --checkpoint")
    from model.checkpoint import find
    from model.full_size import Choices, assemble

    chosen = Choices(Path(checkpoint), lora and Path(lora), **choices)
    device = torch.device("cuda", place[0] if place else 0) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)  # where events are recorded and streams are waited for
    found = find(chosen.checkpoint, fp8=chosen.mode == "fp8")
    with enough_memory(preset):
        return assemble(preset, found, chosen, device, joined(place, device))


def prepare(
    generator: Live, portrait: bytes, name: str, title: str, faces: str | None, anyway: bool, folder: Path,
    tell: Callable[[str], None],
) -> dict[str, float | bool]:  # fmt: skip
    """A character of the generator's own preset, made of an upload into folder/name -> how well the model holds it.

    Raises ValueError; one with a `fit` where the model cannot hold the picture."""
    _only_embedded(generator.preset)
    from model.portrait import read_portrait
    from model.prepare import Order, parse_faces, prepare_embedded  # the detector waits until there is something to detect

    boxes = None if faces is None else parse_faces(faces)
    order = Order(name, title, read_portrait(portrait), boxes, anyway=anyway)
    return prepare_embedded(order, generator.vae, folder, tell, generator.preset).plain()


def prepare_drawn(
    generator: Live, drawn: bytes, name: str, replaces: bool, folder: Path, tell: Callable[[str], None]
) -> None:  # fmt: skip
    """A character of a drawn design (packed as in model/drawn.py), which says its title and its face itself, into
    folder/name; `replaces` the one of that name. Its picture is the model's own world: no fit is measured.

    Raises ValueError."""
    _only_embedded(generator.preset)
    from model import designed
    from model.drawn import unpacked

    designed.prepare_drawn(unpacked(drawn), name, generator.vae, folder, tell, generator.preset, replaces)


def _only_embedded(preset: Preset) -> None:
    if preset.weights != EMBEDDED.name:
        raise ValueError(
            f"a character of the preset {preset.name} needs text encoders that a live server does not hold: make it of a "
            f"picture with server.py prepare --checkpoint, then start the server again"
        )


def load_characters(folder: Path) -> dict[str, Character]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: load_character(path) for path in folders}


def emotions_file(preset: str) -> Path:
    return WEIGHTS / f"{preset}_emotions.safetensors"


def load_emotions(path: Path) -> dict[str, Tensor]:
    """Reference latents c h w of each emotion that a preset knows; none where it has no file of them."""
    return {name: latents.float() for name, latents in load_file(path).items()} if path.exists() else {}


def fastest_dtype() -> torch.dtype:
    """bfloat16 where this processor has instructions for it, else float32: half the time or several times the time."""

    def cost_s(dtype: torch.dtype) -> float:
        layer, x = torch.nn.Linear(512, 1024, dtype=dtype), torch.randn(64, 512, dtype=dtype)
        taken = []
        with torch.inference_mode():
            for _ in range(30):
                started = time.perf_counter()
                layer(x)
                taken.append(time.perf_counter() - started)
        return min(taken)  # whatever else the machine does, once in thirty times it lets us be

    return min(DTYPES, key=cost_s)
