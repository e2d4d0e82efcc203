"""What a conformance test finds, and how it keeps going while finding it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass

import numpy as np

from contracts.samples import Sample

_SHOWN = 20


class ConformanceError(AssertionError):
    """The adapter breaks a promise. Attributes: `faults`: every one found, in words."""

    def __init__(self, found: Iterable[str]) -> None:
        self.faults = tuple(found)
        more = len(self.faults) - _SHOWN
        listed = "\n".join(f"- {fault}" for fault in self.faults[:_SHOWN])
        tail = f"\n- and {more} more" if more > 0 else ""
        super().__init__(f"{len(self.faults)} faults:\n{listed}{tail}")


class Faults:
    """Faults in the order found; the same one is kept once."""

    def __init__(self) -> None:
        self._found: Counter[str] = Counter()

    def add(self, fault: str) -> None:
        self._found[fault] += 1

    def extend(self, found: Iterable[str]) -> None:
        for fault in found:
            self.add(fault)

    def raise_any(self) -> None:
        if self._found:
            raise ConformanceError(
                fault if count == 1 else f"{fault} ({count} times)"
                for fault, count in self._found.items()
            )


class Guarded:
    """Samples until the end or the first error, which is a fault."""

    def __init__(self, samples: Iterator[Sample], found: Faults) -> None:
        self._samples = samples
        self._found = found

    def __iter__(self) -> Guarded:
        return self

    def __next__(self) -> Sample:
        try:
            return next(self._samples)
        except StopIteration:
            raise
        except Exception as error:
            self._found.add(f"samples() raises {type(error).__name__}: {error}")
            raise StopIteration from error

    def close(self) -> None:
        """Leave it half read, as a stopped drive does."""
        close = getattr(self._samples, "close", None)
        if close is None:
            return
        try:
            close()
        except Exception as error:  # noqa: BLE001  # any error is the fault looked for
            self._found.add(f"samples() left half read raises {type(error).__name__}: {error}")


def same(some: list[Sample], others: list[Sample]) -> bool:
    return len(some) == len(others) and all(map(_equal, some, others))


def _equal(one: object, other: object) -> bool:
    if type(one) is not type(other) or not is_dataclass(one):
        return one == other
    for field in fields(one):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
            if not np.array_equal(a, b, equal_nan=True):
                return False
        elif a != b and not (a != a and b != b):  # noqa: PLR0124  # NaN is the same as NaN
            return False
    return True
