"""The agent killed without warning: every clip arrives once, none twice, nothing half-written.

A kill point is an event of the agent's own log (a fire, a packed clip, an upload) counted
from the start, and a delay: seeded, so that a failure can be had again.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from client import CloudClient
from edge_agent.health.status import AgentReport
from kernels.clip.reader import read_manifest, read_messages
from tests.road.conftest import serving

AGENT = (sys.executable, "-m", "tests.road.agent_process")
ROOT = Path(__file__).resolve().parents[2]
EVENTS = ("trigger fired", "clip packed", "clip_uploaded")
SPEC = """\
apiVersion: longtail/v1
kind: expression
id: every-few-seconds
version: 1
owner: tests
when: ego.speed_mps > -1
mode: level
cooldown: 2s
capture: {pre: 1s, post: 0.5s}
budget: {clips_per_day: 1000, bytes_per_day: 100GB}
"""


@dataclass(frozen=True)
class KillPoint:
    """Kill `delay_s` after the `count`-th log line that says `event`."""

    event: str
    count: int
    delay_s: float


def kill_points(seed: int, number: int) -> list[KillPoint]:
    rng = random.Random(seed)
    return [
        KillPoint(EVENTS[i % len(EVENTS)], rng.randint(1, 5), rng.choice([0.0, 0.002, 0.01, 0.05]))
        for i in range(number)
    ]


def configuration(folder: Path, state: str, cloud_url: str | None) -> str:
    (folder / "specs").mkdir(exist_ok=True)
    (folder / "specs" / "often.yaml").write_text(SPEC)
    config = {
        "vehicle_id": f"kill-{folder.name}"[:60],
        "state": str(folder / state),
        "source": "sim:seed=11,duration_s=20",
        "specs": [str(folder / "specs")],
        "cloud": cloud_url,
    }
    return json.dumps({k: v for k, v in config.items() if v is not None})


def run_to_end(config: str) -> AgentReport:
    done = subprocess.run(
        [*AGENT, config], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return AgentReport.model_validate_json(done.stdout)


def run_and_kill(config: str, point: KillPoint) -> bool:
    """True when the process was killed; False when it ended before its point."""
    process = subprocess.Popen(
        [*AGENT, config], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    seen: Counter[str] = Counter()
    for line in process.stderr:
        if not line.startswith("{"):
            continue
        event = json.loads(line).get("event")
        seen[event] += 1
        if event == point.event and seen[event] == point.count:
            threading.Timer(point.delay_s, process.kill).start()
            break
    process.stderr.read()
    process.stderr.close()
    return process.wait(timeout=300) < 0


def check_everything_arrived_once(
    cloud: CloudClient, vehicle_id: str, expected: set[str], state: Path, to: Path
) -> None:
    rows = list(cloud.search(f"vehicle_id = '{vehicle_id}'", include_quarantined=True))
    assert Counter(row.clip_id for row in rows) == Counter(expected)
    assert {row.state for row in rows} == {"ready"}
    assert len({row.event_key for row in rows}) == len(rows)
    for row in rows:
        path = cloud.pull(row.clip_id, to)  # verifies the digest over all bytes
        assert sum(1 for _ in read_messages(path)) > 0
        assert read_manifest(path).event.vehicle_id == vehicle_id
        path.unlink()
    assert list((state / "spool" / "active").iterdir()) == []
    quarantined = [p for p in (state / "spool" / "quarantine").iterdir() if p.suffix != ".json"]
    for path in quarantined:
        # What a kill cut in two is set aside; it never reached the cloud.
        assert path.name not in {f"{clip_id}.mcap" for clip_id in expected}


def kill_series(folder: Path, cloud_url: str, seed: int, number: int) -> None:
    expected_run = run_to_end(configuration(folder, "undisturbed", None))
    expected = {clip.clip_id for clip in expected_run.clips}
    assert len(expected) >= 6
    config = configuration(folder, "killed", cloud_url)
    killed = sum(run_and_kill(config, point) for point in kill_points(seed, number))
    assert killed >= number // 2, "most kills must hit a living agent"
    run_to_end(config)
    check_everything_arrived_once(
        CloudClient(cloud_url), json.loads(config)["vehicle_id"], expected, folder / "killed",
        folder,
    )  # fmt: skip


def test_agent_killed_at_six_points(cloud_url: str, tmp_path: Path) -> None:
    kill_series(tmp_path, cloud_url, seed=20, number=6)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_agent_killed_at_fifty_points(cloud_url: str, tmp_path: Path, seed: int) -> None:
    kill_series(tmp_path, cloud_url, seed=100 + seed, number=10)


def test_server_killed_while_the_agent_uploads(tmp_path: Path, cloud_folder: Path) -> None:
    """The server dies and comes back on its address and folder; the agent never restarts."""
    expected_run = run_to_end(configuration(tmp_path, "undisturbed", None))
    expected = {clip.clip_id for clip in expected_run.clips}
    rng = random.Random(5)
    agent: subprocess.Popen[str] | None = None
    port = 0
    config = ""
    for _ in range(2):
        with serving(cloud_folder, port) as (url, pid):
            port = int(url.rsplit(":", 1)[1])
            if agent is None:
                config = configuration(tmp_path, "killed", url)
                agent = subprocess.Popen(
                    [*AGENT, config], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True,
                )  # fmt: skip
            assert agent.stderr is not None
            wanted = rng.randint(1, 3)
            for line in agent.stderr:
                wanted -= '"clip_uploaded"' in line
                if wanted == 0:
                    break
            os.kill(pid, 9)
    assert agent is not None
    with serving(cloud_folder, port) as (url, _):
        _, log = agent.communicate(timeout=300)
        assert agent.returncode == 0, log[-3000:]
        run_to_end(config)
        check_everything_arrived_once(
            CloudClient(url), json.loads(config)["vehicle_id"], expected, tmp_path / "killed",
            tmp_path,
        )  # fmt: skip
