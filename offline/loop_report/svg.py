"""Small pieces of inline SVG. Colours are classes of the page's style, so that a plot follows it
from light to dark; lengths are of the plot's own units, as wide as `WIDE` on a full page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape

WIDE = 920.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def node(tag: str, content: str = "", **values: str | float | None) -> str:
    """An element; `_` at an attribute's end is dropped, another becomes `-`; None is left out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_told(value)}"'
        for name, value in values.items() if value is not None
    )  # fmt: skip
    return f"<{tag}{written}>{content}</{tag}>" if content else f"<{tag}{written}/>"


def _told(value: str | float) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def text(x: float, y: float, words: str, kind: str = "t", anchor: str = "start") -> str:
    return node("text", escape(words), x=x, y=y, class_=kind, text_anchor=anchor)


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return node("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=kind)


def bar(x: float, y: float, width: float, height: float, kind: str, tip: str = "") -> str:
    """A rectangle with rounded corners; `tip` is shown under the pointer."""
    tipped = node("title", escape(tip)) if tip else ""
    return node(
        "rect", tipped, x=x, y=y, width=max(width, 0.0), height=height, rx=min(3.0, height / 2),
        class_=kind,
    )  # fmt: skip


def dot(x: float, y: float, radius: float, kind: str, tip: str = "") -> str:
    return node("circle", node("title", escape(tip)) if tip else "", cx=x, cy=y, r=radius,
                class_=kind)  # fmt: skip


def path(points: Iterable[tuple[float, float]], kind: str) -> str:
    return node("polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=kind)


def drawing(width: float, height: float, label: str, parts: Iterable[str]) -> str:
    """The whole plot, which scrolls on a narrow page; `label` tells what it shows."""
    plot = node(
        "svg", "".join(parts), xmlns="http://www.w3.org/2000/svg", class_="plot",
        viewBox=f"0 0 {width:g} {height:g}", style=f"max-width:{width:g}px", role="img",
        aria_label=label,
    )  # fmt: skip
    return f'<div class="scroll">{plot}</div>'


@dataclass(frozen=True, slots=True)
class Scale:
    """From values `low`..`high` to places `start`..`end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale."""
        rough = (self.high - self.low) / about
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(s * size for s in _STEPS if s * size >= rough * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [k * step for k in range(first, math.floor(self.high / step + 1e-9) + 1)]


def scale_of(values: Iterable[float], start: float, end: float, *, zero: bool = False) -> Scale:
    """A scale that holds all values with a little room; `zero` is on it where that is asked."""
    held = [*values, *([0.0] if zero else [])]
    low, high = min(held), max(held)
    room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    floor = low if zero and low == 0 else low - room
    return Scale(floor, high + room, start, end)


def axis_below(scale: Scale, top: float, bottom: float, form: str = "{:g}") -> list[str]:
    """Grid lines and numbers of a horizontal axis."""
    parts = []
    for tick in scale.ticks():
        parts += [
            line(scale(tick), top, scale(tick), bottom, "grid"),
            text(scale(tick), bottom + 15, form.format(round(tick, 10)), "s", "middle"),
        ]
    return parts
