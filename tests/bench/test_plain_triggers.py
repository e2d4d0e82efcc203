"""The plain-Python peer fires exactly where the engine does, so it is a fair one."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.plain_triggers import PlainTriggers
from bench.triggers import CLASS_NAMES, built_in_specs, held_specs, rule_specs, simulated_ticks
from contracts.trigger_spec import SPEC_KINDS
from kernels.triggers.engine import TriggerEngine


@pytest.mark.parametrize("seed", [21, 22, 23])
def test_the_peer_fires_where_the_engine_does(seed: int) -> None:
    specs = held_specs()
    engine = TriggerEngine(specs, "drive/1", CLASS_NAMES)
    plain = PlainTriggers(specs, "drive/1", CLASS_NAMES)
    fired: Counter[str] = Counter()
    for tick in simulated_ticks(6000, seed):
        rows = [specs.index(fire.loaded) for fire in engine.step(tick)]
        scores = tick.class_scores.tolist()
        assert plain.step(tick.now_ns, tick.values.tolist(), scores, tick.frame_number) == rows
        fired.update(specs[row].spec.kind for row in rows)
    assert len(fired) >= 12, "the simulated drive has events of most kinds"


def test_published_specs_and_a_rule_are_all_kinds_but_that_of_one_model() -> None:
    kinds = {each.spec.kind for each in [*built_in_specs(), *rule_specs(1)]}
    assert kinds == set(SPEC_KINDS) - {"similar_to", "novelty"}


def test_a_rule_is_no_built_in() -> None:
    with pytest.raises(ValueError, match="expression is not built in"):
        PlainTriggers(rule_specs(1), "drive/1")
