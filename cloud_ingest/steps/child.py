"""The process in which steps compute: questions on its input, answers on its output, one a line.

Its first line tells the stores. It has the lowest priority, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from functools import partial

from cloud_ingest.steps.answering import answered, own_output, settings_from
from cloud_ingest.steps.computing import Material, computations
from cloud_ingest.steps.views import open_views
from cloud_ingest.stores.opening import open_cold_objects, open_objects
from cloud_ingest.tiers.store import TieredObjects
from contracts.clip import ClipManifest

NICE = 15


def main() -> None:
    """Until the input ends."""
    os.nice(NICE)
    answers = own_output()
    first = sys.stdin.readline()
    if not first:
        return
    settings = settings_from(first)
    objects = TieredObjects(open_objects(settings), open_cold_objects(settings))
    views = open_views(settings)
    for line in sys.stdin:
        asked = json.loads(line)
        manifest = ClipManifest.model_validate_json(asked["manifest"])
        material = Material(asked["clip_id"], manifest, objects, views)
        answer = answered(partial(computations()[asked["name"]], material))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
