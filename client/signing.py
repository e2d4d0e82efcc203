"""Edits and signs role metadata on the publisher's machine; the key never leaves it.

Pure over texts: the network is `client.releases`. What a person signs is the newest metadata
that the service showed, with the one change asked for. So that a service which was broken into
cannot slip files in between, `check_origin` verifies that text against a root that the person
holds (`trust/image.root.json` of the key ceremony).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from contracts.clock import NS_PER_S
from contracts.errors import ConflictError, CorruptError, InputError, RefusedError
from contracts.fleet import StoredFile
from contracts.ota import ReleaseId, release_of_path

ROLE_LIFE = dt.timedelta(days=365)
"""As long as the key ceremony's: a role that nobody publishes in for a year is noticed."""


@dataclass(frozen=True, slots=True)
class SignedChange:
    """What a role's next version changes, by release."""

    published: tuple[ReleaseId, ...]
    withdrawn: tuple[ReleaseId, ...]


def load_key(path: Path) -> CryptoSigner:
    """The private key of a PEM file. Raises `InputError`."""
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes(), None))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error
    except (ValueError, TypeError, UnsupportedAlgorithm, SigningError) as error:
        raise InputError("not an unencrypted private key in PEM", str(path)) from error


def parse_role(text: str, place: str = "role") -> Metadata[Targets]:
    """Raises `CorruptError` for what is no targets metadata."""
    try:
        metadata: Metadata[Targets] = Metadata.from_bytes(text.encode())
    except RepositoryError as error:
        raise CorruptError(f"not TUF metadata: {error.__cause__ or error}", place) from error
    if not isinstance(metadata.signed, Targets):
        raise CorruptError(f"targets metadata is wanted, not {metadata.signed.type}", place)
    return metadata


def held_files(text: str, release: ReleaseId) -> dict[str, StoredFile]:
    """The release's files that the metadata names, by path; empty when it does not."""
    targets = parse_role(text).signed.targets
    return {
        path: StoredFile(sha256=targets[path].hashes["sha256"], size_bytes=targets[path].length)
        for path in release.paths
        if path in targets
    }


def with_release(
    text: str, files: Mapping[str, StoredFile], signer: CryptoSigner, now_utc_ns: int
) -> str:
    """The next version, with these files added, signed by this key alone.

    Raises `ConflictError` when one of the paths is published with other bytes.
    """
    metadata = parse_role(text)
    for path, file in files.items():
        known = metadata.signed.targets.get(path)
        if known is not None and known.hashes != {"sha256": file.sha256}:
            raise ConflictError(
                "this version is published with other bytes, and a published version never "
                "changes: make a new one",
                path,
            )
        hashes = {"sha256": file.sha256}
        metadata.signed.targets[path] = TargetFile(file.size_bytes, hashes, path)
    return _next(metadata, signer, now_utc_ns)


def without_release(text: str, release: ReleaseId, signer: CryptoSigner, now_utc_ns: int) -> str:
    """The next version, without the release's files. Raises `InputError` when it has none."""
    metadata = parse_role(text)
    if release.path not in metadata.signed.targets:
        raise InputError(f"{release.text} is not published")
    for path in release.paths:
        metadata.signed.targets.pop(path, None)
    return _next(metadata, signer, now_utc_ns)


def with_signature(text: str, signer: CryptoSigner) -> str:
    """The same metadata with this key's signature added."""
    metadata = parse_role(text)
    if signer.public_key.keyid in metadata.signatures:
        raise ConflictError("this key has signed it already; another person's is wanted")
    metadata.sign(signer, append=True)
    return metadata.to_bytes().decode()


def change_between(before: str, after: str) -> SignedChange:
    """What signing `after` would change, so that a person sees what they sign.

    Raises `ConflictError` when it would change a published file.
    """
    old, new = parse_role(before).signed.targets, parse_role(after).signed.targets
    for path in old.keys() & new.keys():
        if old[path] != new[path]:
            raise ConflictError("it would change a published file", path)
    return SignedChange(_releases(new.keys() - old.keys()), _releases(old.keys() - new.keys()))


def check_origin(
    roots: Sequence[bytes], targets: str, role: str, text: str, trusted: bytes
) -> None:
    """Verify a role's metadata from a trusted root.

    Args:
        roots: of the versions that follow the trusted one, rising.
        targets: the image repository's top-level targets, which delegate to the role.
        text: the role's metadata.
        trusted: a root that the person holds.

    Raises `RefusedError` when a step of the chain does not hold.
    """
    try:
        root = Metadata[Root].from_bytes(trusted)
        root.signed.verify_delegate("root", root.signed_bytes, root.signatures)
        for content in roots:
            after = Metadata[Root].from_bytes(content)
            result = after.signed.get_root_verification_result(
                root.signed, after.signed_bytes, after.signatures
            )
            if not result:
                raise RefusedError(f"root version {after.signed.version} is not signed by enough")
            root = after
        delegator, held = parse_role(targets, "targets"), parse_role(text, role)
        root.signed.verify_delegate("targets", delegator.signed_bytes, delegator.signatures)
        delegator.signed.verify_delegate(role, held.signed_bytes, held.signatures)
    except (RepositoryError, ValueError) as error:
        raise RefusedError(
            f"the service's metadata does not verify from your root: {error}", role
        ) from error


def _next(metadata: Metadata[Targets], signer: CryptoSigner, now_utc_ns: int) -> str:
    now = dt.datetime.fromtimestamp(now_utc_ns // NS_PER_S, dt.UTC)
    metadata.signed.version += 1
    metadata.signed.expires = now + ROLE_LIFE
    metadata.sign(signer)
    return metadata.to_bytes().decode()


def _releases(paths: Iterable[str]) -> tuple[ReleaseId, ...]:
    return tuple(sorted({release_of_path(path) for path in paths}))


def root_version(content: bytes) -> int:
    """The version of a root's metadata. Raises `InputError`."""
    try:
        return Metadata[Root].from_bytes(content).signed.version
    except RepositoryError as error:
        raise InputError("not a root's metadata", "trusted root") from error
