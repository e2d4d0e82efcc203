"""What Label Studio exports once people have answered."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from offline.labels.formats.label_studio import IMAGE, VERDICT

Json = dict[str, Any]


def answered(task: Json, verdict: str, completed_by: int = 1) -> Json:
    """The task as Label Studio exports it when somebody submits the pre-labels unchanged."""
    task = copy.deepcopy(task)
    shown: Iterable[Json] = task["predictions"][0]["result"]
    choice = {
        "id": "verdict", "type": "choices", "from_name": VERDICT, "to_name": IMAGE,
        "value": {"choices": [verdict]},
    }  # fmt: skip
    return {
        "data": task["data"],
        "annotations": [
            {
                "id": 1, "completed_by": completed_by, "was_cancelled": False, "lead_time": 8.0,
                "created_at": "2026-01-02T03:04:05.000000Z",
                "result": [{k: v for k, v in each.items() if k != "score"} for each in shown]
                + [choice],
            }
        ],
    }  # fmt: skip
