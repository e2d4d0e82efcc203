"""The OpenAPI document: the one that is committed, and no answer of 5xx to what it allows or not.

`python -m tests.cloud_ingest.test_openapi` writes the document anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from cloud_ingest.app import create_app
from cloud_ingest.settings import Settings
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import TUS, Vehicle
from tests.cloud_ingest.test_route_access import ACCESS

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"
FEW, MANY = 4, 250
_SETTINGS = settings(
    max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck), database=None,
    derandomize=True,
)  # fmt: skip


def document() -> dict[str, Any]:
    """As the service tells it; nothing is connected to."""
    found: dict[str, Any] = create_app(Settings(), "postgresql://nowhere").openapi()
    return found


def as_text(found: dict[str, Any]) -> str:
    return json.dumps(found, indent=1, sort_keys=True) + "\n"


def test_the_committed_document_is_the_services() -> None:
    assert DOCUMENT.read_text("utf-8") == as_text(document()), "write it anew: see this file's head"


class Service:
    """A service in laptop mode, with one vehicle."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http
        self.vehicle = Vehicle(http, "car-1")
        assert self.vehicle.enrol().status_code == 200
        assert self.vehicle.authenticate().status_code == 200

    def headers(self, method: str, path: str) -> dict[str, str]:
        """Such that the call is let through to what answers it."""
        least = ACCESS[f"{method.upper()} {path}"]
        known = self.vehicle.bearer if least in ("vehicle", "reader", "owner") else {}
        return known | (TUS if "/tus" in path else {})


@pytest.fixture
def service(start_cloud: StartCloud) -> Iterator[Service]:
    server = start_cloud()
    with httpx.Client(base_url=server.url, timeout=60) as http:
        yield Service(http)


def _try_all(service: Service, examples: int) -> None:
    """Requests that the document allows, and ones that it does not, to every operation."""
    api = schemathesis.openapi.from_url(str(service.http.base_url.join("/openapi.json")))
    tried = set()
    for found in api.get_all_operations():
        operation = found.ok()
        tried.add(f"{operation.method.upper()} {operation.path}")
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(_SETTINGS, max_examples=examples)
            def never_5xx(case: schemathesis.Case) -> None:
                headers = service.headers(case.operation.method, case.operation.path)
                answer = case.call(headers=headers)
                told = f"{case.as_curl_command(headers)}\n{answer.text[:500]}"
                assert answer.status_code < 500, told

            with suppress(Unsatisfiable):  # an operation of which nothing can be wrong
                never_5xx()
    assert tried == set(ACCESS)


def test_no_request_that_it_allows_or_not_is_answered_by_5xx(service: Service) -> None:
    _try_all(service, FEW)


@pytest.mark.soak
def test_none_of_very_many_either(service: Service) -> None:
    _try_all(service, MANY)


if __name__ == "__main__":
    DOCUMENT.write_text(as_text(document()), "utf-8")
