"""What both repositories' verified words mean together: decided purely, refused slot by slot.

Guarantees: a release comes out of `agree` only when the director's note is for this vehicle and
not older than one seen before, when each of its files has the same length and SHA-256 in both
repositories, and when its paths are exactly those of one release that fits its slot. One bad
slot refuses that slot; a bad note refuses the whole assignment. Signatures, versions and expiry
are TUF's (`edge_agent.ota.repositories`).

What is in the files (a spec's id and version, a manifest's digest of its model) is checked when
they are here, in `edge_agent.ota.releases`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from contracts.errors import InputError, RefusedError
from contracts.ids import parse_sha256_hex, sha256_hex
from contracts.ota import (
    MAX_MODEL_BYTES,
    MAX_SPEC_BYTES,
    DirectorNote,
    ReleaseId,
    Slot,
    TargetNote,
    parse_slot,
    release_of_path,
)
from edge_agent.ota.state import Floor, HeldFile, OtaState, Rejection, Release

MOST_TARGETS = 2000
DIRECTOR_TARGETS = "director targets"
"""The director's word among `OtaState.floors`."""


@dataclass(frozen=True, slots=True)
class SignedFile:
    """A target as a repository signs it. `sha256` is empty when it gives no such digest."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class OrderedFile:
    """A target of the director, with its raw `custom`."""

    file: SignedFile
    custom: object


@dataclass(frozen=True, slots=True)
class Word:
    """The director's word for this vehicle. `content` is the digest of all that it orders."""

    counter: int
    killed: tuple[str, ...]
    files: tuple[OrderedFile, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Releases by slot, refusals, and the slots whose order was refused."""

    releases: Mapping[str, Release]
    refused: tuple[Rejection, ...]
    kept: frozenset[str]


def read_word(note: object, files: Sequence[OrderedFile], vehicle_id: str) -> Word:
    """Raises `RefusedError` for a note that is missing, unreadable or another vehicle's."""
    if note is None:
        raise RefusedError("director: its targets hold no note")
    try:
        read = DirectorNote.model_validate(note)
    except ValidationError as error:
        raise RefusedError(f"director: its note cannot be read: {_first(error)}") from error
    if read.vehicle_id != vehicle_id:
        raise RefusedError(f"director: its word is for vehicle {read.vehicle_id!r}, not this one")
    if len(files) > MOST_TARGETS:
        raise RefusedError(f"director: {len(files)} targets, at most {MOST_TARGETS} are taken")
    killed = tuple(sorted(set(read.killed)))
    ordered = sorted(
        json.dumps(
            [one.file.path, one.file.size_bytes, one.file.sha256, one.custom], sort_keys=True
        )
        for one in files
    )
    text = json.dumps([killed, ordered])
    return Word(read.release_counter, killed, tuple(files), sha256_hex(text.encode()))


def check_counter(word: Word, state: OtaState, found: Mapping[str, Floor]) -> None:
    """Raises `RefusedError` for a word older than one seen, or another under the same number.

    `found` are the versions verified with the word. Once the root has given the director new keys
    the counter begins anew, as versions do: whoever stole the old ones may have run it up, and
    would keep the vehicle from every order for good.
    """
    before, now = state.floors.get(DIRECTOR_TARGETS), found.get(DIRECTOR_TARGETS)
    if before is not None and now is not None and before.keyids != now.keyids:
        return
    if word.counter < state.release_counter:
        raise RefusedError(
            f"director: release counter {word.counter} is below {state.release_counter}, which"
            " was seen before"
        )
    if word.counter == state.release_counter and word.content != state.content:
        raise RefusedError(
            f"director: release counter {word.counter} was seen before with other content"
        )


def check_floors(floors: Mapping[str, Floor], found: Mapping[str, Floor]) -> None:
    """Raises `RefusedError` for a role older than a version of it verified before."""
    for role, version in found.items():
        floor = floors.get(role)
        if floor is None or floor.keyids != version.keyids:
            continue
        if version.version < floor.version:
            raise RefusedError(
                f"{role}: version {version.version} is older than {floor.version}, seen before"
            )


def agree(word: Word, image: Mapping[str, SignedFile]) -> Agreement:
    """What of the director's word the image repository's files bear out.

    Args:
        word: the director's.
        image: the image repository's targets by path, those of the word as far as it has them.
    """
    releases: dict[str, Release] = {}
    refused: list[Rejection] = []
    kept: set[str] = set()
    by_slot: dict[str, list[tuple[OrderedFile, TargetNote]]] = defaultdict(list)
    for one in word.files:
        try:
            custom = TargetNote.model_validate(one.custom)
        except ValidationError as error:
            reason = f"{one.file.path}: its note cannot be read: {_first(error)}"
            slots = _slots_of_path(one.file.path)
            kept.update(slots)
            refused += _rejections(slots[:1], one.file, 1, reason)
        else:
            by_slot[custom.slot].append((one, custom))
    for text in sorted(by_slot):
        noted = by_slot[text]
        files = [one.file for one, _ in noted]
        attempt = max(note.attempt for _, note in noted)
        try:
            if len({note.attempt for _, note in noted}) > 1:
                raise InputError("its files are of different attempts", text)
            if text in kept:
                raise InputError("another file of it was refused", text)
            releases[text] = _release(text, files, image, word.counter, attempt)
        except InputError as error:
            kept.add(text)
            refused += _rejections([text], _naming(files), attempt, str(error))
    return Agreement(releases, tuple(refused), frozenset(kept))


def _release(
    text: str,
    files: Sequence[SignedFile],
    image: Mapping[str, SignedFile],
    counter: int,
    attempt: int,
) -> Release:
    """Raises `InputError`."""
    slot = parse_slot(text, "slot")
    release = _one_release(files)
    if not _fits(release, slot):
        raise InputError(f"{release.text} does not belong there", text)
    if {file.path for file in files} != set(release.paths):
        raise InputError(f"{release.text} is {' and '.join(release.paths)}, no more, no less", text)
    for file in files:
        _check_file(file, image.get(file.path), release)
    held = {
        file.path: HeldFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
        for file in files
    }
    return Release(
        path=release.path,
        digest=held[release.path].sha256,
        files=tuple(held[path] for path in release.paths),
        counter=counter,
        attempt=attempt,
    )


def _one_release(files: Iterable[SignedFile]) -> ReleaseId:
    found = sorted({release_of_path(file.path) for file in files})
    if len(found) != 1:
        raise InputError(f"two releases in one slot: {', '.join(one.text for one in found)}")
    return found[0]


def _fits(release: ReleaseId, slot: Slot) -> bool:
    return release.kind == slot.kind and release.slot(shadow=slot.shadow) == slot


def _check_file(file: SignedFile, image: SignedFile | None, release: ReleaseId) -> None:
    if image is None:
        raise InputError("the image repository does not hold it", file.path)
    parse_sha256_hex(file.sha256, f"{file.path} at the director")
    if (image.size_bytes, image.sha256) != (file.size_bytes, file.sha256):
        raise InputError(
            f"the director says {file.size_bytes} bytes, SHA-256 {file.sha256[:12]}…; the image "
            f"repository {image.size_bytes} bytes, {image.sha256[:12]}…",
            file.path,
        )
    most_bytes = MAX_MODEL_BYTES if file.path == release.model_path else MAX_SPEC_BYTES
    if not 0 < file.size_bytes <= most_bytes:
        raise InputError(f"{file.size_bytes} bytes, of 1 to {most_bytes}", file.path)


def _slots_of_path(path: str) -> tuple[str, ...]:
    """Slots that a target without a readable note may have been meant for."""
    try:
        release = release_of_path(path)
    except InputError:
        return (path[:200],)
    return release.slot().text, release.slot(shadow=True).text


def _naming(files: Sequence[SignedFile]) -> SignedFile:
    """The file whose digest names the release, as far as one can tell."""
    return next((file for file in files if not file.path.endswith(".onnx")), files[0])


def _rejections(
    slots: Iterable[str], file: SignedFile, attempt: int, reason: str
) -> list[Rejection]:
    try:
        parse_sha256_hex(file.sha256)
    except InputError:
        return []  # a release without a digest has no name to be rejected by
    return [
        Rejection(
            slot=slot[:200],
            digest=file.sha256,
            attempt=attempt,
            stage="verify",
            reason=reason[:500],
            final=False,
        )
        for slot in slots
    ]


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"[:200]
