"""When each picture of a stream was taken, in nanoseconds of the stream.

Presentation times are what decides. A picture without one is put one period after the one before;
one that goes back (a stream that began anew, a counter that wrapped) starts a new stretch, one
period after. Both are counted. Times always rise.
"""

from __future__ import annotations

from fractions import Fraction

from contracts.clock import NS_PER_S
from contracts.errors import InputError

_USUAL_PERIOD_NS = NS_PER_S // 30
_MAX_PERIOD_NS = NS_PER_S


class PictureTimes:
    """Attributes: `untimed`, `turned_back`: how many pictures had no time, or an earlier one;
    `span_ns`: from the stream's zero to the newest picture.
    """

    def __init__(self, rate: Fraction | None) -> None:
        period_ns = round(NS_PER_S / rate) if rate else _USUAL_PERIOD_NS
        self._period_ns = min(max(1, period_ns), _MAX_PERIOD_NS)
        self._shift_ns = 0
        self._last_ns: int | None = None
        self.untimed = 0
        self.turned_back = 0
        self.span_ns = 0

    def next_ns(self, ticks: int | None, base: Fraction | None) -> int:
        """The next picture's time.

        Args:
            ticks: its presentation time, None when it has none.
            base: seconds a tick.
        """
        last = self._last_ns
        if ticks is None or base is None:
            self.untimed += 1
            at_ns = 0 if last is None else last + self._period_ns
        else:
            at_ns = round(ticks * base * NS_PER_S) + self._shift_ns
            if last is not None and at_ns <= last:
                self.turned_back += 1
                self._shift_ns += last + self._period_ns - at_ns
                at_ns = last + self._period_ns
        self._last_ns = at_ns
        self.span_ns = max(self.span_ns, at_ns)
        return at_ns


def times_of_file(lines: list[str], place: str) -> list[int]:
    """Nanoseconds of a file with one time a line. Raises `InputError` with the line."""
    found: list[int] = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            at_ns = int(text)
        except ValueError:
            raise InputError(
                f"{text[:40]!r} is not a time in whole nanoseconds", f"{place}:{number}"
            ) from None
        if found and at_ns <= found[-1]:
            raise InputError("time does not rise", f"{place}:{number}")
        found.append(at_ns)
    if not found:
        raise InputError("holds no time", place)
    return found
