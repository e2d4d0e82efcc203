"""The commands over steps, tiers, pins, erasures and webhooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from cli.clips import app
from contracts.clock import NS_PER_S
from contracts.errors import LongtailError
from tests.cloud_ingest.after.clips import picture_clip, run_steps
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest


def told(cloud: RunningServer, *arguments: object) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments), "--cloud", cloud.url], input="n\n")
    if done.exception is not None:
        raise done.exception
    return done.output


def as_json(cloud: RunningServer, *arguments: object) -> Any:
    return json.loads(told(cloud, *arguments, "--json"))


def test_a_clip_s_steps_are_shown_and_done_anew(cloud: RunningServer, vehicle: Vehicle) -> None:
    clip_id = vehicle.upload(*picture_clip())
    assert "frames: waiting" in told(cloud, "show", clip_id[:8])
    run_steps(cloud)
    shown = told(cloud, "show", clip_id[:8])
    assert "frames: done" in shown
    assert "embedding: skipped (the clip brings no embedding" in shown
    steps = as_json(cloud, "show", clip_id)["steps"]
    assert steps["ended"] is True
    assert told(cloud, "redo", clip_id[:8]) == "round 2: embedding, scene to be done\n"


def test_a_quarantined_clip_is_found_by_its_id_s_beginning(
    cloud: RunningServer, vehicle: Vehicle
) -> None:
    clip_id = vehicle.upload(b"not a clip", make_manifest())
    assert "quarantined: " in told(cloud, "show", clip_id[:8])
    assert as_json(cloud, "search") == []


def test_tiers_and_pins(cloud: RunningServer, vehicle: Vehicle, tmp_path: Path) -> None:
    ids = [
        vehicle.upload(make_clip(manifest, 10_000), manifest)
        for manifest in (make_manifest(start_mono_ns=k * 20 * NS_PER_S) for k in range(3))
    ]
    chosen = tmp_path / "clips.txt"
    chosen.write_text("\n".join(ids[:2]))
    assert as_json(cloud, "pin", "label_set", "l1", "--clips", chosen)["clips"] == 2
    assert told(cloud, "pins") == "label_set l1: 2 clips\n"
    assert "USD a month" in told(cloud, "tiers")
    (hot, cold) = as_json(cloud, "tiers")["tiers"]
    assert (hot["clips"], hot["pinned_clips"], cold["clips"]) == (3, 2, 0)
    assert as_json(cloud, "tiers", "--policy")["Rules"][0]["ID"] == "longtail-cold"
    assert told(cloud, "unpin", "label_set", "l1") == "label_set l1: 2 clips let go\n"
    chosen.write_text("")
    with pytest.raises(LongtailError, match="names no clips"):
        told(cloud, "pin", "label_set", "l1", "--clips", chosen)


def test_erasures_ask_back(cloud: RunningServer, vehicle: Vehicle, http: httpx.Client) -> None:
    clip_id = vehicle.upload(make_clip(make_manifest()), make_manifest())
    with pytest.raises(LongtailError, match="not erased"):
        told(cloud, "erase", "--clip", clip_id, "--reason", "asked for")
    with pytest.raises(LongtailError, match="either"):
        told(cloud, "erase", "--reason", "asked for")
    asked = as_json(
        cloud, "erase", "--clip", clip_id, "--reason", "asked for", "--request", "r1", "--yes"
    )
    assert asked["left"] == 1
    cloud.run(cloud.app.state.service.after.chores.once())
    assert told(cloud, "erasure") == f"r1: clip {clip_id}, 1 clips, ended\n"
    assert as_json(cloud, "erasure", "r1")["left"] == 0
    assert http.get("/v1/clips").json()["clips"] == []


def test_webhooks(cloud: RunningServer, vehicle: Vehicle) -> None:
    made = as_json(cloud, "webhooks", "add", "http://127.0.0.1:9/hook")
    webhook_id = made["webhook"]["webhook_id"]
    assert len(made["secret"]) > 30
    clip_id = vehicle.upload(make_clip(make_manifest()), make_manifest())
    run_steps(cloud)
    assert cloud.run(cloud.app.state.service.after.sender.send_due()) == 1
    assert "1 waiting, 0 given up" in told(cloud, "webhooks", "list")
    shown = told(cloud, "webhooks", "deliveries", webhook_id)
    assert shown.startswith(f"clip.committed {clip_id[:12]}: open, 1 times (ConnectError")
    assert "1 deliveries forgotten" in told(cloud, "webhooks", "remove", webhook_id)
    with pytest.raises(LongtailError, match="pattern"):
        told(cloud, "webhooks", "add", "ftp://x")
