"""What the tests of updates over the whole road share: an operator's office, a running agent.

The service is a process of its own on embedded PostgreSQL, in laptop mode with demo keys. The
agent is whole and runs in the test's loop, so that a test sees what runs at any moment. Its clock
is the machine's, on which it rests a fifth as long, and never long: it checks in five times as
often, and tries again soon what failed.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from client.fleet import FleetClient
from cloud_ingest.ota.key_folder import KeyFolder
from cloud_ingest.ota.remote import RemoteRoles, send_newer
from cloud_ingest.ota.rotation import KeyOffice
from contracts.check_in import CheckIn
from contracts.clock import NS_PER_S, SystemClock
from contracts.fleet import RolloutDetail, RolloutRequest, StageRequest
from contracts.ota import Kind
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ota.ports import RuntimeReport
from edge_agent.ota.status import running_digests
from edge_agent.perception.manifests import DEMO_MODEL, manifest_beside
from edge_agent.sources.registry import open_source
from tests.cloud_ingest.ota_support import Person, write_spec
from tests.road.conftest import serving

VEHICLE = "car-1"
HASTE = 5
LONGEST_REST_NS = NS_PER_S // 2
DEADLINE_S = 180.0
LOOK_S = 0.02
AT_ONCE = (StageRequest(fraction=1.0),)
CLOUD = {"LONGTAIL_CHECK_IN_POLL_S": "1", "LONGTAIL_ROLLOUT_STEP_S": "0.2"}
OFTEN_S = 3  # each fire is a clip, which slow cores must pack and send as they drive
OFTEN = f"""\
apiVersion: longtail/v1
kind: expression
id: often
version: 1
owner: tests
when: ego.speed_mps > -1
mode: level
cooldown: {OFTEN_S}s
capture: {{pre: 0.5s, post: 0.5s, channels: ["/signals/*"]}}
budget: {{clips_per_day: 100000, bytes_per_day: 100GB}}
"""


class HastyClock(SystemClock):
    """The machine's time; rests are shorter, and its wall clock can be set."""

    def __init__(self) -> None:
        self.wall_shift_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.wall_shift_ns

    async def sleep_ns(self, duration_ns: int) -> None:
        await super().sleep_ns(min(duration_ns // HASTE, LONGEST_REST_NS))


async def until(
    condition: Callable[[], bool], what: str, state: Callable[[], object] = lambda: ""
) -> None:
    """Wait for a condition; fails after `DEADLINE_S` with what was waited for."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come to pass: {state()}")
        await asyncio.sleep(LOOK_S)


@dataclass
class Office:
    """The operator's side of one service, with all keys at hand. Calls block."""

    url: str
    folder: Path
    papers: Path

    @property
    def keys(self) -> Path:
        return self.folder / "cloud" / "ota"

    @property
    def trust(self) -> Path:
        return self.keys / "trust"

    @property
    def fleet(self) -> FleetClient:
        return FleetClient(self.url, "ann")

    @property
    def person(self) -> Person:
        return Person(self.url, self.keys / "offline")

    def publish(self, trigger_id: str, version: int = 1, **changes: Any) -> str:
        """Publish a spec that never fires on a simulated drive, unless changed; its digest."""
        values = {"when": {"decel_mps2": 15.0}, **changes}
        path = write_spec(self.papers, trigger_id, version, **values)
        return self.person.publish(path).digest

    def publish_model(self, version: int, **changes: Any) -> str:
        """Publish the demo detector under a changed manifest; the manifest's digest."""
        document = yaml.safe_load(manifest_beside(DEMO_MODEL).read_text())
        manifest = self.papers / f"demo-{version}.yaml"
        manifest.write_text(yaml.safe_dump({**document, "version": version, **changes}))
        return self.person.publish_model((DEMO_MODEL, manifest)).digest

    def roll_out(
        self, name: str, version: int = 1, kind: Kind = "trigger", **changes: Any
    ) -> RolloutDetail:
        """Begin to give a release to all vehicles at once, unless changed."""
        values: dict[str, Any] = {
            "request_id": secrets.token_hex(8), "kind": kind, "name": name, "version": version,
            "stages": AT_ONCE, "soak_s": 0, "soak_driving_s": 0, "guardrails": False,
            "actor": "ann", "reason": "a test",
        }  # fmt: skip
        return self.fleet.start_rollout(RolloutRequest.model_validate({**values, **changes}))

    def check_in(self, vehicle_id: str = VEHICLE) -> CheckIn | None:
        """The newest manifest that the service holds."""
        return self.fleet.vehicle(vehicle_id).check_in

    def read(self, path: str) -> bytes:
        """A file as the service gives it to an operator."""
        answer = httpx.get(self.url + path, timeout=60)
        answer.raise_for_status()
        return answer.content

    def rotate(self, name: str) -> None:
        """Replace a key, and have the running service take the new one up."""
        remote = RemoteRoles(self.url, None, "ann")
        folder = KeyFolder(self.keys)
        KeyOffice(folder, (), SystemClock(), remote.newest).rotate(name)
        send_newer(folder, remote)
        remote.close()


async def finished(work: Office, rollout_id: str, phase: str = "done") -> None:
    """Wait until a rollout has ended, as it should."""
    for _ in range(600):
        detail = await asyncio.to_thread(work.fleet.rollout, rollout_id)
        if detail.phase in ("done", "halted", "aborted"):
            assert detail.phase == phase, detail
            return
        await asyncio.sleep(0.1)
    raise AssertionError(detail)


@contextmanager
def office(cloud_folder: Path, papers: Path) -> Iterator[Office]:
    """A service of its own, quick to step rollouts and to be asked."""
    with serving(cloud_folder, 0, **CLOUD) as (url, _):
        yield Office(url, cloud_folder, papers)


@dataclass
class RunningAgent:
    """A whole agent, seen from the outside and the inside."""

    agent: Agent
    clock: HastyClock
    done: asyncio.Task[AgentReport]

    def report(self) -> AgentReport:
        return self.agent.report(finished=False)

    @property
    def running(self) -> dict[str, str]:
        """Digests by slot of what truly runs."""
        if self.done.done():
            self.done.result()
            raise AssertionError("the drive is over")
        return running_digests(self.agent.runtime.report())

    @property
    def check_ins(self) -> int:
        told = self.report().ota
        return told.check_ins if told is not None else 0

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        def alive() -> bool:
            self.running  # noqa: B018  raises when the agent has ended
            return condition()

        await until(alive, what, lambda: self.report().ota)

    async def runs(self, slot: str, digest: str | None) -> None:
        """Wait until a slot runs it; None: nothing."""
        await self.until(lambda: self.running.get(slot) == digest, f"{slot} {digest}")

    async def drives_on(self, since: RuntimeReport | None = None) -> None:
        """Wait for more driving and another fire: an agent that hangs fails here."""
        before = since or self.agent.runtime.report()

        def went_on() -> bool:
            now = self.agent.runtime.report()
            return now.driving_ns > before.driving_ns and now.counters.fires > before.counters.fires

        await self.until(went_on, "the drive going on")

    async def checks_in(self, times: int) -> None:
        """Wait for whole check-ins, begun from now on."""
        wanted = self.check_ins + times
        await self.until(lambda: self.check_ins >= wanted, f"{times} check-ins")


def agent_config(folder: Path, url: str, trust: Path, **more: Any) -> AgentConfig:
    """An agent that drives slowly enough to be updated on the way."""
    specs = folder / "specs"
    specs.mkdir(parents=True, exist_ok=True)
    (specs / "often.yaml").write_text(OFTEN)
    values: dict[str, Any] = {
        "vehicle_id": VEHICLE,
        "state": folder / "state",
        "source": "sim:seed=7,duration_s=900,camera=0,lidar=0",
        "pace": 2,
        "specs": (specs,),
        "cloud": url,
        "budget": {"clips_per_day": 100_000, "bytes_per_day": "100GB"},
        "ota": {"trust": trust, "allow_demo_keys": True, "metered_poll": "1s"},
    }
    return AgentConfig.model_validate({**values, **more})


@asynccontextmanager
async def running_agent(
    config: AgentConfig, clock: HastyClock | None = None
) -> AsyncIterator[RunningAgent]:
    """Run the agent beside the block; at its end it is told to stop, as a system does."""
    used = clock or HastyClock()
    source = config.source or ""
    # The first sample is made and kernels are loaded: work for a thread.
    agent = await asyncio.to_thread(Agent, config, open_source(source), source, used)
    running = RunningAgent(agent, used, asyncio.create_task(agent.run(stay=False)))
    try:
        await running.until(lambda: running.report().drive_s > 0, "the first sample")
        yield running
    finally:
        if not running.done.done():
            signal.raise_signal(signal.SIGTERM)
        await asyncio.wait([running.done])
    running.done.result()
