"""Vehicles' keys: their form, and what a vehicle signs with them."""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from contracts.errors import InputError
from contracts.upload import AUTH_CONTEXT


def decode_base64url(text: str, place: str) -> bytes:
    """Base64url with or without padding. Raises `InputError` for anything else."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("not base64url", place) from error


def parse_public_key(text: str) -> bytes:
    """The 32 raw bytes of an Ed25519 public key in base64url."""
    raw = decode_base64url(text, "public_key")
    if len(raw) != 32:
        raise InputError(f"an Ed25519 public key has 32 bytes, not {len(raw)}", "public_key")
    return raw


def signature_holds(public_key: bytes, challenge: str, signature: bytes) -> bool:
    """True when `signature` is the key's over `AUTH_CONTEXT + challenge`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(
            signature, AUTH_CONTEXT + challenge.encode()
        )
    except (InvalidSignature, ValueError):
        return False
    return True
