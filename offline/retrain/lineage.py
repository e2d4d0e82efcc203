"""What a model's manifest says of where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts import SOFTWARE_VERSION

if TYPE_CHECKING:
    from models.runs import TrainingRun


def export_lineage(trained: TrainingRun, calibrated_on: str, *, int8: bool) -> dict[str, str]:
    """Of a run that is exported; `calibrated_on` is the digest of the frames that its
    probabilities were fitted on.
    """
    return {
        "weights_sha256": trained.weights, "recipe_sha256": trained.recipe,
        "stage": trained.stage, "seed": str(trained.seed), "dataset_sha256": trained.dataset,
        "examples": str(trained.examples), "calibration_sha256": calibrated_on,
        "software_version": SOFTWARE_VERSION, "precision": "int8" if int8 else "float32",
        "embedding_space": trained.space(),
        **{f"{parent}_sha256": digest for parent, digest in trained.parents.items()},
        **{f"replayed_{name}_sha256": digest for name, digest in trained.replayed.items()},
    }  # fmt: skip
