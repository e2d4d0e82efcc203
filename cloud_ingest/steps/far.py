"""What runs on the cluster: work by its name, on the stores that the service's settings name.

A machine of the cluster holds the same version of this project (its source is compared), reaches
the same stores, and has what they need to be opened (credentials) in its own environment.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cloud_ingest.settings import Settings
from cloud_ingest.steps.answering import Product, answered, settings_from
from cloud_ingest.steps.computing import Material, computations
from cloud_ingest.steps.views import open_views
from cloud_ingest.stores.opening import open_cold_objects, open_objects
from cloud_ingest.tiers.store import TieredObjects
from contracts.clip import ClipManifest
from contracts.errors import InputError
from contracts.samples import Float32s

if TYPE_CHECKING:
    from cloud_ingest.mining.picture_encoder import PictureEncoder

_OWN = ("contracts", "kernels", "cloud_ingest")
Work = Callable[[Settings, dict[str, Any]], Product]
COMPUTE, ENCODE = f"{__name__}:compute", f"{__name__}:encode"


@cache
def source_digest() -> str:
    """Of all source that the work may use."""
    found = hashlib.sha256()
    for package in _OWN:
        module = importlib.import_module(package)
        root = Path(next(iter(module.__path__)))
        for path in sorted(root.rglob("*.py")):
            found.update(f"{package}/{path.relative_to(root)}\0".encode())
            found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def performed(source: str, stores: str, function: str, asked: str) -> str:
    """The task: an answer's line (`answering.answered`). Raises nothing of ours."""
    return json.dumps(answered(partial(_performed, source, stores, function, asked)))


def _performed(source: str, stores: str, function: str, asked: str) -> Product:
    if source != source_digest():
        raise InputError("the cluster has other code than the service", "ray")
    module, _, name = function.partition(":")
    work: Work = getattr(importlib.import_module(module), name)
    return work(settings_from(stores), json.loads(asked))


def compute(settings: Settings, asked: dict[str, Any]) -> Product:
    """A step's computation (`computing.computations`) on one clip."""
    objects = TieredObjects(open_objects(settings), open_cold_objects(settings))
    manifest = ClipManifest.model_validate_json(asked["manifest"])
    material = Material(asked["clip_id"], manifest, objects, open_views(settings))
    return computations()[asked["name"]](material)


def encode(settings: Settings, asked: dict[str, Any]) -> Product:
    """Pictures by the service's encoder, whose file the cluster has at the same path."""
    encoder = _encoder(asked["model"])
    if encoder.space != asked["space"]:
        raise InputError("the cluster has another model here than the service", asked["model"])
    vectors = encoder.encode([base64.b64decode(each) for each in asked["pictures"]])
    return {"shape": list(vectors.shape), "vectors": _packed(vectors)}


@cache
def _encoder(model: str) -> PictureEncoder:
    from cloud_ingest.mining.picture_encoder import PictureEncoder

    return PictureEncoder(Path(model))


def encode_request(model: Path, space: str, pictures: Sequence[bytes]) -> dict[str, Any]:
    """What `encode` is asked."""
    packed = [base64.b64encode(each).decode() for each in pictures]
    return {"model": str(model), "space": space, "pictures": packed}


def vectors_of(product: Product) -> Float32s:
    """Unit vectors float32 [m, d] that `encode` answered with."""
    packed, shape = product["vectors"], product["shape"]
    assert isinstance(packed, str) and isinstance(shape, list)
    values: Float32s = np.frombuffer(base64.b64decode(packed), dtype="<f4")
    return values.reshape([int(str(side)) for side in shape])


def _packed(vectors: Float32s) -> str:
    return base64.b64encode(np.ascontiguousarray(vectors, dtype="<f4").tobytes()).decode()
