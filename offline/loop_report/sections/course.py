"""How the turn went: stages, times, and where everything comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from offline.loop_report.facts import Duration, LineageRow, StageFacts, TimeFacts
from offline.loop_report.html import Mood, code, heading, missing, pill, section, table
from offline.loop_report.plots.timeline import timeline_plot
from offline.loop_report.words import duration, number, plural

_MOODS: dict[str, Mood] = {"done": "good", "reused": "", "failed": "bad", "waiting": "open"}
_SIBLINGS = 5
_WAYS = (("origins", "Where the candidate comes from"), ("uses", "What came of what was sent"))


def stages_section(stages: Sequence[StageFacts]) -> str | None:
    """A row a stage."""
    if not stages:
        return None
    rows = [
        (
            escape(each.name), pill(each.state, _MOODS[each.state]),
            "" if each.wall_s is None else duration(each.wall_s),
            "" if each.cpu_s is None else duration(each.cpu_s),
            escape(", ".join(f"{name} {_figure(value)}" for name, value in each.figures.items())
                   + (f" {each.reason}" if each.reason else "")),
            code(each.key),
        )
        for each in stages
    ]  # fmt: skip
    head = ("stage", "", "wall", "CPU", "", "key")
    reused = sum(each.state == "reused" for each in stages)
    lead = f"{plural(reused, 'stage')} had been computed before and was not run again."
    return section("stages", "Stages", lead if reused else "", timeline_plot(stages),
                   table(head, rows, numbers=(2, 3)))  # fmt: skip


def _figure(value: int | float | str) -> str:
    return value if isinstance(value, str) else number(value)


def times_section(times: TimeFacts | None) -> str | None:
    """How long it takes from the road to the road."""
    if times is None:
        return None
    rows = [
        _time("clip captured → rollout begun", times.clip_to_rollout),
        _time("clip captured → model on the canary", times.clip_to_canary),
        _time("raw log → curated data", times.log_to_curated),
    ]
    return section("times", "Times", "", table(("", "median", "from … to", "cases", "clock"), rows,
                                               numbers=(1, 2, 3)))  # fmt: skip


def _time(name: str, one: Duration | None) -> tuple[str, ...]:
    if one is None:
        return escape(name), duration(None), "", "", ""
    ends = ""
    if one.least_s is not None and one.most_s is not None:
        ends = f"{duration(one.least_s)} … {duration(one.most_s)}"
    return escape(name), duration(one.median_s), ends, f"{one.count:,}", one.clock


def lineage_section(rows: Sequence[LineageRow]) -> str | None:
    """Both ways as trees; of many alike only the first are shown, and the rest counted."""
    if not rows:
        return None
    missed = sum(row.missing for row in rows)
    lead = f"{plural(missed, 'thing')} named and not at hand." if missed else "Nothing is missing."
    parts = []
    for way, title in _WAYS:
        held = [row for row in rows if row.way == way]
        parts.append(heading(title))
        parts.append(f'<div class="tree">{"".join(_tree(held))}</div>' if held else missing())
    return section("lineage", "Lineage", lead, *parts)


def _tree(rows: Sequence[LineageRow]) -> Iterator[str]:
    """Rows in depth-first order; siblings of one kind beyond the first few are folded up."""
    seen: dict[tuple[int, str], int] = {}
    hidden_below: int | None = None
    left_out: dict[tuple[int, str], int] = {}
    for row in rows:
        if hidden_below is not None and row.depth > hidden_below:
            continue
        hidden_below = None
        for place in [key for key in seen if key[0] > row.depth]:
            if place in left_out:
                yield _more(place, left_out.pop(place))
            del seen[place]
        place = (row.depth, row.kind)
        seen[place] = seen.get(place, 0) + 1
        if seen[place] > _SIBLINGS and not row.missing:
            left_out[place] = left_out.get(place, 0) + 1
            hidden_below = row.depth
            continue
        told = f" {escape(row.told)}" if row.told else ""
        lost = f" {pill('not at hand', 'bad')}" if row.missing else ""
        yield (
            f'<div style="padding-left:{22 * row.depth}px"><span class="kind">{escape(row.kind)}'
            f"</span> {code(row.name)}{told}{lost}</div>"
        )
    for place, count in sorted(left_out.items(), reverse=True):
        yield _more(place, count)


def _more(place: tuple[int, str], count: int) -> str:
    depth, kind = place
    words = f"and {escape(plural(count, kind))} more"
    return f'<div style="padding-left:{22 * depth}px" class="kind">{words}</div>'
