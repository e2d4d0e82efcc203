"""Publishes trigger specs and models: stores the files, signs here, sends the signed role.

A published version is immutable. With a role that asks for two people, what the first has
signed waits until the second approves. Publishing again what is published changes nothing, so a
call whose answer was lost is simply made again.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from securesystemslib.signer import CryptoSigner

from client import signing
from client.http import HttpService, Retries
from client.signing import SignedChange
from contracts.clock import Clock, SystemClock
from contracts.errors import ConflictError, InputError
from contracts.fleet import ReleasePage, ReleaseRow, RoleState, RoleUpdate, StoredFile
from contracts.ids import parse_name, sha256_hex
from contracts.model_manifest import ModelManifest
from contracts.ota import MAX_MODEL_BYTES, Kind, ReleaseId
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import load_spec

_ATTEMPTS = 10
_PIECE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a change. `waiting` ones lack `missing_signatures` of other people."""

    state: Literal["published", "withdrawn", "waiting"]
    change: SignedChange
    digest: str = ""
    missing_signatures: int = 0


@dataclass(frozen=True, slots=True)
class Pending:
    """A change that waits for signatures, as it was fetched: exactly this is signed."""

    role: RoleState
    text: str
    change: SignedChange

    def digest(self, release: ReleaseId) -> str:
        """Of a release's spec or manifest, as it is or was published."""
        for text in (self.text, self.role.metadata):
            held = signing.held_files(text, release).get(release.path)
            if held is not None:
                return held.sha256
        return ""


class ReleaseClient:
    """Calls of one publisher.

    Args:
        base_url: the cloud's.
        actor: who publishes, for the audit log.
        operator_token: not needed by a service in laptop mode on this machine.
        trusted_root: the image repository's root as this person holds it. With it, what the
            service shows is verified before it is signed; without, the service is believed.
        clock: tells when the signature ends.

    Calls raise `contracts.errors`: `ConflictError` when somebody else's change waits or a
    version is published with other bytes, `RefusedError` for a key that may not sign.
    """

    def __init__(
        self,
        base_url: str,
        actor: str,
        operator_token: str | None = None,
        *,
        trusted_root: bytes | None = None,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._service = HttpService(base_url, operator_token, timeout_s, retries or Retries())
        self._actor = actor
        self._trusted_root = trusted_root
        self._clock = clock or SystemClock()

    def releases(self, kind: Kind | None = None, name: str | None = None) -> tuple[ReleaseRow, ...]:
        """What is published, by kind, name and version."""
        named = {"kind": kind, "name": name}
        query = {key: value for key, value in named.items() if value is not None}
        return self._service.get("/v1/releases", ReleasePage, query).releases

    def publish_spec(self, path: Path, key: CryptoSigner, *, replace: bool = False) -> Outcome:
        """Publish a spec file under the id and version that it says."""
        loaded = load_spec(path)
        release = ReleaseId("trigger", loaded.spec.id, loaded.spec.version)
        content = loaded.text.encode()
        stored = {release.path: self._put(io.BytesIO(content), len(content), loaded.digest)}
        return self._publish(release, stored, key, replace)

    def publish_model(
        self,
        model: Path,
        manifest: Path,
        key: CryptoSigner,
        version: int | None = None,
        *,
        replace: bool = False,
    ) -> Outcome:
        """Publish an ONNX file with its manifest, under the manifest's name and version.

        `version`, when given, must be the manifest's. Raises `InputError` when the manifest
        speaks of another file.
        """
        text = read_text(manifest)
        document = validate_located(ModelManifest, parse_yaml(text, str(manifest)))
        if version is not None and version != document.version:
            raise InputError(f"says version {document.version}, not {version}", str(manifest))
        release = ReleaseId("model", document.name, document.version)
        content = text.encode()
        with _opened(model) as file:
            digest, size = _digest(file)
            if (digest, size) != (document.sha256, document.size_bytes):
                raise InputError(f"its manifest speaks of another file than this one: {digest}",
                                 str(model))  # fmt: skip
            stored = {
                release.path: self._put(io.BytesIO(content), len(content), sha256_hex(content)),
                release.model_path: self._put(file, size, digest),
            }
        return self._publish(release, stored, key, replace)

    def waiting(self, kind: Kind) -> Pending | None:
        """What waits for signatures; None when nothing does."""
        role = self._role(f"{kind}s")
        if role.waiting is None:
            return None
        return Pending(role, role.waiting, signing.change_between(role.metadata, role.waiting))

    def approve(self, kind: Kind, key: CryptoSigner, seen: Pending | None = None) -> Outcome:
        """Add this person's signature to what waits, or to exactly what was `seen`.

        Raises `InputError` when nothing waits, `ConflictError` when it is over by now.
        """
        pending = seen or self.waiting(kind)
        if pending is None:
            raise InputError(f"nothing of role {kind}s waits for a signature")
        text = signing.with_signature(pending.text, key)
        return self._post(pending.role, text, pending.change, "")

    def withdraw(
        self, release: ReleaseId, key: CryptoSigner, reason: str, *, replace: bool = False
    ) -> Outcome:
        """Take a release out of the repository; no director can bring it back then."""
        parse_name(release.name, "name")

        def edit(role: RoleState) -> str:
            self._check_waiting(role, replace)
            now = self._clock.utc_ns()
            return signing.without_release(role.metadata, release, key, now)

        return self._change(release, edit, reason)

    def _publish(
        self,
        release: ReleaseId,
        files: Mapping[str, StoredFile],
        key: CryptoSigner,
        replace: bool,
    ) -> Outcome:
        digest = files[release.path].sha256

        def edit(role: RoleState) -> str | Outcome:
            if signing.held_files(role.metadata, release) == files:
                return Outcome("published", SignedChange((), ()))
            if role.waiting and signing.held_files(role.waiting, release) == files:
                change = signing.change_between(role.metadata, role.waiting)
                return Outcome("waiting", change, missing_signatures=role.missing_signatures)
            self._check_waiting(role, replace)
            return signing.with_release(role.metadata, files, key, self._clock.utc_ns())

        outcome = self._change(release, edit, "")
        return Outcome(outcome.state, outcome.change, digest, outcome.missing_signatures)

    def _change(
        self, release: ReleaseId, edit: Callable[[RoleState], str | Outcome], reason: str
    ) -> Outcome:
        """Edit the newest metadata and send it; again when another's change came between."""
        for attempt in range(_ATTEMPTS):
            role = self._role(release.role)
            text = edit(role)
            if isinstance(text, Outcome):
                return text
            change = signing.change_between(role.metadata, text)
            try:
                return self._post(role, text, change, reason)
            except ConflictError:
                if attempt + 1 == _ATTEMPTS or self._role(release.role).version == role.version:
                    raise
        raise ConflictError("others publish all the time; try again", release.text)

    def _check_waiting(self, role: RoleState, replace: bool) -> None:
        if role.waiting is None or replace:
            return
        change = signing.change_between(role.metadata, role.waiting)
        names = ", ".join(each.text for each in (*change.published, *change.withdrawn))
        raise ConflictError(
            f"another change of role {role.role} waits for a signature ({names or 'a renewal'}): "
            "approve it first, or replace it"
        )

    def _post(self, role: RoleState, text: str, change: SignedChange, reason: str) -> Outcome:
        update = RoleUpdate(metadata=text, actor=self._actor, reason=reason)
        after = self._service.post(f"/v1/ota/image/roles/{role.role}", update, RoleState)
        if after.version == role.version:
            return Outcome("waiting", change, missing_signatures=after.missing_signatures)
        return Outcome(_word(change), change)

    def _role(self, name: str) -> RoleState:
        """The role as the service shows it, verified when there is a root to do it with."""
        role = self._service.get(f"/v1/ota/image/roles/{name}", RoleState)
        if self._trusted_root is not None:
            targets = self._service.get("/v1/ota/image/roles/targets", RoleState).metadata
            roots = self._roots_after(signing.root_version(self._trusted_root))
            signing.check_origin(roots, targets, name, role.metadata, self._trusted_root)
        return role

    def _roots_after(self, version: int) -> list[bytes]:
        newest = self._service.get("/v1/ota/image/roles/root", RoleState).version
        roots = []
        for number in range(version + 1, newest + 1):
            path = f"/v1/ota/image/metadata/{number}.root.json"
            with self._service.open("GET", path) as response:
                roots.append(response.read())
        return roots

    def _put(self, file: BinaryIO, size_bytes: int, digest: str) -> StoredFile:
        if size_bytes > MAX_MODEL_BYTES:
            raise InputError(f"a file has at most {MAX_MODEL_BYTES} bytes, not {size_bytes}")
        return self._service.put(f"/v1/ota/files/{digest}", file, size_bytes, StoredFile)


def _word(change: SignedChange) -> Literal["published", "withdrawn"]:
    return "withdrawn" if change.withdrawn and not change.published else "published"


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error


def _digest(file: BinaryIO) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size
