"""Files of other tools: bounded before they are read, refused with their place."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from contracts.errors import InputError

MAX_TEXT_BYTES = 256 * 1024**2
ModelT = TypeVar("ModelT", bound=BaseModel)


def read_text(path: Path, most_bytes: int = MAX_TEXT_BYTES) -> str:
    """A UTF-8 file. Raises `InputError` for one that is larger, unreadable or no text."""
    try:
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > most_bytes:
                raise InputError(f"larger than {most_bytes} bytes", str(path))
            # One byte more than allowed tells a file that grew, or whose size nobody knows.
            content = stream.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise InputError(f"larger than {most_bytes} bytes", str(path))
        return content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from None


def read_json(path: Path, most_bytes: int = MAX_TEXT_BYTES) -> Any:
    """A JSON file's value. Raises `InputError` with `file:line:column`, also for NaN and for a
    key that is twice in one object.
    """
    return json_of(read_text(path, most_bytes), str(path))


def json_of(text: str, place: str) -> Any:
    """A JSON text's value; see `read_json`."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        where = f"{place}:{error.lineno}:{error.colno}"
        raise InputError(f"no JSON: {error.msg}", where) from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"no JSON that can be taken: {error}", place) from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"key {twice!r} is twice in one object")
    return found


def validated(model: type[ModelT], value: Any, place: str) -> ModelT:
    """The value as a record. Raises `InputError` with the field's place in the file."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        why, where = reason(error)
        raise InputError(why, f"{place}: {where}" if where else place) from None


def reason(error: InputError | ValidationError) -> tuple[str, str]:
    """What is wrong, and the field where; the latter empty when nobody knows."""
    if isinstance(error, InputError):
        return error.message, error.place or ""
    first = error.errors(include_url=False)[0]
    return first["msg"], ".".join(str(step) for step in first["loc"])


def write_json(path: Path, value: Any) -> None:
    """The file appears with all of its text, or not at all."""
    write_whole(path, (json.dumps(value, allow_nan=False, indent=1) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Put a file in place by temp file, fsync and rename."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", str(path)) from error
