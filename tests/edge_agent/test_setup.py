"""What an agent is set up from."""

from __future__ import annotations

import platform

import pytest

from contracts import SOFTWARE_VERSION
from contracts.errors import InputError
from edge_agent.config import AgentConfig
from edge_agent.setup import specs_of_rules, vehicle_labels


def test_labels_are_the_configured_ones_over_what_the_agent_knows() -> None:
    known = {"architecture": platform.machine(), "software_version": SOFTWARE_VERSION}
    assert vehicle_labels(AgentConfig()) == known
    mine = AgentConfig(labels={"region": "eu", "architecture": "orin"})
    assert vehicle_labels(mine) == known | {"region": "eu", "architecture": "orin"}


@pytest.mark.parametrize(
    ("rule", "place", "says"),
    [
        ("ego.speed_mps >", "rule 2, column 16", "missing at its end"),
        ("  ego.speed_mps > and 3", "rule 2, column 19", "not a rule"),
        ("ego.speed_mps > 3 and ego.sped_mps > 3", "rule 2, column 23", "did you mean"),
        (" ", "rule 2, column 1", "it is empty"),
    ],
)
def test_a_rule_of_the_command_line_tells_its_own_column(rule: str, place: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        specs_of_rules(("ego.speed_mps > 3", rule))
    assert caught.value.place == place
