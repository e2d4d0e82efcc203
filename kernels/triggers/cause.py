"""A fire as clips, event records, signal logs and backtests tell it."""

from __future__ import annotations

from contracts.clip import Cause
from kernels.triggers.engine import Fire


def cause_of(fire: Fire) -> Cause:
    """What made it fire, in the words that cross files and processes."""
    spec = fire.loaded.spec
    return Cause(
        trigger_id=spec.id,
        trigger_version=spec.version,
        spec_digest=fire.loaded.digest,
        kind=spec.kind,
        fired_mono_ns=fire.fired_mono_ns,
        start_mono_ns=fire.start_mono_ns,
        end_mono_ns=fire.end_mono_ns,
        score=round(fire.score, 6),
        evidence=fire.evidence,
        evidence_text=fire.text,
        safety=fire.loaded.is_safety,
    )
