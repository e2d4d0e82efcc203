"""Short-lived signed words: challenges, vehicle tokens, clip links.

EdDSA JWTs under one key of the service, which lives in the database, so every replica checks
what any other has signed. Times are the injected clock's. An audience keeps a token of one
purpose from serving another.
"""

from __future__ import annotations

import secrets
from functools import lru_cache
from typing import Any, Literal

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from cloud_ingest.problems import UnknownCallerError
from contracts.clock import NS_PER_S, Clock
from contracts.ids import sha256_hex

Audience = Literal["challenge", "vehicle", "clip"]

LIFETIME_S: dict[Audience, int] = {"challenge": 120, "vehicle": 900, "clip": 12 * 3600}

_REMEMBERED = 4096
# The algorithm's name of RFC 9864 for EdDSA with an Ed25519 key.
_ALGORITHM = "Ed25519"


def new_key() -> dict[str, str]:
    """A fresh Ed25519 key as a JWK, private half included."""
    key = OKPKey.generate_key("Ed25519")
    return {name: str(value) for name, value in key.as_dict(private=True).items()}


class TokenSigner:
    """Signs and checks the service's tokens.

    `service_id` names all replicas together, and no service with another database.
    """

    def __init__(self, key_jwk: dict[str, Any], clock: Clock) -> None:
        self._key = OKPKey.import_key(key_jwk)
        self._clock = clock
        self.service_id = sha256_hex(str(key_jwk["x"]).encode())[:16]
        # A vehicle shows its token with each part; only the signature's check is remembered.
        self._signed = lru_cache(_REMEMBERED)(self._claims)

    def sign(self, audience: Audience, subject: str) -> tuple[str, int]:
        """The token and when it ends (`utc_ns`)."""
        now_s = self._clock.utc_ns() // NS_PER_S
        ends_s = now_s + LIFETIME_S[audience]
        claims = {"aud": audience, "sub": subject, "exp": ends_s, "jti": secrets.token_hex(8)}
        token = jwt.encode({"alg": _ALGORITHM}, claims, self._key, algorithms=[_ALGORITHM])
        return token, ends_s * NS_PER_S

    def check(self, audience: Audience, token: str) -> str:
        """The subject. Raises `UnknownCallerError` for a token that does not hold."""
        try:
            claims = self._signed(token)
        except (JoseError, ValueError) as error:
            raise UnknownCallerError(f"not a {audience} token of this service") from error
        subject, ends_s = claims.get("sub"), claims.get("exp")
        if claims.get("aud") != audience or not isinstance(subject, str):
            raise UnknownCallerError(f"not a {audience} token of this service")
        if not isinstance(ends_s, int) or ends_s * NS_PER_S <= self._clock.utc_ns():
            raise UnknownCallerError(f"the {audience} token has expired; ask for a new one")
        return subject

    def _claims(self, token: str) -> dict[str, Any]:
        """What the token says, if the signature is ours."""
        return jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
