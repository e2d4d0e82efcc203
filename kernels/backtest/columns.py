"""A rule over whole columns: the fast path for trying many rules on one history.

Fires at the very ticks at which the engine fires; a property test holds both together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.expression import parse_expression
from contracts.trigger_spec import ExpressionSpec
from kernels.rules import run_columns
from kernels.triggers.step import hold_and_fire
from kernels.triggers.table import Rows, rows_of


def expression_fires(
    spec: ExpressionSpec, now_ns: NDArray[np.int64], columns: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Indices of the ticks at which a rule fires, its budget's cooldown not applied.

    `now_ns` int64 [n], `columns` float64 [catalogue, n] with NaN for absent.
    """
    conditions = run_columns(parse_expression(spec.when), columns)
    refire_ns = max(spec.cooldown, NS_PER_S // 1000) if spec.mode == "level" else -1
    rows = rows_of(1)
    rows["hold_ns"], rows["refire_ns"] = spec.hold, refire_ns
    fires: NDArray[np.int64] = np.flatnonzero(_hold_columns(rows, conditions, now_ns))
    return fires


@njit(cache=True, nogil=True)
def _hold_columns(
    rows: Rows, conditions: NDArray[np.float64], now_ns: NDArray[np.int64]
) -> NDArray[np.bool_]:
    fired = np.zeros(len(conditions), np.bool_)
    for i in range(len(conditions)):
        fired[i] = hold_and_fire(rows[0], conditions[i], now_ns[i])
    return fired
