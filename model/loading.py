"""From a preset's name to a generator that can serve: weights and characters from the repository, nothing downloaded."""

import time
from pathlib import Path

import torch

from model.audio import AudioEncoder
from model.character import Character, load_character
from model.dit import DiT
from model.generator import Generator
from model.presets import PRESETS
from model.tiny_vae import TinyVAE
from model.weights import load_parts

WEIGHTS = Path(__file__).parent
CHARACTERS = WEIGHTS / "characters"


def load(preset: str, threads: int = 1) -> Generator:
    """A generator on this machine's processor. Raises KeyError for an unknown preset, ValueError for unusable files."""
    if preset not in PRESETS:
        raise KeyError(f"unknown preset {preset!r}; there are: {', '.join(PRESETS)}")
    torch.set_num_threads(threads)
    config = PRESETS[preset]
    audio, dit, vae = AudioEncoder(config.audio), DiT(config.dit), TinyVAE(config.vae)
    load_parts(WEIGHTS / f"{preset}.safetensors", {"audio": audio, "dit": dit, "vae": vae})
    return Generator(config, audio, dit, vae, load_characters(CHARACTERS), dtype=fastest_dtype())


def load_characters(folder: Path) -> dict[str, Character]:
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    return {path.name: load_character(path) for path in folders}


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

    return min((torch.float32, torch.bfloat16), key=cost_s)
