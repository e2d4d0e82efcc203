"""FiftyOne's documents, as its database holds them (extended JSON of MongoDB)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from contracts.geometry import Taxonomy

VERSION = "1.0.0"
"""Of FiftyOne: later ones bring a dataset of this version up to theirs."""
SCENE, LABELS, GROUP = "scene", "labels", "group"
IMAGE_MEDIA, SCENE_MEDIA = "image", "3d"

_FIELD = "fiftyone.core.fields"
_STRING, _INT, _FLOAT, _BOOLEAN, _TIME, _ID, _LIST, _DICT, _INSIDE = (
    f"{_FIELD}.{name}Field"
    for name in (
        "String", "Int", "Float", "Boolean", "DateTime", "ObjectId", "List", "Dict",
        "EmbeddedDocument",
    )
)  # fmt: skip
Json = dict[str, Any]

_OF_SAMPLES = {
    "drive": _STRING, "clip_id": _STRING, "vehicle": _STRING, "channel": _STRING,
    "mono_ns": _INT, "taken": _TIME,
    "stream": _STRING, "safety": _BOOLEAN, "weather": _STRING, "tod": _STRING, "light": _STRING,
    "frame_head": _STRING,
}  # fmt: skip
"""Fields of a sample that are ours; `triggers` is a list besides."""
_OF_LABELS = {
    "ignored": _BOOLEAN, "visibility": _FLOAT, "points": _INT, "speed_mps": _FLOAT,
    "truncation": _FLOAT, "source": _STRING, "longtail": _STRING,
}  # fmt: skip
"""Attributes of a detection that are ours."""


def object_id(*parts: object) -> Json:
    """An id of what the parts name: the same drive gives the same ids."""
    text = "\x1f".join(map(str, parts))
    return {"$oid": hashlib.sha256(text.encode()).hexdigest()[:24]}


def dataset_document(name: str, slices: Mapping[str, str], taxonomy: Taxonomy) -> Json:
    """`metadata.json`.

    Args:
        slices: the media type of each slice of a group.
    """
    key = ("dataset", name)
    return {
        "_id": object_id(*key),
        "name": name,
        "slug": name,
        "version": VERSION,
        "sample_collection_name": f"samples.{object_id(*key)['$oid']}",
        "persistent": False,
        "media_type": "group",
        "group_field": GROUP,
        "group_media_types": dict(slices),
        "default_group_slice": next(iter(slices)),
        "tags": [],
        "info": {"made_by": "Longtail", "taxonomy_version": taxonomy.version},
        "app_config": {
            "dynamic_groups_target_frame_rate": 30, "grid_media_field": "filepath",
            "media_fallback": False, "media_fields": ["filepath"],
            "modal_media_field": "filepath", "plugins": {},
        },
        "classes": {LABELS: list(taxonomy.names)},
        "default_classes": [],
        "mask_targets": {}, "default_mask_targets": {}, "skeletons": {},
        "sample_fields": _sample_fields(), "frame_fields": [],
        "saved_views": [], "workspaces": [], "annotation_runs": {}, "brain_methods": {},
        "evaluations": {}, "runs": {},
    }  # fmt: skip


def _sample_fields() -> list[Json]:
    group = [_field("id", _ID, db_field="_id"), _field("name", _STRING)]
    metadata = [
        _field("size_bytes", _INT), _field("mime_type", _STRING), _field("width", _INT),
        _field("height", _INT), _field("num_channels", _INT),
    ]  # fmt: skip
    detection = [
        _field("id", _ID, db_field="_id"), _strings("tags"),
        _field("attributes", _DICT, subfield=_INSIDE,
               embedded_doc_type="fiftyone.core.labels.Attribute"),
        _field("label", _STRING),
        _floats("bounding_box"), _field("mask", f"{_FIELD}.ArrayField"),
        _field("mask_path", _STRING), _field("confidence", _FLOAT), _field("index", _INT),
        *(_floats(name) for name in ("location", "dimensions", "rotation")),
        *(_field(name, kind) for name, kind in _OF_LABELS.items()),
    ]  # fmt: skip
    detections = _field(
        "detections", _LIST, subfield=_INSIDE, fields=detection,
        embedded_doc_type="fiftyone.core.labels.Detection",
    )  # fmt: skip
    return [
        _field("id", _ID, db_field="_id"),
        _field("filepath", _STRING),
        _strings("tags"),
        _field("metadata", _INSIDE, embedded_doc_type="fiftyone.core.metadata.Metadata",
               fields=metadata),
        *(_field(name, kind) for name, kind in (
            ("_media_type", _STRING), ("_rand", _FLOAT), ("_dataset_id", _ID)
        )),
        _field("created_at", _TIME, read_only=True),
        _field("last_modified_at", _TIME, read_only=True),
        _field(GROUP, _INSIDE, embedded_doc_type="fiftyone.core.groups.Group", fields=group),
        *(_field(name, kind) for name, kind in _OF_SAMPLES.items()),
        _strings("triggers"),
        _field(LABELS, _INSIDE, embedded_doc_type="fiftyone.core.labels.Detections",
               fields=[detections]),
    ]  # fmt: skip


def _field(name: str, kind: str, **changes: Any) -> Json:
    return {
        "name": name, "ftype": kind, "embedded_doc_type": None,
        "subfield": None, "fields": [], "db_field": name, "description": None, "info": None,
        "read_only": False, "created_at": None,
    } | changes  # fmt: skip


def _floats(name: str) -> Json:
    return _field(name, _LIST, subfield=_FLOAT)


def _strings(name: str) -> Json:
    return _field(name, _LIST, subfield=_STRING)


def sample_document(
    key: Sequence[object], group: Json, slice_name: str, filepath: str, metadata: Json,
    fields: Mapping[str, Any], detections: Sequence[Json],
) -> Json:  # fmt: skip
    """A sample of `samples.json`.

    Args:
        key: what it is, from which its id follows.
        group: the id of its frame.
        fields: ours, by name; what is None is not there.
    """
    own = object_id("sample", *key)
    media = SCENE_MEDIA if slice_name == SCENE else IMAGE_MEDIA
    return {
        "_id": own,
        "filepath": filepath,
        "tags": [],
        "metadata": metadata,
        "_media_type": media,
        # What FiftyOne shuffles by.
        "_rand": int(own["$oid"][:13], 16) / 16**13,
        GROUP: {"_id": group, "_cls": "Group", "name": slice_name},
        **_told(fields),
        LABELS: {"_cls": "Detections", "detections": list(detections)},
    }


def detection(key: Sequence[object], label: str, fields: Mapping[str, Any]) -> Json:
    """One label of a sample; as in samples, what is None is not there."""
    return {
        "_id": object_id("label", *key), "_cls": "Detection", "attributes": {}, "tags": [],
        "label": label, **_told(fields),
    }  # fmt: skip


def _told(fields: Mapping[str, Any]) -> Json:
    return {name: value for name, value in fields.items() if value is not None}
