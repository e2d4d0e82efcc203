"""What happens to a clip after its commit, as operators read it.

| call                                   | answer                                             |
|----------------------------------------|----------------------------------------------------|
| GET  /v1/clips/{clip_id}/steps         | `ClipSteps`                                        |
| POST /v1/clips/{clip_id}/steps/redo    | `ClipSteps`; what failed or was skipped runs again |
| GET  /v1/clips/{clip_id}/views/{name}  | a view's bytes                                     |
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from contracts.clip import Wire

StepState = Literal["waiting", "running", "done", "skipped", "failed"]


class ClipStep(Wire):
    """One step of one clip. `reason` tells why it waits, was skipped or failed.

    `product` is what it made, in a few words; `attempts` how often it was begun in this round.
    """

    step: str
    state: StepState
    reason: str = ""
    attempts: int = 0
    product: dict[str, JsonValue] = Field(default_factory=dict)
    changed_utc_ns: int | None = None


class ClipSteps(Wire):
    """All steps of a clip in their order. `ended`: nothing of them is to be done any more."""

    clip_id: str
    round: int
    ended: bool
    steps: tuple[ClipStep, ...]
