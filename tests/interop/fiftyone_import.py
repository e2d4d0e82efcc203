"""Run by a Python that has FiftyOne: `python fiftyone_import.py DATASET EXPORT`.

Imports a dataset with FiftyOne's own importer, prints what it then knows as JSON, and exports it
with FiftyOne's own exporter. Its wheel brings no MongoDB: where `FIFTYONE_DATABASE_URI` names none
a mock of it (mongomock) takes its place, beneath FiftyOne's own code.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def mocked() -> None:
    """Puts mongomock where FiftyOne looks for MongoDB."""
    import mongoengine
    import mongomock
    import pymongo

    os.environ["FIFTYONE_DATABASE_URI"] = "mongodb://localhost"
    os.environ["FIFTYONE_DATABASE_VALIDATION"] = "false"
    server = mongomock.store.ServerStore()
    connect = mongoengine.connect

    class Client(mongomock.MongoClient):  # type: ignore[misc]
        def __init__(self, *_: Any, **__: Any) -> None:
            super().__init__(_store=server)
            self.__dict__["_closed"] = False

    pymongo.MongoClient = Client
    mongoengine.connect = lambda name, **_: connect(
        name, host="mongodb://localhost", mongo_client_class=Client
    )


def main(dataset_dir: str, export_dir: str) -> None:
    os.environ["FIFTYONE_DO_NOT_TRACK"] = "1"
    if "FIFTYONE_DATABASE_URI" not in os.environ:
        mocked()
    import fiftyone

    kind = fiftyone.types.FiftyOneDataset
    dataset = fiftyone.Dataset.from_dir(dataset_dir=dataset_dir, dataset_type=kind, progress=False)
    told = {"media": dict(dataset.group_media_types), "shown": len(dataset), "frames": []}
    dataset.group_slice = "scene"
    for sample in dataset:
        scene = fiftyone.Scene.from_fo3d(sample.filepath)
        told["frames"].append({
            "drive": sample.drive, "mono_ns": sample.mono_ns, "weather": sample.weather,
            "clouds": [Path(each.pcd_path).name for each in scene.children],
            "boxes": [
                [one.label, one.index, one.confidence, one.location, one.dimensions, one.rotation]
                for one in sample.labels.detections
            ],
        })  # fmt: skip
    dataset.group_slice = "front"
    told["flat"] = [[one.bounding_box for one in each.labels.detections] for each in dataset]
    dataset.export(export_dir, dataset_type=kind, progress=False)
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
