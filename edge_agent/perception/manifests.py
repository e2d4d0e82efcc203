"""Finds and reads the manifest that belongs to a model file.

In this order: the one that is named, `<model>.manifest.yaml` beside the file, a bundled one
for a file of this digest. Whichever it is, the file must have the manifest's digest and size.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.model_manifest import ModelManifest
from contracts.spec_yaml import parse_yaml, read_text, validate_located

MAX_MODEL_BYTES = 2 * 1024**3
_HERE = Path(__file__).parent
BUNDLED_MANIFESTS = _HERE / "manifests"
DEMO_MODEL = _HERE / "bundled" / "demo_detector.onnx"
"""A small detector for the simulated drive, part of the install."""


@dataclass(frozen=True, slots=True)
class VerifiedModel:
    """A model's bytes with the manifest that they match, and where both came from."""

    manifest: ModelManifest
    content: bytes
    path: Path
    manifest_path: Path


def read_manifest(path: Path) -> ModelManifest:
    """A manifest file. Raises `InputError` with `file:line:column`."""
    return validate_located(ModelManifest, parse_yaml(read_text(path), str(path)))


def manifest_beside(model: Path) -> Path:
    """`models/a.onnx` to `models/a.manifest.yaml`."""
    return model.with_suffix(".manifest.yaml")


def verified_model(path: Path, manifest: Path | None = None) -> VerifiedModel:
    """Read a model and prove that it is the one that its manifest speaks of.

    Raises `InputError` when there is no such file or no manifest for it, `CorruptError` when
    the file's digest is not the manifest's.
    """
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise InputError(f"larger than {MAX_MODEL_BYTES} bytes", str(path))
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no model can be read here: {error.strerror}", str(path)) from error
    digest = sha256_hex(content)
    found = manifest or _find_manifest(path, digest)
    document = read_manifest(found)
    if (document.sha256, document.size_bytes) != (digest, len(content)):
        raise CorruptError(
            f"digest {digest}, {len(content)} bytes; the manifest {found} speaks of "
            f"{document.sha256}, {document.size_bytes} bytes",
            str(path),
        )
    return VerifiedModel(document, content, path, found)


def _find_manifest(model: Path, digest: str) -> Path:
    beside = manifest_beside(model)
    if beside.is_file():
        return beside
    names = []
    for path in sorted(BUNDLED_MANIFESTS.glob("*.yaml")):
        document = read_manifest(path)
        if document.sha256 == digest:
            return path
        names.append(document.name)
    raise InputError(
        f"no manifest for this file (digest {digest}): put {beside.name} beside it, or use one "
        f"of the models known here: {', '.join(names)}",
        str(model),
    )
