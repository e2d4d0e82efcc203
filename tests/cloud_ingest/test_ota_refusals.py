"""Metadata that breaks a rule, or is none at all: refused in words, and nothing changes."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

from contracts.clock import SystemClock
from contracts.ota import MAX_SPEC_BYTES
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.ota_support import (
    SPEC_PATH,
    Person,
    manifest_text,
    name_file,
    next_role,
    post_role,
    put_file,
    role_state,
    spec_text,
)
from tests.cloud_ingest.support import RunningServer


@pytest.fixture
def offline(tmp_path: Path) -> Path:
    return tmp_path / "cloud" / "ota" / "offline"


@pytest.fixture
def ann(cloud: RunningServer, offline: Path) -> Person:
    return Person(cloud.url, offline)


Edit = Callable[[Metadata[Targets], httpx.Client], None]


def _name(path: str, content: bytes, *, stored: bool = True) -> Edit:
    def edit(role: Metadata[Targets], http: httpx.Client) -> None:
        if stored:
            put_file(http, content)
        name_file(role, path, content)

    return edit


def _hash(name: str, value: str) -> Edit:
    def edit(role: Metadata[Targets], http: httpx.Client) -> None:
        _name(SPEC_PATH, spec_text().encode())(role, http)
        role.signed.targets[SPEC_PATH].hashes = {name: value}

    return edit


def _length(size: int) -> Edit:
    def edit(role: Metadata[Targets], http: httpx.Client) -> None:
        _name(SPEC_PATH, spec_text().encode())(role, http)
        role.signed.targets[SPEC_PATH].length = size

    return edit


def _field(name: str, value: Any) -> Edit:
    return lambda role, http: setattr(role.signed, name, value)


def _delegate(role: Metadata[Targets], http: httpx.Client) -> None:
    key = CryptoSigner.generate_ed25519().public_key
    inner = DelegatedRole("inner", [key.keyid], 1, False, paths=["triggers/*/*/*"])
    role.signed.delegations = Delegations({key.keyid: key}, {"inner": inner})


_LONG = spec_text(description="x" * 1999).encode() + b"#" * MAX_SPEC_BYTES
_NOW = dt.datetime.fromtimestamp(SystemClock().utc_ns() // 10**9, dt.UTC)


BREAKING: list[tuple[Edit, int, str]] = [
    (_name(SPEC_PATH, spec_text(version=2).encode()), 400, "says 'brake' version 2"),
    (_name(SPEC_PATH, spec_text("other").encode()), 400, "says 'other' version 1"),
    (_name(SPEC_PATH, b"kind: nothing"), 400, "unknown kind"),
    (_name(SPEC_PATH, b"\xff\xfe"), 400, "not UTF-8"),
    (_name(SPEC_PATH, _LONG), 400, "at most"),
    (_name(SPEC_PATH, spec_text().encode(), stored=False), 400, "put it first"),
    (_name("triggers/brake/1/other.yaml", b"x"), 400, "no release's path"),
    (_name("triggers/brake/01/spec.yaml", b"x"), 400, "no release's path"),
    (_name("triggers/../1/spec.yaml", b"x"), 400, "no name"),
    (_name("models/eyes/1/manifest.yaml", b"x"), 400, "may not sign this path"),
    (_hash("sha256", "0" * 64), 400, "put it first"),
    (_hash("sha256", "x"), 400, "sha256, in hex"),
    (_hash("sha512", "0" * 128), 400, "sha256, in hex"),
    (_length(1), 400, "not 1"),
    (_field("version", 9), 409, "is not next"),
    (_field("version", 3), 409, "is not next"),
    (_field("expires", _NOW - dt.timedelta(days=1)), 400, "has expired"),
    (_field("expires", _NOW + dt.timedelta(days=9999)), 400, "at most"),
    (_delegate, 400, "may not delegate"),
]  # fmt: skip


def test_what_breaks_a_rule_changes_nothing(ann: Person, http: httpx.Client) -> None:
    before = role_state(http)
    for edit, status, message in BREAKING:
        role = next_role(http)
        edit(role, http)
        role.sign(ann.key())
        answer = post_role(http, "triggers", role)
        assert answer.status_code == status, (message, answer.text)
        assert message in f"{answer.json()['place']}: {answer.json()['message']}"
        assert role_state(http) == before
    assert http.get("/v1/releases").json() == {"releases": []}


def test_who_may_not_sign_changes_nothing(ann: Person, http: httpx.Client) -> None:
    content = spec_text().encode()
    put_file(http, content)
    role = next_role(http)
    name_file(role, SPEC_PATH, content)
    unsigned = post_role(http, "triggers", role)
    assert (unsigned.status_code, unsigned.json()["error"]) == (403, "refused")
    role.sign(ann.key("models"))
    assert post_role(http, "triggers", role).status_code == 403
    role.sign(ann.key())
    (signature,) = role.signatures.values()
    signature.signature = "0" * 128
    assert post_role(http, "triggers", role).status_code == 403
    assert role_state(http)["waiting"] is None


def test_a_manifest_must_name_the_file_beside_it(ann: Person, http: httpx.Client) -> None:
    content, other = b"model", b"other"
    manifest = manifest_text(other).encode()
    role = next_role(http, "models")
    for path, held in (("model.onnx", content), ("manifest.yaml", manifest)):
        put_file(http, held)
        name_file(role, f"models/eyes/1/{path}", held)
    role.sign(ann.key("models"))
    answer = post_role(http, "models", role)
    assert (answer.status_code, "another model file" in answer.text) == (400, True)


def test_a_targets_role_that_would_break_the_chain_is_refused(
    ann: Person, offline: Path, http: httpx.Client
) -> None:
    key = Person(ann.url, offline).offline / "targets.pem"
    from client.signing import load_key

    role = next_role(http, "targets")
    assert role.signed.delegations is not None
    assert role.signed.delegations.roles is not None
    (old,) = role.signed.delegations.roles["triggers"].keyids
    role.signed.revoke_key(old, "triggers")
    role.signed.add_key(CryptoSigner.generate_ed25519().public_key, "triggers")
    role.sign(load_key(key))
    answer = post_role(http, "targets", role)
    assert (answer.status_code, "sign it with them first" in answer.text) == (400, True)
    role = next_role(http, "targets")
    name_file(role, SPEC_PATH, b"x")
    role.sign(load_key(key))
    assert "name no files" in post_role(http, "targets", role).json()["message"]
    for change in ({"paths": ["*/*/*/*"]}, {"threshold": 2}):
        role = next_role(http, "targets")
        assert role.signed.delegations is not None
        assert role.signed.delegations.roles is not None
        for name, value in change.items():
            setattr(role.signed.delegations.roles["triggers"], name, value)
        role.sign(load_key(key))
        assert post_role(http, "targets", role).status_code == 400


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["signed", "signatures", "_type", "version", "targets",
                                       "expires", "spec_version", "keyid", "sig"]),
                      inner, max_size=6),
    max_leaves=20,
)  # fmt: skip


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=_JSON | st.text(max_size=50))
def test_garbage_is_refused_in_words(http: httpx.Client, garbage: Any) -> None:
    text = garbage if isinstance(garbage, str) else json.dumps(garbage)
    for role in ("triggers", "root"):
        answer = post_role(http, role, text)
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.json()["message"]


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_is_never_taken_up(
    ann: Person, http: httpx.Client, data: st.DataObject
) -> None:
    role = next_role(http)
    role.sign(ann.key())
    content = bytearray(role.to_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 127))
    before = role_state(http)["version"]
    answer = post_role(http, "triggers", content.decode("latin-1"))
    if answer.status_code == 200:  # a byte that no reader sees, such as a hex digit's case
        assert role_state(http)["version"] == before + 1
        signed: Metadata[Targets] = Metadata.from_bytes(role_state(http)["metadata"].encode())
        assert signed.signed == role.signed
    else:
        assert 400 <= answer.status_code < 500, answer.text
        assert role_state(http)["version"] == before


def test_nested_deeper_or_longer_than_anybody_reads(http: httpx.Client) -> None:
    text = '{"signed":' + "[" * 100_000 + "]" * 100_000 + "}"
    assert post_role(http, "triggers", text).status_code == 400
    assert post_role(http, "triggers", "x" * 900_001).status_code == 400
    assert post_role(http, "triggers", "x" * 2**20).status_code == 413


def test_operators_only(start_cloud: StartCloud) -> None:
    token = "an operator's secret"
    server = start_cloud(operator_token=token, allow_demo_keys=True)
    with httpx.Client(base_url=server.url) as http:
        for method, path in (
            ("GET", "/v1/releases"), ("GET", "/v1/ota/image/roles/triggers"),
            ("POST", "/v1/ota/image/roles/triggers"), ("PUT", f"/v1/ota/files/{'0' * 64}"),
            ("GET", "/v1/ota/director/roles/root"), ("POST", "/v1/ota/director/roles/root"),
        ):  # fmt: skip
            body = {"metadata": "x", "actor": "ann"} if method == "POST" else None
            assert http.request(method, path, json=body).status_code == 401
