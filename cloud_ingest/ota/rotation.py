"""Fresh keys, and fresh ends of what people sign.

What a fresh key means for what the old one has signed: nothing that is current may rest on the
old key alone. So whoever delegates names the new key (the roots for `root-N`, `targets`,
`image`, `director`; the image's targets for `triggers-N`, `models-N`), the role's own newest
metadata is signed again as its next version, and the service signs what is online anew when it
takes up the root.

The role's next version carries old and new signatures where the old key is at hand: it then
holds under both delegations, and a service may take it up before the delegation changes. With
the old key lost, both must come to the service in one restart with the folder.

Everything is made in memory first. The new key is written before metadata names it, and keys
are looked up by id, so that a step that broke off can simply be run again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata, Root, Targets

from cloud_ingest.ota import lifetimes
from cloud_ingest.ota.key_folder import DELEGATED, REPOSITORIES, KeyFolder, Repository
from cloud_ingest.ota.keyring import Keyring, new_key, read_key, retire_key, write_key
from cloud_ingest.ota.signed import SignedT, key_names, name_of, parse, sign, signed_by
from cloud_ingest.stores.files import disk_errors
from contracts.clock import Clock
from contracts.errors import InputError, RefusedError

Newest = Callable[[str], bytes | None]
"""Asks the service for the newest metadata of an image role; None when nobody is to be asked."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new version of a role's metadata."""

    repository: Repository
    role: str
    version: int
    content: bytes


class KeyOffice:
    """Works on one folder with the people's keys that are at hand.

    Args:
        folder: of the ceremony.
        offline: folders in which people's keys lie; the folder's own when empty.
        newest: of roles that people publish by, as the service holds them.
    """

    def __init__(
        self, folder: KeyFolder, offline: tuple[Path, ...], clock: Clock, newest: Newest
    ) -> None:
        if not folder.has_metadata:
            raise InputError("no key ceremony was held here", str(folder.path))
        self._folder = folder
        self._keys = Keyring([*(offline or (folder.offline,)), folder.offline, folder.online])
        self._clock = clock
        self._newest = newest

    def rotate(self, name: str) -> list[Made]:
        """Replace the key that people call `name`, everywhere it is named.

        Raises `InputError` for an unknown name, `RefusedError` when too few keys are at hand.
        """
        delegated = name.rpartition("-")[0]
        fresh = new_key(name)
        if delegated in DELEGATED:
            made = self._rotate_delegated(name, delegated, fresh)
        else:
            made = self._rotate_top(name, fresh)
        self._replace_key(name, fresh)
        return self._keep(made)

    def renew(self, role: str) -> list[Made]:
        """Sign a role again with a later end: `root` (of both repositories) or a people's role."""
        if role == "root":
            made = [self._next_root(repository, lambda root: None) for repository in REPOSITORIES]
        elif role == "targets":
            made = [self._next_targets(self._root("image").signed, None, lambda targets: None)]
        elif role in DELEGATED:
            made = [self._next_delegated(role, self._newest_role("targets").signed)]
        else:
            raise InputError("must be root, targets, triggers or models", "role")
        return self._keep(made)

    def _keep(self, made: list[Made]) -> list[Made]:
        """Write all files: a role before who delegates to it, roots last."""
        for each in made:
            self._folder.add(each.repository, each.role, each.version, each.content)
        self._folder.renew_trust()
        return made

    def _replace_key(self, name: str, fresh: CryptoSigner) -> None:
        """Put the old key's file aside, when it lies here, and the fresh one in its place."""
        home = self._folder.online if name in REPOSITORIES else self._folder.offline
        with disk_errors(str(home)):
            home.mkdir(mode=0o700, exist_ok=True)
        path = home / f"{name}.pem"
        if path.exists():
            retire_key(path, read_key(path).public_key.keyid)
        write_key(path, fresh)

    def _rotate_top(self, name: str, fresh: CryptoSigner) -> list[Made]:
        """A key that roots name, and the role `targets` signed by it when it is that one's."""
        roots = []
        for repository in REPOSITORIES:
            old = _named_key(self._root(repository).signed, name)
            if old is not None:
                roots.append(self._next_root(repository, partial(_swap, old, fresh), fresh))
        if not roots:
            raise self._unknown(name)
        if name != "targets":
            return roots
        new_root = parse(Root, roots[0].content, "root").signed
        return [self._next_targets(new_root, fresh, lambda targets: None), *roots]

    def _rotate_delegated(self, name: str, role: str, fresh: CryptoSigner) -> list[Made]:
        old = _named_key(self._newest_role("targets").signed, name)
        if old is None:
            raise self._unknown(name)
        root = self._root("image").signed
        targets = self._next_targets(root, None, partial(_swap_delegated, old, fresh))
        delegator = parse(Targets, targets.content, "targets").signed
        return [self._next_delegated(role, delegator, fresh), targets]

    def _unknown(self, name: str) -> InputError:
        delegators: list[Root | Targets] = [self._root(each).signed for each in REPOSITORIES]
        delegators.append(self._newest_role("targets").signed)
        names = {name_of(key) for each in delegators for key in _keys_of(each).values()}
        return InputError(f"no key of this name; there are: {', '.join(sorted(names))}", name)

    def _next_root(
        self,
        repository: Repository,
        edit: Callable[[Root], None],
        fresh: CryptoSigner | None = None,
    ) -> Made:
        """The next root, signed by a quorum of the old keys and one of the new."""
        before = self._root(repository)
        after = self._root(repository)
        after.signed.version += 1
        after.signed.expires = lifetimes.expiry(self._clock.utc_ns(), lifetimes.ROOT)
        edit(after.signed)
        keyids = [*before.signed.roles["root"].keyids, *after.signed.roles["root"].keyids]
        content = sign(after, self._at_hand(keyids, fresh))
        for delegator in (before.signed, after.signed):
            self._check(delegator, "root", after)
        return Made(repository, "root", after.signed.version, content)

    def _next_targets(
        self, root: Root, fresh: CryptoSigner | None, edit: Callable[[Targets], None]
    ) -> Made:
        """The image's next `targets`, valid under `root`, and under the root before if it can."""
        after = self._newest_role("targets")
        after.signed.version += 1
        after.signed.expires = lifetimes.expiry(self._clock.utc_ns(), lifetimes.PEOPLES_ROLE)
        edit(after.signed)
        old = self._root("image").signed.roles["targets"].keyids
        content = sign(after, self._at_hand([*old, *root.roles["targets"].keyids], fresh))
        self._check(root, "targets", after)
        return Made("image", "targets", after.signed.version, content)

    def _next_delegated(
        self, role: str, targets: Targets, fresh: CryptoSigner | None = None
    ) -> Made:
        after = self._newest_role(role)
        after.signed.version += 1
        after.signed.expires = lifetimes.expiry(self._clock.utc_ns(), lifetimes.PEOPLES_ROLE)
        # The service may hold older targets than this folder: sign for all that are known.
        delegators = [targets, *(each.signed for each in self._known("targets"))]
        keyids = [keyid for each in delegators for keyid in each.get_delegated_role(role).keyids]
        content = sign(after, self._at_hand(keyids, fresh))
        self._check(targets, role, after)
        return Made("image", role, after.signed.version, content)

    def _at_hand(self, keyids: list[str], fresh: CryptoSigner | None) -> list[CryptoSigner]:
        found = self._keys.all_of(keyids)
        if fresh is not None and fresh.public_key.keyid in keyids:
            found.append(fresh)
        return found

    def _check(self, delegator: Root | Targets, role: str, metadata: Metadata[SignedT]) -> None:
        result = signed_by(delegator, role, metadata)
        if result.missing:
            names = ", ".join(key_names(delegator, delegator.get_delegated_role(role)))
            raise RefusedError(
                f"{result.missing} more keys are needed; {result.threshold} of: {names}", role
            )

    def _root(self, repository: Repository) -> Metadata[Root]:
        content = self._folder.newest(repository, "root") or b""
        return parse(Root, content, f"{repository} root")

    def _newest_role(self, role: str) -> Metadata[Targets]:
        return max(self._known(role), key=lambda metadata: metadata.signed.version)

    def _known(self, role: str) -> list[Metadata[Targets]]:
        """The service's newest and the folder's."""
        contents = (self._newest(role), self._folder.newest("image", role))
        found = [parse(Targets, content, role) for content in contents if content is not None]
        if not found:
            raise InputError("there is no metadata of this role", role)
        return found


def _named_key(delegator: Root | Targets, name: str) -> str | None:
    """The id of the key that people call `name`."""
    keys = _keys_of(delegator)
    return next((keyid for keyid, key in keys.items() if name_of(key) == name), None)


def _keys_of(delegator: Root | Targets) -> dict[str, Key]:
    if isinstance(delegator, Root):
        return delegator.keys
    return {} if delegator.delegations is None else delegator.delegations.keys


def _swap(old: str, fresh: CryptoSigner, root: Root) -> None:
    """Put the fresh key into every role of the old one."""
    for name in [name for name, role in root.roles.items() if old in role.keyids]:
        root.revoke_key(old, name)
        root.add_key(fresh.public_key, name)


def _swap_delegated(old: str, fresh: CryptoSigner, targets: Targets) -> None:
    delegations = targets.delegations
    roles = {} if delegations is None or delegations.roles is None else delegations.roles
    for name in [name for name, role in roles.items() if old in role.keyids]:
        targets.revoke_key(old, name)
        targets.add_key(fresh.public_key, name)
