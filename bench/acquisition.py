"""Acquisition: k-centre coverage and BALD, each against a plain peer in the same run.

k-centre: 1,000 centres of 100,000 vectors of 64 values, normal and of unit length, in CPU time of
the process, which works on one core. The peer
is k-centre greedy as it is mostly written: numpy's norm of the differences to each new centre,
float32; it runs for fewer centres, and the time of one is compared. The covering radius is told
beside the peer's for as many centres, since ours are found on rounded vectors.

BALD: the scores of boxes from 8 members over 9 classes, against scipy's entropy of the same
distributions, mean and members.
"""

from __future__ import annotations

import numpy as np

from bench.figures import Figure, figure, median_cpu_ns
from contracts.samples import Float32s, Float64s
from offline.acquisition.coverage import k_centre
from offline.acquisition.scores.classes import class_scores

VECTORS, WIDTH, CENTRES = 100_000, 64, 1_000
PEER_CENTRES = 20
MEMBERS, BOXES, CLASSES = 8, 50_000, 9
_REPETITIONS = 3


def run() -> list[Figure]:
    """All figures."""
    return [*_coverage_figures(), _uncertainty_figure()]


def plain_k_centre(vectors: Float32s, k: int) -> tuple[list[int], float]:
    """Rows and covering radius of k-centre greedy from the first row on."""
    nearest = np.full(len(vectors), np.inf, dtype=np.float32)
    rows: list[int] = []
    for _ in range(k):
        rows.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, np.linalg.norm(vectors - vectors[rows[-1]], axis=1))
    return rows, float(nearest.max())


def _coverage_figures() -> list[Figure]:
    vectors = np.random.default_rng(1).normal(size=(VECTORS, WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    whole = median_cpu_ns({"ours": lambda: k_centre([vectors], CENTRES)}, 1)["ours"]
    spent = median_cpu_ns(
        {
            # Ours holds the vectors rounded before the first centre: told apart.
            "made": lambda: k_centre([vectors], 0),
            "plain": lambda: plain_k_centre(vectors, PEER_CENTRES),
        },
        _REPETITIONS,
    )
    plain = "numpy's norm of differences"
    size = f"{VECTORS} x {WIDTH}"
    return [
        figure(f"k-centre of {size}, {CENTRES} centres", whole / 1e9, "s", goal="<= 60"),
        figure(
            f"k-centre of {size}: a centre, preparation shared out", whole / CENTRES / 1e6, "ms",
            reference=plain, reference_value=spent["plain"] / PEER_CENTRES / 1e6,
            goal="ratio <= 0.25",
        ),
        figure(f"k-centre of {size}: preparation", spent["made"] / 1e6, "ms"),
        figure(
            f"covering radius of {PEER_CENTRES} centres", k_centre([vectors], PEER_CENTRES).radius,
            "unit norm", reference=plain, reference_value=plain_k_centre(vectors, PEER_CENTRES)[1],
            goal="ratio <= 1.01",
        ),
    ]  # fmt: skip


def _uncertainty_figure() -> Figure:
    told = np.random.default_rng(2).dirichlet(np.full(CLASSES + 1, 0.3), (MEMBERS, BOXES))
    distributions: Float64s = np.ascontiguousarray(told[..., :CLASSES])
    spent = median_cpu_ns(
        {
            "ours": lambda: class_scores(distributions),
            "scipy": lambda: _plain_mutual_information(distributions),
        },
        _REPETITIONS,
    )
    return figure(
        f"BALD of {MEMBERS} members over {CLASSES} classes", BOXES / spent["ours"] * 1e3,
        "million boxes/s", reference="scipy.stats.entropy",
        reference_value=BOXES / spent["scipy"] * 1e3, goal="ratio >= 2",
    )  # fmt: skip


def _plain_mutual_information(distributions: Float64s) -> Float64s:
    from scipy.stats import entropy

    rest = 1 - distributions.sum(axis=-1, keepdims=True)
    outcomes = np.concatenate([distributions, np.maximum(rest, 0)], axis=-1)
    told: Float64s = entropy(outcomes.mean(axis=0), axis=-1) - entropy(outcomes, axis=-1).mean(0)
    return told
