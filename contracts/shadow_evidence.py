"""What was seen of a candidate beside the active model: a gate's evidence, as vehicles or a
simulated fleet tell it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from contracts.geometry import Frozen
from contracts.ids import Sha256Hex


class ShadowEvidence(Frozen):
    """The candidate beside the active model on vehicles of the fleet.

    `crashes` are frames in which the candidate gave no answer. Objects are matched one to one, as
    check-ins count them: `agreed`, `class_differs`, told by the active model alone
    (`only_active`), and by the candidate alone. `disagreements` are frames in which the two differ
    in what the planner would do, `confirmed` those of them in which the human then did what the
    candidate had asked for, `refuted` what the active model had; all 0 where nobody looked.
    """

    kind: Literal["shadow"] = "shadow"
    candidate: Sha256Hex
    active: Sha256Hex
    vehicles: int = Field(ge=1)
    frames: int = Field(ge=1)
    crashes: int = Field(ge=0)
    agreed: int = Field(0, ge=0)
    class_differs: int = Field(0, ge=0)
    only_active: int = Field(0, ge=0)
    only_candidate: int = Field(0, ge=0)
    disagreements: int = Field(0, ge=0)
    confirmed: int = Field(0, ge=0)
    refuted: int = Field(0, ge=0)

    @property
    def objects(self) -> int:
        """How many the active model told."""
        return self.agreed + self.class_differs + self.only_active

    @model_validator(mode="after")
    def _counts_add_up(self) -> ShadowEvidence:
        if self.confirmed + self.refuted > self.disagreements:
            raise ValueError("confirmed and refuted are parts of disagreements")
        if self.disagreements > self.frames:
            raise ValueError("disagreements: more than frames")
        return self
