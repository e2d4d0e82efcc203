"""Requests and answers as bytes. An answer is a line of JSON, then its files end to end."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter, ValidationError

from contracts.canonical import canonical_json
from contracts.errors import CorruptError
from offline.executor.ports import Failure, Figure, Product, Request

_LENGTHS = TypeAdapter(list[tuple[str, int]])
_FIGURES = TypeAdapter(dict[str, Figure])


def request_bytes(function: str, request: Request) -> bytes:
    """Raises `InputError` for a request that is no JSON value."""
    return canonical_json({"function": function, "request": request})


def request_from(content: bytes) -> tuple[str, Request]:
    """The function's name and its request."""
    told = json.loads(content)
    return told["function"], told["request"]


def answer_bytes(result: Product | Failure) -> bytes:
    """Raises `InputError` for figures that JSON cannot hold."""
    if isinstance(result, Failure):
        return canonical_json({"failure": asdict(result)}) + b"\n"
    lengths: list[Any] = [[name, len(content)] for name, content in result.files.items()]
    head = canonical_json({"files": lengths, "figures": dict(result.figures)})
    return b"\n".join([head, b"".join(result.files.values())])


def answer_from(content: bytes) -> Product | Failure:
    """What `answer_bytes` wrote. Raises `CorruptError` for anything else."""
    head, newline, body = content.partition(b"\n")
    if not newline:
        raise CorruptError("a worker's answer breaks off")
    try:
        told = json.loads(head)
        if "failure" in told:
            return Failure(**told["failure"])
        lengths, figures = _LENGTHS.validate_python(told["files"]), told["figures"]
        figures = _FIGURES.validate_python(figures)
    except (ValueError, TypeError, KeyError, ValidationError) as error:
        raise CorruptError(f"this is no worker's answer: {error}") from error
    files, at = {}, 0
    for name, length in lengths:
        files[name] = body[at : at + length]
        at += length
    if at != len(body):
        raise CorruptError(f"a worker's answer has {len(body)} bytes of files, told are {at}")
    return Product(files, figures)
