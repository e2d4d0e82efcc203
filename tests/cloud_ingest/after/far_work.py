"""Work for a cluster of the tests: it may die once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from cloud_ingest.settings import Settings
from cloud_ingest.steps.answering import Product
from contracts.errors import InputError


def dies_once(settings: Settings, asked: dict[str, Any]) -> Product:
    """Ends its process the first time, however often Ray would try."""
    marker = Path(asked["marker"])
    if not marker.exists():
        marker.touch()
        os._exit(1)
    return {"folder": str(settings.folder)}


def echo(settings: Settings, asked: dict[str, Any]) -> Product:
    """What was asked, and where the service's files are."""
    return {"asked": asked["text"], "folder": str(settings.folder)}


def refuses(settings: Settings, asked: dict[str, Any]) -> Product:
    """As an input that nobody can take."""
    raise InputError("is of no use", "clip")
