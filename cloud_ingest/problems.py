"""Errors as answers: one table from error to status, one shape of body (`Problem`).

A message of an `InputError` names what the caller sent; nothing of the inside (paths, SQL,
stack) leaves the service.
"""

from __future__ import annotations

import http
import math

import sqlalchemy.exc
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from psycopg import errors as pg
from starlette.exceptions import HTTPException

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

_log = structlog.get_logger(__name__)


class AbsentError(InputError):
    """There is no such thing, or none that the caller may know of."""


class GoneError(InputError):
    """It was there and will not come back."""


class TooLargeError(InputError):
    """More bytes than the service takes."""


class RangeError(InputError):
    """A byte range outside of the object."""


class TusVersionError(InputError):
    """`Tus-Resumable` is missing or of another version."""


class MediaTypeError(InputError):
    """A PATCH of another content type than tus has."""


class UnknownCallerError(RefusedError):
    """No credential, or one that does not hold."""


class BusyError(TransientError):
    """Too much at once from this caller."""


class PressureError(TransientError):
    """The service is near its limits; a more urgent clip may still get through."""


class TimedOutError(TransientError):
    """The body stopped coming."""


STATUS: dict[type[LongtailError], tuple[int, str]] = {
    AbsentError: (404, "absent"),
    GoneError: (410, "gone"),
    TooLargeError: (413, "too_large"),
    RangeError: (416, "range"),
    TusVersionError: (412, "tus_version"),
    MediaTypeError: (415, "media_type"),
    InputError: (400, "input"),
    CorruptError: (460, "corrupt"),
    UnknownCallerError: (401, "unknown_caller"),
    RefusedError: (403, "refused"),
    ConflictError: (409, "conflict"),
    BusyError: (429, "busy"),
    PressureError: (503, "pressure"),
    TimedOutError: (408, "timed_out"),
    TransientError: (503, "transient"),
    ExhaustedError: (507, "exhausted"),
}


def status_of(error: LongtailError) -> tuple[int, str]:
    """Status and stable word of an error: its own class's entry, or its nearest parent's."""
    for kind in type(error).__mro__:
        if kind in STATUS:
            return STATUS[kind]
    return 500, "internal"


def problem_response(error: LongtailError, headers: dict[str, str] | None = None) -> Response:
    status, word = status_of(error)
    retry_after_s = error.retry_after_s if isinstance(error, TransientError) else None
    problem = Problem(
        error=word,
        message=error.message,
        place=error.place,
        retry_after_s=retry_after_s,
        scope="clip" if isinstance(error, PressureError) else None,
    )
    added = dict(headers or {})
    if retry_after_s is not None:
        added["Retry-After"] = str(math.ceil(retry_after_s))
    if status == 401:
        added["WWW-Authenticate"] = "Bearer"
    return _response(status, problem, added)


def _response(status: int, problem: Problem, headers: dict[str, str]) -> Response:
    return Response(
        problem.model_dump_json(), status, headers=headers, media_type="application/json"
    )


def database_problem(error: sqlalchemy.exc.DBAPIError) -> LongtailError:
    """A database's error as one of ours."""
    if isinstance(error.orig, pg.DiskFull):
        return ExhaustedError("the database's disk is full")
    if isinstance(error, (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError)):
        return TransientError("the database does not answer", retry_after_s=2)
    if isinstance(error, sqlalchemy.exc.DataError):
        return InputError("a value is out of the catalog's range")
    raise error


def _validation_problem(error: RequestValidationError) -> LongtailError:
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"])
    message = f"{place}: {first['msg']}"
    if first["loc"][-1] == "size_bytes" and first["type"] == "less_than_equal":
        return TooLargeError(message, place)
    return InputError(message, place)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a `Problem`."""

    @app.exception_handler(LongtailError)
    async def longtail(_: Request, error: LongtailError) -> Response:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def validation(_: Request, error: RequestValidationError) -> Response:
        return problem_response(_validation_problem(error))

    @app.exception_handler(sqlalchemy.exc.DBAPIError)
    async def database(_: Request, error: sqlalchemy.exc.DBAPIError) -> Response:
        _log.warning("database error", error=str(error.orig))
        return problem_response(database_problem(error))

    @app.exception_handler(sqlalchemy.exc.TimeoutError)
    async def pool(_: Request, error: sqlalchemy.exc.TimeoutError) -> Response:
        return problem_response(TransientError("too many requests at once", retry_after_s=1))

    @app.exception_handler(HTTPException)
    async def plain(_: Request, error: HTTPException) -> Response:
        word = http.HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
        problem = Problem(error=word, message=str(error.detail))
        return _response(error.status_code, problem, dict(error.headers or {}))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        problem = Problem(error="internal", message="the service failed; the log says why")
        return _response(500, problem, {})
