"""What is sent next: order, links, and caps that no sequence of crashes exceeds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_DAY, NS_PER_S, VirtualClock
from contracts.errors import InputError
from contracts.ids import PART_BYTES
from edge_agent.ledger import CellularSpent, Ledger
from edge_agent.ports import Link
from edge_agent.spool import PRIORITIES, Entry
from edge_agent.upload.charge import Charger
from edge_agent.upload.links import FileLink, FixedLink, parse_link
from edge_agent.upload.payload import StoppedError
from edge_agent.upload.policy import (
    CellularLimits,
    Send,
    ServerAdvice,
    Wait,
    decide,
    is_metered,
    payload_allowance,
)
from edge_agent.upload.wire import WireMeter
from tests.edge_agent.upload_rig import BOOT

WIFI, CELLULAR, NONE = Link("wifi"), Link("cellular"), Link("none")
METERED_WIFI = Link("wifi", metered=True)
LIMITS = CellularLimits()
NOTHING = CellularSpent(0, 0)
NO_ADVICE = ServerAdvice()


def entry(number: int, **changed: object) -> Entry:
    fields: dict[str, object] = {
        "clip_id": f"{number:064x}",
        "size_bytes": 1000,
        "priority": "normal",
        "cellular": "allowed",
        "value": 1.0,
        "sequence": number,
        "utc_ns": 0,
        "state": "queued",
        "safety": False,
        "stream": "triggered",
    }
    return Entry(**{**fields, **changed})  # type: ignore[arg-type]


def chosen(*queue: Entry, link: Link = WIFI, current: str | None = None) -> int | str:
    made = decide(queue, link, NOTHING, LIMITS, 0, NO_ADVICE, current)
    return int(made.clip_id, 16) if isinstance(made, Send) else made.reason


def test_order_is_level_then_value_per_byte_then_age() -> None:
    levels = [entry(9 - index, priority=priority) for index, priority in enumerate(PRIORITIES)]
    queue = list(reversed(levels))
    order = []
    while queue:
        order.append(chosen(*queue))
        queue = [left for left in queue if left.sequence != order[-1]]
    assert order == [9, 8, 7, 6, 5]
    assert chosen(entry(1, value=1.0), entry(2, value=2.0)) == 2
    assert chosen(entry(1, size_bytes=10, value=1.0), entry(2, value=2.0)) == 1
    assert chosen(entry(2), entry(1)) == 1


def test_what_is_under_way_yields_only_to_a_higher_level() -> None:
    low, other = entry(1), entry(2, value=50.0)
    assert chosen(low, other) == 2
    assert chosen(low, other, current=low.clip_id) == 1
    assert chosen(low, entry(3, priority="high"), current=low.clip_id) == 3


@pytest.mark.parametrize(
    ("queue", "link", "expected"),
    [
        ([], WIFI, "queue_empty"),
        ([entry(1)], NONE, "no_link"),
        ([entry(1, cellular="forbidden")], WIFI, 1),
        ([entry(1, cellular="forbidden")], Link("ethernet"), 1),
        ([entry(1, cellular="forbidden")], CELLULAR, "cellular_forbidden"),
        ([entry(1, cellular="forbidden")], METERED_WIFI, "cellular_forbidden"),
        ([entry(1, cellular="forbidden", priority="interactive"), entry(2)], CELLULAR, 2),
    ],
)
def test_links(queue: list[Entry], link: Link, expected: int | str) -> None:
    assert chosen(*queue, link=link) == expected


def test_advice_is_waited_for() -> None:
    queue = [entry(1), entry(2)]
    everything = ServerAdvice(all_until_ns=50)
    assert decide(queue, WIFI, NOTHING, LIMITS, 49, everything) == Wait(50, "server_advice")
    assert isinstance(decide(queue, WIFI, NOTHING, LIMITS, 50, everything), Send)
    one = ServerAdvice(clip_until_ns={queue[0].clip_id: 90})
    assert decide(queue, WIFI, NOTHING, LIMITS, 5, one) == Send(queue[1].clip_id, None)
    both = ServerAdvice(clip_until_ns={queue[0].clip_id: 90, queue[1].clip_id: 70})
    assert decide(queue, WIFI, NOTHING, LIMITS, 5, both) == Wait(70, "server_advice")


@given(
    st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9),
    st.integers(1, 64 * 2**20), st.sampled_from([CELLULAR, METERED_WIFI]),
)  # fmt: skip
def test_a_metered_send_never_promises_more_than_the_caps_leave(
    day_cap: int, month_cap: int, day: int, month: int, size_bytes: int, link: Link
) -> None:
    limits = CellularLimits(day_cap, month_cap)
    spent = CellularSpent(day, max(day, month))
    made = decide([entry(1, size_bytes=size_bytes)], link, spent, limits, 0, NO_ADVICE)
    if isinstance(made, Send):
        assert made.max_bytes is not None
        assert day + made.max_bytes < day_cap
        assert spent.month_bytes + made.max_bytes < month_cap
        assert made.max_bytes > min(size_bytes, PART_BYTES)
    else:
        assert made == Wait(None, "cellular_budget")


class ScriptedMeter(WireMeter):
    """A meter whose socket sends as much as it is let, or as a script says."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_bytes = 0

    def total_bytes(self) -> int:
        return self.sent_bytes

    def send(self, wanted_bytes: int) -> None:
        left = wanted_bytes
        if self.allowance_bytes is not None:
            left = min(left, self.allowance_bytes - self.sent_bytes)
        self.sent_bytes += left


class CrashError(BaseException):
    """The process dies."""


SIZES = (5000, PART_BYTES, 2 * PART_BYTES)
STEPS = st.sampled_from(
    [
        *(("send", size) for size in SIZES),
        *(("crash_in_send", size) for size in SIZES),
        *(("jump", days) for days in (-40, -1, 1, 40)),
        *(("hours", hours) for hours in (1, 10, 24)),
        ("restart", 0),
        ("metered", 0),
        ("metered", 1),
    ]
)
CAPS = st.sampled_from([0, 700_000, PART_BYTES, 2 * PART_BYTES, 3 * PART_BYTES])


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, min_size=5, max_size=25), CAPS, CAPS)
def test_no_sequence_of_crashes_and_retries_exceeds_the_caps(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[str, int]],
    day_cap: int,
    month_cap: int,
) -> None:
    path = tmp_path_factory.mktemp("caps") / "ledger.sqlite"
    clock = VirtualClock(utc_ns=1_700_006_400 * NS_PER_S)
    limits = CellularLimits(day_cap, month_cap)
    links = FixedLink(CELLULAR)
    wire: dict[int, int] = {}

    def start() -> tuple[Ledger, ScriptedMeter, Charger]:
        ledger, meter = Ledger(path, clock, BOOT), ScriptedMeter()
        return ledger, meter, Charger(ledger, links, meter, limits)

    ledger, meter, charger = start()

    def count(sent_bytes: int) -> None:
        if is_metered(links.link()):
            day = clock.mono_ns() // NS_PER_DAY
            wire[day] = wire.get(day, 0) + sent_bytes

    for step, amount in steps:
        if step == "hours":
            clock.set_mono_ns(clock.mono_ns() + amount * 3600 * NS_PER_S)
        elif step == "jump":
            clock.jump_utc_ns(amount * NS_PER_DAY)
        elif step == "metered":
            links.change(METERED_WIFI if amount else WIFI)
        elif step == "restart":
            ledger, meter, charger = start()
        else:
            before = meter.sent_bytes
            try:
                with charger.exchange(amount):
                    meter.send(amount)
                    count(meter.sent_bytes - before)
                    if step == "crash_in_send":
                        # A dead process settles nothing.
                        ledger.cellular.settle = lambda *_: False  # type: ignore[method-assign]
                        raise CrashError
            except StoppedError:
                pass
            except CrashError:
                ledger, meter, charger = start()
    # All is one boot, begun at midnight of 15 November: budget days are elapsed days.
    assert all(sent <= day_cap for sent in wire.values())
    november = sum(sent for day, sent in wire.items() if day < 16)
    assert november <= month_cap


def test_a_free_link_found_metered_is_charged_for_what_went(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    links, meter = FixedLink(WIFI), ScriptedMeter()
    charger = Charger(ledger, links, meter, LIMITS)
    with charger.exchange(1000):
        meter.send(600)
        assert charger.reason_to_stop() is None
        meter.send(300)
        links.change(CELLULAR)
        assert charger.reason_to_stop() == "link_metered"
    assert ledger.cellular.spent().day_bytes == 300


def test_a_small_call_that_ends_on_a_metered_link_is_charged(tmp_path: Path) -> None:
    clock = VirtualClock()
    ledger = Ledger(tmp_path / "ledger.sqlite", clock, BOOT)
    links, meter = FixedLink(WIFI), ScriptedMeter()
    charger = Charger(ledger, links, meter, LIMITS)
    with charger.exchange(1000):
        meter.send(500)
    with charger.exchange(1000):
        meter.send(600)
        links.change(CELLULAR)
        meter.send(50)
    assert ledger.cellular.spent().day_bytes == 650
    with charger.exchange(1000):
        meter.send(70)
    assert ledger.cellular.spent().day_bytes == 720


def test_events_have_a_reserve_that_payloads_cannot_use() -> None:
    limits = CellularLimits(10_000, 10_000, event_reserve_bytes=4_000, slack_bytes=1_000)
    assert payload_allowance(CellularSpent(5_000, 5_000), limits) == 0
    assert payload_allowance(CellularSpent(4_000, 4_000), limits) == 1_000


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("wifi", WIFI),
        (" wifi  metered\n", METERED_WIFI),
        ("ethernet", Link("ethernet")),
        ("cellular", Link("cellular", metered=True)),
        ("none", NONE),
    ],
)
def test_link_files(text: str, link: Link) -> None:
    assert parse_link(text) == link


@pytest.mark.parametrize("text", ["", "5g", "wifi metred", "wifi metered please", "WIFI"])
def test_what_is_no_link_is_rejected(text: str) -> None:
    with pytest.raises(InputError, match="is not a link"):
        parse_link(text)


def test_a_link_file_is_read_again_and_never_trusted_blindly(tmp_path: Path) -> None:
    path = tmp_path / "link"
    monitor = FileLink(path)
    assert (monitor.link(), monitor.problem is None) == (NONE, False)
    path.write_text("wifi\n")
    assert (monitor.link(), monitor.problem) == (WIFI, None)
    path.write_text("cellular\n")
    assert is_metered(monitor.link())
    path.write_text("wify of the depot\n")
    assert monitor.link() == NONE
    assert "is not a link" in (monitor.problem or "")
    path.unlink()
    assert monitor.link() == NONE
