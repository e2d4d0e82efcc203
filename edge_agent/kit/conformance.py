"""Tests that an adapter must pass before the agent may rely on it.

Each `check_...` runs an adapter on its own and raises `ConformanceError`, an `AssertionError`
with every fault found, or returns what it saw. They need no test framework; under pytest a call
is a test.

| check | of |
|---|---|
| `check_source` | a recorded source: order, description, shapes, units, the same again |
| `check_live_source` | the same of a live one that is fed by the test, and that it stops |
| `check_planner_tap` | a source of plans: long enough, often enough, rising from 0 |
| `check_probe` | a link monitor: never raises, never takes an unknown link for a free one |
| `check_refusals` | bad input: refused with our errors, never with others, never with silence |
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import get_args, get_type_hints

import numpy as np

from contracts.clock import NS_PER_S, ClockQuality
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.ids import parse_name
from contracts.samples import PlanSample, Sample
from contracts.signals import SIGNAL_INDEX, nearest_name
from edge_agent.drive.door import channel_of
from edge_agent.kit.findings import ConformanceError, Faults, Guarded, same
from edge_agent.kit.sample_rules import faults
from edge_agent.ports import Link, LinkMonitor, LiveSource, SensorSource, SourceDescription

__all__ = [
    "Conformance", "ConformanceError", "check_live_source", "check_planner_tap", "check_probe",
    "check_refusals", "check_source",
]  # fmt: skip

MAX_SAMPLES = 20_000
"""So much of a long recording is checked; the rest would tell nothing new."""

_SAME_AGAIN = 500
_SHORTEST_PLAN_S = 1.0
_LONGEST_PLAN_GAP_S = 2.0

OpenSource = Callable[[], SensorSource]


@dataclass(frozen=True, slots=True)
class Conformance:
    """What a check saw: samples by channel, drive time, and what is odd but allowed."""

    samples: dict[str, int]
    span_s: float
    notes: tuple[str, ...]


def check_source(open_source: OpenSource, *, max_samples: int = MAX_SAMPLES) -> Conformance:
    """A recorded source.

    Args:
        open_source: opens the adapter on good input; called several times.

    Raises `ConformanceError`.
    """
    source = open_source()
    told = source.describe()
    found = Faults()
    found.extend(_description(told))
    if source.describe() != told:
        found.add("describe() gives another description the second time")
    samples = list(islice(Guarded(source.samples(), found), max_samples))
    if source.describe() != told:
        found.add("describe() gives another description after samples were taken")
    report = _check_samples(samples, told, found, whole=len(samples) < max_samples)
    for what, again in (("samples() called anew", source), ("opened anew", open_source())):
        if again.describe() != told:
            found.add(f"{what}: another description")
        iterator = Guarded(again.samples(), found)
        head = list(islice(iterator, min(_SAME_AGAIN, max_samples)))
        if not same(head, samples[:_SAME_AGAIN]):
            found.add(f"{what}: other samples; a replay must be the same every time")
        iterator.close()
    found.raise_any()
    return report


def check_live_source(
    open_source: OpenSource, feed: Callable[[], None], *, expect: int
) -> Conformance:
    """A live source.

    Args:
        feed: called when the source is open: makes the device send what gives `expect` samples
            or more, and returns.

    Raises `ConformanceError`. A source that neither yields nor stops hangs here, as it would on
    the vehicle: give the test a time limit.
    """
    source = open_source()
    found = Faults()
    if not isinstance(source, LiveSource):
        raise ConformanceError(["a live source needs stop(), see edge_agent.ports.LiveSource"])
    told = source.describe()
    found.extend(_description(told))
    iterator = Guarded(source.samples(), found)
    feed()
    samples = list(islice(iterator, expect))
    if len(samples) < expect:
        found.add(f"{len(samples)} samples came of {expect} that were sent")
    source.stop()
    rest = list(islice(iterator, MAX_SAMPLES))
    if len(rest) == MAX_SAMPLES:
        found.add("goes on after stop()")
    source.stop()  # a second one must not hurt
    report = _check_samples(samples + rest, told, found, whole=False)
    found.raise_any()
    return report


def check_planner_tap(open_source: OpenSource, *, max_samples: int = MAX_SAMPLES) -> Conformance:
    """A recorded source whose plans are to be compared with the drive (`planner_divergence`).

    Raises `ConformanceError`.
    """
    report = check_source(open_source, max_samples=max_samples)
    source = open_source()
    plans = [s for s in islice(source.samples(), max_samples) if isinstance(s, PlanSample)]
    found = Faults()
    if not source.describe().has_plan or not plans:
        found.add("no plan comes, or describe() does not tell of plans")
    for plan in plans:
        if plan.t_s[-1] < _SHORTEST_PLAN_S:
            found.add(f"a plan reaches {plan.t_s[-1]:g} s only: nothing could be compared")
        away = float(np.linalg.norm(plan.xy_m[0]))
        if away > 10.0:
            found.add(f"a plan starts {away:.0f} m from the vehicle: is it in the ego frame?")
    gaps_s = np.diff([plan.mono_ns for plan in plans]) / NS_PER_S
    if gaps_s.size and float(np.median(gaps_s)) > _LONGEST_PLAN_GAP_S:
        found.add(f"plans come every {np.median(gaps_s):.1f} s only")
    found.raise_any()
    return report


def check_probe(
    open_probe: Callable[[], LinkMonitor],
    states: Iterable[tuple[Callable[[], None], Link]] = (),
) -> None:
    """A link monitor.

    Args:
        states: how to bring the world into a state, and the link that must be told then. An
            unreachable world must be `Link("none")`.

    Raises `ConformanceError`.
    """
    probe = open_probe()
    found = Faults()
    worlds: list[tuple[Callable[[], None] | None, Link | None]] = [(None, None), *states]
    for number, (bring_about, wanted) in enumerate(worlds):
        if bring_about is not None:
            bring_about()
        try:
            link, again = probe.link(), probe.link()
        except Exception as error:  # noqa: BLE001  # any error is the fault looked for
            found.add(f"link() raises {type(error).__name__}: {error}; it must say none instead")
            continue
        kinds = get_args(get_type_hints(Link)["kind"])
        if not isinstance(link, Link):
            found.add(f"link() gives a {type(link).__name__}, not a Link")
            continue
        if link.kind not in kinds:
            hint = nearest_name(link.kind, kinds)
            found.add(f"{link.kind!r} is no kind of link{hint}; known: {', '.join(kinds)}")
        if link.kind == "cellular" and not link.metered:
            found.add("a cellular link that is not metered would spend without a cap")
        if link.kind == "none" and link.metered:
            found.add("no link, yet metered")
        if link != again:
            found.add("two answers in a row differ although nothing changed")
        if wanted is not None and link != wanted:
            found.add(f"state {number}: told {link}, expected {wanted}")
    found.raise_any()


def check_refusals(open_source: OpenSource, what: str = "bad input") -> LongtailError:
    """Bad input must end in `InputError` or `CorruptError`, at opening or while reading.

    Returns the error, so that a test can look at its words. Raises `ConformanceError`.
    """
    try:
        source = open_source()
        source.describe()
        for _ in islice(source.samples(), MAX_SAMPLES):
            pass
    except (InputError, CorruptError) as error:
        if not error.message.strip():
            raise ConformanceError([f"{what}: the error says nothing"]) from error
        return error
    except Exception as error:
        raise ConformanceError(
            [f"{what}: raises {type(error).__name__} ({error}), not InputError or CorruptError"]
        ) from error
    raise ConformanceError([f"{what}: taken without a word"])


def _description(told: SourceDescription) -> Iterator[str]:
    if not isinstance(told, SourceDescription):
        yield f"describe() gives a {type(told).__name__}"
        return
    for name in ("drive_id", "boot_id"):
        try:
            parse_name(getattr(told, name), name)
        except InputError as error:
            yield str(error)
    if type(told.utc_minus_mono_ns) is not int:
        yield f"utc_minus_mono_ns is {type(told.utc_minus_mono_ns).__name__}, not int"
    if not isinstance(told.clock, ClockQuality):
        yield "clock is no ClockQuality"
    for name in sorted(told.signals - SIGNAL_INDEX.keys()):
        yield f"signal {name!r} is not in the catalogue{nearest_name(name, SIGNAL_INDEX)}"
    for prefix, channels in (("/camera/", told.camera_channels), ("/lidar/", told.lidar_channels)):
        for channel in channels:
            rest = channel.removeprefix(prefix)
            if rest == channel or not rest or "/" in rest:
                yield f"channel {channel!r} is not of the form {prefix}<name>"
        if len(set(channels)) != len(channels):
            yield f"a channel is listed twice in {channels}"
    for key, value in told.labels.items():
        if not isinstance(key, str) or not isinstance(value, str):
            yield f"label {key!r} is not text"


def _check_samples(
    samples: list[Sample], told: SourceDescription, found: Faults, *, whole: bool
) -> Conformance:
    seen: Counter[str] = Counter()
    first_ns: int | None = None
    newest_ns: int | None = None
    for sample in samples:
        found.extend(faults(sample, told))
        if not hasattr(sample, "mono_ns"):
            continue
        first_ns = sample.mono_ns if first_ns is None else first_ns
        channel = channel_of(sample)
        seen[channel] += 1
        if newest_ns is not None and sample.mono_ns < newest_ns:
            found.add(f"{channel}: goes back in time")
        newest_ns = sample.mono_ns if newest_ns is None else max(newest_ns, sample.mono_ns)
    if not samples:
        found.add("no sample comes")
    span_ns = (newest_ns or 0) - (first_ns or 0)
    notes = tuple(_never_seen(told, seen)) if whole else ()
    return Conformance(dict(sorted(seen.items())), span_ns / NS_PER_S, notes)


def _never_seen(told: SourceDescription, seen: Counter[str]) -> Iterator[str]:
    promised = [f"/signals/{name}" for name in sorted(told.signals)]
    promised += [*told.camera_channels, *told.lidar_channels]
    promised += ["/pose"] if told.has_pose else []
    promised += ["/planner/trajectory"] if told.has_plan else []
    for channel in promised:
        if channel not in seen:
            yield f"{channel} is described, but never came"
