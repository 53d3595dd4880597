"""Beginning from published weights instead of a fresh network."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from model.weights import fill


def warm_start(module: nn.Module, part: str, path: str) -> None:
    """Fills the module with a part ("audio", "dit", "vae") of a file as model/embedded.safetensors; "" changes nothing.

    Raises ValueError where the file cannot be read or does not fit."""
    if not path:
        return
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise ValueError(f"weights {path} cannot be read: {problem}") from problem
    own = {name.removeprefix(f"{part}."): tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
    fill(module, own, torch.device("cpu"), torch.float32, Path(path))
