"""The two signed repositories as this vehicle sees them, verified by python-tuf at trusted time.

Guarantees: every refresh starts from the trust anchor of the vehicle's configuration and follows
the chain of roots from there; the time is the one that is given, never the machine's wall clock; a
root made with demo keys is refused unless the configuration allows it. Cached metadata that a
crash damaged is fetched again; what it protected against is held in `OtaState.floors` too.

The director's metadata is refreshed beside what was kept before, and takes its place only with
`keep_director`: another vehicle's metadata, which its shared key signs as well, would otherwise
stay in the cache with version numbers that this vehicle's own never reach. Roots are kept at once.

Blocking, for a worker thread. What the verified words mean is decided in `edge_agent.ota.verify`.
"""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp
from tuf.ngclient import Updater
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet
from tuf.ngclient.config import EnvelopeType, UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface

from contracts.errors import LongtailError, RefusedError, TransientError
from contracts.ota import DELEGATED_PATHS, DEMO_FIELD, NOTE_FIELD
from edge_agent.disk import translated
from edge_agent.ota.state import Floor
from edge_agent.ota.verify import OrderedFile, SignedFile

IMAGE_ROOT = "image.root.json"
DIRECTOR_ROOT = "director.root.json"
IMAGE_URL = "/v1/ota/image/metadata/"
DIRECTOR_URL = "/v1/ota/director/{vehicle_id}/metadata/"
_HISTORY = "root_history"
_CACHED = (Timestamp.type, Snapshot.type, Targets.type)
_TOP_LEVEL = (Root.type, *_CACHED)
# More rotations than this at once would keep a vehicle busy for an attacker.
_LIMITS = UpdaterConfig(max_root_rotations=256, max_delegations=8)


class TimedUpdater(Updater):
    """python-tuf's updater at a given time: the one place that reaches inside of it.

    python-tuf 7 reads the wall clock when an updater is made and has no public way to set the
    time, nor to read signed fields of the top-level targets. Raises `RefusedError` when a newer
    python-tuf keeps its time elsewhere: checking expiry by the wall clock would go unnoticed.
    """

    def __init__(
        self,
        folder: Path,
        metadata_url: str,
        fetcher: FetcherInterface,
        bootstrap: bytes,
        now: dt.datetime,
    ) -> None:
        super().__init__(
            str(folder), metadata_url, fetcher=fetcher, config=_LIMITS, bootstrap=bootstrap
        )
        if not isinstance(getattr(self._trusted_set, "reference_time", None), dt.datetime):
            raise RefusedError("python-tuf offers no reference time any more")
        self._trusted_set.reference_time = now

    @property
    def trusted(self) -> TrustedMetadataSet:
        return self._trusted_set


@dataclass(frozen=True, slots=True)
class TrustAnchors:
    """The roots that the vehicle was given, as bytes."""

    image: bytes
    director: bytes

    @classmethod
    def load(cls, folder: Path, *, allow_demo_keys: bool) -> TrustAnchors:
        """Raises `RefusedError` when they cannot be read, do not sign themselves, or are demo
        roots that are not allowed."""
        contents = []
        for name in (IMAGE_ROOT, DIRECTOR_ROOT):
            path = folder / name
            try:
                content = path.read_bytes()
                held = Metadata[Root].from_bytes(content)
                held.signed.verify_delegate(Root.type, held.signed_bytes, held.signatures)
            except (OSError, RepositoryError, ValueError) as error:
                raise RefusedError(f"no trust anchor: {error}", str(path)) from error
            check_demo(held.signed, str(path), allow_demo_keys=allow_demo_keys)
            contents.append(content)
        return cls(*contents)


def check_demo(root: Root, place: str, *, allow_demo_keys: bool) -> None:
    """Raises `RefusedError` for a root made with demo keys where they are not allowed."""
    if root.unrecognized_fields.get(DEMO_FIELD) and not allow_demo_keys:
        raise RefusedError("the root was made with demo keys, which are not allowed here", place)


@dataclass(frozen=True, slots=True)
class DirectorFound:
    """The director's verified metadata: its raw note, its files, the versions seen."""

    note: object
    files: tuple[OrderedFile, ...]
    floors: Mapping[str, Floor]


@dataclass(frozen=True, slots=True)
class ImageFound:
    """The image repository's verified files by path, as far as it has those asked for."""

    files: Mapping[str, SignedFile]
    floors: Mapping[str, Floor]


class Repositories:
    """Metadata folders `image` and `director` below `folder`; see the module."""

    def __init__(
        self, folder: Path, anchors: TrustAnchors, vehicle_id: str, *, allow_demo_keys: bool
    ) -> None:
        self._image = folder / "image"
        self._director = folder / "director"
        self._next = self._director / "next"
        self._anchors = anchors
        self._director_url = DIRECTOR_URL.format(vehicle_id=vehicle_id)
        self._allow_demo_keys = allow_demo_keys
        for made in (self._image, self._director / _HISTORY):
            made.mkdir(parents=True, exist_ok=True)

    def director_root(self) -> Root:
        """The newest trusted root of the director that is here. No network."""
        trusted = TrustedMetadataSet(self._anchors.director, EnvelopeType.METADATA)
        while True:
            path = self._director / _HISTORY / f"{trusted.root.version + 1}.root.json"
            try:
                trusted.update_root(path.read_bytes())
            except (OSError, RepositoryError):
                return trusted.root

    def refresh_director(self, fetcher: FetcherInterface, now: dt.datetime) -> DirectorFound:
        """Raises `RefusedError` for metadata that does not verify, `TransientError` for none."""
        with translated(self._next):
            self._begin_next()
        trusted = self._refresh(
            "director", self._next, self._director_url, fetcher, self._anchors.director, now
        ).trusted
        files = tuple(
            OrderedFile(_signed_file(target), target.custom)
            for target in trusted.targets.targets.values()
        )
        note = trusted.targets.unrecognized_fields.get(NOTE_FIELD)
        return DirectorFound(note, files, _floors("director", trusted, ()))

    def _begin_next(self) -> None:
        shutil.rmtree(self._next, ignore_errors=True)
        self._next.mkdir()
        (self._next / _HISTORY).symlink_to(Path("..") / _HISTORY)
        for role in _CACHED:
            kept = self._director / f"{role}.json"
            if kept.is_file():
                shutil.copyfile(kept, self._next / kept.name)

    def keep_director(self) -> None:
        """What was refreshed last is what the next refresh must not fall behind."""
        with translated(self._director):
            for role in _CACHED:
                (self._next / f"{role}.json").replace(self._director / f"{role}.json")

    def refresh_image(
        self, fetcher: FetcherInterface, now: dt.datetime, paths: Sequence[str]
    ) -> ImageFound:
        """Raises as `refresh_director` does."""
        updater = self._refresh("image", self._image, IMAGE_URL, fetcher, self._anchors.image, now)
        files: dict[str, SignedFile] = {}
        with _refusals("image", self._image):
            for path in paths:
                target = updater.get_targetinfo(path)
                if target is not None:
                    files[path] = _signed_file(target)
        return ImageFound(files, _floors("image", updater.trusted, tuple(DELEGATED_PATHS)))

    def _refresh(
        self,
        name: str,
        folder: Path,
        url: str,
        fetcher: FetcherInterface,
        bootstrap: bytes,
        now: dt.datetime,
    ) -> TimedUpdater:
        with _refusals(name, folder):
            for left in folder.glob("tmp*"):
                left.unlink()  # a crash came between python-tuf's write and its rename
            updater = TimedUpdater(folder, url, fetcher, bootstrap, now)
            updater.refresh()
        root = updater.trusted.root
        check_demo(root, name, allow_demo_keys=self._allow_demo_keys)
        return updater


@contextmanager
def _refusals(name: str, folder: Path) -> Iterator[None]:
    """Turn python-tuf's errors of the block into this project's."""
    try:
        yield
    except LongtailError:
        raise
    except DownloadError as error:
        raise TransientError(f"{name}: {error}") from error
    except RepositoryError as error:
        raise RefusedError(f"{name}: {error}") from error
    except Exception as error:
        # Not expected of python-tuf: drop what is cached, so that it cannot come again.
        for role in _CACHED:
            (folder / f"{role}.json").unlink(missing_ok=True)
        raise TransientError(f"{name}: {type(error).__name__}: {error}") from error


def _signed_file(target: TargetFile) -> SignedFile:
    return SignedFile(target.path, target.length, target.hashes.get("sha256", ""))


def _floors(name: str, trusted: TrustedMetadataSet, delegated: tuple[str, ...]) -> dict[str, Floor]:
    """The versions verified now. A root's own count whatever its keys: its chain never begins
    anew."""
    root, targets = trusted.root, trusted.targets
    floors = {
        f"{name} {role}": Floor(
            version=trusted[role].version,
            keyids=() if role == Root.type else tuple(sorted(root.roles[role].keyids)),
        )
        for role in _TOP_LEVEL
    }
    roles = targets.delegations.roles if targets.delegations is not None else None
    for role in delegated:
        if roles is not None and role in roles and trusted.contains(role, Targets.type):
            keyids = tuple(sorted(roles[role].keyids))
            floors[f"{name} {role}"] = Floor(version=trusted[role].version, keyids=keyids)
    return floors
