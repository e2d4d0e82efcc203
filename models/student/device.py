"""Where a network runs: on a GPU when there is one, else on the CPU."""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

Parts = TypeVar("Parts", bound=NamedTuple)
_BFLOAT16 = "avx512_bf16", "amx_bf16", "bf16"
"""What torch calls it on x86 and on ARM."""


def best_device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_of(network: nn.Module) -> torch.device:
    """Where the network's weights are."""
    return next(network.parameters()).device


def moved(parts: Parts, device: torch.device) -> Parts:
    """A named tuple of tensors, of such tuples and of nothing, on the device."""
    return type(parts)._make(_on(part, device) for part in parts)


def _on(part: object, device: torch.device) -> object:
    if isinstance(part, Tensor):
        return part.to(device, non_blocking=True)
    return part if part is None else moved(cast(NamedTuple, part), device)


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 by itself, rather than by many steps in its place."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in _BFLOAT16)


def low_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 where that is safe and the device has it, else float32.

    A CPU that has it not would take 46 times as long as in float32 (a convolution there and back on
    an EPYC of the third generation), and tell nothing that float32 does not.
    """
    enabled = wanted and has_bfloat16(device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
