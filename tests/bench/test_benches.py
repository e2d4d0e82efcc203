"""Every benchmark runs, in a tiny configuration, and gives well-formed figures.

No time is judged here: only that each figure was measured and follows from its values.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from bench import (
    hotpath,
    image,
    lidar_codec,
    pack,
    phash,
    ring,
    rules,
    signals,
    triggers,
    upload,
)
from bench.figures import Figure, figure
from bench.simulated_frames import SimulatedFrames
from contracts.ids import PART_BYTES


@pytest.fixture(scope="module")
def source() -> SimulatedFrames:
    return SimulatedFrames(camera_sets=1, sweeps=1)


def assert_well_formed(figures: list[Figure]) -> None:
    names = [each.name for each in figures]
    assert names
    assert len(set(names)) == len(names)
    for each in figures:
        assert math.isfinite(each.value)
        assert each.value >= 0
        assert each.unit
        assert bool(each.reference) == (each.reference_value is not None)
        assert each == figure(
            each.name, each.value, each.unit, reference=each.reference,
            reference_value=each.reference_value, goal=each.goal,
        )  # fmt: skip


def test_triggers() -> None:
    figures = triggers.run(ticks=60, repetitions=1)
    assert_well_formed(figures)
    assert sum(each.goal == "ratio <= 0.002" for each in figures) == 2


def test_rules() -> None:
    figures = rules.run(ticks=60, repetitions=1)
    assert_well_formed(figures)
    assert len(figures) == 5 * len(rules.COUNTS)
    assert sum("cel-python" in each.reference for each in figures) == 2 * len(rules.COUNTS)


def test_a_peer_that_finds_another_truth_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(rules._CEL, "and", "||")
    with pytest.raises(ValueError, match="CEL"):
        rules.run(ticks=60, repetitions=1)


def test_hotpath() -> None:
    figures = hotpath.run(frames=2, repetitions=1)
    assert_well_formed(figures)
    goals = {each.goal for each in figures}
    assert {"ratio <= 0.20", "ratio <= 0.30", "ratio >= 0.8"} <= goals
    stages = {each.name.removeprefix("stage: ") for each in figures}
    assert stages >= set(hotpath.STAGES) - {"model"}


def test_hotpath_on_a_recorded_drive(shared_data: Path) -> None:
    figures = hotpath.run(shared_data, frames=1, repetitions=1)
    assert_well_formed(figures)
    recorded = [each for each in figures if each.name.startswith("recorded drive, 78 frames")]
    assert len(recorded) == 4
    share = next(each.value for each in recorded if each.unit == "ratio")
    assert 0 < share < 1


def test_lidar_codec(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lidar_codec, "_REPETITIONS", 1)
    assert_well_formed(lidar_codec.run())


def test_phash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(phash, "_REPETITIONS", 1)
    assert_well_formed(phash.run())


def test_the_hot_path_takes_every_simulated_sample(source: SimulatedFrames) -> None:
    path = hotpath.HotPath()
    cpu_ns, wall_ns = hotpath.measure(path, source, 3)
    assert cpu_ns.shape == wall_ns.shape == (3, len(hotpath.STAGES))
    assert cpu_ns.all()
    assert not path.drive.door.rejections
    frames = 3 + hotpath._WARMING
    counts = path.drive.counts
    assert (counts["ImageSample"], counts["LidarSample"]) == (6 * frames, frames)
    assert (counts["PoseSample"], counts["PlanSample"]) == (2 * frames, frames)
    assert len(path.hashes) == 6
    # The network's input is what the images show, scaled as asked.
    assert np.unique(path._tensor).size > 100
    assert float(path._tensor.min()) >= -2.0


def test_the_run_counts_in_which_the_reference_was_fastest() -> None:
    cpu_ns = np.full((100, 2), [7, 90])
    cpu_ns[50:] = [9, 80]
    assert hotpath.calmest(cpu_ns).tolist() == [9, 80]
    assert hotpath.calmest(cpu_ns[:3]).tolist() == [7, 90]


def test_images_are_what_their_jpegs_show(source: SimulatedFrames) -> None:
    frame = source.frame(0)
    for sample, pixels in zip(frame.images, frame.pixels, strict=True):
        shown = simplejpeg.decode_jpeg(sample.content)
        assert shown.shape == pixels.shape == (sample.height, sample.width, 3)
        assert float(np.abs(shown.astype(int) - pixels).mean()) < 6
    assert 240_000 < len(frame.sweep.xyz_m) < 250_000, "as the design's budget has it"


def test_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "_REPETITIONS", 1)
    monkeypatch.setattr(upload, "CLIP_BYTES", 2 * PART_BYTES)
    assert_well_formed(upload.run())


def test_ring(source: SimulatedFrames) -> None:
    figures = ring.run(source, capacity_bytes=8 * 2**20, window_frames=1, repetitions=1)
    assert_well_formed(figures)


def test_image(source: SimulatedFrames) -> None:
    figures = image.run(source, repetitions=1)
    assert_well_formed(figures)
    apart = next(each for each in figures if "both tensors" in each.name)
    assert apart.holds
    assert [image.rows_read(3).tolist(), image.rows_read(900).size] == [
        [149, 150, 449, 450, 749, 750], 900,
    ]  # fmt: skip


def test_pack(source: SimulatedFrames) -> None:
    figures = pack.run(source, seconds=1.0, repetitions=1)
    assert_well_formed(figures)
    assert figures[-1].value > 5, "images as JPEG, sweeps by the codec"


def test_signals() -> None:
    brief = "sim:seed=5,duration_s=5,camera=0,lidar=0"
    figures = signals.run(None, repetitions=1, simulated=brief)
    assert_well_formed(figures)
    assert signals.json_lines(np.array([[1.5, np.nan]]), ("a", "b")) == b'{"a": 1.5}'
