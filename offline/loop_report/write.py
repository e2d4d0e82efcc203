"""The report on disk: `report.html`, and `indicators.json` beside it."""

from __future__ import annotations

import json
from pathlib import Path

from offline.loop_report.facts import LoopFacts
from offline.loop_report.indicators import indicators
from offline.loop_report.page import page_text
from offline.runs.files import write_durably

PAGE_FILE, INDICATORS_FILE = "report.html", "indicators.json"


def write_report(facts: LoopFacts, out: Path) -> Path:
    """Write both files into a folder; the page's path. The same facts give the same bytes.

    Raises `ExhaustedError` or `TransientError` where the disk does not take them.
    """
    told = json.dumps(indicators(facts), indent=1, allow_nan=False, ensure_ascii=False)
    write_durably(out / INDICATORS_FILE, (told + "\n").encode())
    write_durably(out / PAGE_FILE, page_text(facts).encode())
    return out / PAGE_FILE
