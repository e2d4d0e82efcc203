"""What an agent is set up from."""

from __future__ import annotations

import platform

from contracts import SOFTWARE_VERSION
from edge_agent.config import AgentConfig
from edge_agent.setup import vehicle_labels


def test_labels_are_the_configured_ones_over_what_the_agent_knows() -> None:
    known = {"architecture": platform.machine(), "software_version": SOFTWARE_VERSION}
    assert vehicle_labels(AgentConfig()) == known
    mine = AgentConfig(labels={"region": "eu", "architecture": "orin"})
    assert vehicle_labels(mine) == known | {"region": "eu", "architecture": "orin"}
