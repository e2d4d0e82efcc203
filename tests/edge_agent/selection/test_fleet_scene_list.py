"""The fleet's list of known scenes on its way to the vehicle: verified, whole, or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from aiohttp import web

from contracts.scenes import Known, Scene
from edge_agent.ports import Link
from edge_agent.selection.clip_gate import read_scenes
from tests.edge_agent.ota_rig import OtaRig, play

LISTED = Known(
    scene=Scene(trigger_id="t", lat_deg=48.0, lon_deg=11.0, bearing_rad=0.0, picture=7),
    day=20_000, weight=8.0,
)  # fmt: skip


def content(*known: Known) -> bytes:
    return json.dumps([each.model_dump(mode="json") for each in known]).encode()


class Lists:
    """What a rig's cloud names and serves."""

    def __init__(self, rig: OtaRig, served: bytes, named: bytes | None = None) -> None:
        self.rig = rig
        self.served = served
        self.asked = 0
        self.name(served if named is None else named)

    def name(self, named: bytes) -> None:
        digest = hashlib.sha256(named).hexdigest()
        self.rig.cloud.statement_changes = {"fleet_scenes": digest}
        self.rig.cloud.scene_list = self.serve

    def serve(self, digest: str) -> web.Response:
        self.asked += 1
        return web.Response(body=self.served, content_type="application/json")


def held(rig: OtaRig) -> bytes | None:
    path = rig.folder / "fleet-scenes.json"
    return path.read_bytes() if path.exists() else None


def test_a_signed_list_takes_the_old_ones_place(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await rig.updater.poll_once()
        assert held(rig) is None  # nothing was named
        lists = Lists(rig, content(LISTED))
        await rig.updater.poll_once()
        await rig.updater.poll_once()
        assert (held(rig), lists.asked) == (content(LISTED), 1)
        assert read_scenes(rig.folder / "fleet-scenes.json") == [LISTED]
        await rig.restart()
        await rig.updater.poll_once()
        assert lists.asked == 1  # it is on the disk already
        emptied = Lists(rig, content())
        await rig.updater.poll_once()
        assert (held(rig), emptied.asked) == (b"[]", 1)
        assert "scenes" not in rig.updater.note()

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("served", "named", "words"),
    [
        (content(LISTED), content(), "not the list that was signed"),
        (b"[{}]", b"[{}]", "cannot be read"),
        (b"not JSON", b"not JSON", "cannot be read"),
    ],
)
def test_a_list_that_is_not_what_was_signed_changes_nothing(
    tmp_path: Path, served: bytes, named: bytes, words: str
) -> None:
    async def scene(rig: OtaRig) -> None:
        Lists(rig, content(LISTED))
        await rig.updater.poll_once()
        Lists(rig, served, named)
        await rig.updater.poll_once()
        assert held(rig) == content(LISTED)
        assert words in rig.updater.note()

    play(tmp_path, scene)


def test_a_word_of_another_key_and_a_link_that_costs_fetch_nothing(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        lists = Lists(rig, content(LISTED))
        rig.link.change(Link("cellular"))
        await rig.updater.poll_once()
        rig.link.change(Link("wifi"))
        rig.cloud.statement_changes |= {"vehicle_id": "another"}
        await rig.updater.poll_once()
        rig.cloud.attests = False
        await rig.updater.poll_once()
        assert (held(rig), lists.asked) == (None, 0)

    play(tmp_path, scene)
