"""What a drive calls was loaded before its source is asked for the first sample."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

DRIVE = """
import asyncio, json, sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from numba.core.registry import CPUDispatcher

from cli.demo_fleet import shipped_student
from contracts.samples import LidarSample
from edge_agent.app import Agent
from edge_agent.cli import BUNDLED_MODEL, published_specs
from edge_agent.config import AgentConfig
from edge_agent.sources.registry import open_source
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


def frozen(array):
    array = array.copy(order="K")
    array.flags.writeable = False
    return array


def others(sweep):
    xyz_m = sweep.xyz_m.copy()
    xyz_m[::50], xyz_m[1::50] = 0.0, 500.0
    fired = replace(sweep, xyz_m=xyz_m)
    by_beam = np.argsort(sweep.ring, kind="stable")
    listed = replace(
        sweep, xyz_m=xyz_m[by_beam], ring=sweep.ring[by_beam], intensity=sweep.intensity[by_beam],
        time_offset_ns=sweep.time_offset_ns[by_beam],
    )
    for one in (fired, listed):
        for two in (one, replace(one, ring=None), replace(one, xyz_m=np.asfortranarray(one.xyz_m))):
            yield two
            yield replace(two, time_offset_ns=None)


class Asked:
    '''A source as it is; `before`: what was loaded when it was asked for its first sample.'''

    def __init__(self, source):
        self.describe, self._source, self.before = source.describe, source, None

    def samples(self):
        self.before = loaded()
        yield from self._source.samples()


class OtherArrays:
    '''What someone else's source hands over: arrays nobody may write to, in any order.'''

    def __init__(self, source):
        self.describe, self._source, self._sweeps = source.describe, source, 0

    def samples(self):
        for sample in self._source.samples():
            if isinstance(sample, LidarSample):
                kinds = list(others(sample))
                sample = kinds[self._sweeps % len(kinds)]
                self._sweeps += 1
                ring, times = sample.ring, sample.time_offset_ns
                sample = replace(
                    sample, xyz_m=frozen(sample.xyz_m), intensity=frozen(sample.intensity),
                    ring=None if ring is None else frozen(ring),
                    time_offset_ns=None if times is None else frozen(times),
                )
            yield sample


source = SimFleetSource(DriveOptions(load_scenario("everyday-city"), 3, "s", 3.0))
model = shipped_student()
if sys.argv[2] == "other arrays":
    source = OtherArrays(source)
elif sys.argv[2] == "pictures alone":
    source, model = open_source("sim:seed=5,duration_s=5,lidar=0"), BUNDLED_MODEL
config = AgentConfig(
    state=Path(sys.argv[1]), ring="256MB", model=model, specs=(published_specs(),)
)
asked = Asked(source)
report = asyncio.run(Agent(config, asked, "simulated").run(stay=False))
late, samples = sorted(loaded() - asked.before), sum(report.samples.values())
print(json.dumps({"late": late, "before": len(asked.before), "samples": samples}))
"""


@pytest.mark.parametrize("source", ["simulated", "other arrays", "pictures alone"])
def test_a_drive_loads_no_kernel_once_its_source_was_asked(tmp_path: Path, source: str) -> None:
    """In a process of its own: in this one other tests have loaded what they call."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVE, str(tmp_path / "state"), source],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["late"] == []
    assert told["before"] > 10 and told["samples"] > 100
