"""What a drive calls was loaded before its first sample."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DRIVE = """
import asyncio, json, sys
from pathlib import Path

from numba.core.registry import CPUDispatcher

from cli.demo_fleet import shipped_student
from edge_agent.app import Agent
from edge_agent.cli import published_specs
from edge_agent.config import AgentConfig
from sim_fleet.scenarios.library import load_scenario
from sim_fleet.source import DriveOptions, SimFleetSource


def loaded():
    return {
        f"{found.py_func.__module__}.{found.py_func.__name__} {signature}"
        for name, module in list(sys.modules.items())
        if name.startswith(("kernels.", "edge_agent.")) and ".sources." not in name
        for found in vars(module).values()
        if isinstance(found, CPUDispatcher)
        for signature in found.signatures
    }


source = SimFleetSource(DriveOptions(load_scenario("everyday-city"), 3, "s", 3.0))
config = AgentConfig(
    state=Path(sys.argv[1]), ring="256MB", model=shipped_student(), specs=(published_specs(),)
)
agent = Agent(config, source, "simulated")
before = loaded()
report = asyncio.run(agent.run(stay=False))
late, samples = sorted(loaded() - before), sum(report.samples.values())
print(json.dumps({"late": late, "before": len(before), "samples": samples}))
"""


def test_a_drive_loads_no_kernel_after_it_has_begun(tmp_path: Path) -> None:
    """In a process of its own: in this one other tests have loaded what they call."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVE, str(tmp_path / "state")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["late"] == []
    assert told["before"] > 20 and told["samples"] > 100
