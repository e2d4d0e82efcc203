"""What is broken is stopped by the gate that asks about it; what is as good as before is not.

The whole catalogue runs on the shipped student's answers (`longtail bench gates`); here the same
entries run on a small world, as far as it shows what they break.
"""

from __future__ import annotations

import numpy as np
import pytest

from bench.gates import MODEL
from bench.gates_better import trained_anew
from bench.gates_catalogue import REGRESSIONS, Regression, improvements
from bench.gates_slow import slowed
from bench.gates_world import Injected, World
from kernels.bev.pattern import self_test_inputs
from models.student.export import Graph
from offline.gates.judge import judge
from offline.gates.model_file import read_model
from tests.offline.gates.worlds import world

SHOWN = {
    "digest mismatch", "file cut short", "held against a file that is not the reference's",
    "self-test fails", "taxonomy swapped", "lineage missing", "embedding changed without a version",
    "embedding of another length without a version", "embedding removed", "latency doubled",
    "a third slower", "file too big", "pedestrians dropped", "cars dropped", "one scenario flipped",
    "boxes shifted by 2.5 m", "cars called trucks", "boxes doubled", "boxes shifted by 0.6 m",
    "random stream unweighted", "yaw flipped", "sizes scaled", "slow objects told as still",
    "lanes lost", "calibration broken, too shy", "crash in shadow", "shadow too short",
    "objects lost in shadow", "phantoms in shadow", "shadow on empty roads",
    "people side with the active model",
}  # fmt: skip


@pytest.fixture(scope="module")
def small() -> World:
    return world(12, 7)


def test_the_catalogue_is_whole() -> None:
    names = [each.name for each in REGRESSIONS]
    assert len(set(names)) == len(names) >= 30
    assert set(names) >= SHOWN
    assert len(improvements(0)) == 20


@pytest.mark.parametrize(
    "entry", [each for each in REGRESSIONS if each.name in SHOWN], ids=lambda each: each.name
)
def test_a_regression_is_stopped_by_the_gate_that_should(entry: Regression, small: World) -> None:
    report = judge(small.subjects(), entry.build(small), small.policy)
    assert report.stopped_by is not None
    assert report.stopped_by.gate == entry.gate
    assert all(claim.told for claim in report.failures())


def test_the_student_as_it_is_passes_and_so_does_one_trained_anew(small: World) -> None:
    assert judge(small.subjects(), Injected(small), small.policy).passes
    again = Injected(small, trained_anew(), seed=5)
    report = judge(small.subjects(), again, small.policy)
    assert report.passes, report.failures()


def test_the_same_seed_gives_the_same_report(small: World) -> None:
    one, two = (
        judge(small.subjects(), Injected(small, trained_anew(), seed=5), small.policy).digest
        for _ in range(2)
    )
    other = judge(small.subjects(), Injected(small, trained_anew(), seed=6), small.policy)
    assert one == two != other.digest


def test_a_student_that_works_twice_says_the_same() -> None:
    shipped = read_model(MODEL)
    twice = slowed(shipped)
    feed = self_test_inputs(shipped.manifest)
    once, again = (Graph(each.checked()).run(feed) for each in (shipped, twice))
    assert once.keys() == again.keys()
    assert all(np.allclose(once[name], again[name], atol=1e-6) for name in once)
