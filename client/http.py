"""HTTP for the client over the standard library: requests, errors, retries.

Guarantees: answers of errors become `contracts.errors`; a call that changes nothing is tried
again after a break or a 5xx, a few times and with growing, jittered pauses; one that changes
something is sent once. The token is sent to the service's own address only.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from contracts.errors import (
    ConflictError,
    CorruptError,
    ExhaustedError,
    InputError,
    LongtailError,
    RefusedError,
    TransientError,
)
from contracts.upload import Problem

Answer = TypeVar("Answer", bound=BaseModel)

_MAX_ANSWER_BYTES = 256 * 2**20
_ERRORS: dict[int, type[LongtailError]] = {
    401: RefusedError, 403: RefusedError, 408: TransientError, 409: ConflictError,
    429: TransientError, 460: CorruptError, 507: ExhaustedError,
}  # fmt: skip


class _NoRedirect(HTTPRedirectHandler):
    """The service never redirects; following one could carry the token elsewhere."""

    def redirect_request(self, *_: object, **__: object) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how patiently a call that changes nothing is tried."""

    attempts: int = 4
    longest_pause_s: float = 8.0
    first_pause_s: float = 0.25

    def run(self, step: Callable[[], Answer]) -> Answer:
        """Run `step` until it works; the last `TransientError` goes on."""
        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=stop_after_attempt(self.attempts),
            wait=wait_random_exponential(self.first_pause_s, self.longest_pause_s),
            reraise=True,
        )
        return retrying(step)


@dataclass(frozen=True, slots=True)
class HttpService:
    """One service at `base_url`, as one caller."""

    base_url: str
    token: str | None = field(default=None, repr=False)
    timeout_s: float = 30.0
    retries: Retries = Retries()

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{self.base_url!r} is not an http(s) URL", "base_url")

    def get(
        self, path: str, answer: type[Answer], query: Mapping[str, str | int] | None = None
    ) -> Answer:
        """GET a JSON answer, again after breaks. Raises `contracts.errors`."""
        suffix = f"?{urlencode(query)}" if query else ""
        return self.retries.run(lambda: self._json("GET", path + suffix, answer, None))

    def post(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        """POST a JSON body, once."""
        return self._json("POST", path, answer, body.model_dump_json().encode())

    def post_bytes(
        self, path: str, body: bytes, headers: Mapping[str, str], answer: type[Answer]
    ) -> Answer:
        """POST bytes of another kind than JSON, once."""
        return self._json("POST", path, answer, body, headers)

    def put_json(self, path: str, body: BaseModel, answer: type[Answer]) -> Answer:
        """PUT a JSON body, again after breaks."""
        content = body.model_dump_json().encode()
        return self.retries.run(lambda: self._json("PUT", path, answer, content))

    def delete(self, path: str, answer: type[Answer]) -> Answer:
        """DELETE, once: a second one would find nothing."""
        return self._json("DELETE", path, answer, None)

    def put(self, path: str, body: BinaryIO, size_bytes: int, answer: type[Answer]) -> Answer:
        """PUT `size_bytes` of an open file, again from its start after breaks."""
        headers = {"Content-Length": str(size_bytes), "Content-Type": "application/octet-stream"}

        def step() -> Answer:
            body.seek(0)
            return self._json("PUT", path, answer, body, headers)

        return self.retries.run(step)

    @contextmanager
    def open(
        self,
        method: str,
        path: str,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] = {},
    ) -> Iterator[http.client.HTTPResponse]:
        """An answer to be read in pieces. Raises by status; breaks are `TransientError`."""
        request = Request(
            self.base_url.rstrip("/") + path, data=body, method=method, headers=dict(headers)
        )
        if self.token is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        if body is not None and not request.has_header("Content-type"):
            request.add_header("Content-Type", "application/json")
        try:
            with build_opener(_NoRedirect).open(request, timeout=self.timeout_s) as response:
                yield response
        except HTTPError as error:
            with error:
                raise problem_error(error.code, error.read(65_536)) from error
        except (URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            raise TransientError(
                f"the service cannot be reached: {reason}", self.base_url
            ) from error

    def _json(
        self,
        method: str,
        path: str,
        answer: type[Answer],
        body: bytes | BinaryIO | None,
        headers: Mapping[str, str] = {},
    ) -> Answer:
        with self.open(method, path, body, headers) as response:
            text = response.read(_MAX_ANSWER_BYTES)
        try:
            return answer.model_validate_json(text)
        except ValidationError as error:
            raise CorruptError(
                f"not the answer of a Longtail cloud: {error.errors()[0]['msg']}", path
            ) from error


def problem_error(status: int, body: bytes) -> LongtailError:
    """A `Problem` answer as the error that it stands for."""
    try:
        problem = Problem.model_validate_json(body)
    except ValidationError:
        problem = Problem(error="unknown", message=f"the service answered {status}")
    if status >= 500 and status not in _ERRORS:
        return TransientError(problem.message, problem.place, retry_after_s=problem.retry_after_s)
    kind = _ERRORS.get(status, InputError)
    if kind is TransientError:
        return TransientError(problem.message, problem.place, retry_after_s=problem.retry_after_s)
    return kind(problem.message, problem.place)
