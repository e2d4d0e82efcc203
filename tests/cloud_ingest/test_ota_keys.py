"""The key ceremony, fresh keys, and how a service and a stock client follow them."""

from __future__ import annotations

import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets
from typer.testing import CliRunner

from cloud_ingest.cli import app
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from cloud_ingest.ota.key_folder import KeyFolder
from cloud_ingest.ota.remote import RemoteRoles, send_newer
from cloud_ingest.ota.rotation import KeyOffice
from contracts.clock import SystemClock
from contracts.errors import InputError, LongtailError, RefusedError
from contracts.ota import DEMO_FIELD
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.ota_support import Person, StockClient, http_of, write_spec
from tests.cloud_ingest.support import Vehicle

NAMES = (
    "root-1", "root-2", "root-3", "targets", "triggers-1", "triggers-2", "models-1",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return hold_ceremony(tmp_path / "keys", Plan(triggers_threshold=2), SystemClock())


def office(folder: KeyFolder, *offline: Path) -> KeyOffice:
    return KeyOffice(folder, offline, SystemClock(), lambda role: None)


def root_of(folder: KeyFolder, repository: Any = "image") -> Metadata[Root]:
    return Metadata[Root].from_bytes(folder.newest(repository, "root") or b"")


def role_of(folder: KeyFolder, role: str) -> Metadata[Targets]:
    return Metadata[Targets].from_bytes(folder.newest("image", role) or b"")


def check_whole(folder: KeyFolder) -> None:
    """Both chains of roots verify, and so does all that the newest ones delegate to."""
    for repository in ("image", "director"):
        before: Root | None = None
        for version in folder.versions(repository, "root"):
            root = Metadata[Root].from_bytes(folder.read(repository, "root", version))
            assert root.signed.get_root_verification_result(
                before, root.signed_bytes, root.signatures
            )
            before = root.signed
        trusted = (folder.trust / f"{repository}.root.json").read_bytes()
        assert trusted == folder.newest(repository, "root")
    targets = role_of(folder, "targets")
    root_of(folder).signed.verify_delegate("targets", targets.signed_bytes, targets.signatures)
    for role in ("triggers", "models"):
        held = role_of(folder, role)
        targets.signed.verify_delegate(role, held.signed_bytes, held.signatures)


def test_a_ceremony_makes_closed_keys_and_a_whole_repository(folder: KeyFolder) -> None:
    assert sorted(path.stem for path in folder.offline.iterdir()) == sorted(NAMES)
    assert sorted(path.stem for path in folder.online.iterdir()) == ["director", "image"]
    for part in (folder.path, folder.offline, folder.online):
        assert stat.S_IMODE(part.stat().st_mode) == 0o700
        for key in part.glob("*.pem"):
            assert stat.S_IMODE(key.stat().st_mode) == 0o600
    check_whole(folder)
    root = root_of(folder).signed
    assert (root.roles["root"].threshold, len(root.roles["root"].keyids)) == (2, 3)
    assert root.consistent_snapshot
    assert DEMO_FIELD not in root.unrecognized_fields
    image, director = root, root_of(folder, "director").signed
    assert image.roles["root"].keyids == director.roles["root"].keyids
    assert not set(image.roles["timestamp"].keyids) & set(director.roles["timestamp"].keyids)
    assert list(folder.path.parent.iterdir()) == [folder.path], "nothing is left beside it"


def test_a_ceremony_leaves_keys_alone(folder: KeyFolder, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in folder.path.rglob("*.*") if path.is_file()}
    with pytest.raises(LongtailError, match="keys here already"):
        hold_ceremony(folder.path, Plan(), SystemClock())
    assert {path: path.read_bytes() for path in before} == before
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter").write_text("not a key")
    with pytest.raises(LongtailError, match="cannot make it here"):
        hold_ceremony(other, Plan(), SystemClock())
    assert [path.name for path in other.iterdir()] == ["letter"]
    with pytest.raises(InputError, match="must be 1 to 8"):
        hold_ceremony(tmp_path / "third", Plan(models_threshold=0), SystemClock())


@pytest.mark.parametrize("name", [*NAMES, "image", "director"])
def test_a_fresh_key_leaves_nothing_on_the_old_one(folder: KeyFolder, name: str) -> None:
    online = name in {"image", "director"}
    home = folder.online if online else folder.offline
    old = (home / f"{name}.pem").read_bytes()
    office(folder).rotate(name)
    check_whole(folder)
    (aside,) = (home / "retired").iterdir()
    assert aside.read_bytes() == old
    assert aside.name.startswith(f"{name}-")
    assert (home / f"{name}.pem").read_bytes() != old
    prefix = aside.stem.rpartition("-")[2]
    delegators: Sequence[Root | Targets] = [
        root_of(folder).signed, root_of(folder, "director").signed,
        role_of(folder, "targets").signed,
    ]  # fmt: skip
    for delegator in delegators:
        keys = delegator.keys if isinstance(delegator, Root) else None
        if keys is None:
            assert isinstance(delegator, Targets) and delegator.delegations is not None
            keys = delegator.delegations.keys
        assert not any(keyid.startswith(prefix) for keyid in keys)


def test_many_rotations_and_renewals_stay_whole(folder: KeyFolder) -> None:
    for name in (*NAMES, "director", "image", *NAMES):
        office(folder).rotate(name)
        check_whole(folder)
    before = root_of(folder).signed.version
    for role in ("root", "targets", "triggers", "models"):
        office(folder).renew(role)
        check_whole(folder)
    assert root_of(folder).signed.version == before + 1


def test_a_lost_key_is_replaced_by_the_others(folder: KeyFolder, tmp_path: Path) -> None:
    away = tmp_path / "away"
    folder.offline.rename(away)
    with pytest.raises(RefusedError, match=r"2 more keys are needed; 2 of: root-1"):
        office(folder).rotate("root-1")
    (away / "root-1.pem").unlink()
    (away / "triggers-1.pem").unlink()
    office(folder, away).rotate("root-1")
    office(folder, away).rotate("triggers-1")
    check_whole(folder)
    (away / "root-2.pem").unlink()
    (away / "root-3.pem").unlink()
    with pytest.raises(RefusedError, match="more keys are needed"):
        office(folder, away).rotate("root-2")


def test_what_cannot_be_rotated_is_said(folder: KeyFolder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there are: director, image, models-1"):
        office(folder).rotate("triggers-9")
    with pytest.raises(InputError, match="root, targets, triggers or models"):
        office(folder).renew("snapshot")
    with pytest.raises(InputError, match="no key ceremony"):
        office(KeyFolder(tmp_path / "none"))
    (folder.offline / "root-1.pem").write_text("not a key")
    with pytest.raises(InputError, match=r"root-1\.pem: not an unencrypted private key"):
        office(folder).rotate("root-2")


def test_the_commands(tmp_path: Path) -> None:
    path = tmp_path / "keys"

    def run(*arguments: str) -> Any:
        result = CliRunner().invoke(app, ["keys", *arguments, "--json"], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    made = run("init", str(path), "--demo", "--models-threshold", "2")
    assert made["demo"] is True
    told = run("rotate", str(path), "models-2")
    assert [(each["role"], each["version"]) for each in told["made"]] == [
        ("models", 2), ("targets", 2),
    ]  # fmt: skip
    run("renew", str(path), "targets")
    shown = {(row["repository"], row["role"]): row for row in run("show", str(path))["roles"]}
    assert shown["image", "targets"]["version"] == 3
    assert [key["name"] for key in shown["image", "models"]["keys"]] == ["models-1", "models-2"]
    assert shown["image", "models"]["threshold"] == 2
    for words in (["keys", "show", str(path)], ["keys", "renew", str(path), "root"]):
        assert CliRunner().invoke(app, words).exit_code == 0
    assert "demo keys" in CliRunner().invoke(app, ["keys", "show", str(path)]).stdout


def test_a_service_and_a_stock_client_follow_every_rotation(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    server = start_cloud(ota=folder.path)
    with http_of(server.url) as http:
        vehicle = Vehicle(http)
        vehicle.enrol()
        vehicle.authenticate()
        image = StockClient(
            server.url, tmp_path / "i", (folder.trust / "image.root.json").read_bytes(), http
        )
        director = StockClient(
            server.url, tmp_path / "d", (folder.trust / "director.root.json").read_bytes(), http,
            vehicle.token, "car-1",
        )  # fmt: skip
        ann = Person(server.url, folder.offline)
        remote = RemoteRoles(server.url, None, "ann")
        for number, name in enumerate(("root-1", "targets", "triggers-1", "image", "director"), 1):
            old = ann.key() if name == "triggers-1" else None
            path = write_spec(tmp_path, version=number)
            ann.publish(path)
            KeyOffice(folder, (), SystemClock(), remote.newest).rotate(name)
            assert send_newer(folder, remote)
            director.refreshed()
            assert image.download(f"triggers/brake/{number}/spec.yaml") == path.read_bytes()
            if old is not None:
                with pytest.raises(RefusedError, match="signed by no key of role triggers"):
                    ann.client.publish_spec(write_spec(tmp_path, version=99), old)
        assert image.refreshed()._trusted_set.root.version == 4
        assert director.refreshed()._trusted_set.root.version == 3
        fresh = StockClient(server.url, tmp_path / "f", image.root, http)
        assert fresh.download("triggers/brake/5/spec.yaml") is not None
        remote.close()


def test_a_rotation_without_the_service_is_taken_up_at_its_next_start(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    first = start_cloud(ota=folder.path)
    root = (folder.trust / "image.root.json").read_bytes()
    with http_of(first.url) as http:
        vehicle = Vehicle(http)
        vehicle.enrol()
        stock = StockClient(first.url, tmp_path / "i", root, http)
        stock.refreshed()
        trusted = (folder.trust / "director.root.json").read_bytes()
        director = StockClient(first.url, tmp_path / "d", trusted, http, vehicle_id="car-1")
        director.refreshed()
        for name in ("root-2", "targets", "triggers-1", "image", "director"):
            office(folder).rotate(name)
        stock.refreshed()
        assert stock.fetcher.names == ["2.root.json", "timestamp.json"]
        second = start_cloud(ota=folder.path)
        stock.url = director.url = second.url
        stock.refreshed()
        director.refreshed()
        assert stock.fetcher.names[:4] == [f"{n}.root.json" for n in (2, 3, 4, 5)]
        assert director.fetcher.names[:4] == [
            "2.root.json", "3.root.json", "4.root.json", "timestamp.json",
        ]  # fmt: skip
        path = write_spec(tmp_path)
        Person(second.url, folder.offline).publish(path)
        assert stock.download("triggers/brake/1/spec.yaml") == path.read_bytes()
        # The other replica signs with the keys that the database's roots name.
        stock.url = first.url
        assert stock.download("triggers/brake/1/spec.yaml") == path.read_bytes()


def test_a_rotation_over_what_was_published_since_is_not_taken_up(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    path = write_spec(tmp_path)
    first = start_cloud(ota=folder.path)
    Person(first.url, folder.offline).publish(path)
    office(folder).rotate("triggers-1")
    second = start_cloud(ota=folder.path)
    with http_of(second.url) as http:
        stock = StockClient(
            second.url, tmp_path / "i", (folder.trust / "image.root.json").read_bytes(), http
        )
        assert stock.download("triggers/brake/1/spec.yaml") == path.read_bytes()
    remote = RemoteRoles(second.url, None, "ann")
    KeyOffice(folder, (), SystemClock(), remote.newest).renew("triggers")
    assert send_newer(folder, remote) == ["image triggers version 3", "image targets version 2"]
    with http_of(second.url) as http:
        stock.http = http
        assert stock.download("triggers/brake/1/spec.yaml") == path.read_bytes()
        Person(second.url, folder.offline).publish(write_spec(tmp_path, version=2))
    remote.close()


def test_a_root_that_too_few_have_signed_waits(start_cloud: StartCloud, tmp_path: Path) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    server = start_cloud(ota=folder.path)
    office(folder).renew("root")
    remote = RemoteRoles(server.url, None, "ann")
    for repository in ("image", "director"):
        whole = Metadata[Root].from_bytes(folder.read(repository, "root", 2))
        keyids = list(whole.signatures)

        def signed_by(*numbers: int, whole: Any = whole, keyids: Any = keyids) -> bytes:
            part = {keyids[number]: whole.signatures[keyids[number]] for number in numbers}
            return bytes(Metadata(whole.signed, part).to_bytes())

        with pytest.raises(RefusedError, match="signed by no key"):
            remote.send(repository, "root", signed_by(), "x")
        state = remote.send(repository, "root", signed_by(0), "x")
        assert (state.version, state.missing_signatures) == (1, 1)
        assert remote.state(repository, "root").waiting is not None
        state = remote.send(repository, "root", signed_by(2), "x")
        assert (state.version, state.waiting) == (2, None)
        with pytest.raises(RefusedError, match="is not next"):
            remote.send(repository, "root", folder.read(repository, "root", 1), "x")
    remote.close()


def test_a_root_whose_online_key_is_not_here_is_refused(
    start_cloud: StartCloud, tmp_path: Path
) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    server = start_cloud(ota=folder.path)
    office(folder).rotate("image")
    office(folder).rotate("director")
    (folder.online / "image.pem").unlink()
    (folder.online / "director.pem").unlink()
    remote = RemoteRoles(server.url, None, "ann")
    for repository in ("image", "director"):
        with pytest.raises(RefusedError, match="does not hold the key of role"):
            remote.send(repository, "root", folder.read(repository, "root", 2), "x")
        assert remote.state(repository, "root").version == 1
    with http_of(server.url) as http:
        stock = StockClient(server.url, tmp_path / "i", folder.read("image", "root", 1), http)
        stock.refreshed()
    remote.close()


def test_an_attackers_root_is_no_next_root(start_cloud: StartCloud, tmp_path: Path) -> None:
    folder = hold_ceremony(tmp_path / "keys", Plan(), SystemClock())
    foreign = hold_ceremony(tmp_path / "foreign", Plan(), SystemClock())
    office(foreign).renew("root")
    server = start_cloud(ota=folder.path)
    remote = RemoteRoles(server.url, None, "mallory")
    with pytest.raises(RefusedError):
        remote.send("image", "root", foreign.read("image", "root", 2), "x")
    assert remote.state("image", "root").waiting is None
    remote.close()
    with pytest.raises(RepositoryError):
        root_of(folder).signed.verify_delegate(
            "root", root_of(foreign).signed_bytes, root_of(foreign).signatures
        )
