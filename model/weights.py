"""Reading and writing weights: strict about names and shapes, never through pickles."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


def save_parts(path: Path, parts: dict[str, nn.Module], dtype: torch.dtype = torch.bfloat16) -> None:
    """All parts in one safetensors file, names prefixed by the part's."""
    tensors = {
        f"{part}.{name}": tensor.to(dtype).contiguous()
        for part, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    save_file(tensors, path)


def load_parts(path: Path, parts: dict[str, nn.Module]) -> None:
    """Fill every part from the file. Raises ValueError that lists what is missing, unexpected or of another shape."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as problem:
        raise ValueError(f"weights {path} cannot be read: {problem}") from problem
    expected = {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}
    problems = difference(expected, tensors)
    if problems:
        raise ValueError(f"weights {path} do not fit this model: " + "; ".join(problems))
    for part, module in parts.items():
        module.load_state_dict({name: tensors[f"{part}.{name}"] for name in module.state_dict()})


def fill(
    module: nn.Module, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype | None, path: Path
) -> nn.Module:
    """Give a module, which may be on the meta device, exactly the tensors of its names, in `dtype` or, without one, each in
    the type that the module has there. One by one onto the device, so that no second copy is ever whole.

    Raises ValueError that lists what is missing, unexpected, of another shape, or of a type that says too little: whole
    numbers, and fp8 where no scale belongs to it."""
    expected = module.state_dict()
    problems = difference(expected, tensors)
    problems += [f"{name} is {given.dtype}" for name, given in tensors.items() if not _fits(given, expected.get(name))][:5]
    if problems:
        raise ValueError(f"{path} does not fit the model: " + "; ".join(problems))
    placed = {name: tensors[name].to(device, dtype or own.dtype) for name, own in expected.items()}
    module.load_state_dict(placed, assign=True)
    return module


def _fits(given: Tensor, own: Tensor | None) -> bool:
    return given.is_floating_point() and (given.itemsize > 1 or own is None or own.dtype == given.dtype)


def difference(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    """What is missing, unexpected, or of another shape, in words; nothing where all is as expected."""
    problems = []
    for word, names in (("missing", expected.keys() - found.keys()), ("unexpected", found.keys() - expected.keys())):
        if names:
            shown = sorted(names)
            more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
            problems.append(f"{word} {', '.join(shown[:5])}{more}")
    for name in sorted(expected.keys() & found.keys()):
        if expected[name].shape != found[name].shape:
            problems.append(f"{name} is {tuple(found[name].shape)}, should be {tuple(expected[name].shape)}")
    return problems
