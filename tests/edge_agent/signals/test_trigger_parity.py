"""The newer kinds in a live drive, and replayed from its log: the same fires, to the tick."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from contracts.embedding import embedding_text
from contracts.ids import sha256_hex
from contracts.samples import Detection
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.cli import BUNDLED_MODEL
from edge_agent.runtime import BuiltIn
from edge_agent.selection.thresholds import ThresholdBook
from kernels.backtest.drives import logged_drives
from kernels.backtest.replay import replay
from kernels.signal_log import read_signal_log
from kernels.triggers.adapt import Threshold
from tests.edge_agent.agent_drives import driven
from tests.edge_agent.runtime_rig import Rig, model_release, release, seen
from tests.edge_agent.selection.test_similar_scenes import ROAD, TUNNEL, in_tunnel, seeing


def spec(kind: str, when: str, more: str = "", name: str = "") -> LoadedSpec:
    return parse_spec(
        f"apiVersion: longtail/v1\nkind: {kind}\nid: {name or kind.replace('_', '-')}\nversion: 1\n"
        f"owner: tests\nwhen: {when}\ncooldown: 1s\ncapture: {{pre: 1s, post: 1s}}\n{more}",
        f"{kind}.yaml",
    )


def blinks(n: int) -> list[Detection]:
    """A steady car and one that is gone in the 21st, 23rd and 25th frame; a dog that ends the
    picture.
    """
    boxes = {"car": [(20.0, 30.0, 60.0, 70.0), (100.0, 30.0, 140.0, 70.0)],
             "dog": [(300.0, 10.0, 500.0, 210.0)]}  # fmt: skip
    found = [replace(seen(name), box_px=box) for name, places in boxes.items() for box in places]
    return [found[0], found[2]] if n in (21, 23, 25) else found


def test_flicker_in_a_drive(tmp_path: Path) -> None:
    loaded = spec("track_flicker", "{flickers: 3}")
    rig = Rig(tmp_path, BuiltIn((loaded,), model_release("a", blinks)))
    rig.go(2.0, camera_hz=10, speed=0.0)
    assert rig.fires == []
    rig.go(5.0, camera_hz=10, speed=0.0)
    assert [fire[0] for fire in rig.fires] == ["track-flicker"]


def test_novelty_in_a_drive(tmp_path: Path) -> None:
    space = sha256_hex(b"a")
    road = spec(
        "novelty", f"{{space: {space}, centroids: [{embedding_text(ROAD)}], distance: 0.3}}"
    )
    rig = Rig(tmp_path, BuiltIn((road,), seeing("a", in_tunnel)))
    rig.go(5.0, camera_hz=10, speed=0.0)
    (fire,) = rig.fires
    assert 2.1e9 < fire[2] < 2.4e9
    assert float(ROAD @ TUNNEL) < 0.7
    (tmp_path / "b").mkdir()
    other = Rig(tmp_path / "b", BuiltIn((road,), seeing("b", in_tunnel)))
    other.go(5.0, camera_hz=10, speed=0.0)
    (told,) = other.runtime.report().triggers
    assert other.fires == [] and told.state == "inactive"
    assert "its centroids are of model" in told.reason


def test_a_candidate_in_shadow_differs(tmp_path: Path) -> None:
    loaded = spec("shadow_disagreement", "{disagreement: 0.5, frames: 2, of_frames: 2}")
    rig = Rig(tmp_path, BuiltIn((loaded,), model_release("a")), shadow_every=2)
    rig.go(2.0, camera_hz=10)
    (told,) = rig.runtime.report().triggers
    assert (told.state, told.reason) == ("inactive", "no candidate model runs in shadow")
    rig.offer(shadow_model=model_release(
        "b", lambda n: [seen("dog")] if 10 <= n < 14 else [seen("car")], shadow=True
    ))  # fmt: skip
    rig.go(8.0, camera_hz=10)
    assert [fire[0] for fire in rig.fires] == ["shadow-disagreement"]
    rig.offer()
    rig.go(9.0, camera_hz=10)
    assert rig.runtime.report().triggers[0].state == "inactive"


def test_thresholds_outlive_swaps_and_drives(tmp_path: Path) -> None:
    loaded = spec("hard_accel", "{accel_mps2: 2.0, filter_s: 0}", "rate: {per_hour: 20}\n")
    rig = Rig(tmp_path, BuiltIn((loaded,)))
    for k in range(4):
        rig.go(2.0 * k + 1.0, accel=3.0)
        rig.go(2.0 * k + 2.0, accel=0.0)
    stands = rig.runtime.thresholds()[loaded.digest]
    assert stands.fires >= 1 and stands.log_factor > 0.2
    other = spec("jerk", "{}", name="other")
    rig.offer(release(other))
    rig.go(8.1, accel=0.0)
    assert rig.runtime.thresholds()[loaded.digest].fires == stands.fires


def test_the_file_of_thresholds_is_whole_or_none(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.json"
    book = ThresholdBook(path)
    book.update({"a" * 64: Threshold(0.25, 10.0, 3, 7)})
    book.save()
    assert ThresholdBook(path).known == {"a" * 64: Threshold(0.25, 10.0, 3, 7)}
    (tmp_path / "thresholds.new").write_text("{")  # a crash while the next one was written
    assert ThresholdBook(path).known == {"a" * 64: Threshold(0.25, 10.0, 3, 7)}


@pytest.mark.parametrize(
    "stands",
    ["3", "[0.1, 1, -1, 0]", f"[0.1, 1, 0, {10**30}]", "[NaN, 1, 0, 0]", "[0.1, -1, 0, 0]"],
)
def test_what_no_threshold_is_begins_anew(tmp_path: Path, stands: str) -> None:
    names = [each.name for each in fields(Threshold)]
    values = json.loads(stands)
    told = dict(zip(names, values, strict=True)) if isinstance(values, list) else values
    path = tmp_path / "thresholds.json"
    path.write_text(json.dumps({"a" * 64: told}))
    assert ThresholdBook(path).known == {}


def test_a_backtest_fires_where_the_vehicle_did(tmp_path: Path) -> None:
    """Two drives of one vehicle: the second begins with the first's thresholds, and says so."""
    folder, state = tmp_path / "specs", tmp_path / "state"
    folder.mkdir()
    space = sha256_hex(BUNDLED_MODEL.read_bytes())
    centroid = embedding_text(np.ones(8))
    specs = [
        spec("track_flicker", "{flickers: 1}", "mode: level\nrate: {per_hour: 200, gain: 1}\n"),
        spec("jerk", "{jerk_mps3: 1.0}", "rate: {per_hour: 100, gain: 1}\n"),
        spec("low_confidence", "{uncertainty: 0.05}", "mode: level\nrate: {per_hour: 400}\n"),
        spec("unknown_object", "{points: null, probability: 0.1}", "mode: level\n"),
        spec("operator_bookmark", "{source: remote, lasts: 3s}", "mode: level\n"),
        spec("novelty", f"{{space: {space}, centroids: [{centroid}], distance: 0.5}}"),
    ]
    for loaded in specs:
        (folder / f"{loaded.spec.id}.yaml").write_text(loaded.text)
    for seed in (1, 2):
        driven(
            state, f"sim:seed={seed},duration_s=6,lidar=0", {}, specs=(folder,),
            model=BUNDLED_MODEL,
        )  # fmt: skip
    logs = sorted((state / "signals").glob("*.ltsl"))
    drives = replay(specs, logged_drives(logs))
    assert len(drives) == 2
    kinds: set[str] = set()
    for drive in drives:
        assert [f.cause for f in drive.fires] == [f.cause for f in drive.recorded]
        kinds |= {f.cause.kind for f in drive.fires}
    assert kinds >= {"track_flicker", "jerk", "low_confidence", "operator_bookmark"}
    begins = [
        {t.digest: t.log_factor for t in read_signal_log(log).header.thresholds} for log in logs
    ]
    assert begins[0] != begins[1]
    assert any(value != 0.0 for value in begins[1].values())
