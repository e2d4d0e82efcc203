"""Where a network runs: on a GPU when there is one, else on the CPU."""

from __future__ import annotations

from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

Parts = TypeVar("Parts", bound=NamedTuple)


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


def low_precision(device: torch.device, wanted: bool) -> torch.autocast:
    """bfloat16 where that is safe, on whichever device."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted)
