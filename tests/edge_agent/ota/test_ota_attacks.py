"""Attacks on the director's word, replays too: each is refused, told, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Snapshot, Targets, Timestamp

from tests.edge_agent.ota_repository import (
    VehicleRepository,
    older_role,
    older_snapshot,
    with_signed,
)
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    forget_caches,
    ota_rig,
    play,
    refused,
    settled,
    trigger,
)

Attack = Callable[[OtaRig], Awaitable[None] | None]


def old_timestamp(rig: OtaRig) -> None:
    old = rig.cloud.director.served["timestamp.json"]
    rig.give(trigger("brake", 2))
    rig.cloud.doctored["director/timestamp.json"] = with_signed(old, version=10**6)


def revoked_timestamp_key(rig: OtaRig) -> None:
    director = rig.cloud.director
    rig.give(trigger("brake", 2))
    stolen = director.served["timestamp.json"]
    director.rotate(Timestamp.type)
    rig.cloud.doctored["director/timestamp.json"] = stolen


def other_vehicle(rig: OtaRig) -> None:
    other = VehicleRepository("car-2", shared=rig.cloud.director)
    for _ in range(20):
        other.order(trigger("brake", 2))
    other.counter = 10**6
    rig.cloud.image.publish(trigger("brake", 2).release, *trigger("brake", 2).contents)
    rig.cloud.director = other


def without_note(rig: OtaRig) -> None:
    targets = rig.cloud.director.roles[Targets.type]
    targets.unrecognized_fields.clear()
    rig.cloud.director.commit()


def demo_root(rig: OtaRig) -> None:
    rig.cloud.director.demo = True
    rig.cloud.director.sign_root()


def unsigned_root(rig: OtaRig) -> None:
    director = rig.cloud.director
    director.sign_root([CryptoSigner.generate_ed25519() for _ in range(2)])


DIRECTOR_ATTACKS: dict[str, tuple[Attack, str]] = {
    "an older snapshot": (
        lambda rig: older_snapshot(rig.cloud.director), "snapshot version must be >="
    ),
    "older targets": (
        lambda rig: older_role(rig.cloud.director, Targets.type), "Expected targets.json version"
    ),
    "a timestamp with a changed version": (old_timestamp, "signed by 0/1"),
    "a revoked key": (revoked_timestamp_key, "signed by 0/1"),
    "the word for another vehicle": (other_vehicle, "for vehicle 'car-2'"),
    "targets without a note": (without_note, "hold no note"),
    "a root made with demo keys": (demo_root, "demo keys"),
    "a root that strangers signed": (unsigned_root, "root was signed by 0/2"),
    "a lower release counter": (
        lambda rig: rig.cloud.director.order(trigger("jerk"), counter=1), "counter 1 is below"
    ),
    "other content under the same counter": (
        lambda rig: rig.cloud.director.order(
            trigger("jerk"), counter=rig.cloud.director.counter
        ),
        "seen before with other content",
    ),
    "an overlong timestamp": (
        lambda rig: rig.cloud.doctored.update({"director/timestamp.json": b" " * 100_000}),
        "longer than 16384",
    ),
    "no JSON": (
        lambda rig: rig.cloud.doctored.update({"director/timestamp.json": b"<html>"}),
        "director: ",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DIRECTOR_ATTACKS)
def test_an_attack_on_the_director_changes_nothing(tmp_path: Path, name: str) -> None:
    attack, word = DIRECTOR_ATTACKS[name]

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        attack(rig)
        await refused(rig, word)
        assert not any(path.startswith("triggers/brake/2") for path in rig.cloud.fetched)

    play(tmp_path, scene)


def test_anothers_metadata_does_not_shut_out_the_own(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        own = rig.cloud.director
        other_vehicle(rig)
        await refused(rig, "for vehicle 'car-2'")
        rig.cloud.director, rig.cloud.announced = own, None
        rig.give(trigger("jerk", 2, 4.0))
        await rig.round()
        assert rig.running == {"trigger:jerk": digest_of(trigger("jerk", 2, 4.0))}

    play(tmp_path, scene)


@pytest.mark.parametrize("caches", ["kept", "lost"])
def test_an_earlier_state_of_both_repositories_is_refused(tmp_path: Path, caches: str) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.give(trigger("jerk"))
        await rig.round()
        old = rig.cloud.remember()
        await settled(rig)
        rig.cloud.replaced = old
        if caches == "lost":
            forget_caches(rig)
            await rig.restart()
        await refused(rig, "must be >=" if caches == "kept" else "seen before")

    play(tmp_path, scene)


def test_a_revoked_root_does_not_come_back_with_the_cache_lost(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        old = rig.cloud.remember()
        rig.cloud.director.rotate(Timestamp.type)
        rig.give(trigger("brake", 2, 5.0))
        await rig.round()
        assert rig.running == {"trigger:brake": digest_of(trigger("brake", 2, 5.0))}
        rig.cloud.replaced = replace(old, director_roots={})
        forget_caches(rig)
        await rig.restart()
        await refused(rig, "director root: version 1 is older than 2")

    play(tmp_path, scene)


@pytest.mark.parametrize("ahead", [1, 1000])
def test_a_stolen_key_does_not_shut_out_who_replaces_it(tmp_path: Path, ahead: int) -> None:
    """Its counter ran ahead; with new keys the honest one counts anew, from below or beside it."""

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        director = rig.cloud.director
        honest = director.counter
        director.order(trigger("jerk"), trigger("brake"), counter=honest + ahead)
        await rig.round()
        assert rig.updater.status().assignment_counter == honest + ahead
        rig.give(trigger("jerk", 2, 4.0), trigger("brake"))
        director.order(trigger("jerk", 2, 4.0), trigger("brake"), counter=honest + 1)
        await refused(rig, "director: release counter")
        for role in (Timestamp.type, Snapshot.type, Targets.type):
            director.rotate(role)
        director.commit()
        await rig.round()
        await rig.round()
        assert rig.running["trigger:jerk"] == digest_of(trigger("jerk", 2, 4.0))
        assert rig.updater.status().assignment_counter == honest + 1
        rig.give(trigger("jerk", 3, 5.0))
        await rig.round()
        assert rig.running == {"trigger:jerk": digest_of(trigger("jerk", 3, 5.0))}

    play(tmp_path, scene)


def test_demo_keys_need_leave(tmp_path: Path) -> None:
    async def go(folder: Path, *, allowed: bool) -> None:
        async with ota_rig(folder, demo=True, allow_demo_keys=allowed, start=False) as rig:
            await rig.start()
            rig.give(trigger("brake"))
            await rig.round()
            if allowed:
                assert rig.running
            else:
                assert not rig.running
                assert "demo keys" in rig.updater.status().note
                assert not rig.updater.status().enabled
            await rig.close()

    asyncio.run(go(tmp_path / "a", allowed=True))
    asyncio.run(go(tmp_path / "b", allowed=False))
