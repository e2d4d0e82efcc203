"""Opens what the configuration asks to be kept private. Raises `InputError` for what is wrong."""

from __future__ import annotations

from contracts.errors import InputError
from edge_agent.config import RedactionConfig
from edge_agent.ports import ImageModel
from edge_agent.redaction.geojson import read_zones
from edge_agent.redaction.images import CameraMasks, DetectedRegions, ImageRedaction, Redactor
from edge_agent.redaction.zones import ZoneGuard


def open_image_redaction(config: RedactionConfig, utc_minus_mono_ns: int) -> ImageRedaction | None:
    """What redacts images, None when nothing is asked."""
    redactors: list[Redactor] = []
    if config.masks:
        redactors.append(CameraMasks(config.masks))
    if config.model is not None:
        redactors.append(open_detector(config))
    if not redactors:
        return None
    return ImageRedaction(redactors, config.style, utc_minus_mono_ns)


def open_detector(config: RedactionConfig) -> DetectedRegions:
    """The detector, verified and self-tested as any model."""
    if config.model is None:
        raise InputError("no model is configured", "redaction.model")
    from edge_agent.perception.runtime import load_model

    model = load_model(config.model, config.model_manifest)
    if not isinstance(model, ImageModel):
        raise InputError("a redaction model looks at images, this one does not", str(config.model))
    unknown = set(config.classes) - set(model.class_names)
    if unknown:
        raise InputError(
            f"the model knows no class {min(unknown)!r}; it knows {', '.join(model.class_names)}",
            "redaction.classes",
        )
    return DetectedRegions(
        model, frozenset(config.classes), config.min_probability, config.grow_ratio
    )


def open_zones(config: RedactionConfig) -> ZoneGuard | None:
    """What follows the vehicle about no-record zones, None without any."""
    if config.zones is None:
        return None
    return ZoneGuard(read_zones(config.zones), config.zone_margin_m)
