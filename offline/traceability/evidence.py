"""Evidence kept beside its report, so that a digest in a claim leads to what was judged.

FOLDER/<digest>.json    canonical JSON, whose SHA-256 is the name
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from contracts.canonical import canonical_json
from contracts.errors import CorruptError
from contracts.ids import sha256_hex
from offline.gates.evidence import (
    AnyEvidence,
    BudgetEvidence,
    ComparisonEvidence,
    ManifestEvidence,
    ScenarioEvidence,
    ShadowEvidence,
    digest_of,
)
from offline.gates.judge import EvidenceSource
from offline.runs.files import write_durably

_READER: TypeAdapter[AnyEvidence] = TypeAdapter(Annotated[AnyEvidence, Field(discriminator="kind")])
_Made = TypeVar("_Made", bound=AnyEvidence)
Evidences = Mapping[str, AnyEvidence]
"""By digest."""


@dataclass(frozen=True, slots=True)
class KeptEvidence:
    """An `EvidenceSource` that keeps in a folder whatever another one makes."""

    source: EvidenceSource
    folder: Path

    def manifest(self) -> ManifestEvidence:
        return self._kept(self.source.manifest())

    def budget(self) -> BudgetEvidence:
        return self._kept(self.source.budget())

    def scenarios(self) -> ScenarioEvidence:
        return self._kept(self.source.scenarios())

    def tails(self) -> ComparisonEvidence:
        return self._kept(self.source.tails())

    def aggregate(self) -> ComparisonEvidence:
        return self._kept(self.source.aggregate())

    def shadow(self) -> ShadowEvidence | None:
        found = self.source.shadow()
        return None if found is None else self._kept(found)

    def _kept(self, found: _Made) -> _Made:
        write_durably(self.folder / f"{digest_of(found)}.json", canonical_json(found))
        return found


def read_evidence(folder: Path) -> Evidences:
    """All that a folder keeps. Raises `CorruptError` for a file that is not what its name says."""
    found: dict[str, AnyEvidence] = {}
    for path in sorted(folder.glob("*.json")):
        content = path.read_bytes()
        if sha256_hex(content) != path.stem:
            raise CorruptError("is not the evidence that its name says", str(path))
        try:
            found[path.stem] = _READER.validate_json(content)
        except ValidationError as error:
            raise CorruptError(f"is no evidence: {error.errors()[0]['msg']}", str(path)) from error
    return found


def told(evidence: AnyEvidence) -> str:
    """What it is, in a few words."""
    match evidence:
        case ManifestEvidence():
            return (
                f"{evidence.candidate.name} v{evidence.candidate.version}, its file and self-test"
            )
        case BudgetEvidence():
            return f"CPU time over {evidence.frames} frames"
        case ScenarioEvidence():
            passed = sum(result.passed for result in evidence.results)
            return f"{passed} of {len(evidence.expected)} scenarios passed"
        case ComparisonEvidence():
            data = evidence.comparison.data
            return f"{data.name}: {data.frames} frames of {data.drives} drives"
        case ShadowEvidence():
            return f"{evidence.frames} frames on {evidence.vehicles} vehicles"
