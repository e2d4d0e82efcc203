"""What people's roles may say: pure rules over signed metadata and the files' own words.

A published file never changes; a release is published and withdrawn whole; a spec says the
same id and version as its path; a manifest says the same, and names its model file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from tuf.api.metadata import DelegatedRole, TargetFile, Targets

from contracts.errors import ConflictError, InputError
from contracts.model_manifest import ModelManifest
from contracts.ota import (
    DELEGATED_PATHS,
    MAX_MODEL_BYTES,
    MAX_SPEC_BYTES,
    ReleaseId,
    release_of_path,
)
from contracts.spec_yaml import parse_yaml, validate_located
from contracts.trigger_spec import parse_spec

MAX_NEW_RELEASES = 100
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file as signed metadata names it."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Change:
    """What a role's next version adds and takes away."""

    published: dict[ReleaseId, tuple[NamedFile, ...]]
    withdrawn: tuple[ReleaseId, ...]


def named_file(path: str, target: TargetFile) -> NamedFile:
    """Raises `InputError` when a target is not named by length and SHA-256 alone."""
    sha256 = target.hashes.get("sha256")
    if list(target.hashes) != ["sha256"] or not _SHA256.fullmatch(str(sha256)):
        raise InputError("a file is named by its sha256, in hex, and by no other hash", path)
    if type(target.length) is not int:
        raise InputError("length must be a whole number", path)
    return NamedFile(path, str(sha256), target.length)


def files_of(role: str, signed: Targets) -> dict[ReleaseId, dict[str, NamedFile]]:
    """A role's files by release and path. Raises `InputError` for a path that is not its own."""
    found: dict[ReleaseId, dict[str, NamedFile]] = {}
    for path, target in signed.targets.items():
        release = release_of_path(path)
        if release.role != role:
            raise InputError(f"role {role} may not sign this path", path)
        found.setdefault(release, {})[path] = named_file(path, target)
    return found


def change(role: str, before: Targets, after: Targets) -> Change:
    """What the next version changes. Raises `ConflictError` when a published file would."""
    if after.delegations is not None:
        raise InputError(f"role {role} may not delegate", "delegations")
    old, new = files_of(role, before), files_of(role, after)
    published: dict[ReleaseId, tuple[NamedFile, ...]] = {}
    for release, files in new.items():
        if set(files) != set(release.paths):
            missing = ", ".join(sorted(set(release.paths) - set(files)))
            raise InputError(f"a release is published whole: {missing} is missing", release.text)
        if release not in old:
            published[release] = tuple(files[path] for path in release.paths)
        elif old[release] != files:
            raise ConflictError("a published version never changes; make a new one", release.text)
    if len(published) > MAX_NEW_RELEASES:
        raise InputError(f"at most {MAX_NEW_RELEASES} releases are published at once", role)
    return Change(published, tuple(release for release in old if release not in new))


def check_stored(files: tuple[NamedFile, ...], sizes: Mapping[str, int]) -> None:
    """Raises `InputError` unless all files are stored with the lengths that are signed."""
    for file in files:
        size = sizes.get(file.sha256)
        if size is None:
            raise InputError(f"the service does not hold {file.sha256}; put it first", file.path)
        if size != file.size_bytes:
            raise InputError(f"has {size} bytes, not {file.size_bytes}", file.path)
        longest = MAX_MODEL_BYTES if file.path.endswith(".onnx") else MAX_SPEC_BYTES
        if size > longest:
            raise InputError(f"has {size} bytes; at most {longest}", file.path)


def check_words(release: ReleaseId, files: tuple[NamedFile, ...], content: bytes) -> None:
    """Check the spec or manifest itself, whose bytes are `content`.

    Raises `InputError` with path, line and column.
    """
    path = release.path
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", path) from error
    if release.kind == "trigger":
        spec = parse_spec(text, path).spec
        said = (spec.id, spec.version)
    else:
        manifest = validate_located(ModelManifest, parse_yaml(text, path))
        model = next(file for file in files if file.path == release.model_path)
        if (manifest.sha256, manifest.size_bytes) != (model.sha256, model.size_bytes):
            raise InputError("names another model file than the one beside it", path)
        said = (manifest.name, manifest.version)
    if said != (release.name, release.version):
        raise InputError(f"says {said[0]!r} version {said[1]}, not what its path says", path)


def check_delegations(signed: Targets) -> None:
    """The image's top-level targets: no files, and the two people's roles with their paths.

    Raises `InputError`.
    """
    if signed.targets:
        raise InputError("top-level targets name no files", "targets")
    delegations = signed.delegations
    roles: Mapping[str, DelegatedRole] = (delegations.roles if delegations else None) or {}
    if set(roles) != set(DELEGATED_PATHS):
        raise InputError(f"must delegate to {' and '.join(DELEGATED_PATHS)} alone", "delegations")
    for name, role in roles.items():
        if tuple(role.paths or ()) != DELEGATED_PATHS[name]:
            raise InputError(f"role {name} is for {DELEGATED_PATHS[name]}", "delegations")
        if len(set(role.keyids)) < role.threshold:
            raise InputError(f"fewer keys than its threshold of {role.threshold}", name)
