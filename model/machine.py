"""The machine that figures were measured on, in words. Knows nothing of what is measured."""

import os
import platform
from pathlib import Path

import torch


def hardware() -> dict[str, str]:
    """Processor, cores that this process may use, memory, and what runs on it."""
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "memory": _memory(),
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
    }


def cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
