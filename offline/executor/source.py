"""The digest of a function's source: its module and all of this project that it imports.

Imports are read from the source, those inside of functions too, and nothing is run. Followed are
the project's own packages and the one that the function is of; other libraries are not, so a
stage says by its version when one of them changes its product.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from contracts.canonical import canonical_digest
from contracts.errors import InputError
from contracts.ids import sha256_hex

_OWN = frozenset({"contracts", "kernels", "models", "offline", "cloud_ingest", "client"})


@cache
def source_digest(function: str) -> str:
    """Of `module:function`. Raises `InputError` when there is no such module."""
    module = function.partition(":")[0]
    own = _OWN | {module.partition(".")[0]}
    files: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = None if name in files else _source(name)
        if path is None:
            continue
        files[name] = path
        parents = name.split(".")[:-1]
        found = {".".join(parents[: n + 1]) for n in range(len(parents))}
        found |= set(_imports(path, name))
        waiting += sorted(each for each in found if each.partition(".")[0] in own)
    if module not in files:
        raise InputError("there is no such module", function)
    return canonical_digest({name: sha256_hex(path.read_bytes()) for name, path in files.items()})


def _source(module: str) -> Path | None:
    """The module's file; None when it is no module with source, but a name in one."""
    try:
        spec = importlib.util.find_spec(module)
    except (ModuleNotFoundError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def _imports(path: Path, module: str) -> Iterator[str]:
    """All that a file imports, and each name in it, which may be a module as well."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_bytes(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            start = importlib.util.resolve_name(base, package) if node.level else base
            yield start
            yield from (f"{start}.{alias.name}" for alias in node.names)
