"""The key ceremony: makes all keys, both roots, and the first metadata of the people's roles.

Guarantees: the folder appears whole or not at all, closed to other users, and a folder that
holds keys is never touched. Root needs 2 of 3 keys. The same three people's root keys sign
both repositories' roots; the online keys are one for each repository.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from cloud_ingest.ota import lifetimes
from cloud_ingest.ota.key_folder import DELEGATED, KeyFolder, Repository
from cloud_ingest.ota.keyring import new_key, write_key
from cloud_ingest.ota.signed import name_of, sign
from cloud_ingest.stores.files import disk_errors, make_folder, sync_folder
from contracts.clock import Clock
from contracts.errors import ConflictError, InputError
from contracts.ota import DELEGATED_PATHS, DEMO_FIELD

ROOT_KEYS = 3
ROOT_THRESHOLD = 2
MAX_THRESHOLD = 8


@dataclass(frozen=True, slots=True)
class Plan:
    """`demo` marks both roots as made for trying out. A threshold is also how many keys the
    role gets."""

    demo: bool = False
    triggers_threshold: int = 1
    models_threshold: int = 1

    def threshold(self, role: str) -> int:
        return self.triggers_threshold if role == "triggers" else self.models_threshold


@dataclass(frozen=True, slots=True)
class _Keys:
    root: list[CryptoSigner]
    targets: CryptoSigner
    delegated: Mapping[str, list[CryptoSigner]]
    image: CryptoSigner
    director: CryptoSigner

    @property
    def offline(self) -> list[CryptoSigner]:
        return [
            *self.root,
            self.targets,
            *(key for keys in self.delegated.values() for key in keys),
        ]


def hold_ceremony(path: Path, plan: Plan, clock: Clock) -> KeyFolder:
    """Make the folder. Raises `ConflictError` when it holds keys, or anything else."""
    for role in DELEGATED:
        if not 1 <= plan.threshold(role) <= MAX_THRESHOLD:
            raise InputError(f"must be 1 to {MAX_THRESHOLD}", f"{role} threshold")
    if KeyFolder(path).holds_keys:
        raise ConflictError("there are keys here already; they are left as they are", str(path))
    path = path.absolute()
    with disk_errors(str(path)):
        make_folder(path.parent)
        fresh = path.parent / f".{path.name}.{secrets.token_hex(4)}"
        fresh.mkdir(mode=0o700)
        try:
            _fill(KeyFolder(fresh), plan, clock.utc_ns())
            _name(fresh, path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return KeyFolder(path)


def _name(fresh: Path, path: Path) -> None:
    """Give the filled folder its name; an empty folder there is replaced, no other."""
    try:
        fresh.rename(path)
    except OSError as error:
        raise ConflictError(f"cannot make it here: {error.strerror}", str(path)) from error
    sync_folder(path.parent)


def _fill(folder: KeyFolder, plan: Plan, now_utc_ns: int) -> None:
    keys = _Keys(
        root=[new_key(f"root-{index + 1}") for index in range(ROOT_KEYS)],
        targets=new_key("targets"),
        delegated={
            role: [new_key(f"{role}-{index + 1}") for index in range(plan.threshold(role))]
            for role in DELEGATED
        },
        image=new_key("image"),
        director=new_key("director"),
    )
    for part, signers in (
        (folder.offline, keys.offline),
        (folder.online, [keys.image, keys.director]),
    ):
        part.mkdir(mode=0o700)
        for signer in signers:
            write_key(part / f"{name_of(signer.public_key)}.pem", signer)
    _write_metadata(folder, plan, keys, now_utc_ns)
    folder.renew_trust()


def _write_metadata(folder: KeyFolder, plan: Plan, keys: _Keys, now_utc_ns: int) -> None:
    ends = lifetimes.expiry(now_utc_ns, lifetimes.ROOT)
    signed_by: dict[Repository, tuple[CryptoSigner, CryptoSigner]] = {
        "image": (keys.targets, keys.image),
        "director": (keys.director, keys.director),
    }
    for repository, (targets, online) in signed_by.items():
        root = Root(expires=ends, unrecognized_fields={DEMO_FIELD: True} if plan.demo else None)
        for role, signers in {
            "root": keys.root, "targets": [targets], "snapshot": [online], "timestamp": [online],
        }.items():  # fmt: skip
            for signer in signers:
                root.add_key(signer.public_key, role)
        root.roles["root"].threshold = ROOT_THRESHOLD
        folder.add(repository, "root", 1, sign(Metadata(root), keys.root))
    ends = lifetimes.expiry(now_utc_ns, lifetimes.PEOPLES_ROLE)
    delegations = _delegations(plan, keys.delegated)
    targets_role = Targets(expires=ends, delegations=delegations)
    folder.add("image", "targets", 1, sign(Metadata(targets_role), [keys.targets]))
    for role, role_keys in keys.delegated.items():
        folder.add("image", role, 1, sign(Metadata(Targets(expires=ends)), role_keys))


def _delegations(plan: Plan, keys: Mapping[str, Sequence[CryptoSigner]]) -> Delegations:
    roles = {}
    for role, signers in keys.items():
        roles[role] = DelegatedRole(
            role,
            [signer.public_key.keyid for signer in signers],
            plan.threshold(role),
            terminating=True,
            paths=list(DELEGATED_PATHS[role]),
        )
    public = [signer.public_key for signers in keys.values() for signer in signers]
    return Delegations({key.keyid: key for key in public}, roles)
