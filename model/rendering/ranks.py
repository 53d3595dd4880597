"""Ranks that `torchrun` has started: who this process is among them, and what the first one tells the others."""

from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.distributed as dist

from model.parallel import ALONE, Group

Said = TypeVar("Said")

# The first rank reads a whole list while the others wait. One that dies is noticed by torchrun, which ends them all.
PATIENCE_S = 24 * 3600.0


def joined(environment: Mapping[str, str]) -> tuple[Group, torch.device]:
    """The group of this process and its device: its own GPU where there is one, else the processor."""
    rank, size = int(environment.get("RANK", 0)), int(environment.get("WORLD_SIZE", 1))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(environment.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    return (Group.join(rank, size, "env://", device, PATIENCE_S) if size > 1 else ALONE), device


def told(group: Group, said: Said | None = None) -> Said | None:
    """What the first rank says, on every rank. Only between processes of one run: it travels as a pickle."""
    words = [said]
    if group.size > 1:
        dist.broadcast_object_list(words)
    return words[0]
