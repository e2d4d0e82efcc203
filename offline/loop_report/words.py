"""Numbers and durations as people read them."""

from __future__ import annotations

_UNITS = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"))
_BYTES = ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"))
NOT_MEASURED = "not measured"
_SAID = {
    "critical_missed_ratio": "critical misses", "ap_2m": "AP at 2 m", "mean_ap": "mean AP",
    "false_per_frame": "false alarms a frame", "ade_m": "ADE, m", "fde_m": "FDE, m",
}  # fmt: skip


def number(value: float | None, digits: int = 3) -> str:
    """A figure with so many significant digits; whole numbers in full."""
    if value is None:
        return NOT_MEASURED
    if float(value).is_integer() and abs(value) < 1e12:
        return f"{int(value):,}"
    told = f"{value:.{digits}g}"
    return f"{float(told):,.0f}" if "e+" in told else told


def percent(value: float | None, digits: int = 1) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}%}".replace("%", " %")


def signed_percent(value: float) -> str:
    """A change, with its sign."""
    told = f"{abs(value):.0%}".replace("%", " %")
    return f"{'−' if value < 0 else '+'}{told}"


def duration(seconds: float | None) -> str:
    """In the unit that it is long in."""
    if seconds is None:
        return NOT_MEASURED
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    size, unit = next((size, unit) for size, unit in _UNITS if seconds >= size)
    return f"{seconds / size:.3g} {unit}"


def byte_count(value: float | None) -> str:
    if value is None:
        return NOT_MEASURED
    size, unit = next(((s, u) for s, u in _BYTES if value >= s), (1.0, "B"))
    return f"{value / size:.3g} {unit}"


def interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{number(low)} … {number(high)}"


def plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' * (count != 1)}"


def metric_words(name: str) -> str:
    """A figure's name as people say it: `phantoms_per_min` is phantoms a minute."""
    figure, _, group = name.partition("/")
    told = _SAID.get(figure) or (
        figure.removesuffix("_ratio").replace("_per_min", " a minute")
        .replace("_per_frame", " a frame").replace("_", " ")
    )  # fmt: skip
    return f"{told}, {group}" if group else told
