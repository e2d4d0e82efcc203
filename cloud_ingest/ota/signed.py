"""TUF metadata as bytes and back, with this project's errors.

Bytes that come from outside are parsed and written anew before they are kept: a repeated key
or a field beside the signed part, which one reader may see and another not, is gone then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    Key,
    Metadata,
    Role,
    Root,
    Snapshot,
    Targets,
    Timestamp,
    VerificationResult,
)

from contracts.errors import InputError

SignedT = TypeVar("SignedT", Root, Targets, Snapshot, Timestamp)
MAX_SIGNATURES = 32
NAME_FIELD = "x-longtail-name"
"""Field of a public key that says what people call it: `root-2`, `triggers-1`, `image`."""


def parse(kind: type[SignedT], content: bytes, place: str) -> Metadata[SignedT]:
    """Metadata of one type. Raises `InputError` for anything else."""
    try:
        metadata: Metadata[SignedT] = Metadata.from_bytes(content)
        metadata.signed_bytes  # noqa: B018  raises for what cannot be signed, such as fractions
    except RepositoryError as error:
        raise InputError(f"not TUF metadata: {error.__cause__ or error}", place) from error
    if not isinstance(metadata.signed, kind):
        raise InputError(f"{kind.type} metadata is wanted, not {metadata.signed.type}", place)
    if len(metadata.signatures) > MAX_SIGNATURES:
        raise InputError(f"more than {MAX_SIGNATURES} signatures", place)
    metadata.unrecognized_fields.clear()
    return metadata


def sign(metadata: Metadata[SignedT], signers: Iterable[Signer]) -> bytes:
    """Sign with all keys, in place of any signatures before; the file's bytes."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    return metadata.to_bytes()


def signed_by(
    delegator: Root | Targets, role: str, metadata: Metadata[SignedT]
) -> VerificationResult:
    """Which of the role's keys have validly signed. Raises `InputError` for an unknown role."""
    try:
        return delegator.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    except ValueError as error:
        raise InputError(f"no such role: {error}", role) from error


def key_names(delegator: Root | Targets, role: Role) -> list[str]:
    """What people call the role's keys; the beginning of the id of an unnamed one."""
    return [name_of(delegator.get_key(keyid)) for keyid in role.keyids]


def name_of(key: Key) -> str:
    name = key.unrecognized_fields.get(NAME_FIELD)
    return name if isinstance(name, str) else key.keyid[:8]


def named(signer: CryptoSigner, name: str) -> CryptoSigner:
    """The signer, whose public key now carries its name."""
    signer.public_key.unrecognized_fields[NAME_FIELD] = name
    return signer
