"""The process in which steps compute: questions on its input, answers on its output, one a line.

Its first line tells the stores. It has the lowest priority, and ends when its input does.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from cloud_ingest.settings import Settings
from cloud_ingest.steps.computing import Material, computations
from cloud_ingest.steps.views import open_views
from cloud_ingest.stores.opening import open_cold_objects, open_objects
from cloud_ingest.tiers.store import TieredObjects
from contracts.clip import ClipManifest
from contracts.errors import LongtailError

NICE = 15


def main() -> None:
    """Until the input ends."""
    os.nice(NICE)
    # Whatever else is printed (logs, a library's words) must not come between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    first = sys.stdin.readline()
    if not first:
        return
    # As the parent has them: what the environment says counted there.
    settings = Settings.model_construct(**{**Settings().model_dump(), **_stores(first)})
    objects = TieredObjects(open_objects(settings), open_cold_objects(settings))
    views = open_views(settings)
    for line in sys.stdin:
        asked = json.loads(line)
        manifest = ClipManifest.model_validate_json(asked["manifest"])
        answer = _answer(asked["name"], Material(asked["clip_id"], manifest, objects, views))
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _stores(first: str) -> dict[str, Any]:
    told = Settings.model_validate(json.loads(first))
    return {name: getattr(told, name) for name in json.loads(first)}


def _answer(name: str, material: Material) -> dict[str, Any]:
    try:
        return {"product": computations()[name](material)}
    except LongtailError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        known = ("CorruptError", "ExhaustedError", "InputError", "TransientError")
        kind = next((each for each in kinds if each in known), "LongtailError")
        return {"error": kind, "message": error.message, "place": error.place}
    except OSError as error:
        return {"error": "TransientError", "message": type(error).__name__, "place": None}
    except Exception as error:  # noqa: BLE001 - told to the parent, as the step's failure
        text = f"{type(error).__name__}: {error}"
        return {"error": "LongtailError", "message": text, "place": None}


if __name__ == "__main__":
    main()
