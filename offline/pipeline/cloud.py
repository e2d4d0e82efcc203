"""The cloud as the loop sends to it. Every call may come again: what is there already stays."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from client.fleet import FleetClient
from client.releases import Outcome, ReleaseClient
from client.rollout_stages import stages_of
from client.signing import load_key
from contracts.check_in import ShadowModel
from contracts.errors import InputError
from contracts.fleet import RolloutDetail, RolloutRequest
from contracts.model_manifest import ModelManifest
from contracts.ota import Kind
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from contracts.trigger_spec import load_spec
from offline.pipeline.work import Work

if TYPE_CHECKING:
    from offline.pipeline.spec import RolloutSection

TAKEN_BACK = frozenset({"rolling_back", "halted", "aborted"})
"""Phases of a rollout from which it does not go on by itself."""


def cloud_url(*said: str | None) -> str | None:
    """The first that is said, else what the environment says; None where nothing does."""
    return next(filter(None, (*said, os.environ.get("LONGTAIL_CLOUD"))), None)


@dataclass(frozen=True, slots=True)
class Releases:
    """Publishes and rolls out, in the name of a turn."""

    section: RolloutSection
    releases: ReleaseClient
    fleet: FleetClient
    turn: str
    reason: str

    @classmethod
    def of(cls, work: Work) -> Releases:
        """Raises `InputError` where nothing says where the cloud is."""
        section = work.spec.rollout
        url = cloud_url(section.url)
        if url is None:
            raise InputError("say where the cloud is: `rollout.url` or LONGTAIL_CLOUD",
                             work.turn.name)  # fmt: skip
        token = os.environ.get("LONGTAIL_OPERATOR_TOKEN")
        root = None if section.root is None else section.root.read_bytes()
        return cls(
            section, ReleaseClient(url, section.actor, token, trusted_root=root),
            FleetClient(url, section.actor, token), work.turn.turn_id,
            f"turn {work.turn.name} of the loop",
        )  # fmt: skip

    def publish_model(self, manifest: Path) -> str:
        """Sign and publish; what is still missing, or nothing."""
        if self.section.key is None:
            raise InputError("no key signs models", "rollout.key")
        model = manifest.with_name(manifest.name.removesuffix(".manifest.yaml") + ".onnx")
        return _missing(
            self.releases.publish_model(model, manifest, load_key(self.section.key)), "model"
        )

    def publish_spec(self, path: Path) -> str:
        """Sign and publish; what is still missing, or nothing."""
        if self.section.spec_key is None:
            raise InputError("no key signs trigger specs", "rollout.spec_key")
        return _missing(self.releases.publish_spec(path, load_key(self.section.spec_key)), "spec")

    def begin(self, manifest: Path, *, in_shadow: bool) -> RolloutDetail:
        """The model's rollout; the one that is there already where it has begun before.

        Raises `ConflictError` while another rollout of the model lives.
        """
        found = validate_located(ModelManifest, parse_yaml(read_text(manifest), str(manifest)))
        return self._begun("model", found.name, found.version, in_shadow=in_shadow)

    def begin_spec(self, path: Path) -> RolloutDetail:
        """A spec's rollout, in shadow: people promote it once they see what it would cost."""
        spec = load_spec(path).spec
        return self._begun("trigger", spec.id, spec.version, in_shadow=True)

    def _begun(self, kind: Kind, name: str, version: int, *, in_shadow: bool) -> RolloutDetail:
        section = self.section
        word = "shadow" if in_shadow else "active"
        request = RolloutRequest(
            request_id=f"{self.turn[:16]}-{kind}-{name}-{version}-{word}", kind=kind, name=name,
            version=version, shadow=in_shadow,
            stages=stages_of(section.stages, not section.guardrails),
            min_canary=section.canary, soak_s=section.soak_s,
            soak_driving_s=0 if section.soak_s is not None else None,
            guardrails=section.guardrails, actor=section.actor, reason=self.reason,
        )  # fmt: skip
        made = self.fleet.start_rollout(request)
        return self.fleet.rollout(made.rollout_id)

    def shadow_counts(self, digest: str) -> dict[str, ShadowModel]:
        """What vehicles last counted of a model in shadow, by vehicle."""
        return {row.vehicle_id: row.counted for row in self.fleet.shadow(digest)}


def _missing(outcome: Outcome, group: str) -> str:
    if outcome.state != "waiting":
        return ""
    return (
        f"{outcome.missing_signatures} more people have to sign: "
        f"`longtail {group} approve --key ...`"
    )
