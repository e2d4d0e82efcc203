"""A release's bytes become something that can run, or a reason why not.

Guarantees: what comes out was parsed, belongs to the path and slot that it was signed for, and
passed its self-test beside whatever runs now, which is not touched. A spec's self-test compiles
it and steps it over a few made-up ticks; a model's is the one of its manifest.

The bytes come in verified (`edge_agent.ota.files`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError, LongtailError
from contracts.ids import sha256_hex
from contracts.model_manifest import ModelManifest
from contracts.ota import Slot
from contracts.signals import CATALOGUE
from contracts.spec_yaml import parse_yaml, validate_located
from contracts.trigger_spec import LoadedSpec, RareClassSpec, parse_spec
from edge_agent.ota.ports import ModelRelease, SpecRelease
from edge_agent.ota.state import Release
from edge_agent.ports import SessionOpener
from kernels.triggers.engine import TickInputs, TriggerEngine, absent_values
from kernels.triggers.likeness import references_of, score_names
from kernels.triggers.table import required_signals

Loaded = SpecRelease | ModelRelease
_TICK_NS = 20_000_000
_HORIZON_S = 2.0


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a release cannot run."""

    stage: Literal["verify", "self_test"]
    reason: str


def open_release(
    slot: Slot, release: Release, contents: Mapping[str, bytes],
    opener: SessionOpener | None = None,
) -> Loaded | Unfit:  # fmt: skip
    """Read, check and self-test a release.

    Args:
        slot: where it is to run.
        release: what both repositories signed.
        contents: its files' verified bytes by path.
        opener: opens a model's network, in place of the usual one.
    """
    try:
        stage: Literal["verify", "self_test"] = "verify"
        if slot.kind == "trigger":
            loaded = _read_spec(release, contents[release.path])
            stage = "self_test"
            try_spec(loaded)
            return SpecRelease(slot, loaded)
        manifest = _read_manifest(release, contents[release.path])
        stage = "self_test"
        return _open_model(slot, release, manifest, contents, opener)
    except LongtailError as error:
        return Unfit(stage, str(error)[:500])
    except Exception as error:  # noqa: BLE001  a release's fault, of whatever kind, is its own
        return Unfit(stage, f"{type(error).__name__}: {error}"[:500])


def _text(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", path) from error


def _read_spec(release: Release, content: bytes) -> LoadedSpec:
    loaded = parse_spec(_text(content, release.path), release.path)
    wanted = release.release_id
    if (loaded.spec.id, loaded.spec.version) != (wanted.name, wanted.version):
        raise InputError(
            f"the spec is {loaded.spec.id!r} version {loaded.spec.version}", release.path
        )
    if loaded.digest != release.digest:
        raise CorruptError("the spec is not the one that was signed", release.path)
    return loaded


def _read_manifest(release: Release, content: bytes) -> ModelManifest:
    located = parse_yaml(_text(content, release.path), release.path)
    manifest = validate_located(ModelManifest, located)
    wanted = release.release_id
    if (manifest.name, manifest.version) != (wanted.name, wanted.version):
        raise InputError(
            f"the manifest is of {manifest.name!r} version {manifest.version}", release.path
        )
    model = next(file for file in release.files if file.path == wanted.model_path)
    if (manifest.sha256, manifest.size_bytes) != (model.sha256, model.size_bytes):
        raise InputError("the manifest speaks of another model file", release.path)
    return manifest


def _open_model(
    slot: Slot, release: Release, manifest: ModelManifest, contents: Mapping[str, bytes],
    opener: SessionOpener | None,
) -> ModelRelease:  # fmt: skip
    # Heavy: only a vehicle that is given a model loads the runtime.
    from edge_agent.perception.runtime import open_model
    from edge_agent.perception.sessions import open_session

    path = release.release_id.model_path
    if sha256_hex(contents[path]) != manifest.sha256:
        raise CorruptError("the model is not the one that was signed", path)
    model = open_model(manifest, contents[path], path, opener or open_session)
    return ModelRelease(slot, release.digest, manifest, model)


def try_spec(loaded: LoadedSpec) -> None:
    """Compile a spec and step it over made-up ticks: absent, extreme, and changing values.

    Raises `InputError` when it does not compile, fires on signals that are absent, or scores
    what is not a number.
    """
    spec = loaded.spec
    classes = spec.when.classes if isinstance(spec, RareClassSpec) else ()
    class_names = score_names(classes, references_of([loaded]))
    needs_signals = bool(required_signals(spec))
    for name, ticks in _made_up_ticks().items():
        engine = TriggerEngine([loaded], "self-test", class_names)
        for number, values in enumerate(ticks):
            scores = np.full(len(class_names), float(number % 2))
            fires = engine.step(
                TickInputs(NS_PER_S + number * _TICK_NS, values, scores, number, _HORIZON_S)
            )
            if fires and name == "absent" and needs_signals:
                raise InputError("fires although all of its signals are absent", spec.id)
            if not all(np.isfinite(fire.score) for fire in fires):
                raise InputError(f"scores what is not a number on {name} values", spec.id)


def _made_up_ticks() -> dict[str, list[NDArray[np.float64]]]:
    low = np.array([signal.low for signal in CATALOGUE], dtype=np.float64)
    high = np.array([signal.high for signal in CATALOGUE], dtype=np.float64)
    rng = np.random.default_rng(1)
    mixed = [np.where(rng.random(len(low)) < 0.3, np.nan, low + rng.random() * (high - low))
             for _ in range(20)]  # fmt: skip
    return {
        "absent": [absent_values() for _ in range(4)],
        "lowest": [low] * 4,
        "highest": [high] * 4,
        "alternating": [low if number % 2 else high for number in range(20)],
        "partly absent": mixed,
    }
