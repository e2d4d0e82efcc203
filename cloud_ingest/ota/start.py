"""What the service does about updates when it starts: keys, roots, first metadata.

The folder of the key ceremony is read, what is newer there than in the database is verified
and taken up in one transaction, and both are refused when they are of different ceremonies.
What is newer but would leave the repository without valid signatures is not taken up: the log
says why, and the service goes on with what it has. Private keys of people are never read.
"""

from __future__ import annotations

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from tuf.api.metadata import Metadata, Root, Targets

from cloud_ingest.database import for_single_reads
from cloud_ingest.ota import image_state, lifetimes, online, publishing, store
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from cloud_ingest.ota.director import Director, take_up_root
from cloud_ingest.ota.files import FileStore
from cloud_ingest.ota.image import ImageRepository
from cloud_ingest.ota.image_state import PEOPLES_ROLES, ImageState
from cloud_ingest.ota.key_folder import REPOSITORIES, KeyFolder, Repository
from cloud_ingest.ota.keyring import Keyring
from cloud_ingest.ota.ota import NO_KEYS, NoOta, Ota
from cloud_ingest.ota.publishing import Desk
from cloud_ingest.ota.signed import parse
from cloud_ingest.settings import Settings
from contracts.clock import Clock
from contracts.errors import ConflictError, InputError, LongtailError, RefusedError
from contracts.ota import DEMO_FIELD

ACTOR = "the service"
_log = structlog.get_logger(__name__)


async def open_ota(engine: AsyncEngine, settings: Settings, clock: Clock) -> Ota:
    """Both repositories, ready; `NoOta` without keys.

    Raises `RefusedError` for demo keys outside of dev mode, `ConflictError` when the database's
    roots are of another ceremony, `InputError` when the folder does not verify.
    """
    folder = KeyFolder(settings.ota_folder)
    if not folder.has_metadata:
        if await _has_root(engine):
            reason = "the update keys of this database are missing; restore their folder"
            _log.error(reason, folder=str(folder.path))
            return NoOta(reason)
        if not settings.is_laptop:
            _log.info(NO_KEYS, folder=str(folder.path))
            return NoOta()
        hold_ceremony(folder.path, Plan(demo=True), clock)
        _log.warning("made demo update keys, for trying out only", folder=str(folder.path))
    keys = Keyring([folder.online])
    roots = {repository: _folder_roots(folder, repository) for repository in REPOSITORIES}
    async with engine.begin() as connection:
        await store.lock(connection, store.IMAGE_LOCK)
        await store.lock(connection, store.DIRECTOR_LOCK)
        desk = Desk(connection, keys, clock.utc_ns())
        director_root = await _import_director(desk, roots["director"])
        state = await _import_image(desk, folder, roots["image"])
        for root in (director_root, state.root):
            _check_demo(root, settings)
        _warn_of_end(state, director_root.signed, desk.now_utc_ns)
    image = ImageRepository(engine, keys, clock)
    return Ota(
        image,
        FileStore(engine, settings.folder / "incoming", clock),
        Director(engine, image, keys, clock),
    )


async def _has_root(engine: AsyncEngine) -> bool:
    async with for_single_reads(engine).connect() as connection:
        return await store.newest_version(connection, "image", "root") is not None


def _folder_roots(folder: KeyFolder, repository: Repository) -> list[Metadata[Root]]:
    """The folder's chain of roots from the first, each verified by the one before."""
    chain: list[Metadata[Root]] = []
    for version in folder.versions(repository, "root"):
        place = folder.place(repository, "root", version)
        root = parse(Root, folder.read(repository, "root", version), place)
        before = chain[-1] if chain else root
        if root.signed.version != version or version != len(chain) + 1:
            raise InputError(f"this is not version {len(chain) + 1} of the root", place)
        signed, missing = image_state.check_next_root(before, root) if chain else _alone(root)
        if missing:
            raise InputError(f"signed by {signed} keys; {missing} more are needed", place)
        chain.append(root)
    return chain


def _alone(root: Metadata[Root]) -> tuple[int, int]:
    result = root.signed.get_verification_result("root", root.signed_bytes, root.signatures)
    return len(result.signed), result.missing


async def _newer(
    connection: AsyncConnection, repository: Repository, chain: list[Metadata[Root]]
) -> list[Metadata[Root]]:
    """The folder's roots that the database does not hold.

    Raises `ConflictError` when the two are of different ceremonies.
    """
    held = await store.newest_version(connection, repository, "root") or 0
    for root in chain[:held]:
        kept = await store.exact(connection, repository, "root", root.signed.version)
        if kept is None or parse(Root, kept, "root").signed_bytes != root.signed_bytes:
            raise ConflictError(
                f"the database has another {repository} root, version {root.signed.version}, than "
                "the folder of update keys: they are of different key ceremonies",
                repository,
            )
    return chain[held:]


async def _import_director(desk: Desk, chain: list[Metadata[Root]]) -> Metadata[Root]:
    for root in await _newer(desk.connection, "director", chain):
        # Only the newest must have its key here; the ones before are links of the chain.
        if root is chain[-1]:
            await take_up_root(desk, root)
        else:
            await _add(desk, "director", "root", root)
    kept = await store.newest(desk.connection, "director", ("root",))
    return parse(Root, kept["root"].content, "root")


async def _import_image(desk: Desk, folder: KeyFolder, chain: list[Metadata[Root]]) -> ImageState:
    newer = await _newer(desk.connection, "image", chain)
    is_first = len(newer) == len(chain)
    before = _empty(chain[0]) if is_first else await image_state.load(desk.connection)
    try:
        async with desk.connection.begin_nested():
            return await _take_up(desk, folder, before, newer, is_first)
    except LongtailError as error:
        if is_first:
            raise
        _log.error("newer update metadata of the folder was not taken up", error=str(error))
        return before


def _empty(root: Metadata[Root]) -> ImageState:
    """A repository that has published nothing yet; any version of a role is newer."""
    return ImageState(root, {role: Metadata(Targets(version=1)) for role in PEOPLES_ROLES})


async def _take_up(
    desk: Desk,
    folder: KeyFolder,
    before: ImageState,
    newer: list[Metadata[Root]],
    is_first: bool,
) -> ImageState:
    """Take up newer roots and roles together, if the whole verifies."""
    after = before.with_root(newer[-1]) if newer else before
    changed: list[str] = []
    for role in PEOPLES_ROLES:
        posted = _newest_role(folder, role)
        if is_first or posted.signed.version > before.roles[role].signed.version:
            after = after.with_role(role, posted)
            changed.append(role)
    if not newer and not changed:
        return before
    after.check()
    for root in newer:
        await _add(desk, "image", "root", root)
    for role in changed:
        signed = after.roles[role].signed
        lifetimes.check_expiry(signed.expires, desk.now_utc_ns, lifetimes.LONGEST_PEOPLES_ROLE)
        change = await publishing.check_role(desk, role, before.roles[role].signed, signed)
        await publishing.take_up_role(
            desk, role, after.roles[role], change, ACTOR, "newer in the folder of update keys"
        )
    await online.sign_snapshot(desk.connection, after.root.signed, desk.keys, desk.now_utc_ns)
    return after


def _newest_role(folder: KeyFolder, role: str) -> Metadata[Targets]:
    content = folder.newest("image", role)
    if content is None:
        raise InputError(f"there is no metadata of role {role}", str(folder.path))
    return parse(Targets, content, f"{folder.path}: {role}")


async def _add(desk: Desk, repository: Repository, role: str, metadata: Metadata[Root]) -> None:
    version, content = metadata.signed.version, metadata.to_bytes()
    await store.add(desk.connection, repository, role, version, content, desk.now_utc_ns)


def _check_demo(root: Metadata[Root], settings: Settings) -> None:
    is_demo = bool(root.signed.unrecognized_fields.get(DEMO_FIELD))
    if is_demo and not (settings.allow_demo_keys or settings.is_laptop):
        raise RefusedError(
            "these update keys were made for trying out; make real ones with "
            "`longtail cloud keys init`, or set LONGTAIL_ALLOW_DEMO_KEYS in dev mode",
            str(settings.ota_folder),
        )


def _warn_of_end(state: ImageState, director: Root, now_utc_ns: int) -> None:
    """Publishing renews people's roles by itself; roots and `targets` are easily forgotten."""
    ends = {"image root": state.root.signed.expires, "director root": director.expires}
    ends |= {role: metadata.signed.expires for role, metadata in state.roles.items()}
    for name, expires in ends.items():
        if lifetimes.ends_soon(expires, now_utc_ns):
            _log.warning(
                "update metadata ends soon: longtail cloud keys renew", of=name, ends=str(expires)
            )
