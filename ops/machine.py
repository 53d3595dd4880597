"""The machine and the weights that a benchmark's figures belong to, in words."""

from model.loading import fastest_dtype
from model.machine import hardware


def describe(preset: str, loader: str, trained: str) -> dict[str, str]:
    """`trained` is the loader that serves the weights of the repository."""
    return hardware() | {
        "dtype": str(fastest_dtype()).removeprefix("torch."),
        "weights": f"trained ({preset})" if loader == trained else f"none: a stand-in, {loader}",
    }
