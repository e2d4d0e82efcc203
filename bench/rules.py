"""Rules a tick: the stack program against a CEL engine, plain Python and numpy.

The same rules (1, 5 and 20 of them: three comparisons of signals with numbers, joined by `and`
and `not`) over the same simulated drive, in which every signal is present, give the same truth
in all of them; a run that did not is an error. Time is that of evaluation alone: rules are
compiled, and each tick's values lie ready in the form that the peer likes best (float64 array,
CEL values under flat names, list of floats, columns).

Peers: cel-python, its transpiler to Python and its interpreter; one Python function compiled
from each rule; numpy over the columns of one tick, as a vehicle would have
to; numpy over the columns of the whole drive, as a backtest may. None of the peers knows
absent signals, which the stack program looks for at every comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import celpy
import numpy as np
from celpy.celtypes import DoubleType
from numpy.typing import NDArray

from bench.figures import Figure, figure, median_cpu_ns
from bench.triggers import rule_specs, simulated_ticks
from bench.untrained_graph import Job
from contracts.expression import Node, parse_expression, signals_read
from contracts.signals import CATALOGUE
from kernels.rules import compile_rules, run_columns, run_program

COUNTS = (1, 5, 20)
_TICKS = 2000
_SLOWER = 40  # peers that take this much longer are measured on a part of the drive
_REPETITIONS = 7
_US = "µs/tick"

Truths = NDArray[np.float64]
Float64s = NDArray[np.float64]

_PYTHON = {
    "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!=", "and": "and", "or": "or",
    "add": "+", "sub": "-", "mul": "*", "div": "/",
}  # fmt: skip
_CEL = {**_PYTHON, "and": "&&", "or": "||"}


def run(ticks: int = _TICKS, repetitions: int = _REPETITIONS) -> list[Figure]:
    """All figures.

    Args:
        ticks: length of the simulated drive.
        repetitions: of each job; the figure is the median.

    Raises:
        ValueError: a peer did not find the same truth.
    """
    values = [tick.values for tick in simulated_ticks(ticks)]
    few = values[: max(1, ticks // _SLOWER)]
    figures: list[Figure] = []
    for count in COUNTS:
        nodes = [parse_expression(str(each.spec.when)) for each in rule_specs(count)]
        peers = _peers(nodes)
        _check(nodes, peers, few)
        jobs = {"program": _program_job(nodes, values), "history": _history_job(nodes, values)}
        jobs |= {name: _peer_job(each, few) for name, each in peers.items()}
        spent = median_cpu_ns(jobs, repetitions)
        us = {name: spent[name] / (len(few) if name in peers else ticks) / 1e3 for name in spent}
        figures += _figures(count, us)
    return figures


def python_text(node: Node) -> str:
    """A rule as a Python expression over `v`, the values by catalogue row."""
    return _text(node, _PYTHON, "not ", lambda row: f"v[{row}]")


def cel_text(node: Node) -> str:
    """A rule in the Common Expression Language, signals as flat names."""
    return _text(node, _CEL, "!", _flat)


def _flat(row: int) -> str:
    return CATALOGUE[row].name.replace(".", "_")


def _text(node: Node, words: dict[str, str], negation: str, signal: Callable[[int], str]) -> str:
    if node.op == "const":
        return repr(node.value)
    if node.op == "signal":
        return signal(node.signal)
    terms = [_text(child, words, negation, signal) for child in node.children]
    if node.op == "not":
        return f"{negation}({terms[0]})"
    if node.op == "neg":
        return f"-({terms[0]})"
    if node.op not in words:
        raise ValueError(f"{node.op} is in no rule of this benchmark")
    return f"({terms[0]} {words[node.op]} {terms[1]})"


Peer = tuple[Callable[[Float64s], Any], Callable[[Any], Sequence[Any]]]
"""A tick's values to the form that a peer takes, and all rules over it."""


def _peers(nodes: list[Node]) -> dict[str, Peer]:
    # The parser is made once for all, by the first environment; only this one's suits both.
    transpiled = _cel(nodes, celpy.CompiledRunner)
    functions = [eval(f"lambda v: {python_text(node)}", {}) for node in nodes]
    return {
        "plain": (lambda v: v.tolist(), lambda v: [each(v) for each in functions]),
        "numpy": (
            lambda v: v[:, None].copy(), lambda v: [run_columns(node, v)[0] for node in nodes],
        ),
        "CEL transpiled": (_activation_of(nodes), transpiled),
        "CEL": (_activation_of(nodes), _cel(nodes, celpy.InterpretedRunner)),
    }  # fmt: skip


def _activation_of(nodes: list[Node]) -> Callable[[Float64s], dict[str, DoubleType]]:
    rows = sorted(set().union(*(signals_read(node) for node in nodes)))
    return lambda values: {_flat(row): DoubleType(values[row]) for row in rows}


def _cel(nodes: list[Node], runner: type[celpy.Runner]) -> Callable[[Any], Sequence[Any]]:
    environment = celpy.Environment(runner_class=runner)
    programs = [environment.program(environment.compile(cel_text(node))) for node in nodes]
    return lambda activation: [each.evaluate(activation) for each in programs]


def _check(nodes: list[Node], peers: dict[str, Peer], values: list[Float64s]) -> None:
    program = compile_rules(nodes)
    history = np.stack([run_columns(node, np.stack(values, axis=1)) for node in nodes], axis=1)
    for row, tick in enumerate(values):
        truth = run_program(program, tick).tolist()
        found = {
            name: [float(truth) for truth in evaluate(ready(tick))]
            for name, (ready, evaluate) in peers.items()
        }
        found["history"] = history[row].tolist()
        for name, other in found.items():
            if other != truth:
                raise ValueError(f"{name} finds {other}, the stack program {truth}")


def _program_job(nodes: list[Node], values: list[Float64s]) -> Job:
    program = compile_rules(nodes)

    def run_all() -> None:
        for tick in values:
            run_program(program, tick)

    return run_all


def _history_job(nodes: list[Node], values: list[Float64s]) -> Job:
    columns = np.ascontiguousarray(np.stack(values, axis=1))
    return lambda: [run_columns(node, columns) for node in nodes]


def _peer_job(peer: Peer, values: list[Float64s]) -> Job:
    ready, evaluate = peer
    ticks = [ready(tick) for tick in values]

    def run_all() -> None:
        for tick in ticks:
            evaluate(tick)

    return run_all


_REFERENCES = {
    "CEL": "cel-python, interpreted",
    "CEL transpiled": "cel-python, transpiled to Python",
    "plain": "a compiled Python function a rule",
    "numpy": "numpy over the columns of one tick",
    "history": "numpy over the columns of the whole drive",
}


def _figures(count: int, us: dict[str, float]) -> list[Figure]:
    name = f"{count} rule{'s' * (count > 1)} through the stack program"
    return [
        figure(
            f"{name}, against {peer}", us["program"], _US,
            reference=reference, reference_value=us[peer],
        )
        for peer, reference in _REFERENCES.items()
        if peer in us
    ]  # fmt: skip
