"""What runs without any release: the configured specs and the configured model."""

from __future__ import annotations

from contracts.ids import sha256_hex
from contracts.ota import Slot
from edge_agent.config import AgentConfig
from edge_agent.ota.ports import ModelRelease
from edge_agent.ports import SessionOpener
from edge_agent.runtime.lineup import BuiltIn
from edge_agent.setup import load_all_specs, specs_of_rules


def built_in(config: AgentConfig, opener: SessionOpener | None = None) -> BuiltIn:
    """Load and check it all; `opener` opens the model in place of the usual one.

    Raises `LongtailError` with the place of what is wrong.
    """
    specs = (*load_all_specs(config.specs), *specs_of_rules(config.rules))
    return BuiltIn(specs, _model(config, opener))


def _model(config: AgentConfig, opener: SessionOpener | None) -> ModelRelease | None:
    if config.model is None:
        return None
    from edge_agent.perception.manifests import verified_model
    from edge_agent.perception.runtime import open_model
    from edge_agent.perception.sessions import open_session

    verified = verified_model(config.model, config.model_manifest)
    digest = sha256_hex(verified.manifest_path.read_bytes())
    place = str(config.model)
    model = open_model(verified.manifest, verified.content, place, opener or open_session)
    return ModelRelease(Slot("model"), digest, verified.manifest, model)
