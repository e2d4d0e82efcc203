"""Known scenes met again, and known places with something new in them, through the agent's gate.

A *meeting* is a moment of a simulated drive as a clip's messages: the front picture, a sweep, the
fix, and the frames of a model that sees the truth with noise. Meeting a scene *again* draws all
noise anew: the model's (places, probabilities, one object in ten missed in a frame), GNSS (1.5 m),
up to 0.3 s sooner or later, brightness by a sixth. Something *new* is a carton, a pallet or a
pedestrian set down before the vehicle, once seen by the model and once by the lidar alone, as of
a class that the model never learned.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import simplejpeg

from bench.figures import Figure, figure
from bench.trigger_world import CAMERA, OracleModel, instants
from contracts.clip import Cause, Window
from contracts.clock import NS_PER_S, VirtualClock
from contracts.ids import EventKey
from contracts.samples import (
    CalibrationSample,
    Detection,
    FixSample,
    ImageSample,
    LidarSample,
    MountSample,
    Sample,
    SignalSample,
)
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.ledger import Ledger
from edge_agent.selection.budget import BudgetBook, VehicleLimits
from edge_agent.selection.capture import ClipJob
from edge_agent.selection.clip_gate import ClipGate
from kernels.clip.encoding import EncodedMessage, encode_mount, encode_sample
from kernels.clip.perception import encode_perception
from sim_fleet.drive import Tick
from sim_fleet.scenarios.library import built_in
from sim_fleet.scenarios.spec import ActorSpec, ScenarioSpec
from sim_fleet.seeds import generator
from sim_fleet.source import START_NS, DriveOptions, SimFleetSource
from sim_fleet.world.oracle import OracleFrame

STREETS = ("everyday-city", "everyday-suburb", "everyday-country", "everyday-motorway")
NEW = ("carton", "pallet", "pedestrian")
CLASS_OF = {"carton": "debris", "pallet": "debris", "pedestrian": "pedestrian"}
AT_S = 1.2
AHEAD_M = 16.0
"""Where the new thing stands as the clip's trigger fires, about."""
AGAIN = 10
_MISSED = 0.1
_MODEL = "0" * 64


@dataclass(frozen=True, slots=True)
class Recorded:
    """A moment of a drive: its samples by the instants of its planner, and their truths."""

    samples: tuple[tuple[Sample, ...], ...]
    truths: tuple[OracleFrame, ...]
    latched: tuple[Sample, ...]


def scene_trials(places: int) -> list[Figure]:
    """Shares suppressed of known scenes, of new objects, and of what is never suppressed."""
    again: list[bool] = []
    new: list[bool] = []
    exempt: list[bool] = []
    with tempfile.TemporaryDirectory(prefix="longtail-scenes-") as folder:
        for place in range(places):
            street, seed = STREETS[place % len(STREETS)], place // len(STREETS)
            scenario = built_in().scenario(street)
            moment = recorded(scenario, seed)
            speed_mps = moment.truths[0].ego.speed_mps
            gate = _gate(Path(folder), f"{street}-{seed}")
            known = judged(gate, moment, 0, SPEC)
            assert known
            again += [not judged(gate, moment, k + 1, SPEC) for k in range(AGAIN)]
            for other in EXEMPT:
                gate.scenes.add(gate.scenes.own[0].scene.model_copy(
                    update={"trigger_id": other.spec.id}), 0)  # fmt: skip
                exempt += [not judged(gate, moment, k + 1, other) for k in range(AGAIN)]
            for shape in NEW:
                changed = recorded(with_new(scenario, shape, speed_mps), seed)
                for hidden in (frozenset[str](), frozenset({CLASS_OF[shape]})):
                    new += [not judged(gate, changed, 50 + k, SPEC, hidden) for k in range(3)]
    return [
        figure(f"known scenes suppressed, of {len(again)}", _share(again), "ratio", goal=">= 0.95"),
        figure(f"new objects in known places suppressed, of {len(new)}", _share(new), "ratio",
               goal="<= 0.01"),
        figure(f"safety and random clips of known scenes suppressed, of {len(exempt)}",
               _share(exempt), "ratio", goal="<= 0"),
    ]  # fmt: skip


def _share(suppressed: Sequence[bool]) -> float:
    return sum(suppressed) / max(1, len(suppressed))


def _spec(kind: str, name: str, more: str) -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: {kind}\nid: {name}\nversion: 1\nowner: bench\n{more}", name
    )


SPEC = _spec("low_confidence", "unsure", "budget: {clips_per_scene: 1, clips_per_day: 10000}\n")
EXEMPT = (
    _spec("hard_brake", "brakes", "upload: {priority: safety}\nbudget: {clips_per_day: 10000}\n"),
    _spec("random_baseline", "random", "when: {probability: 0.1}\n"),
)


def with_new(scenario: ScenarioSpec, shape: str, speed_mps: float) -> ScenarioSpec:
    """The scenario with a thing set down before a vehicle that begins at that speed."""
    thing = ActorSpec(name="new-thing", shape=shape, ahead_m=AHEAD_M + AT_S * speed_mps)
    return scenario.model_copy(update={"actors": (*scenario.actors, thing)})


def recorded(scenario: ScenarioSpec, seed: int) -> Recorded:
    """The instants of half a second about a drive's fire and a little more."""
    ticks: list[Tick] = []
    source = SimFleetSource(DriveOptions(scenario, seed, "s", AT_S + 0.9), ticks.append)
    samples: list[tuple[Sample, ...]] = []
    truths: list[OracleFrame] = []
    latched: list[Sample] = []
    for tick, told in instants(source, ticks):
        latched += [s for s in told if isinstance(s, CalibrationSample | MountSample)]
        if tick.truth is not None and tick.t_s > AT_S - 0.85:
            samples.append(tuple(told))
            truths.append(tick.truth)
        elif tick.t_s <= AT_S - 0.85:
            # The newest fix, which comes once a second.
            fixes = [s for s in told if isinstance(s, FixSample) or _is_bearing(s)]
            latched = [s for s in latched if not fixes or not _is_place(s)] + fixes
    return Recorded(tuple(samples), tuple(truths), tuple(latched))


def _is_bearing(sample: Sample) -> bool:
    return isinstance(sample, SignalSample) and sample.name == "gnss.bearing_rad"


def _is_place(sample: Sample) -> bool:
    return isinstance(sample, FixSample) or _is_bearing(sample)


def judged(
    gate: ClipGate, moment: Recorded, draw: int, loaded: LoadedSpec,
    hidden: frozenset[str] = frozenset(),
) -> bool:  # fmt: skip
    """Whether a clip of this meeting passes; the first meeting's is then in the spool."""
    rng = generator(draw, "meeting")
    fired_ns = START_NS + round((AT_S + (0.0 if draw == 0 else rng.uniform(-0.3, 0.3))) * NS_PER_S)
    messages = meeting(moment, fired_ns, draw, rng, hidden)
    spec = loaded.spec
    cause = Cause(
        trigger_id=spec.id, trigger_version=1, spec_digest=loaded.digest, kind=spec.kind,
        fired_mono_ns=fired_ns, start_mono_ns=fired_ns, end_mono_ns=fired_ns, score=1.0,
        safety=loaded.is_safety,
    )  # fmt: skip
    event = EventKey(
        vehicle_id="v", boot_id="b", start_mono_ns=fired_ns, end_mono_ns=fired_ns + draw
    )
    job = ClipJob(
        event, Window(start_mono_ns=fired_ns, end_mono_ns=fired_ns), (cause,), ("*",), {},
        spec.upload.priority, False,
        "random" if spec.kind == "random_baseline" else "triggered", None, (loaded,),
    )  # fmt: skip
    passed = gate.judge(job, messages, _MODEL) is not None
    if draw == 0:
        gate.packed(event.text())
    return passed


def meeting(
    moment: Recorded, fired_ns: int, draw: int, rng: np.random.Generator,
    hidden: frozenset[str] = frozenset(),
) -> list[EncodedMessage]:  # fmt: skip
    """The messages of one meeting."""
    north, east, turned = rng.normal(0.0, 1.5, 3) * (1.0, 1.0, 0.015) * (draw > 0)
    gain = 1.0 + (rng.uniform(-0.16, 0.16) if draw else 0.0)

    def missing(_: float, found: list[Detection], chance: np.random.Generator) -> list[Detection]:
        return [each for each in found if chance.random() > _MISSED]

    model = OracleModel(draw, hidden, missing)
    messages: list[EncodedMessage] = []
    for sample in moment.latched:
        messages += _encoded(sample, north, east, turned, gain)
    for told, truth in zip(moment.samples, moment.truths, strict=True):
        for sample in told:
            messages += _encoded(sample, north, east, turned, gain)
            if isinstance(sample, ImageSample) and sample.channel == CAMERA:
                model.truth = truth
                frame = model.detect(sample, np.zeros((1, 1, 3), np.uint8))
                messages.append(encode_perception(frame, 0)[0])
    return messages


def _encoded(
    sample: Sample, north_m: float, east_m: float, turned: float, gain: float
) -> list[EncodedMessage]:
    """A sample's message with the meeting's own light and place; nothing of what is not needed."""
    match sample:
        case ImageSample() if sample.channel == CAMERA:
            pixels = simplejpeg.decode_jpeg(bytes(sample.content))
            lit = np.clip(pixels * gain, 0, 255).astype(np.uint8)
            return [encode_sample(replace(sample, content=simplejpeg.encode_jpeg(lit, 80)), 0)]
        case FixSample():
            lat = sample.lat_deg + north_m / 111_320.0
            lon = sample.lon_deg + east_m / (111_320.0 * np.cos(np.deg2rad(sample.lat_deg)))
            return [encode_sample(replace(sample, lat_deg=lat, lon_deg=float(lon)), 0)]
        case CalibrationSample():
            return [encode_mount(sample, 0), encode_sample(sample, 0)]
        case SignalSample(name="gnss.bearing_rad"):
            return [encode_sample(replace(sample, value=sample.value + turned), 0)]
        case SignalSample(name="ego.speed_mps" | "ego.yaw_rate_radps"):
            return [encode_sample(sample, 0)]
        case LidarSample() | MountSample():
            return [encode_sample(sample, 0)]
    return []


def _gate(folder: Path, name: str) -> ClipGate:
    ledger = Ledger(folder / f"{name}.sqlite", VirtualClock(), "boot")
    return ClipGate(BudgetBook(ledger, VehicleLimits()), lambda: 0)
