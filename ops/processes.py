"""What a process and its descendants use, read from /proc. Knows nothing of servers."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
MIB = 1 << 20
GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Memory:
    """Of several processes together. `rss_mb` counts shared pages once for each, `pss_mb` once in all."""

    rss_mb: float
    pss_mb: float


def family(pid: int) -> set[int]:
    """The process and all its descendants."""
    if not PROC.exists():
        raise RuntimeError("processes are read from /proc, which this system does not have")
    children: dict[int, list[int]] = {}
    for entry in PROC.glob("[0-9]*"):
        with suppress(*GONE):
            children.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
    found, new = set(), [pid]
    while new:
        found.add(one := new.pop())
        new += children.get(one, [])
    return found


def memory(pids: set[int]) -> Memory:
    rss = pss = 0
    for pid in pids:
        with suppress(*GONE):
            rollup = dict(
                line.split(":", 1) for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
            )
            rss += int(rollup["Rss"].split()[0]) * 1024
            pss += int(rollup["Pss"].split()[0]) * 1024
    return Memory(rss / MIB, pss / MIB)


def processor_s(pids: set[int]) -> float:
    """Processor time used so far."""
    ticks = 0
    for pid in pids:
        with suppress(*GONE):
            ticks += sum(map(int, _stat(pid)[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def named(pids: set[int], beginning: str) -> list[int]:
    """Those whose name begins so, lowest number first."""
    found = []
    for pid in sorted(pids):
        with suppress(*GONE):
            if (PROC / str(pid) / "comm").read_text().startswith(beginning):
                found.append(pid)
    return found


def busy_cores(seconds: float = 1.0) -> float:
    """Cores that the whole machine keeps busy, looked at for so long. Zero where that cannot be read."""
    try:
        (before, at_s), _, (after, end_s) = _busy_ticks(), time.sleep(seconds), _busy_ticks()
    except (OSError, ValueError):
        return 0.0
    return max(0.0, (after - before) / os.sysconf("SC_CLK_TCK") / (end_s - at_s))


def _busy_ticks() -> tuple[int, float]:
    user, nice, system, _, _, irq, softirq = map(int, (PROC / "stat").read_text().split()[1:8])
    return user + nice + system + irq + softirq, time.monotonic()


def _stat(pid: int) -> list[str]:
    """The fields after the name, which may itself hold blanks and brackets: state, parent, …"""
    return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
