"""Bad input at every door of the road: a clear error with its place, and nothing lost."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from client import CloudClient
from contracts.clock import ClockQuality
from contracts.errors import RefusedError
from contracts.samples import Sample, SignalSample
from edge_agent.app import Agent, run_agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ports import SourceDescription
from tests.road.conftest import LONGTAIL, serving

SPEC = """\
apiVersion: longtail/v1
kind: expression
id: moving
version: 1
owner: tests
when: ego.speed_mps > 1
mode: level
cooldown: 4s
capture: {pre: 1s, post: 1s}
"""
SIM = "sim:seed=3,duration_s=14"


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    path = tmp_path / "moving.yaml"
    path.write_text(SPEC)
    return path


def config(tmp_path: Path, specs: Path, **more: object) -> AgentConfig:
    values = {"state": tmp_path / "state", "source": SIM, "specs": (specs,), **more}
    return AgentConfig.model_validate(values)


def longtail(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LONGTAIL, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


class MadeSource:
    """Ten seconds of speed at 50 Hz, with whatever a test puts in between."""

    def __init__(self, bad: list[Sample]) -> None:
        self._bad = bad

    def describe(self) -> SourceDescription:
        return SourceDescription(
            "made", "boot", 0, ClockQuality(synchronised=False), frozenset({"ego.speed_mps"})
        )

    def samples(self) -> Iterator[Sample]:
        for i in range(500):
            yield SignalSample("ego.speed_mps", i * 20_000_000, 10.0)
            if i == 250:
                for sample in self._bad:
                    yield replace(sample, mono_ns=i * 20_000_000)


async def _run(agent: Agent) -> AgentReport:
    return await agent.run(stay=False)


def test_a_nan_signal_is_turned_away_and_the_drive_goes_on(tmp_path: Path, specs: Path) -> None:
    import asyncio

    bad: list[Sample] = [
        SignalSample("ego.speed_mps", 0, math.nan),
        SignalSample("ego.speed_mps", 0, 1e9),
        SignalSample("ego.velocity", 0, 1.0),
    ]
    agent = Agent(config(tmp_path, specs), MadeSource(bad), "made")
    report = asyncio.run(_run(agent))
    assert report.samples["SignalSample"] == 500
    assert sum(report.rejected.values()) == 3
    assert "/signals/ego.speed_mps: not a finite number" in report.rejected
    assert len(report.clips) == 3


def test_a_truncated_recording_counts_up_to_its_break(tmp_path: Path, specs: Path) -> None:
    # Long enough for several chunks: a torn chunk is lost with what it holds.
    specs.write_text(SPEC.replace("pre: 1s, post: 1s", "pre: 6s, post: 6s"))
    whole = run_agent(config(tmp_path, specs))
    longest = max(
        (tmp_path / "state" / "spool" / "clips").glob("*.mcap"), key=lambda p: p.stat().st_size
    )
    assert whole.clips
    cut = tmp_path / "cut.mcap"
    content = longest.read_bytes()
    assert len(content) > 8_000_000
    cut.write_bytes(content[: len(content) * 3 // 4])
    replayed = run_agent(config(tmp_path, specs, source=f"mcap:{cut}", state=tmp_path / "again"))
    (told,) = [reason for reason in replayed.rejected if reason.startswith("source:")]
    assert "breaks off after" in told
    assert sum(replayed.samples.values()) > 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("cooldown", "cooldwon"), "moving.yaml:8:1: unknown key 'cooldwon'"),
        (("4s", "4 parsecs"), "moving.yaml:8:11: cooldown: unknown unit 'parsecs'"),
        (("ego.speed_mps", "ego.speed_kmh"), "moving.yaml:6:7: no signal is called"),
    ],
)
def test_a_bad_spec_is_one_line_with_its_place(
    tmp_path: Path, specs: Path, change: tuple[str, str], says: str
) -> None:
    specs.write_text(SPEC.replace(*change))
    done = longtail("agent", "run", "--source", SIM, "--specs", str(specs), "--once")
    assert done.returncode == 1
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    linted = longtail("spec", "lint", str(specs))
    assert linted.returncode == 1
    assert says in linted.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--source", "comma2k19:/nowhere"), "/nowhere"),
        (("--source", "carrier-pigeon:x"), "carrier-pigeon"),
        (("--source", SIM, "--specs", "/nowhere.yaml"), "/nowhere.yaml: no such trigger spec"),
        (("--source", SIM, "--model", "/etc/hostname"), "/etc/hostname"),
        (("--source", SIM, "--rule", "ego.speed_mps"), "compare it with something"),
        (("--source", SIM, "--link", "5g"), "--link: '5g' is not a link"),
    ],
)
def test_a_bad_argument_is_one_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    done = longtail("agent", "run", *arguments, "--once", "--state", str(tmp_path / "s"))
    assert done.returncode == 1
    assert says in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_full_spool_loses_clips_loudly_and_the_drive_goes_on(tmp_path: Path, specs: Path) -> None:
    report = run_agent(config(tmp_path, specs, spool={"quota": "1kB", "floor_free": "0B"}))
    assert report.finished
    assert report.clips == ()
    suppressed = report.triggers["moving"].suppressed
    assert report.lost_clips + suppressed.get("disk", 0) > 0


def test_without_a_cloud_nothing_is_lost(tmp_path: Path, specs: Path) -> None:
    away = run_agent(config(tmp_path, specs, cloud="http://127.0.0.1:9", drain_timeout="1s"))
    assert away.failed_to_send
    assert away.upload_note
    assert {clip.state for clip in away.clips} == {"queued"}


def test_wrong_tokens_are_refused_and_a_right_one_mends_it(
    tmp_path: Path, specs: Path, cloud_folder: Path
) -> None:
    operator = "operator-token-of-the-tests"
    with serving(cloud_folder, LONGTAIL_OPERATOR_TOKEN=operator) as (url, _):
        refused = run_agent(config(tmp_path, specs, cloud=url, enrolment_token="wrong"))
        assert refused.failed_to_send
        assert {clip.state for clip in refused.clips} == {"queued"}
        with pytest.raises(RefusedError):
            list(CloudClient(url).search())
        with pytest.raises(RefusedError):
            list(CloudClient(url, "another-operator-token").search())
        client = CloudClient(url, operator)
        token = client.create_enrolment_token().token
        mended = run_agent(config(tmp_path, specs, cloud=url, enrolment_token=token))
        assert not mended.failed_to_send
        assert mended.queued_clips == 0
        assert {row.clip_id for row in client.search()} == {c.clip_id for c in refused.clips}
        used = run_agent(
            config(tmp_path, specs, cloud=url, enrolment_token=token, state=tmp_path / "thief")
        )
        assert used.failed_to_send
