"""The simulated fleet as the loop's shadow: the one place where the loop meets the simulator."""

from __future__ import annotations

from pathlib import Path

from offline.pipeline.work import Say


class SimulatedShadow:
    """Drives a recipe by the active model, the candidate beside it on the same samples."""

    def evidence(self, active: Path, candidate: Path, drives: Path, out: Path, say: Say) -> None:
        """As `offline.pipeline.work.ShadowFleet`."""
        from sim_fleet.trials.recipe import read_trials
        from sim_fleet.trials.shadow import run_shadow

        found = run_shadow(
            read_trials(drives), _model(active), _model(candidate),
            told=lambda done, of, name: say(f"shadow: {done} of {of} drives"),
        )  # fmt: skip
        out.write_text(found.model_dump_json(indent=1) + "\n", "utf-8")


def _model(manifest: Path) -> Path:
    return manifest.with_name(manifest.name.removesuffix(".manifest.yaml") + ".onnx")
