"""The rule compiler: one tree, two evaluators that agree.

On the vehicle all rules of all specs become one flat stack program that a single cached numba
kernel interprets: nothing is compiled there. For backtests the same tree runs over columns
with numpy. Both give 1.0 (true), 0.0 (false) or NaN (unknown, since a signal is absent); a
property test holds them together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.expression import Node, Op

MAX_STACK = 64

_CODES: dict[Op, int] = {
    "const": 0, "signal": 1, "neg": 2, "add": 3, "sub": 4, "mul": 5, "div": 6, "abs": 7,
    "min": 8, "max": 9, "lt": 10, "le": 11, "gt": 12, "ge": 13, "eq": 14, "ne": 15,
    "and": 16, "or": 17, "not": 18,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    """Rules as arrays: rule i is steps `starts[i]:starts[i+1]`.

    `codes` int32 [steps], `signals` int32 [steps], `constants` float64 [steps].
    """

    codes: NDArray[np.int32]
    signals: NDArray[np.int32]
    constants: NDArray[np.float64]
    starts: NDArray[np.int32]


def compile_rules(rules: Sequence[Node]) -> Program:
    """Flatten rules to one program. Raises `InputError` when one needs too deep a stack."""
    steps: list[tuple[int, int, float]] = []
    starts = [0]
    for rule in rules:
        if _depth(rule) > MAX_STACK:
            raise InputError(f"the rule needs a stack deeper than {MAX_STACK}")
        _flatten(rule, steps)
        starts.append(len(steps))
    return Program(
        np.array([s[0] for s in steps], np.int32),
        np.array([s[1] for s in steps], np.int32),
        np.array([s[2] for s in steps], np.float64),
        np.array(starts, np.int32),
    )


def _flatten(node: Node, steps: list[tuple[int, int, float]]) -> None:
    for child in node.children:
        _flatten(child, steps)
    steps.append((_CODES[node.op], node.signal, node.value))


def _depth(node: Node) -> int:
    return max((i + _depth(child) for i, child in enumerate(node.children)), default=1)


@njit(cache=True, nogil=True, error_model="numpy")
def _binary(code: int, a: float, b: float) -> float:
    """One two-operand step. Kleene's logic: a NaN truth value is 'unknown'."""
    if code == 16:
        if a == 0.0 or b == 0.0:
            return 0.0
        return a * b
    if code == 17:
        if a == 1.0 or b == 1.0:
            return 1.0
        return a + b
    if np.isnan(a) or np.isnan(b):
        return np.nan
    if code == 3:
        return a + b
    if code == 4:
        return a - b
    if code == 5:
        return a * b
    if code == 6:
        return a / b if b != 0.0 else np.nan
    if code == 8:
        return min(a, b)
    if code == 9:
        return max(a, b)
    if code == 10:
        return 1.0 if a < b else 0.0
    if code == 11:
        return 1.0 if a <= b else 0.0
    if code == 12:
        return 1.0 if a > b else 0.0
    if code == 13:
        return 1.0 if a >= b else 0.0
    if code == 14:
        return 1.0 if a == b else 0.0
    return 1.0 if a != b else 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def run_steps(
    codes: NDArray[np.int32],
    signals: NDArray[np.int32],
    constants: NDArray[np.float64],
    first: int,
    last: int,
    values: NDArray[np.float64],
    stack: NDArray[np.float64],
) -> float:
    """Run one rule over `values` float64 [catalogue]; `stack` float64 [MAX_STACK] is scratch."""
    top = -1
    for i in range(first, last):
        code = codes[i]
        if code == 0:
            top += 1
            stack[top] = constants[i]
        elif code == 1:
            top += 1
            stack[top] = values[signals[i]]
        elif code == 2:
            stack[top] = -stack[top]
        elif code == 7:
            stack[top] = abs(stack[top])
        elif code == 18:
            stack[top] = 1.0 - stack[top]
        else:
            top -= 1
            stack[top] = _binary(code, stack[top], stack[top + 1])
    return float(stack[0])


@njit(cache=True, nogil=True)
def _run_all(
    codes: NDArray[np.int32],
    signals: NDArray[np.int32],
    constants: NDArray[np.float64],
    starts: NDArray[np.int32],
    values: NDArray[np.float64],
) -> NDArray[np.float64]:
    stack = np.empty(MAX_STACK)
    results = np.empty(len(starts) - 1)
    for i in range(len(results)):
        results[i] = run_steps(codes, signals, constants, starts[i], starts[i + 1], values, stack)
    return results


def run_program(program: Program, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """All rules on one frame: float64 [rules] of 1.0, 0.0 or NaN."""
    results: NDArray[np.float64] = _run_all(
        program.codes, program.signals, program.constants, program.starts, values
    )
    return results


def run_columns(rule: Node, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """One rule over history: `columns` float64 [catalogue, n] gives float64 [n]."""
    with np.errstate(all="ignore"):
        return _column(rule, columns)


def _column(node: Node, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    if node.op == "const":
        return np.full(columns.shape[1], node.value)
    if node.op == "signal":
        column: NDArray[np.float64] = columns[node.signal]
        return column
    terms = [_column(child, columns) for child in node.children]
    a = terms[0]
    if len(terms) == 1:
        alone: NDArray[np.float64] = _ON_ONE_COLUMN[node.op](a)
        return alone
    b = terms[1]
    if node.op == "and":
        return np.where((a == 0.0) | (b == 0.0), 0.0, a * b)
    if node.op == "or":
        return np.where((a == 1.0) | (b == 1.0), 1.0, a + b)
    unknown = np.isnan(a) | np.isnan(b)
    return np.where(unknown, np.nan, _known(node.op, a, b))


_ON_ONE_COLUMN: dict[Op, Callable[[Any], Any]] = {
    "neg": np.negative, "abs": np.abs, "not": lambda a: 1.0 - a,
}  # fmt: skip
_ON_COLUMNS: dict[Op, Callable[[Any, Any], Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply,
    "div": lambda a, b: np.where(b != 0.0, np.divide(a, b), np.nan),
    "min": np.minimum, "max": np.maximum, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal,
}  # fmt: skip


def _known(op: Op, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = _ON_COLUMNS[op](a, b).astype(np.float64)
    return result
