"""The machine that figures were measured on, in words. Knows nothing of what is measured."""

import os
import platform
from pathlib import Path

import torch

from model.loading import fastest_dtype


def describe(preset: str, loader: str, trained: str) -> dict[str, str]:
    """`trained` is the loader that serves the weights of the repository."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory": _memory(),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
        "dtype": str(fastest_dtype()).removeprefix("torch."),
        "weights": f"trained ({preset})" if loader == trained else f"none: a stand-in, {loader}",
    }


def _processor() -> str:
    try:
        about = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in about.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return "unknown"
    return f"{size / 2**30:.1f} GiB"
