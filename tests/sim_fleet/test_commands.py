"""`longtail sim`: the list, the clip and the sheet; and the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from mcap.reader import make_reader
from PIL import Image
from typer.testing import CliRunner

from bench import sim as sim_bench
from contracts.errors import InputError
from contracts.samples import ImageSample, LidarSample, PerceptionFrame
from edge_agent.perception.manifests import DEMO_MODEL
from edge_agent.sources.mcap import McapSource
from kernels.clip.reader import read_samples
from sim_fleet.cli import app
from sim_fleet.source import START_NS
from tests.bench.test_benches import assert_well_formed
from tests.edge_agent.bev_models import write_tiny


def test_the_list_names_every_scenario() -> None:
    told = CliRunner().invoke(app, ["scenarios", "--json"])
    rows = json.loads(told.stdout)
    assert told.exit_code == 0 and len(rows) >= 40
    assert all(row["hard"] and row["region"] for row in rows)
    assert "mattress-on-motorway" in CliRunner().invoke(app, ["scenarios"]).stdout


def test_a_drive_is_written_as_a_clip_that_readers_know(tmp_path: Path) -> None:
    clip, sheet = tmp_path / "drive.mcap", tmp_path / "sheet.png"
    arguments = ["render", "deer-at-dusk", "--out", str(clip), "--sheet", str(sheet),
                 "--duration", "0.6", "--seed", "2", "--json"]  # fmt: skip
    told = CliRunner().invoke(app, arguments)
    assert told.exit_code == 0, told.output
    assert json.loads(told.stdout)["bytes"] == clip.stat().st_size
    with clip.open("rb") as stream:
        topics = {channel.topic for _, channel, _ in make_reader(stream).iter_messages()}
    assert {"/camera/front", "/camera/front/calibration", "/lidar/top", "/radar/front", "/pose",
            "/tf", "/gnss/fix", "/planner/trajectory",
            "/signals/ego.speed_mps"} <= topics  # fmt: skip
    source = McapSource(clip)
    assert source.describe().labels["tod"] == "dusk"
    samples = list(source.samples())
    assert sum(isinstance(sample, ImageSample) for sample in samples) == 24
    sweeps = [sample for sample in samples if isinstance(sample, LidarSample)]
    assert len(sweeps) == 6 and sweeps[0].ring is not None and len(sweeps[0].xyz_m) > 5000
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    assert pixels.shape[1] > 1000 and pixels.std() > 30


def test_a_planner_that_drives_by_a_model_is_drawn_with_what_it_saw(tmp_path: Path) -> None:
    model = write_tiny(tmp_path)
    sheets = []
    for name, more in (("plain", []), ("model", ["--model", str(model)])):
        sheets.append(tmp_path / f"{name}.png")
        arguments = ["render", "everyday-city", "--out", str(tmp_path / f"{name}.mcap"),
                     "--sheet", str(sheets[-1]), "--duration", "0.4", *more]  # fmt: skip
        told = CliRunner().invoke(app, arguments)
        assert told.exit_code == 0, told.output
    plain, drawn = (np.asarray(Image.open(sheet).convert("RGB")) for sheet in sheets)
    assert plain.shape == drawn.shape and (plain != drawn).any()
    frames = [s for s in read_samples(tmp_path / "model.mcap") if isinstance(s, PerceptionFrame)]
    assert [frame.mono_ns for frame in frames] == [START_NS + n * 100_000_000 for n in range(4)]
    arguments = ["render", "everyday-city", "--out", str(tmp_path / "x.mcap"), "--duration", "0.4",
                 "--model", str(DEMO_MODEL)]  # fmt: skip
    told = CliRunner().invoke(app, arguments)
    assert isinstance(told.exception, InputError) and "a model of images" in str(told.exception)


def test_the_same_drive_is_the_same_clip(tmp_path: Path) -> None:
    ids = []
    for name in ("one.mcap", "two.mcap"):
        arguments = ["render", "everyday-country", "--out", str(tmp_path / name), "--duration",
                     "0.3", "--sensors", "light", "--json"]  # fmt: skip
        ids.append(json.loads(CliRunner().invoke(app, arguments).stdout)["clip_id"])
    assert ids[0] == ids[1]


def test_the_benchmark_runs() -> None:
    figures = sim_bench.run(repetitions=1, drive_s=0.2)
    assert_well_formed(figures)
    assert {figure.unit for figure in figures} == {
        "M rays/s/core", "M pixels/s/core", "times real time", "vehicle-events/s/core",
    }  # fmt: skip
