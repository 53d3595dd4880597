"""Once: the released pickles become sharded safetensors beside them, from which every later start is faster.

    python server.py convert weights/ckpts [--fp8]

What is new is written under another name and renamed when it is complete, so what was interrupted is never loaded.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from tqdm import tqdm

from model.checkpoint import CONFIG, INDEX, Checkpoint, find
from model.dit import DiT
from model.weights import difference

SHARD_BYTES = 4 * 2**30


def convert(checkpoint: Checkpoint, shard_bytes: int = SHARD_BYTES) -> list[Path]:
    """The transformer, in bfloat16 or fp8 as the checkpoint was found, and the VAE -> what was written. What is there
    already stays.

    Raises ValueError for weights that do not fit the model and for a disk that is too small, OSError or SafetensorError for
    one that fails; nothing half-written is left."""
    written = []
    if not checkpoint.converted:
        tensors, scales = checkpoint.transformer_tensors()
        config = checkpoint.transformer_config(tensors)
        with torch.device("meta"):
            expected = DiT(config).state_dict()
        if problems := difference(expected, tensors):
            raise ValueError(f"{checkpoint.transformer_file} does not fit the model: " + "; ".join(problems))
        folder = checkpoint.converted_folder
        require_room(_bytes(tensors, scales), folder.parent)
        with _renamed(folder) as new:
            new.mkdir()
            (new / CONFIG).write_text(json.dumps(asdict(config), indent=2) + "\n")
            write_shards(new, _kept(tensors, scales), len(tensors) + len(scales), shard_bytes)
        written.append(folder)
    if checkpoint.vae_file.suffix != ".safetensors":
        weights = checkpoint.vae(torch.device("cpu"), torch.float32).state_dict()
        target = checkpoint.vae_file.with_name("model.safetensors")
        require_room(sum(weight.nbytes for weight in weights.values()), target.parent)
        with _renamed(target) as new:
            save_file(weights, new)
        written.append(target)
    return written


def write_shards(folder: Path, tensors: Iterator[tuple[str, Tensor]], count: int, shard_bytes: int) -> None:
    """Files of about `shard_bytes` in an existing folder, and at the end the index that makes a model of them."""
    places: dict[str, str] = {}
    shard: dict[str, Tensor] = {}

    def write() -> None:
        name = f"model-{len(set(places.values())) + 1:05d}.safetensors"
        save_file(shard, folder / name)
        places.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, tensor in tqdm(tensors, total=count, unit="tensor", disable=None):
        shard[name] = tensor.contiguous()
        if sum(one.nbytes for one in shard.values()) >= shard_bytes:
            write()
    if shard:
        write()
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}, indent=1) + "\n")


def _kept(tensors: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """As they will be loaded. The released fp8 file takes two bytes for what is one; the values fit."""
    for name, tensor in tensors.items():
        layer = name.removesuffix(".weight")
        yield name, tensor.to(torch.float8_e4m3fn if name != layer and layer in scales else torch.bfloat16)
    for layer, scale in scales.items():
        yield f"{layer}.scale", scale.float()


def _bytes(tensors: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> int:
    return sum(t.numel() * (1 if name.removesuffix(".weight") in scales else 2) for name, t in tensors.items())


def require_room(size: int, folder: Path) -> None:
    """Raises ValueError where the disk cannot take so many bytes more."""
    free = shutil.disk_usage(folder).free
    if free < size:
        raise ValueError(f"{folder} has {free / 1e9:.1f} GB left, and {size / 1e9:.1f} GB are to be written: make room")


@contextmanager
def _renamed(target: Path) -> Iterator[Path]:
    """Another name to write under, which becomes the target's if all goes well, and goes if not."""
    new = target.with_name(target.name + ".new")

    def remove() -> None:
        shutil.rmtree(new) if new.is_dir() else new.unlink(missing_ok=True)

    remove()
    try:
        yield new
        new.replace(target)
    finally:
        remove()


def main(arguments: list[str]) -> int:
    command = argparse.ArgumentParser(prog="server.py convert", description=__doc__.splitlines()[0])
    command.add_argument("checkpoint", type=Path, help="the folder of released weights, often called ckpts")
    command.add_argument("--fp8", action="store_true", help="the fp8 transformer instead of the bfloat16 one")
    asked = command.parse_args(arguments)
    try:
        written = convert(find(asked.checkpoint, asked.fp8))
    except (ValueError, OSError, SafetensorError) as problem:
        print(f"server.py convert: {problem}", file=sys.stderr)
        return 1
    for path in written:
        print(f"written: {path}")
    if not written:
        print("all of it was converted before")
    return 0
