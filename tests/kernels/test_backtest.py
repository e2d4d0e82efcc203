"""Backtests fire exactly where the vehicle did, and say what a spec would cost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from contracts.signal_log import LoggedFire, LoggedLimits, LoggedSpec, SignalLogHeader
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import ExpressionSpec, LoadedSpec, load_specs, parse_spec
from edge_agent.app import run_agent
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.config import AgentConfig
from edge_agent.drive.drive import TICK_NS
from edge_agent.health.status import AgentReport
from edge_agent.setup import specs_of_rules
from kernels.backtest import cases
from kernels.backtest.columns import expression_fires
from kernels.backtest.drives import logged_drives
from kernels.backtest.figures import SpecFigures, figures_of
from kernels.backtest.replay import ReplayedDrive, replay
from kernels.signal_log import (
    SignalChunk,
    encode_chunk,
    encode_end,
    encode_header,
    read_signal_log,
)
from kernels.triggers.cause import cause_of
from kernels.triggers.engine import TickInputs, TriggerEngine

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"
RULES = ("ego.decel_mps2 > 2.0", "autonomy.engaged", "ego.speed_mps > 5 and ego.accel_mps2 > 0.3")


def spec(text: str) -> LoadedSpec:
    return parse_spec(f"apiVersion: longtail/v1\nowner: x\nversion: 1\n{text}", "t.yaml")


def run(state: Path, source: str, **more: object) -> AgentReport:
    values = {"state": state, "source": source, "specs": (PUBLISHED,), "rules": RULES, **more}
    return run_agent(AgentConfig.model_validate(values))


def replayed(specs: list[LoadedSpec], folder: Path) -> list[ReplayedDrive]:
    return replay(specs, logged_drives(sorted(folder.glob("*.ltsl"))))


# The vehicle's own drives -------------------------------------------------------------------


def check_exactly_what_the_agent_did(report: AgentReport, state: Path) -> None:
    """Times, scores, evidence and cooldowns of every fire, and the agent's own counts."""
    specs = [*load_specs(PUBLISHED), *specs_of_rules(RULES)]
    (drive,) = replayed(specs, state / "signals")
    assert report.signal_log_lost_ticks == 0
    assert [note for note in drive.notes if "cannot fire" not in note] == []
    assert [fire.cause for fire in drive.fires] == [fire.cause for fire in drive.recorded]
    assert [fire.outcome == "cooldown" for fire in drive.fires] == [
        fire.outcome == "cooldown" for fire in drive.recorded
    ]
    in_shadow = {s.trigger_id for s in drive.header.specs if s.shadow}
    counted: Counter[tuple[str, str]] = Counter()
    for fire in drive.fires:
        trigger = fire.cause.trigger_id
        counted[f"{trigger}@shadow" if trigger in in_shadow else trigger, fire.outcome] += 1
    assert {name for name, _ in counted} == set(report.triggers)
    for name, count in report.triggers.items():
        assert counted[name, "cooldown"] == count.suppressed.get("cooldown", 0)
        assert counted[name, "fire"] == count.fired - count.suppressed.get("cooldown", 0)
    inactive = {entry.trigger_id for entry in report.inactive}
    assert {s.trigger_id for s in drive.header.specs if s.inactive} == inactive
    for loaded in specs:
        live = figures_of(loaded, [drive], 8.0, {}).live
        if loaded.spec.id in inactive:
            assert live is None
        else:
            assert live is not None
            assert (live.only_replayed, live.only_recorded) == (0, 0)
            assert live.same == sum(
                n for (name, _), n in counted.items()
                if name.removesuffix("@shadow") == loaded.spec.id
            )  # fmt: skip
    assert drive.driven_s == pytest.approx(report.drive_s, abs=0.1)


def test_the_recorded_drive_again(shared_data: Path, tmp_path: Path) -> None:
    report = run(tmp_path, f"comma2k19:{shared_data / 'comma2k19'}", vehicle_id="rav4")
    assert {"rule-1", "rule-2", "rule-3"} <= set(report.triggers)
    assert report.triggers["rule-1"].suppressed == {"cooldown": 1}
    check_exactly_what_the_agent_did(report, tmp_path)


def test_the_simulated_drive_again_with_its_model(tmp_path: Path) -> None:
    report = run(tmp_path, "sim:seed=1,duration_s=40", model=BUNDLED_MODEL, vehicle_id="sim-car")
    expected = {"rare-class", "disengagement", "hard-brake", "jerk", "planner-divergence"}
    assert expected <= set(report.triggers)
    check_exactly_what_the_agent_did(report, tmp_path)


# Rules in both evaluations ------------------------------------------------------------------

BY_UNIT: dict[str, list[str]] = {}
for signal in CATALOGUE:
    BY_UNIT.setdefault(signal.unit, []).append(signal.name)
UNITS = sorted(unit for unit in BY_UNIT if unit != "bool")
NUMBERS = st.sampled_from(["0", "1", "-1.5", "2", "0.25", "10"])
RULES_AT_ONCE, SERIES_EACH, TICKS = 25, 8, 50


@st.composite
def numbers(draw: st.DrawFn, unit: str) -> str:
    name = st.sampled_from(BY_UNIT[unit])
    shape = draw(st.integers(0, 6))
    if shape <= 2:
        return draw(name)
    a, b, n = draw(name), draw(name), draw(NUMBERS)
    return [f"abs({a})", f"max({a}, {b})", f"({a} - {b})", f"{a} / {n}"][shape - 3]


@st.composite
def truths(draw: st.DrawFn, depth: int = 0) -> str:
    shape = draw(st.integers(0, 5 if depth < 2 else 2))
    if shape <= 1:
        unit = draw(st.sampled_from(UNITS))
        sign = draw(st.sampled_from(["<", "<=", ">", ">=", "==", "!="]))
        other = draw(NUMBERS if shape == 0 else numbers(unit))
        return f"{draw(numbers(unit))} {sign} {other}"
    if shape == 2:
        return draw(st.sampled_from(BY_UNIT["bool"]))
    if shape == 3:
        return f"not ({draw(truths(depth + 1))})"
    word = "and" if shape == 4 else "or"
    return f"({draw(truths(depth + 1))}) {word} ({draw(truths(depth + 1))})"


def a_series(rng: np.random.Generator) -> np.ndarray:
    """Values float64 [ticks, catalogue] near the rules' numbers, held, ramped and missing."""
    held = rng.integers(-2, 4, (TICKS // 5, len(CATALOGUE))).astype(float).repeat(5, axis=0)
    values = held + rng.choice([0.0, 0.5, 0.01], len(CATALOGUE)) * rng.normal(size=held.shape)
    values[rng.random(values.shape) < rng.choice([0.0, 0.02, 0.3])] = np.nan
    return values


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(truths(), st.sampled_from(["0s", "60ms", "100ms"]), st.booleans()),
        min_size=RULES_AT_ONCE, max_size=RULES_AT_ONCE,
    ),
    st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_frames_and_columns_fire_at_the_same_ticks(
    rules: list[tuple[str, str, bool]], seed: int
) -> None:
    """50 examples of 25 rules over 8 series: 10,000 rules × series."""
    specs = [
        spec(f'kind: expression\nid: r{i}\nwhen: "{rule}"\nfor: {hold}\ncooldown: 80ms\n'
             f"mode: {'level' if level else 'rising_edge'}\n")
        for i, (rule, hold, level) in enumerate(rules)
    ]  # fmt: skip
    rng = np.random.default_rng(seed)
    times = np.arange(TICKS) * TICK_NS
    for _ in range(SERIES_EACH):
        values = a_series(rng)
        engine = TriggerEngine(specs, "v/b")
        framed: dict[str, list[int]] = {}
        for tick in range(TICKS):
            for fire in engine.step(TickInputs(tick * TICK_NS, values[tick])):
                framed.setdefault(fire.loaded.spec.id, []).append(tick)
        for loaded in specs:
            assert isinstance(loaded.spec, ExpressionSpec)
            found = expression_fires(loaded.spec, times, np.ascontiguousarray(values.T))
            assert found.tolist() == framed.get(loaded.spec.id, []), loaded.spec.when


# Made-up drives -----------------------------------------------------------------------------

BRAKES = spec(
    "kind: expression\nid: brakes\nwhen: ego.decel_mps2 > 2\ncooldown: 5s\n"
    "capture: {pre: 4s, post: 4s}\nbudget: {clips_per_day: 100, bytes_per_day: 1GB}\n"
)
LIMITS = LoggedLimits(
    clips_per_day=300, bytes_per_day=10**9, safety_reserve_ratio=0.3, random_reserve_ratio=0.1
)


def header(**more: object) -> SignalLogHeader:
    values: dict[str, object] = {
        "software_version": "1", "vehicle_id": "car", "boot_id": "boot", "drive_id": "d",
        "utc_minus_mono_ns": 1_700_000_000 * NS_PER_S, "drive_start_mono_ns": 0,
        "signals": ("gone.signal", "ego.decel_mps2"), "limits": LIMITS,
    }  # fmt: skip
    return SignalLogHeader.model_validate({**values, **more})


def braking(first: int, n: int, at_s: tuple[float, ...]) -> SignalChunk:
    """Ticks `first` to `first + n` that brake for half a second at each time."""
    now_ns = np.arange(first, first + n) * TICK_NS
    t = now_ns / NS_PER_S
    decel = np.zeros(n)
    for begin in at_s:
        decel[(t >= begin) & (t < begin + 0.5)] = 3.0
    zeros = np.zeros(n)
    return SignalChunk(
        first, now_ns, np.stack([zeros, decel], 1), zeros[:, None], zeros.astype(np.int64), zeros
    )


def write(path: Path, head: SignalLogHeader, *chunks: SignalChunk, end: bool = True) -> None:
    content = encode_header(head) + b"".join(encode_chunk(chunk) for chunk in chunks)
    path.write_bytes(content + (encode_end(sum(map(len, chunks))) if end else b""))


def figures(drives: list[ReplayedDrive], clip_bytes: dict[str, int] | None = None) -> SpecFigures:
    return figures_of(BRAKES, drives, 8.0, clip_bytes or {})


def test_rates_clips_and_budget(tmp_path: Path) -> None:
    # 100 s: five fires, one of them in the cooldown, two whose windows make one clip.
    write(tmp_path / "a.ltsl", header(), braking(0, 5001, (10, 13, 17, 40, 70)))
    drives = replayed([BRAKES], tmp_path)
    found = figures(drives, {"": 3_000_000, "brakes": 2_000_000})
    assert (found.fires, found.in_cooldown, found.clips) == (4, 1, 3)
    assert found.hours == pytest.approx(100 / 3600)
    assert found.fires_per_hour == pytest.approx(4 * 36)
    assert found.clips_per_day == pytest.approx(3 * 36 * 8)
    assert found.clips_budget_ratio == pytest.approx(3 * 36 * 8 / 100)
    assert found.bytes_per_day == pytest.approx(3 * 36 * 8 * 2e6)
    assert found.bytes_budget_ratio == pytest.approx(3 * 36 * 8 * 2e6 / 1e9)
    assert found.live is None
    unknown = figures(drives)
    assert (unknown.clip_bytes, unknown.bytes_per_day, unknown.bytes_budget_ratio) == (None,) * 3


def test_live_fires_are_compared_and_overlaps_counted(tmp_path: Path) -> None:
    chunk = braking(0, 3000, (10, 40))
    (drive,) = _replay_of(tmp_path / "x", header(), chunk)
    recorded = [LoggedFire(cause=fire.cause, outcome="budget_clips") for fire in drive.fires]
    elsewhere = recorded[0].cause.model_copy(
        update={"trigger_id": "other", "spec_digest": "f" * 64, "fired_mono_ns": 43 * NS_PER_S}
    )
    ran = LoggedSpec(
        trigger_id="brakes", trigger_version=1, digest=BRAKES.digest, kind="expression"
    )
    late = recorded[1].cause.model_copy(update={"fired_mono_ns": 50 * NS_PER_S})
    fires = (
        recorded[0],
        LoggedFire(cause=late, outcome="kept"),
        LoggedFire(cause=elsewhere, outcome="kept"),
    )
    logged = SignalChunk(
        0, chunk.now_ns, chunk.values, chunk.class_scores, chunk.frame_number, chunk.horizon_s,
        fires,
    )  # fmt: skip
    found = figures(_replay_of(tmp_path / "y", header(specs=(ran,)), logged))
    assert found.overlap == {"other": 1}
    assert found.live is not None
    assert (found.live.same, found.live.only_replayed, found.live.only_recorded) == (1, 1, 1)


def _replay_of(folder: Path, head: SignalLogHeader, *chunks: SignalChunk) -> list[ReplayedDrive]:
    folder.mkdir()
    write(folder / "a.ltsl", head, *chunks)
    return replayed([BRAKES], folder)


def test_a_drive_in_several_files_is_one_drive(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    brakes = (10.2, 19.9, 39.9, 42.0)
    write(whole / "a.ltsl", header(), braking(0, 3000, brakes))
    for i, name in enumerate(("c", "b", "a")):  # their names tell nothing
        write(parts / f"{name}.ltsl", header(), braking(i * 1000, 1000, brakes))
    write(parts / "copy.ltsl", header(), braking(1000, 1000, brakes))
    (one,), (three,) = replayed([BRAKES], whole), replayed([BRAKES], parts)
    assert len(one.fires) == 4
    assert three.fires == one.fires
    assert three.ticks == 3000
    assert three.notes == ()


def test_what_is_lost_of_a_drive_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.ltsl", header(), braking(0, 500, ()), end=False)
    write(tmp_path / "b.ltsl", header(), braking(750, 500, (20,)))
    (drive,) = replayed([BRAKES], tmp_path)
    assert len(drive.fires) == 1
    assert drive.driven_s == pytest.approx(499 * 0.02 + 499 * 0.02, abs=0.03)
    assert "without its end mark" in drive.notes[0]
    assert "250 ticks lost" in drive.notes[1]


def test_the_random_baseline_keeps_its_slots_where_the_first_file_is_gone(tmp_path: Path) -> None:
    baseline = spec(
        "kind: random_baseline\nid: random\ncooldown: 0s\n"
        "when: {probability: 0.5, slot_s: 1, seed: 3}\n"
    )
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    for folder in (whole, rest):
        folder.mkdir()
    start = header(drive_start_mono_ns=0)
    write(whole / "a.ltsl", start, braking(0, 3000, ()))
    write(rest / "b.ltsl", start, braking(1025, 1975, ()))
    (one,), (late,) = replayed([baseline], whole), replayed([baseline], rest)
    after = [fire for fire in one.fires if fire.cause.fired_mono_ns >= 1050 * TICK_NS]
    assert len(after) > 5
    kept = [fire for fire in late.fires if fire.cause.fired_mono_ns >= 1050 * TICK_NS]
    assert kept == after


def test_cooldowns_hold_over_the_drives_of_one_boot(tmp_path: Path) -> None:
    later = header(drive_start_mono_ns=1000 * TICK_NS, drive_id="e")
    other = header(drive_start_mono_ns=1000 * TICK_NS, boot_id="other")
    shifted = braking(1000, 500, (21.0,))
    again = SignalChunk(
        0, shifted.now_ns, shifted.values, shifted.class_scores, shifted.frame_number,
        shifted.horizon_s,
    )  # fmt: skip
    write(tmp_path / "a.ltsl", header(), braking(0, 1000, (18.0,)))
    write(tmp_path / "b.ltsl", later, again)
    write(tmp_path / "c.ltsl", other, again)
    drives = replayed([BRAKES], tmp_path)
    outcomes = [[fire.outcome for fire in drive.fires] for drive in drives]
    assert outcomes == [["fire"], ["cooldown"], ["fire"]]


def test_an_expired_spec_fires_no_more(tmp_path: Path) -> None:
    old = spec(
        "kind: expression\nid: brakes\nwhen: ego.decel_mps2 > 2\ntarget: {expires: 2023-11-14}\n"
    )
    write(tmp_path / "a.ltsl", header(), braking(0, 1000, (10.0,)))  # on 2023-11-14
    ((fire,),) = (drive.fires for drive in replayed([old], tmp_path))
    assert fire.outcome == "expired"


def test_a_spec_that_the_drive_cannot_fire_is_told(tmp_path: Path) -> None:
    rare = spec("kind: rare_class\nid: rare\nwhen: {classes: [zebra]}\n")
    ttc = spec("kind: ttc\nid: near\n")
    write(tmp_path / "a.ltsl", header(), braking(0, 100, ()))
    (drive,) = replayed([rare, ttc, BRAKES], tmp_path)
    assert len(drive.notes) == 2
    assert "rare cannot fire: the drive has no perception.object_count" in drive.notes[0]
    assert "near cannot fire" in drive.notes[1]


def test_a_made_up_drive_ticks_as_the_vehicle_does() -> None:
    assert cases.TICK_NS == TICK_NS


def test_a_log_is_what_the_engine_saw(tmp_path: Path) -> None:
    """Any kind on any values: the engine live, and again from its log."""
    rng = np.random.default_rng(5)
    n = 1000
    specs = load_specs(PUBLISHED)
    values = np.cumsum(rng.normal(0, 0.4, (n, len(CATALOGUE))), axis=0)
    values[:, SIGNAL_INDEX["autonomy.engaged"]] = (rng.random(n) < 0.99).astype(float)
    values[:, SIGNAL_INDEX["perception.uncertainty"]] = rng.random(n)
    values[rng.random(values.shape) < 0.01] = np.nan
    scores = np.repeat(rng.random((n // 5, 2)), 5, axis=0)
    frames = np.arange(n) // 5 + 1
    horizon = np.full(n, 3.0)
    times = np.arange(n) * TICK_NS
    engine = TriggerEngine(specs, "car/boot", ("dog", "car"))
    live = [
        cause_of(fire)
        for i in range(n)
        for fire in engine.step(
            TickInputs(int(times[i]), values[i], scores[i], int(frames[i]), 3.0)
        )
    ]
    assert len({cause.kind for cause in live}) >= 7
    head = header(signals=tuple(s.name for s in CATALOGUE), class_names=("dog", "car"))
    parts = [
        SignalChunk(i, times[i : i + 300], values[i : i + 300], scores[i : i + 300],
                    frames[i : i + 300], horizon[i : i + 300])
        for i in range(0, n, 300)
    ]  # fmt: skip
    write(tmp_path / "a.ltsl", head, *parts)
    assert read_signal_log(tmp_path / "a.ltsl").broken is None
    (drive,) = replayed(specs, tmp_path)
    assert [fire.cause for fire in drive.fires] == live
