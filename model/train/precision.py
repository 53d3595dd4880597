"""What training computes in: bfloat16 where the machine has instructions for it, and float32 elsewhere.

PyTorch does without such instructions too, but a convolution then takes sixteen times as long as in float32 (measured on
a processor that has AVX2 alone).
"""

from functools import cache

import torch


@cache
def quick_type(device: str) -> torch.dtype:
    """The quickest type that is exact enough to learn in, on a device by PyTorch's name."""
    known = torch.cpu.get_capabilities()
    able = device != "cpu" or any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if able else torch.float32


def mixed(device: str) -> torch.autocast:
    """Where networks compute in that type, and weights stay as they are."""
    return torch.autocast(device, torch.bfloat16, enabled=quick_type(device) == torch.bfloat16)
