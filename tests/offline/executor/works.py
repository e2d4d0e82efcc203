"""Work for executors: real enough to differ by clip, and able to fail in each way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np

from contracts.errors import InputError
from offline.executor.ports import Product, Request

LOG, TROUBLE = "LONGTAIL_TEST_LOG", "LONGTAIL_TEST_TROUBLE"
"""Environment: a file to which each computation adds its clip's name; a folder in which a file
CLIP says how that clip's work goes wrong.
"""
SMOOTH = "tests.offline.executor.works:smooth"
ECHO = "tests.offline.executor.works:echo"


def smooth(request: Request) -> Product:
    """A track's places, smoothed: `points` of text to bytes, by the width of the configuration."""
    clip, files, configuration = request["clip"], request["files"], request["configuration"]
    assert isinstance(clip, str)
    assert isinstance(files, dict)
    assert isinstance(configuration, dict)
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("ab", buffering=0) as log:
            log.write(f"{clip}\n".encode())
    _trouble(clip)
    paths = files["points"]
    assert isinstance(paths, list)
    places = np.loadtxt(str(paths[0]))
    width = configuration["width"]
    assert isinstance(width, int)
    kernel = np.ones(width) / width
    course = np.stack([np.convolve(column, kernel, "same") for column in places.T])
    print("chatter that belongs to no command's output")  # noqa: T201
    content = {"course.f64": course.tobytes(), "first.txt": f"{course[0, 0]!r}\n".encode()}
    return Product(content, {"points": len(places)})


def echo(request: Request) -> Product:
    """The request's own text, doubled."""
    text = str(request["text"])
    _trouble(text)
    return Product({"a": text.encode(), "empty": b"", "b": b"\n\0" + text.encode()}, {"n": 1.5})


def nothing(_: Request) -> None:
    """No product."""


def _trouble(clip: str) -> None:
    path = Path(os.environ.get(TROUBLE, "/nonexistent")) / clip
    match path.read_text() if path.is_file() else "":
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.pause()
        case "exit":
            sys.exit(3)
        case "input":
            raise InputError("no such lane", f"{clip}.txt:7")
        case "bug":
            raise ZeroDivisionError("as planned")
