"""The rule compiler: both evaluators agree, and absent signals never make a rule true."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from contracts.expression import Node, Op, parse_expression
from contracts.signals import CATALOGUE, SIGNAL_INDEX
from kernels.rules import compile_rules, run_columns, run_program

NUMBERS = st.floats(-1e6, 1e6) | st.just(0.0)
VALUES = NUMBERS | st.just(math.nan)
ARITHMETIC: list[Op] = ["add", "sub", "mul", "div", "min", "max"]
COMPARISONS: list[Op] = ["lt", "le", "gt", "ge", "eq", "ne"]


def _numbers() -> st.SearchStrategy[Node]:
    leaves = st.builds(lambda v: Node("const", value=v), NUMBERS) | st.builds(
        lambda i: Node("signal", signal=i), st.integers(0, len(CATALOGUE) - 1)
    )
    return st.recursive(
        leaves,
        lambda inner: (
            st.builds(lambda op, a, b: Node(op, (a, b)), st.sampled_from(ARITHMETIC), inner, inner)
            | st.builds(lambda op, a: Node(op, (a,)), st.sampled_from(["neg", "abs"]), inner)
        ),
        max_leaves=6,
    )


def _truths() -> st.SearchStrategy[Node]:
    compared = st.builds(
        lambda op, a, b: Node(op, (a, b)), st.sampled_from(COMPARISONS), _numbers(), _numbers()
    )
    return st.recursive(
        compared,
        lambda inner: (
            st.builds(
                lambda op, a, b: Node(op, (a, b)), st.sampled_from(["and", "or"]), inner, inner
            )
            | st.builds(lambda a: Node("not", (a,)), inner)
        ),
        max_leaves=5,
    )


@given(
    st.lists(_truths(), min_size=1, max_size=4),
    st.lists(st.lists(VALUES, min_size=8, max_size=8), min_size=1, max_size=4),
)
def test_frame_and_columns_agree(rules: list[Node], seeds: list[list[float]]) -> None:
    frames = np.array([[seed[i % 8] for i in range(len(CATALOGUE))] for seed in seeds])
    program = compile_rules(rules)
    by_frame = np.array([run_program(program, frame) for frame in frames])
    for i, rule in enumerate(rules):
        np.testing.assert_array_equal(by_frame[:, i], run_columns(rule, frames.T))


def _run(rule: str, **signals: float) -> float:
    values = np.full(len(CATALOGUE), np.nan)
    for name, value in signals.items():
        values[SIGNAL_INDEX[name.replace("__", ".")]] = value
    return float(run_program(compile_rules([parse_expression(rule)]), values)[0])


def test_rules_mean_what_they_say() -> None:
    assert _run("ego.decel_mps2 > 2.0", ego__decel_mps2=2.1) == 1.0
    assert _run("ego.decel_mps2 > 2.0", ego__decel_mps2=2.0) == 0.0
    assert _run("1 < ego.speed_mps <= 3", ego__speed_mps=3.0) == 1.0
    assert _run("1 < ego.speed_mps <= 3", ego__speed_mps=1.0) == 0.0
    assert _run("not autonomy.engaged", autonomy__engaged=0.0) == 1.0
    assert _run("abs(ego.lat_accel_mps2) >= 2", ego__lat_accel_mps2=-2.5) == 1.0
    assert _run("max(ego.wheel_fl_mps, ego.wheel_fr_mps) > 2 * min(1, 3)",
                ego__wheel_fl_mps=1.0, ego__wheel_fr_mps=2.5) == 1.0  # fmt: skip


def test_absent_signals_are_unknown_not_false() -> None:
    assert math.isnan(_run("ego.speed_mps > 3"))
    assert math.isnan(_run("not ego.speed_mps > 3"))
    assert _run("ego.speed_mps > 3 or ego.decel_mps2 > 1", ego__decel_mps2=2.0) == 1.0
    assert _run("ego.speed_mps > 3 and ego.decel_mps2 > 1", ego__decel_mps2=0.0) == 0.0
    assert math.isnan(_run("ego.speed_mps > 3 and ego.decel_mps2 > 1", ego__decel_mps2=2.0))
    assert math.isnan(_run("ego.speed_mps / ego.yaw_rate_radps > 1",
                           ego__speed_mps=1.0, ego__yaw_rate_radps=0.0))  # fmt: skip
