"""python -m ops.seams: how a live model's chunks meet, measured on its pictures while a voice speaks.

A ratio of 1 says that the step from chunk to chunk is like any step inside a chunk.
"""

from __future__ import annotations

import argparse
from itertools import islice
from pathlib import Path

import torch

from model.live import Live
from model.loading import load
from model.presets import EMBEDDED, PRESETS
from model.seams import Seams, seams
from ops.bench_model import heard

CHUNKS = 24
FIRST_CHUNKS = 4  # left out: a face at rest comes to life in them


def measure(live: Live, character: str, chunks: int = CHUNKS) -> Seams:
    state, pictures = live.open(character, 1), []
    for windows in islice(heard(live.info, 1), FIRST_CHUNKS + chunks):
        silent = windows.repeat(len(state.character.faces), 0)
        silent[1:] = 0  # the first face speaks
        made, (state,) = live.step([state], [silent])
        pictures.append(torch.from_numpy(made[0]))
    return seams(torch.cat(pictures[FIRST_CHUNKS:]), live.info["frames_per_chunk"])


def main() -> None:
    asked = argparse.ArgumentParser(prog="python -m ops.seams", description=__doc__)
    asked.add_argument("--preset", choices=PRESETS, default=EMBEDDED.name)
    asked.add_argument("--checkpoint", help="folder of the weights, for full-size presets")
    asked.add_argument("--lora")
    asked.add_argument("--image-size")
    asked.add_argument("--decoder", choices=("taehv", "vae"))
    asked.add_argument("--character", help="folder of a prepared character, for full-size presets")
    given = {name: value for name, value in vars(asked.parse_args()).items() if value is not None}
    preset, folder = given.pop("preset"), given.pop("character", None)
    live = load(preset, **given)
    character = live.learn(Path(folder)).name if folder else next(iter(live.characters))
    found = measure(live, character)
    print(f"{preset}, {character}: a step at a seam is {found.ratio:.2f} times one inside a chunk; the largest "
          f"{found.largest_ratio:.2f} times the largest")  # fmt: skip


if __name__ == "__main__":
    main()
