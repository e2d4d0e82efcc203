"""Low precision is for devices that have it."""

from __future__ import annotations

from types import MappingProxyType

import pytest
import torch

from models.student.device import has_bfloat16, low_precision

CPU = torch.device("cpu")


def product(wanted: bool) -> torch.dtype:
    with low_precision(CPU, wanted):
        return (torch.ones(2, 2) @ torch.ones(2, 2)).dtype


@pytest.mark.parametrize(
    ("name", "has", "taken"),
    [
        ("avx512_bf16", True, torch.bfloat16),  # x86: Cooper Lake, Zen 4 and later
        ("amx_bf16", True, torch.bfloat16),
        ("bf16", True, torch.bfloat16),  # ARM
        ("avx512_f", True, torch.float32),
        ("avx512_bf16", False, torch.float32),
    ],
)
def test_bfloat16_is_taken_where_the_cpu_has_it_and_where_it_is_wanted(
    name: str, has: bool, taken: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = MappingProxyType({"architecture": "x86_64", name: has})
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert product(wanted=True) is taken
    assert product(wanted=False) is torch.float32


def test_a_gpu_that_only_emulates_it_has_it_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_supported(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    assert not has_bfloat16(torch.device("cuda"))
