"""What runs without any release: the configured specs and the configured model."""

from __future__ import annotations

from contracts.ids import sha256_hex
from contracts.ota import Slot
from edge_agent.config import AgentConfig
from edge_agent.ota.ports import ModelRelease
from edge_agent.runtime.lineup import BuiltIn
from edge_agent.setup import load_all_specs, specs_of_rules


def built_in(config: AgentConfig) -> BuiltIn:
    """Load and check it all. Raises `LongtailError` with the place of what is wrong."""
    specs = (*load_all_specs(config.specs), *specs_of_rules(config.rules))
    return BuiltIn(specs, _model(config))


def _model(config: AgentConfig) -> ModelRelease | None:
    if config.model is None:
        return None
    from edge_agent.perception.manifests import verified_model
    from edge_agent.perception.runtime import OnnxModel

    verified = verified_model(config.model, config.model_manifest)
    digest = sha256_hex(verified.manifest_path.read_bytes())
    model = OnnxModel(verified.manifest, verified.content, str(config.model))
    return ModelRelease(Slot("model"), digest, verified.manifest, model)
