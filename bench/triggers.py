"""Trigger evaluation: CPU time a tick, against the model's time a frame and against peers.

The engine runs the published specs (fifteen kinds) and rules over a simulated drive at 50 Hz, five
ticks a frame, with a few true events in it. References: one run of an untrained int8 network
of 5 GMAC; the same fifteen kinds in plain Python; the same rules by numpy over columns. A tick
through the engine includes its Python call, as on the vehicle; gathering the signals and
clips is not in it (the hot path's benchmark has both).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import trigger_specs
from bench.figures import Figure, figure, median_cpu_ns
from bench.plain_triggers import PlainTriggers
from bench.untrained_graph import Job, model_job
from contracts.expression import Node, parse_expression
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from contracts.trigger_spec import LoadedSpec, load_specs, parse_spec
from kernels.rules import compile_rules, run_columns, run_program
from kernels.triggers.engine import TickInputs, TriggerEngine

TICK_NS = 20_000_000
TICKS_PER_FRAME = 5
CLASS_NAMES = ("vehicle", "pedestrian", "cyclist", "animal", "debris")
_RULES = 20
_TICKS = 3000
_SLOWER = 20  # numpy's call for each step is slow enough to be measured on a part of the drive
_REPETITIONS = 11
_DRIVE = "bench/1"
_US = "µs/tick"

Float64s = NDArray[np.float64]


def run(ticks: int = _TICKS, repetitions: int = _REPETITIONS) -> list[Figure]:
    """All figures.

    Args:
        ticks: length of the simulated drive.
        repetitions: of each job; the figure is the median.
    """
    built_in, rules = built_in_specs(), rule_specs(_RULES)
    drive = simulated_ticks(ticks)
    few = drive[: max(1, ticks // _SLOWER)]
    columns = np.ascontiguousarray(np.stack([tick.values for tick in drive], axis=1))
    jobs: dict[str, Job] = {
        "model": model_job(),
        "fifteen": _engine_job(held_specs(), drive),
        "sixteen": _engine_job(built_in + rules[:1], drive),
        "all": _engine_job(built_in + rules, drive),
        "plain": _plain_job(held_specs(), drive),
        "columns": lambda: [run_columns(_node(each), columns) for each in rules],
    }
    for count in (1, _RULES):
        jobs[f"program {count}"] = _program_job(rules[:count], drive)
        jobs[f"numpy {count}"] = _numpy_job(rules[:count], few)
    spent = median_cpu_ns(jobs, repetitions)
    lengths = {name: len(few) if name.startswith("numpy") else ticks for name in spent}
    us = {name: spent[name] / length / 1e3 for name, length in lengths.items()}
    return _figures(us, spent["model"])


def built_in_specs() -> list[LoadedSpec]:
    """The published specs: one of each built-in kind."""
    return load_specs(Path(trigger_specs.__path__[0]))


def held_specs() -> list[LoadedSpec]:
    """The same with thresholds that do not adapt, as the peer has them."""
    return [
        each.model_copy(update={"spec": each.spec.model_copy(update={"rate": None})})
        for each in built_in_specs()
    ]


def rule_specs(count: int) -> list[LoadedSpec]:
    """`count` different rules of a usual size, twelve steps each."""
    return [parse_spec(_rule_text(number), f"rule {number}") for number in range(count)]


def simulated_ticks(count: int, seed: int = 21) -> list[TickInputs]:
    """A drive of all signals: smooth noise about ordinary values, and an event now and then."""
    rng = np.random.default_rng(seed)
    values = np.full((count, len(CATALOGUE)), np.nan)
    for name, middle, spread in _ORDINARY:
        values[:, SIGNAL_INDEX[name]] = middle + spread * _smooth(rng, count)
    values[:, SIGNAL_INDEX["shadow.frames"]] = np.arange(count) // (5 * TICKS_PER_FRAME)
    values[:, SIGNAL_INDEX["ego.decel_mps2"]] = -values[:, SIGNAL_INDEX["ego.accel_mps2"]]
    for name, chance in _PRESSED:
        pressed = np.repeat(rng.random(-(-count // 50)) < chance, 50)[:count]
        values[:, SIGNAL_INDEX[name]] = pressed
    scores = rng.random((count, len(CLASS_NAMES))) ** 6
    return [
        TickInputs(i * TICK_NS, values[i], scores[i], i // TICKS_PER_FRAME, 3.0)
        for i in range(count)
    ]


_ORDINARY = (
    ("ego.speed_mps", 15.0, 4.0), ("ego.accel_mps2", 0.0, 1.7), ("ego.jerk_mps3", 0.0, 5.0),
    ("ego.lat_accel_mps2", 0.0, 1.5), ("ego.yaw_rate_radps", 0.0, 0.2),
    ("lead.distance_m", 30.0, 5.0), ("lead.closing_mps", 1.0, 1.0), ("lead.ttc_s", 6.0, 2.0),
    ("perception.object_count", 6.0, 1.5), ("perception.uncertainty", 0.4, 0.1),
    ("perception.margin", 0.3, 0.12), ("perception.flickers", 1.5, 1.0),
    ("perception.unexplained_points", 5.0, 8.0), ("perception.unexplained_m", 45.0, 10.0),
    ("perception.lidar_missed", 0.5, 1.0), ("perception.lidar_checked", 3.0, 1.0),
    ("shadow.disagreement", 0.3, 0.2), ("planner.ade_m", 0.6, 0.3), ("planner.fde_m", 1.5, 0.8),
)  # fmt: skip
_PRESSED = (
    ("driver.brake_pressed", 0.1), ("driver.gas_pressed", 0.3), ("driver.steer_override", 0.05),
    ("driver.bookmark", 0.02), ("autonomy.engaged", 0.9), ("autonomy.fault", 0.02),
    ("autonomy.emergency_stop", 0.01),
)  # fmt: skip


def _smooth(rng: np.random.Generator, count: int) -> Float64s:
    """Noise of standard deviation 1 with a memory of half a second."""
    kernel = np.exp(-np.arange(75) / 25)
    noise = rng.normal(0, 1, count + len(kernel) - 1)
    return np.convolve(noise, kernel / np.linalg.norm(kernel), mode="valid")


def _rule_text(number: int) -> str:
    return (
        "apiVersion: longtail/v1\nkind: expression\nversion: 1\nowner: bench\n"
        f"id: rule-{number}\n"
        f"when: ego.decel_mps2 > {2 + number / 20} and ego.speed_mps > 5 and "
        "not driver.brake_pressed == 1\n"
    )


def _node(loaded: LoadedSpec) -> Node:
    return parse_expression(str(loaded.spec.when))


def _engine_job(specs: list[LoadedSpec], drive: list[TickInputs]) -> Job:
    def step_all() -> None:
        engine = TriggerEngine(specs, _DRIVE, CLASS_NAMES)
        for tick in drive:
            engine.step(tick)

    return step_all


def _plain_job(specs: list[LoadedSpec], drive: list[TickInputs]) -> Job:
    ticks = [
        (each.now_ns, each.values.tolist(), each.class_scores.tolist(), each.frame_number)
        for each in drive
    ]

    def step_all() -> None:
        triggers = PlainTriggers(specs, _DRIVE, CLASS_NAMES)
        for tick in ticks:
            triggers.step(*tick)

    return step_all


def _program_job(rules: list[LoadedSpec], drive: list[TickInputs]) -> Job:
    program = compile_rules([_node(each) for each in rules])

    def run_all() -> None:
        for tick in drive:
            run_program(program, tick.values)

    return run_all


def _numpy_job(rules: list[LoadedSpec], drive: list[TickInputs]) -> Job:
    """As a vehicle without the stack program would: every rule on a column of one tick."""
    nodes = [_node(each) for each in rules]
    ticks = [tick.values[:, None].copy() for tick in drive]

    def run_all() -> None:
        for tick in ticks:
            for node in nodes:
                run_columns(node, tick)

    return run_all


def _figures(us: dict[str, float], model_ns: float) -> list[Figure]:
    model_us = model_ns / 1e3
    network = "one run of the untrained 5 GMAC int8 network"
    frame = TICKS_PER_FRAME * us["sixteen"]
    return [
        figure(
            f"all sixteen kinds, {TICKS_PER_FRAME} ticks a frame", frame, "µs/frame",
            reference=network, reference_value=model_us, goal="ratio <= 0.002",
        ),
        figure("all sixteen kinds", us["sixteen"], _US),
        figure(
            f"fifteen kinds and {_RULES} rules, {TICKS_PER_FRAME} ticks a frame",
            TICKS_PER_FRAME * us["all"], "µs/frame",
            reference=network, reference_value=model_us, goal="ratio <= 0.002",
        ),
        figure(
            "fifteen built-in kinds", us["fifteen"], _US,
            reference="the same in plain Python", reference_value=us["plain"],
        ),
        *(
            figure(
                f"{count} rule{'s' * (count > 1)} through the stack program",
                us[f"program {count}"], _US,
                reference="numpy over a column of one tick", reference_value=us[f"numpy {count}"],
            )
            for count in (1, _RULES)
        ),
        figure(
            f"{_RULES} rules over history, by numpy columns", us["columns"], _US,
            reference="the stack program, tick by tick", reference_value=us[f"program {_RULES}"],
        ),
    ]  # fmt: skip
