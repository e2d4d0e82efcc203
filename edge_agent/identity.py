"""The vehicle's identity: an Ed25519 key made on the vehicle, and the tokens it earns.

Guarantees: the private key is created once, atomically, readable by its owner only, and
never leaves the file; a key file that others may read is refused. Tokens expire by the
difference of the server's two times, measured on the monotonic clock: the vehicle's wall
clock is never asked.

The key is as safe as the disk; a vehicle with a TPM needs another adapter of `Signer`.
"""

from __future__ import annotations

import base64
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InternalError, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, RefusedError
from contracts.upload import AUTH_CONTEXT, Challenge, EnrolRequest, TokenAnswer, TokenRequest
from edge_agent.disk import Disk, replace_file

KEY_MODE = 0o600
MARGIN_NS = 30 * NS_PER_S
"""A token is renewed this long before it expires, or at half its life when that is shorter."""


def base64url(raw: bytes) -> str:
    """URL-safe base64 without padding."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


class Signer(Protocol):
    """Holds a vehicle's key."""

    @property
    def vehicle_id(self) -> str: ...

    @property
    def public_key(self) -> str:
        """Raw Ed25519 public key, base64url."""
        ...

    def sign(self, message: bytes) -> bytes: ...


class VehicleKey:
    """A key in a file. Use `load_or_create`."""

    def __init__(self, vehicle_id: str, private_key: Ed25519PrivateKey) -> None:
        self._vehicle_id = vehicle_id
        self._private_key = private_key

    @classmethod
    def load_or_create(cls, path: Path, vehicle_id: str, disk: Disk) -> VehicleKey:
        """Read the key, or make one durably when the file is absent.

        Raises:
            CorruptError: the file is not an Ed25519 key; it is never replaced by itself.
            RefusedError: others than the owner may read it.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            replace_file(disk, path, pem, KEY_MODE)
            return cls(vehicle_id, made)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise RefusedError("the key may be read by others; chmod 600 it", str(path))
        try:
            key = load_pem_private_key(content, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
            raise CorruptError("not a PEM private key", str(path)) from error
        if not isinstance(key, Ed25519PrivateKey):
            raise CorruptError("not an Ed25519 key", str(path))
        return cls(vehicle_id, key)

    @property
    def vehicle_id(self) -> str:
        return self._vehicle_id

    @property
    def public_key(self) -> str:
        raw = self._private_key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return base64url(raw)

    def sign(self, message: bytes) -> bytes:
        return self._private_key.sign(message)


def enrol_request(signer: Signer, token: str | None) -> EnrolRequest:
    """Present the public key; `token` is the one-time enrolment token, where one is asked."""
    return EnrolRequest(vehicle_id=signer.vehicle_id, public_key=signer.public_key, token=token)


def answer_challenge(signer: Signer, challenge: Challenge) -> TokenRequest:
    """Sign a challenge, in a context that no other signature of the key shares."""
    message = AUTH_CONTEXT + challenge.challenge.encode("ascii", errors="replace")
    return TokenRequest(
        vehicle_id=signer.vehicle_id,
        challenge=challenge.challenge,
        signature=base64url(signer.sign(message)),
    )


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token, good until `renew_mono_ns` of this boot."""

    text: str
    renew_mono_ns: int

    def is_fresh(self, mono_ns: int) -> bool:
        return mono_ns < self.renew_mono_ns


def token_of(answer: TokenAnswer, asked_mono_ns: int) -> Token:
    """A token timed on the monotonic clock from when it was asked for, so never too late."""
    life_ns = max(0, answer.expires_utc_ns - answer.server_utc_ns)
    return Token(answer.token, asked_mono_ns + life_ns - min(MARGIN_NS, life_ns // 2))
