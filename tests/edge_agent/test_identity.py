"""The vehicle's key and tokens."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, RefusedError
from contracts.upload import AUTH_CONTEXT, Challenge, TokenAnswer
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey, answer_challenge, enrol_request, token_of
from tests.edge_agent.receiver_simulator import unpad


def load(path: Path) -> VehicleKey:
    return VehicleKey.load_or_create(path, "car-1", RealDisk())


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load(path).public_key == made.public_key
    assert [found.name for found in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    load(path)
    path.chmod(0o640)
    with pytest.raises(RefusedError, match="chmod 600"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"not a key", None])
def test_what_is_not_our_key_is_never_replaced(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key.pem"
    if content is None:
        other = X25519PrivateKey.generate()
        content = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(CorruptError):
        load(path)
    assert path.read_bytes() == content


def test_the_signature_is_over_context_and_challenge(tmp_path: Path) -> None:
    key = load(tmp_path / "key.pem")
    challenge = Challenge(challenge="abc.def", server_utc_ns=1, expires_utc_ns=2)
    answer = answer_challenge(key, challenge)
    public = Ed25519PublicKey.from_public_bytes(unpad(enrol_request(key, None).public_key))
    public.verify(unpad(answer.signature), AUTH_CONTEXT + b"abc.def")


@pytest.mark.parametrize(
    ("life_s", "fresh_until_s"), [(600, 570), (10, 5), (0, 0), (-5, 0), (60, 30)]
)
def test_tokens_run_on_the_monotonic_clock(life_s: int, fresh_until_s: int) -> None:
    server_ns = 1_800_000_000 * NS_PER_S
    answer = TokenAnswer(
        token="t", server_utc_ns=server_ns, expires_utc_ns=server_ns + life_s * NS_PER_S
    )
    token = token_of(answer, asked_mono_ns=50 * NS_PER_S)
    end_ns = (50 + fresh_until_s) * NS_PER_S
    assert token.is_fresh(end_ns - 1)
    assert not token.is_fresh(end_ns)
