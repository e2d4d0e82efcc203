"""Samples whose fields are none of what they should be, as an adapter's mistake makes them: each is
turned away with its reason, and costs neither a clip nor the sample beside it.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from contracts.samples import RadarSample, Sample
from edge_agent.app import Agent
from edge_agent.config import AgentConfig
from edge_agent.health.status import AgentReport
from edge_agent.ports import SourceDescription
from edge_agent.sources.registry import open_source
from tests.edge_agent.agent_drives import OFTEN

SPEC = OFTEN.replace('["/signals/*"]', '["*"]')
NEVER_MIND = {
    # A name may be any text that can be written, and a picture any bytes.
    ("channel", "text"), ("frame_id", "text"), ("content", "bytes"), ("alt_m", "nan"),
    # What is of a lidar may be left out; a receiver's own time is not recorded.
    ("ring", "None"), ("time_offset_ns", "None"),
    # A point that is no number is no return, and the codec drops it.
    ("xyz_m", "one nan"), ("xyz_m", "one inf"),
}  # fmt: skip


def others(value: object) -> Iterator[tuple[str, object]]:
    """What a field of this value must not be, each with a word for it."""
    yield from {
        "None": None, "text": "12", "nan": float("nan"), "list": [1.0, 2.0], "bytes": b"\xff\xd8",
        "object": object(), "huge": 10**400,
    }.items()  # fmt: skip
    if not isinstance(value, np.ndarray):
        return
    yield from {
        "a list of it": value.tolist(), "one more axis": value[None],
        "texts": value.astype("U20"), "objects": np.full(value.shape, None, object),
        "complex": value.astype(complex) + 1j,
    }.items()  # fmt: skip
    if value.dtype.kind == "f":
        for word, number in (("one nan", np.nan), ("one inf", np.inf)):
            spoilt = value.copy()
            spoilt.reshape(-1)[0] = number
            yield word, spoilt


class Given:
    def __init__(self, samples: list[Sample], told: SourceDescription) -> None:
        self._samples, self._told = samples, told

    def describe(self) -> SourceDescription:
        return self._told

    def samples(self) -> Iterator[Sample]:
        yield from self._samples


def driven(state: Path, samples: list[Sample], told: SourceDescription) -> AgentReport:
    state.mkdir()
    (state / "often.yaml").write_text(SPEC)
    config = AgentConfig.model_validate(
        {"state": state, "vehicle_id": "car", "ring": "256MB", "specs": (state / "often.yaml",)}
    )
    return asyncio.run(Agent(config, Given(samples, told), "given").run(stay=False))


def test_odd_samples_are_turned_away_and_cost_nothing_else(tmp_path: Path) -> None:
    source = open_source("sim:seed=7,duration_s=5")
    samples, told = list(source.samples()), source.describe()
    tracks = np.array([[1.0, 20.0, 0.0, 1.0]])
    middle_ns = samples[len(samples) // 2].mono_ns
    samples.append(RadarSample("/radar/front", middle_ns, tracks))
    samples.sort(key=lambda sample: sample.mono_ns)
    sound = driven(tmp_path / "sound", samples, told)
    # Of each kind the last one up to the middle: what describes the sensors comes at the start.
    kinds = {type(each): each for each in samples if each.mono_ns <= middle_ns}
    odd = [
        dataclasses.replace(sample, **{"mono_ns": middle_ns, field.name: other})
        for sample in kinds.values()
        for field in dataclasses.fields(sample)
        if field.name not in ("mono_ns", "utc_ns")
        for word, other in others(getattr(sample, field.name))
        if (field.name, word) not in NEVER_MIND
    ]
    at = next(i for i, each in enumerate(samples) if each.mono_ns > middle_ns)
    mixed = driven(tmp_path / "mixed", [*samples[:at], *odd, *samples[at:]], told)
    assert len(odd) > 150 and len(kinds) >= 8
    assert not sound.rejected and sum(mixed.rejected.values()) == len(odd)
    assert mixed.not_recorded == {} and mixed.restarts == {}
    assert sound.lost_clips == mixed.lost_clips == 0
    assert [clip.size_bytes for clip in mixed.clips] == [clip.size_bytes for clip in sound.clips]
    assert len(sound.clips) >= 2
