"""Why a clip was kept: each cause's condition, bound, measured values, hold and window."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cli.spec_words import checks_of, quantity, written
from contracts.clip import Cause, ClipManifest
from contracts.clock import NS_PER_S
from contracts.ids import sha256_hex
from contracts.trigger_spec import LoadedSpec, parse_spec
from kernels.clip.reader import read_manifest, read_spec_texts


def explain(path: Path) -> list[dict[str, Any]]:
    """One entry a cause, ready for JSON. Raises `CorruptError` for a damaged clip."""
    manifest = read_manifest(path)
    specs = {
        sha256_hex(text.encode()): parse_spec(text, name)
        for name, text in read_spec_texts(path).items()
    }
    return [_entry(cause, specs.get(cause.spec_digest), manifest) for cause in manifest.causes]


def _entry(cause: Cause, loaded: LoadedSpec | None, manifest: ClipManifest) -> dict[str, Any]:
    held_s = (cause.fired_mono_ns - cause.start_mono_ns) / NS_PER_S
    at_s = (cause.fired_mono_ns - manifest.actual.start_mono_ns) / NS_PER_S
    entry: dict[str, Any] = {
        "trigger": f"{cause.trigger_id} v{cause.trigger_version}",
        "kind": cause.kind,
        "safety": cause.safety,
        "score": cause.score,
        "cause": cause.evidence_text,
        "fired_s_into_clip": round(at_s, 3),
        "condition_since_s_before": round(held_s, 3),
        "evidence": {name: quantity(value, name) for name, value in cause.evidence.items()},
    }
    if loaded is None:
        return {**entry, "note": "the clip does not hold this spec: bounds are unknown"}
    spec = loaded.spec
    document = written(spec.model_dump(mode="json", by_alias=True))
    entry["condition"] = spec.when if isinstance(spec.when, str) else document["when"]
    entry["checks"] = [
        {"text": check.text(), "holds": check.holds} for check in checks_of(spec, cause)
    ]
    entry["hold_asked"] = document["for"]
    entry["window_asked"] = {"pre": document["capture"]["pre"], "post": document["capture"]["post"]}
    actual = manifest.actual
    entry["window_held"] = {
        "pre_s": round((cause.start_mono_ns - actual.start_mono_ns) / NS_PER_S, 3),
        "post_s": round((actual.end_mono_ns - cause.end_mono_ns) / NS_PER_S, 3),
    }
    return entry


def in_words(entry: dict[str, Any]) -> list[str]:
    """One cause as lines for people."""
    safety = ", safety" if entry["safety"] else ""
    lines = [f"{entry['trigger']} ({entry['kind']}{safety}), score {entry['score']:.3g}"]
    lines.append(f"  fired      {entry['fired_s_into_clip']:g} s into the clip")
    if entry["cause"]:
        lines.append(f"  cause      {entry['cause']}")
    if "note" in entry:
        lines.append(f"  note       {entry['note']}")
    elif isinstance(entry["condition"], str):
        lines.append(f"  condition  {entry['condition']}")
    lines += [
        f"  {'held      ' if check['holds'] else 'did not   '} {check['text']}"
        for check in entry.get("checks", ())
    ]
    checked = {check["text"].split(" ", 1)[0] for check in entry.get("checks", ())}
    for name, value in entry["evidence"].items():
        if name not in checked and not (name == "cause" and entry["cause"]):
            lines.append(f"  measured   {name} {value}")
    if "hold_asked" in entry:
        since = entry["condition_since_s_before"]
        spans = "the event began" if entry["kind"] == "planner_divergence" else "it had held since"
        lines.append(f"  hold       {entry['hold_asked']} asked; {spans} {since:g} s before")
        asked, held = entry["window_asked"], entry["window_held"]
        lines.append(
            f"  window     {asked['pre']} before and {asked['post']} after asked; "
            f"the clip has {held['pre_s']:g} s and {held['post_s']:g} s"
        )
    return lines
