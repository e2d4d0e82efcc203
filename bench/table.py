"""Reports as people read them: a terminal table, and Markdown for `docs/benchmarks.md`.

Takes what `bench.figures.report` gives. The Markdown holds no date and no host name, so that
it changes only where a figure does.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.table import Table

from bench.figures import Figure

COLUMNS = ("figure", "value", "unit", "reference", "its value", "ratio", "goal", "holds")

_PREAMBLE = """# Benchmarks

Written by `longtail bench all --write`. Absolute figures depend on the machine; ratios to a
reference measured in the same run mean more. A goal that does not hold says **no**. Figures
without a goal are given for information.
"""


def rich_table(bench: str, figures: Iterable[Figure]) -> Table:
    """One benchmark for a terminal."""
    table = Table(*COLUMNS, title=bench)
    for each in figures:
        table.add_row(*cells(each), style="red" if not each.holds else None)
    return table


def markdown(machine: dict[str, object], sections: Sequence[tuple[str, str, list[Figure]]]) -> str:
    """The whole page.

    Args:
        machine: as `bench.figures.machine` gives it.
        sections: name, what is measured against what, and the figures of each benchmark.
    """
    text = [_PREAMBLE, _machine_line(machine), ""]
    for name, about, figures in sections:
        text += [f"## {name}", "", about, "", _row(COLUMNS), _row(["---"] * len(COLUMNS))]
        text += [_row(cells(each)) for each in figures]
        text.append("")
    return "\n".join(text)


def cells(each: Figure) -> tuple[str, ...]:
    """A figure's row of `COLUMNS`."""
    holds = "" if not each.goal else "yes" if each.holds else "**no**"
    return (
        each.name, number(each.value), each.unit, each.reference, number(each.reference_value),
        number(each.ratio), each.goal, holds,
    )  # fmt: skip


def number(value: float | None) -> str:
    """Three significant digits without an exponent; '' for None.

    >>> number(0.0006949), number(25320.4), number(None)
    ('0.000695', '25300', '')
    """
    if value is None:
        return ""
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    digits = max(0, 2 - int(f"{rounded:e}".partition("e")[2]))
    return f"{rounded:.{digits}f}"


def _machine_line(machine: dict[str, object]) -> str:
    instructions = machine["instructions"]
    has = f" ({' '.join(instructions)})" if isinstance(instructions, list) and instructions else ""
    return (
        f"Machine: {machine['cpu']}{has}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, Python {machine['python']}."
    )


def _row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"
