"""Both signed repositories and the cloud that serves them, in memory, with attacks as data.

Metadata is made with python-tuf's own metadata API and served over real HTTP by the receiver
simulator. `OtaCloud.doctored` replaces the bytes of one URL, `cut_after_bytes` breaks the
connection in the middle of a target, `remembered` keeps a whole earlier state to replay.
"""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web
from cryptography.exceptions import InvalidSignature
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from contracts.check_in import CHECK_IN_CONTEXT, CheckIn, CheckInAnswer, SignedCheckIn
from contracts.clock import NS_PER_S, Clock
from contracts.ids import sha256_hex
from contracts.ota import (
    DELEGATED_PATHS,
    DEMO_FIELD,
    NOTE_FIELD,
    TIME_CONTEXT,
    DirectorNote,
    ReleaseId,
    SignedTime,
    TargetNote,
    TimeStatement,
)
from tests.edge_agent.receiver_simulator import ReceiverSimulator, drop, model, problem, unpad

YEAR = dt.timedelta(days=365)
DAY = dt.timedelta(days=1)
FIRST = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)
FIRST_UTC_NS = int(FIRST.timestamp()) * NS_PER_S


def spec_bytes(trigger_id: str, version: int = 1, decel: float = 3.0) -> bytes:
    return (
        f"apiVersion: longtail/v1\nkind: hard_brake\nid: {trigger_id}\nversion: {version}\n"
        f"owner: tests\nwhen: {{decel_mps2: {decel}}}\n"
    ).encode()


def unsigned_targets() -> Targets:
    """A role that was never signed: its first version will be 1."""
    made = Targets()
    made.version = 0
    return made


class SignedRepository:
    """One repository: a root of 2 of 3 keys, online roles, versions as they come.

    `served` maps a file's name to the bytes that the server gives. With `shared` the root and
    all keys are another's, as those of one director's vehicles are.
    """

    def __init__(self, *, demo: bool = False, shared: SignedRepository | None = None) -> None:
        self.served: dict[str, bytes] = {}
        self.now = FIRST
        self.demo = demo
        if shared is not None:
            self.signers, self.root_signers = shared.signers, shared.root_signers
            self.root, self.roots = shared.root, shared.roots
        else:
            self.root_signers = [CryptoSigner.generate_ed25519() for _ in range(3)]
            self.signers = {
                role: CryptoSigner.generate_ed25519()
                for role in (Targets.type, Snapshot.type, Timestamp.type, "triggers", "models")
            }
            self.root = Root(expires=self.now + 5 * YEAR, consistent_snapshot=True)
            self.root.version = 0
            self.roots: dict[str, bytes] = {}
            for signer in self.root_signers:
                self.root.add_key(signer.public_key, Root.type)
            self.root.roles[Root.type].threshold = 2
            for role in (Targets.type, Snapshot.type, Timestamp.type):
                self.root.add_key(self.signers[role].public_key, role)
            self.sign_root()
        self.versions = {Snapshot.type: 0, Timestamp.type: 0}
        self.roles: dict[str, Targets] = {Targets.type: unsigned_targets()}

    def sign_root(self, signers: list[CryptoSigner] | None = None) -> None:
        """The next version of the root, signed by old and new keys as the chain demands."""
        self.root.version += 1
        if self.demo:
            self.root.unrecognized_fields[DEMO_FIELD] = True
        held = Metadata(self.root)
        for signer in (signers or self.root_signers)[:2]:
            held.sign(signer, append=True)
        self.roots[f"{self.root.version}.root.json"] = held.to_bytes()

    def rotate(self, role: str) -> CryptoSigner:
        """Give a top-level role a new key; the old one is revoked. Returns the old signer."""
        old, new = self.signers[role], CryptoSigner.generate_ed25519()
        self.root.revoke_key(old.public_key.keyid, role)
        self.root.add_key(new.public_key, role)
        self.signers[role] = new
        self.sign_root()
        return old

    def commit(self, lifetime: dt.timedelta = 7 * DAY, *changed: str) -> None:
        """Sign the changed target roles (all when none is named), then snapshot and timestamp."""
        meta = {}
        for name, role in self.roles.items():
            if not changed or name in changed or role.version == 0:
                role.version += 1
                role.expires = self.now + YEAR
                self.served[f"{role.version}.{name}.json"] = self.signed(role, name)
            content = self.served[f"{role.version}.{name}.json"]
            meta[f"{name}.json"] = MetaFile.from_data(role.version, content, ["sha256"])
        self.versions[Snapshot.type] += 1
        snapshot = Snapshot(
            version=self.versions[Snapshot.type], expires=self.now + lifetime, meta=meta
        )
        content = self.signed(snapshot, Snapshot.type)
        self.served[f"{snapshot.version}.snapshot.json"] = content
        self.stamp(MetaFile.from_data(snapshot.version, content, ["sha256"]), lifetime)

    def stamp(self, meta: MetaFile, lifetime: dt.timedelta) -> None:
        self.versions[Timestamp.type] += 1
        timestamp = Timestamp(
            version=self.versions[Timestamp.type],
            expires=self.now + lifetime,
            snapshot_meta=meta,
        )
        self.served["timestamp.json"] = self.signed(timestamp, Timestamp.type)

    def signed(self, role: Targets | Snapshot | Timestamp, name: str) -> bytes:
        held = Metadata(role)
        held.sign(self.signers[name])
        return held.to_bytes()

    def anchor(self) -> bytes:
        return self.roots["1.root.json"]

    def file(self, name: str) -> bytes | None:
        return self.served.get(name) or self.roots.get(name)


class ImageRepository(SignedRepository):
    """Holds files; people's roles are delegated."""

    def __init__(self, *, demo: bool = False) -> None:
        super().__init__(demo=demo)
        self.files: dict[str, bytes] = {}
        targets = self.roles[Targets.type]
        targets.delegations = Delegations({}, {})
        for name, paths in DELEGATED_PATHS.items():
            key = self.signers[name].public_key
            targets.delegations.keys[key.keyid] = key
            assert targets.delegations.roles is not None
            targets.delegations.roles[name] = DelegatedRole(
                name, [key.keyid], 1, True, paths=list(paths)
            )
            self.roles[name] = unsigned_targets()
        self.commit()

    def publish(self, release: ReleaseId, *contents: bytes) -> None:
        """Sign the release's files in the role of its kind."""
        for path, content in zip(release.paths, contents, strict=True):
            self.files[f"{sha256_hex(content)}.{path}"] = content
            target = TargetFile.from_data(path, content, ["sha256"])
            self.roles[release.role].targets[path] = target
        self.commit(7 * DAY, release.role)


@dataclass(frozen=True)
class Ordered:
    """A slot's order: the release with its contents."""

    slot: str
    release: ReleaseId
    contents: tuple[bytes, ...]
    attempt: int = 1


class VehicleRepository(SignedRepository):
    """The director's metadata for one vehicle."""

    def __init__(self, vehicle_id: str, shared: SignedRepository | None = None) -> None:
        super().__init__(shared=shared)
        self.vehicle_id = vehicle_id
        self.counter = 0

    def order(self, *ordered: Ordered, killed: tuple[str, ...] = (), counter: int = 0) -> None:
        self.counter = counter or self.counter + 1
        targets = self.roles[Targets.type]
        targets.targets = {}
        for one in ordered:
            for path, content in zip(one.release.paths, one.contents, strict=True):
                target = TargetFile.from_data(path, content, ["sha256"])
                note = TargetNote(slot=one.slot, attempt=one.attempt)
                target.unrecognized_fields["custom"] = note.model_dump()
                targets.targets[path] = target
        note = DirectorNote(vehicle_id=self.vehicle_id, release_counter=self.counter, killed=killed)
        targets.unrecognized_fields[NOTE_FIELD] = note.model_dump(mode="json")
        self.commit()


@dataclass
class Remembered:
    """A whole earlier state of a cloud."""

    image: dict[str, bytes]
    image_roots: dict[str, bytes]
    director: dict[str, bytes]
    director_roots: dict[str, bytes]


class OtaCloud(ReceiverSimulator):
    """The receiver simulator with both repositories and check-ins."""

    def __init__(self, vehicle_id: str, clock: Clock, *, demo: bool = False) -> None:
        super().__init__(faulty=())
        self.clock = clock
        self.image = ImageRepository(demo=demo)
        self.director = VehicleRepository(vehicle_id)
        self.director.order()
        self.check_ins: list[CheckIn] = []
        self.doctored: dict[str, bytes | Callable[[bytes], bytes]] = {}
        self.missing: set[str] = set()
        self.stalled: set[str] = set()
        self.cut_after_bytes: int | None = None
        self.without_ranges = False
        self.target_bytes = 0
        self.on_target: Callable[[], None] = lambda: None
        self.fetched: list[str] = []
        self.attests = True
        self.poll_s: float | None = None
        self.check_in_status: list[int] = []
        self.utc_offset_ns = FIRST_UTC_NS - clock.mono_ns()
        self.statement_changes: dict[str, object] = {}
        self.announced: int | None = None
        self.replaced: Remembered | None = None
        self.scene_list: Callable[[str], web.Response] | None = None

    def now_utc_ns(self) -> int:
        return self.utc_offset_ns + self.clock.mono_ns()

    def pass_days(self, days: float) -> None:
        """Let the services' time go on alone; the vehicle's clock is its own."""
        self.utc_offset_ns += int(days * 86_400) * NS_PER_S
        now = FIRST + dt.timedelta(seconds=(self.now_utc_ns() - FIRST_UTC_NS) // NS_PER_S)
        self.image.now = self.director.now = now

    def remember(self) -> Remembered:
        return Remembered(
            *(
                copy.copy(held)
                for held in (
                    self.image.served, self.image.roots, self.director.served, self.director.roots
                )
            )
        )  # fmt: skip

    def application(self) -> web.Application:
        application = super().application()
        application.add_routes(
            [
                web.post("/v1/check-ins", self._check_in),
                web.get("/v1/ota/image/metadata/{name}", self._image_metadata),
                web.get("/v1/ota/image/targets/{path:.+}", self._target),
                web.get("/v1/ota/director/{vehicle_id}/metadata/{name}", self._director_metadata),
                web.get("/v1/fleet-scenes/{digest}", self._scene_list),
            ]
        )
        return application

    async def _check_in(self, request: web.Request) -> web.Response:
        if self.check_in_status:
            return problem(self.check_in_status.pop(0), "scripted")
        message = SignedCheckIn.model_validate_json(await request.read())
        manifest = CheckIn.model_validate_json(message.manifest)
        try:
            self.keys[manifest.vehicle_id].verify(
                unpad(message.signature), CHECK_IN_CONTEXT + message.manifest.encode()
            )
        except (InvalidSignature, KeyError):
            return problem(401, "bad_signature")
        self.check_ins.append(manifest)
        newest = max(one.sequence for one in self.check_ins)
        return model(
            CheckInAnswer(
                sequence=newest,
                assignment_counter=(
                    self.director.counter if self.announced is None else self.announced
                ),
                poll_s=self.poll_s,
                time=self.signed_time(manifest) if self.attests else None,
            )
        )

    def signed_time(self, manifest: CheckIn) -> SignedTime:
        statement = TimeStatement(
            vehicle_id=manifest.vehicle_id, nonce=manifest.nonce, utc_ns=self.now_utc_ns()
        ).model_copy(update=self.statement_changes)
        text = statement.model_dump_json()
        signer = self.director.signers[Timestamp.type]
        signature = signer.sign(TIME_CONTEXT + text.encode())
        return SignedTime(statement=text, keyid=signature.keyid, signature=signature.signature)

    async def _scene_list(self, request: web.Request) -> web.Response:
        if self.scene_list is None:
            return problem(404, "absent")
        return self.scene_list(request.match_info["digest"])

    async def _image_metadata(self, request: web.Request) -> web.StreamResponse:
        old = self.replaced
        held = None if old is None else {**old.image, **old.image_roots}
        return await self._metadata(request, "image", self.image, held)

    async def _director_metadata(self, request: web.Request) -> web.StreamResponse:
        old = self.replaced
        held = None if old is None else {**old.director, **old.director_roots}
        return await self._metadata(request, "director", self.director, held)

    async def _metadata(
        self,
        request: web.Request,
        which: str,
        repository: SignedRepository,
        replaced: dict[str, bytes] | None,
    ) -> web.StreamResponse:
        name = request.match_info["name"]
        key = f"{which}/{name}"
        self.fetched.append(key)
        if key in self.stalled:
            return await trickle(request)
        content = repository.file(name) if replaced is None else replaced.get(name)
        content = self._doctor(key, content)
        if content is None or key in self.missing:
            return problem(404, "no_such_file")
        return web.Response(body=content, content_type="application/json")

    def _doctor(self, key: str, content: bytes | None) -> bytes | None:
        change = self.doctored.get(key)
        if change is None:
            return content
        if isinstance(change, bytes):
            return change
        return None if content is None else change(content)

    async def _target(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        self.fetched.append(path)
        if path in self.stalled:
            return await trickle(request)
        folder, _, name = path.rpartition("/")
        digest, _, base = name.partition(".")
        content = self.image.files.get(f"{digest}.{folder}/{base}")
        content = self._doctor(f"{folder}/{base}", content)
        if content is None:
            return problem(404, "no_such_file")
        begin, end = 0, len(content)
        ranged = request.http_range
        partial = "Range" in request.headers and not self.without_ranges
        if partial:
            begin, end = ranged.start or 0, min(ranged.stop or len(content), len(content))
        headers = {"Content-Length": str(end - begin)}
        if partial:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
        response = web.StreamResponse(status=206 if partial else 200, headers=headers)
        await response.prepare(request)
        body = content[begin:end]
        left = self.cut_after_bytes
        if left is not None and left < len(body):
            self.cut_after_bytes = None
            await response.write(body[:left])
            self.target_bytes += left
            await asyncio.sleep(0)
            return drop(request)  # type: ignore[return-value]
        if left is not None:
            self.cut_after_bytes = left - len(body)
        await response.write(body)
        self.target_bytes += len(body)
        self.on_target()
        await response.write_eof()
        return response


async def trickle(request: web.Request) -> web.StreamResponse:
    """An answer that begins and never ends."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b" ")
    await asyncio.Event().wait()
    return response


def flipped(content: bytes) -> bytes:
    """The same length, another byte."""
    return bytes([content[0] ^ 1]) + content[1:]


def with_signed(content: bytes, **changes: object) -> bytes:
    """Metadata whose signed part was changed, its signature left as it was."""
    document = json.loads(content)
    document["signed"].update(changes)
    return json.dumps(document).encode()
