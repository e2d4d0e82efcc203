"""What the vehicle remembers of its choices (allowances, thresholds, scenes), and its power."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path

from contracts.errors import CorruptError
from contracts.scenes import Known, Scene, SceneObject
from edge_agent.power.sources import parse_reading
from edge_agent.selection.allowances import Allowances
from edge_agent.selection.clip_gate import read_scenes
from edge_agent.selection.scenes import SceneBook
from edge_agent.selection.thresholds import ThresholdBook
from kernels.triggers.adapt import Threshold
from tests.fuzz.target import Target


@cache
def scenes() -> tuple[bytes, ...]:
    thing = SceneObject(name="car", x=3.0, y=1.0)
    scene = Scene(
        trigger_id="t", lat_deg=48.0, lon_deg=11.0, bearing_rad=0.5, picture=7, objects=(thing,),
        maybe=(thing,),
    )  # fmt: skip
    known = [Known(scene=scene, day=day).model_dump(mode="json") for day in (3, 20_000)]
    return (json.dumps(known).encode(), b"[]")


def run_scenes(path: Path) -> None:
    """As the gate uses them: whatever was read can be asked."""
    book = SceneBook(read_scenes(path), read_scenes(path))
    for known in book.own[:3]:
        book.is_enough(known.scene, 20_001, 1)


@cache
def allowances() -> tuple[bytes, ...]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "allowances.json"
        counts = Allowances(path, "d")
        counts.note_fire("a", 3, durable=True)
        counts.reserve(("a", 7), "safety", 100, durable=True)
        counts.charge_cellular([("a", 10**6)], 3, 50)
        return (path.read_bytes(),)


def run_allowances(path: Path) -> None:
    counts = Allowances(path, "d")
    counts.of("a", 3)
    counts.settle([("a", 7)], "safety", 90)
    counts.reserve(("a", 8), "safety", 100, durable=True)


def thresholds() -> list[bytes]:
    return [json.dumps({"a" * 64: asdict(Threshold(0.25, 10.0, 3, 7))}).encode()]


def run_thresholds(path: Path) -> None:
    book = ThresholdBook(path)
    book.update({"a" * 64: Threshold()})
    book.save()


def run_power(path: Path) -> None:
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise CorruptError("is not text", str(path)) from error
    parse_reading(text, str(path))


TARGETS = (
    Target("known-scenes", scenes, run_file=run_scenes, file_name="scenes.json", is_json=True,
           slow=True),
    Target("allowances", allowances, run_file=run_allowances, file_name="allowances.json",
           is_json=True, slow=True),
    Target("thresholds", thresholds, run_file=run_thresholds, file_name="thresholds.json",
           is_json=True, slow=True),
    Target("power-file", lambda: [b"ignition = true\nsupply_v = 12.4\ntemperature_c = 41\n"],
           run_file=run_power, file_name="power.toml",
           words=("ignition", "supply_v", "=", "1e400", "nan", "[[x]]", "true")),
)  # fmt: skip
