"""A model under judgement: its manifest and its file, before anybody believes either."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.model_manifest import ModelManifest
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from models.evaluation.document import ModelIdentity, ModelKind

if TYPE_CHECKING:
    from models.evaluation.predictor import Predictor
    from models.student.config import StudentConfig

_SUFFIX = ".manifest.yaml"


@dataclass(frozen=True)
class ModelFile:
    """`content` may be other than the manifest says: of a candidate that is the first gate's to
    find. Nothing is measured on it before it was `checked`.
    """

    manifest: ModelManifest
    content: bytes
    path: Path

    @cached_property
    def sha256(self) -> str:
        """Of the bytes."""
        return sha256_hex(self.content)

    def checked(self) -> bytes:
        """The bytes. Raises `CorruptError` where they are not the manifest's."""
        told, wanted = (self.sha256, len(self.content)), self.manifest
        if told != (wanted.sha256, wanted.size_bytes):
            raise CorruptError(
                f"the file has digest {told[0][:12]} and {told[1]} bytes, its manifest says "
                f"{wanted.sha256[:12]} and {wanted.size_bytes}", str(self.path),
            )  # fmt: skip
        return self.content

    @property
    def name(self) -> str:
        return f"{self.manifest.name}-{self.manifest.version}"

    @property
    def identity(self) -> ModelIdentity:
        is_int8 = self.manifest.lineage.get("precision") == "int8"
        kind: ModelKind = "student-int8" if is_int8 else "student"
        return ModelIdentity(name=self.name, kind=kind, digest=self.manifest.sha256)

    @cached_property
    def config(self) -> StudentConfig:
        """How its frames are made. Raises `InputError` for another kind of model."""
        from models.evaluation.adapters import config_for

        return config_for(self.manifest)

    @cached_property
    def predictor(self) -> Predictor:
        """The model, opened. Raises `InputError` for another kind of model, `CorruptError` for a
        file that is not the manifest's.
        """
        from models.evaluation.adapters import GraphPredictor

        return GraphPredictor(self.manifest, self.checked())


def read_model(manifest: Path) -> ModelFile:
    """A manifest `<name>.manifest.yaml`, and `<name>.onnx` beside it. Raises `InputError`."""
    if not manifest.name.endswith(_SUFFIX):
        raise InputError(f"a manifest is called <name>{_SUFFIX}", str(manifest))
    path = manifest.with_name(manifest.name.removesuffix(_SUFFIX) + ".onnx")
    document = validate_located(ModelManifest, parse_yaml(read_text(manifest), str(manifest)))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"no model can be read here: {error.strerror}", str(path)) from error
    return ModelFile(document, content, path)
