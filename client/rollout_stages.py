"""The stages of a rollout, from what people write."""

from __future__ import annotations

from contracts.errors import InputError
from contracts.fleet import StageRequest

# How many times the control's rate must be ruled out before a stage of at most this share ends.
_TOLERATED = ((0.01, 3.0), (0.05, 2.0), (1.0, 1.5))


def stages_of(text: str | None, no_guardrails: bool) -> tuple[StageRequest, ...] | None:
    """`1,5,25,100` as stages, with what each must rule out; the last asks for nothing."""
    if text is None:
        return None
    stages = []
    for word in text.split(","):
        try:
            fraction = float(word) / 100
        except ValueError as error:
            raise InputError(f"{word!r} is no share in percent", "--stages") from error
        if not 0 < fraction <= 1:
            raise InputError(f"a share is above 0 and at most 100, not {word}", "--stages")
        margin = next(margin for limit, margin in _TOLERATED if fraction <= limit)
        asks = not no_guardrails and fraction < 1
        stages.append(StageRequest(fraction=fraction, tolerated_ratio=margin if asks else None))
    return tuple(stages)
