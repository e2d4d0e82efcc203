"""Attacks on a vehicle's time: frozen metadata, wrong clocks, forged answers."""

from __future__ import annotations

from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Snapshot, Timestamp

from contracts.check_in import CheckIn
from contracts.clock import NS_PER_DAY
from contracts.ota import TIME_CONTEXT, SignedTime
from tests.edge_agent.ota_repository import (
    SignedRepository,
)
from tests.edge_agent.ota_rig import (
    OtaRig,
    digest_of,
    play,
    refused,
    settled,
    trigger,
)


@pytest.mark.parametrize("back_days", [0, 300])
def test_a_frozen_timestamp_expires_whatever_the_wall_clock_says(
    tmp_path: Path, back_days: int
) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.give(trigger("brake", 2))
        rig.cloud.pass_days(8)
        rig.clock.jump_utc_ns(-back_days * NS_PER_DAY)
        await refused(rig, "timestamp.json is expired")
        # The service stops to attest, the vehicle restarts: the floor holds.
        rig.cloud.attests = False
        await rig.restart()
        await refused(rig, "timestamp.json is expired")

    play(tmp_path, scene)


def test_a_clock_set_forward_locks_nothing_out(tmp_path: Path) -> None:
    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.clock.jump_utc_ns(9 * 365 * NS_PER_DAY)
        rig.cloud.attests = False
        await rig.restart()
        rig.give(trigger("brake", 2))
        await refused(rig, "expired")
        rig.cloud.attests = True
        await rig.round()
        assert rig.running == {"trigger:brake": digest_of(trigger("brake", 2))}

    play(tmp_path, scene)


def test_time_signed_by_a_key_of_a_newer_root_is_learned(tmp_path: Path) -> None:
    """The clock is ahead, and the key that would put it right came with a root not seen yet."""

    async def scene(rig: OtaRig) -> None:
        await settled(rig)
        rig.clock.jump_utc_ns(2 * 365 * NS_PER_DAY)
        rig.cloud.director.rotate(Timestamp.type)
        rig.give(trigger("brake", 2))
        await rig.restart()
        await rig.round()
        await rig.round()
        assert rig.updater.status().time_attested
        assert rig.running == {"trigger:brake": digest_of(trigger("brake", 2))}

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"vehicle_id": "car-2"}, "for vehicle 'car-2'"),
        ({"nonce": "0" * 32}, "not to this question"),
        ({"utc_ns": -1}, "is no time"),
    ],
)
def test_a_time_that_is_not_the_answer_is_not_taken(
    tmp_path: Path, changes: dict[str, object], word: str
) -> None:
    async def scene(rig: OtaRig) -> None:
        rig.cloud.statement_changes = changes
        await rig.round()
        assert not rig.updater.status().time_attested
        assert word in rig.note
        await rig.updater.poll_once()
        assert word in rig.cloud.check_ins[-1].ota_note

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "which", ["a stranger's key", "a key of another role", "a wrong signature"]
)
def test_a_time_that_the_timestamp_role_did_not_sign_is_not_taken(
    tmp_path: Path, which: str
) -> None:
    async def scene(rig: OtaRig) -> None:
        director, genuine = rig.cloud.director, rig.cloud.signed_time

        def forged(manifest: CheckIn) -> SignedTime:
            told = genuine(manifest)
            message = TIME_CONTEXT + told.statement.encode()
            if which == "a wrong signature":
                other = CryptoSigner.generate_ed25519().sign(message)
                return told.model_copy(update={"signature": other.signature})
            stranger = CryptoSigner.generate_ed25519()
            signer = stranger if "stranger" in which else director.signers[Snapshot.type]
            made = signer.sign(message)
            return SignedTime(statement=told.statement, keyid=made.keyid, signature=made.signature)

        rig.cloud.signed_time = forged  # type: ignore[method-assign]
        await rig.round()
        assert not rig.updater.status().time_attested
        assert "time: " in rig.note

    play(tmp_path, scene)


def test_python_tuf_still_takes_our_time(tmp_path: Path) -> None:
    """Fails should python-tuf keep its reference time elsewhere one day: then expiry would
    silently be checked by the wall clock."""
    import datetime as dt

    from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
    from tuf.ngclient.config import EnvelopeType

    from edge_agent.ota.repositories import TimedUpdater

    repository = SignedRepository()
    now = dt.datetime(2099, 1, 1, tzinfo=dt.UTC)
    updater = TimedUpdater(tmp_path, "/", None, repository.anchor(), now)  # type: ignore[arg-type]
    assert updater.trusted.reference_time == now
    assert "reference_time" in vars(TrustedMetadataSet(repository.anchor(), EnvelopeType.METADATA))
