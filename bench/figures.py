"""What a benchmark reports: figures, each against a reference measured in the same run.

A figure alone says little of a program, since machines differ; its ratio to a physical limit
or to a peer's tool on the same machine does. `report` names the machine by what bears on
speed and by nothing that identifies it.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

_CPU_TABLE = Path("/proc/cpuinfo")
_BEARING = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp", "i8mm",
)  # fmt: skip
"""Instructions that a network's speed, and so each ratio to it, hangs on: x86's, then ARM's."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value.

    Attributes:
        name: what was measured, and on what.
        value: in `unit`.
        unit: such as "GB/s", "ms", "ratio".
        reference: what it is compared with; empty when the goal is absolute.
        reference_value: of the reference, in the same unit, or None.
        ratio: value over reference value, or None.
        goal: such as ">= 9", on the value, or on the ratio when it begins with "ratio";
            empty when the figure is given for information.
        holds: whether the goal is met; true when there is none.
    """

    name: str
    value: float
    unit: str
    reference: str
    reference_value: float | None
    ratio: float | None
    goal: str
    holds: bool


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    reference: str = "",
    reference_value: float | None = None,
    goal: str = "",
) -> Figure:
    """A figure whose ratio and `holds` follow from its values and its goal.

    Args:
        goal: "", or `[ratio] (>=|<=) <number>`.
    """
    ratio = None if not reference_value else value / reference_value
    measured: float | None = value
    terms = goal.split()
    if terms[:1] == ["ratio"]:
        terms, measured = terms[1:], ratio
    holds = True
    if terms:
        comparison, bound = terms
        if measured is None or comparison not in {">=", "<="}:
            raise ValueError(f"goal {goal!r} of {name!r} cannot be judged")
        holds = measured >= float(bound) if comparison == ">=" else measured <= float(bound)
    return Figure(name, value, unit, reference, reference_value, ratio, goal, holds)


def report(bench: str, figures: list[Figure]) -> dict[str, object]:
    """A JSON-able report of one benchmark on this machine."""
    return {
        "bench": bench,
        "machine": machine(),
        "figures": [asdict(each) for each in figures],
    }


def machine() -> dict[str, object]:
    """CPU model, its vector instructions, cores that this process may use, memory, system and
    Python version.
    """
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "cpu": _cpu_model(),
        "instructions": _instructions(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory_bytes / 2**30, 1),
        "system": platform.system(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
    }


def median_cpu_ns(jobs: dict[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median CPU time of each job in nanoseconds, one after the other in each repetition.

    Interleaving gives all jobs the same share of whatever else the machine does. One
    repetition before the first warms caches and compiles.
    """
    spent: dict[str, list[int]] = {name: [] for name in jobs}
    for repetition in range(repetitions + 1):
        for name, job in jobs.items():
            before = time.process_time_ns()
            job()
            after = time.process_time_ns()
            if repetition:
                spent[name].append(after - before)
    return {name: float(statistics.median(times)) for name, times in spent.items()}


def _cpu_model() -> str:
    return _told("model name") or platform.processor() or platform.machine()


def _instructions() -> list[str]:
    """Those of `_BEARING` that the processor has; none where it does not tell."""
    flags = (_told("flags") or _told("Features")).split()
    return [name for name in _BEARING if name in flags]


def _told(field: str) -> str:
    """A field of the first processor; "" where the system does not tell it."""
    if _CPU_TABLE.is_file():
        for line in _CPU_TABLE.read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == field:
                return value.strip()
    return ""
