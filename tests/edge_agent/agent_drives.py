"""Whole drives of a real agent, during which something is done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

from contracts.clock import NS_PER_S
from contracts.ota import Slot
from contracts.samples import Sample
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ota.ports import Lineup, SpecRelease
from edge_agent.ports import SensorSource, SourceDescription
from edge_agent.sources.registry import open_source

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"
Act = Callable[[Agent], None]
OFTEN = """\
apiVersion: longtail/v1
kind: expression
id: often
version: 1
owner: tests
when: ego.speed_mps > -1
mode: level
cooldown: 3s
capture: {pre: 0.5s, post: 0.5s, channels: ["/signals/*"]}
budget: {clips_per_day: 100, bytes_per_day: 1GB}
"""


class Interrupted:
    """A source during whose drive something is done, once, at each time from its start; what is
    to be done at the start, as soon as the agent is there.
    """

    def __init__(self, source: SensorSource, acts: dict[float, Act]) -> None:
        self._source = source
        self._acts = sorted(acts.items())
        self.agent: Agent | None = None

    def describe(self) -> SourceDescription:
        return self._source.describe()

    def samples(self) -> Iterator[Sample]:
        acts = list(self._acts)
        start_ns: int | None = None
        for sample in self._source.samples():
            start_ns = sample.mono_ns if start_ns is None else start_ns
            agent = self.agent
            while agent and acts and sample.mono_ns - start_ns >= acts[0][0] * NS_PER_S:
                acts.pop(0)[1](agent)
            yield sample


def driven_with_many_clips(state: Path, **more: object) -> AgentReport:
    """A drive of some seconds without a camera, with a small clip every three."""
    state.mkdir()
    spec = state / "often.yaml"
    spec.write_text(OFTEN)
    source = "sim:seed=7,duration_s=12,camera=0,lidar=0"
    return driven(state, source, {}, specs=(spec,), **more)[0]


def driven(
    state: Path, source: str, acts: dict[float, Act], **more: object
) -> tuple[AgentReport, Agent]:
    values = {
        "state": state, "source": source, "specs": (PUBLISHED,), "vehicle_id": "car", **more,
    }  # fmt: skip
    config = AgentConfig.model_validate(values)
    interrupted = Interrupted(open_source(source), acts)

    async def run() -> tuple[AgentReport, Agent]:
        agent = Agent(config, interrupted, source)
        interrupted.agent = agent
        return await agent.run(stay=False), agent

    return asyncio.run(run())


def rule(
    name: str, when: str, version: int = 1, cooldown: str = "3s", mode: str = "rising_edge"
) -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: expression\nid: {name}\nversion: {version}\n"
        f"owner: tests\nwhen: {when}\ncooldown: {cooldown}\nmode: {mode}\n"
        "capture: {pre: 1s, post: 1s}\n",
        name,
    )


def offer(*specs: tuple[LoadedSpec, bool], **more: object) -> Act:
    releases = tuple(
        SpecRelease(Slot("trigger", loaded.spec.id, shadow), loaded) for loaded, shadow in specs
    )
    return lambda agent: agent.runtime.offer(Lineup(releases, **more))  # type: ignore[arg-type]
