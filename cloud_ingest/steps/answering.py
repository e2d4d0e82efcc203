"""What crosses between the service and the processes that compute for it: JSON, a line each way.

Errors of `contracts.errors` come out on the other side as what they were, so that the runner knows
which of them pass by themselves.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, Any

from pydantic import JsonValue

from cloud_ingest.settings import Settings
from contracts.errors import (
    CorruptError,
    ExhaustedError,
    InputError,
    LongtailError,
    TransientError,
)

Product = dict[str, JsonValue]
STORES = {"folder", "object_store_url", "object_store_endpoint", "store_threads"}
"""Settings that another process needs to open the same stores."""
_ERRORS: Mapping[str, type[LongtailError]] = {
    kind.__name__: kind for kind in (CorruptError, ExhaustedError, InputError, TransientError)
}


def stores_line(settings: Settings) -> str:
    """Where the clips and their views are, for `settings_from`."""
    return json.dumps(settings.model_dump(mode="json", include=STORES))


def settings_from(line: str) -> Settings:
    """As the service has them: what the environment says counted there."""
    told = Settings.model_validate(json.loads(line))
    stores = {name: getattr(told, name) for name in json.loads(line)}
    return Settings.model_construct(**{**Settings().model_dump(), **stores})


def own_output() -> IO[str]:
    """This process's standard output for answers alone.

    Whatever else is printed (logs, a library's words) must not come between them.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def answered(work: Callable[[], Product]) -> dict[str, Any]:
    """Its product, or what went wrong."""
    try:
        return {"product": work()}
    except LongtailError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        kind = next((each for each in kinds if each in _ERRORS), "LongtailError")
        return {"error": kind, "message": error.message, "place": error.place}
    except OSError as error:
        return {"error": "TransientError", "message": type(error).__name__, "place": None}
    except Exception as error:  # noqa: BLE001 - told to the service, as the step's failure
        text = f"{type(error).__name__}: {error}"
        return {"error": "LongtailError", "message": text, "place": None}


def product_of(answer: Mapping[str, Any]) -> Product:
    """The product. Raises the error that an answer tells."""
    if "error" in answer:
        kind = _ERRORS.get(answer["error"], LongtailError)
        raise kind(answer["message"], answer.get("place"))
    product: Product = answer["product"]
    return product
