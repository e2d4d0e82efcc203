"""What a fuzz target is.

A target's `run` takes any bytes and either returns or raises one of its `refusals`; anything else,
a hang, a crash or memory without bound is a failure. `dress` puts checksums right again, so that
mutants get past them as often as not.
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from contracts.errors import LongtailError
from tests.fuzz.mutation import MOST_BYTES, mutate_bytes, mutate_json, mutate_text

Run = Callable[[bytes], object]
Seeds = Callable[[], Sequence[bytes]]
Dress = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Target:
    """One decoder or parser.

    Args:
        seeds: sound inputs.
        run: feeds one input; `folder` targets get a path in `run_file` instead.
        refusals: what it may raise.
        dress: puts checksums right.
        words: a grammar's; makes it a text target.
        is_json: mutate by the value.
        slow: works on files, some milliseconds each.
    """

    name: str
    seeds: Seeds
    run: Run | None = None
    run_file: Callable[[Path], object] | None = None
    file_name: str = "input"
    refusals: tuple[type[BaseException], ...] = (LongtailError,)
    dress: Dress | None = None
    words: Sequence[str] | None = None
    is_json: bool = False
    slow: bool = False

    def mutant(self, rng: random.Random) -> bytes:
        """One input."""
        seeds = self.seeds()
        plain = rng.random() < 0.2
        if self.is_json and not plain:
            content = mutate_json(rng, seeds)
        elif self.words is not None and not plain:
            content = mutate_text(rng, seeds, self.words)
        else:
            content = mutate_bytes(rng, seeds)
        if self.dress is not None and rng.random() < 0.7:
            return self.dress(content)[:MOST_BYTES]
        return content

    @contextmanager
    def opened(self) -> Iterator[Run]:
        """What feeds one input, with a folder of its own where files are read."""
        if self.run is not None:
            yield self.run
            return
        run_file = self.run_file
        assert run_file is not None
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / self.file_name

            def run(content: bytes) -> object:
                path.write_bytes(content)
                return run_file(path)

            yield run


def text_of(content: bytes) -> str:
    """Text as a transport would hand it over."""
    return content.decode("utf-8", "replace")


def seal_json(content: bytes, seal: Callable[[dict[str, Any]], None]) -> bytes:
    """An object with its own digest put right, anything else as it is."""
    try:
        tree = json.loads(content)
        if isinstance(tree, dict):
            seal(tree)
        return json.dumps(tree).encode()
    except (ValueError, RecursionError, LongtailError):
        return content


def run_model(kind: type[BaseModel]) -> Run:
    adapter = TypeAdapter(kind)
    return adapter.validate_json


INVALID = (ValidationError,)
