"""Adapters of other packages: entry points by group and name (docs/adapters.md).

Guarantees: what another's code raises ends here, as an `InputError` that names it.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from contracts.errors import InputError, LongtailError
from contracts.signals import nearest_name

SOURCES = "longtail.sources"
LINKS = "longtail.links"


def installed(group: str) -> dict[str, list[EntryPoint]]:
    """All adapters of a group by name; more than one of a name is an error when it is used."""
    found: dict[str, list[EntryPoint]] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, []).append(entry)
    return found


def open_installed(group: str, name: str, argument: str, methods: tuple[str, ...]) -> Any:
    """What the adapter gives when it is called with `argument`.

    Args:
        methods: what it must have at least.

    Raises `InputError` for none or several of that name, or one that fails.
    """
    known = installed(group)
    if name not in known:
        listed = f"; installed: {', '.join(sorted(known))}" if known else "; none is installed"
        raise InputError(f"no adapter is called {name!r}{listed}{nearest_name(name, known)}", group)
    entries = known[name]
    if len(entries) > 1:
        owners = ", ".join(sorted(entry.value for entry in entries))
        raise InputError(f"several packages offer {name!r}: {owners}; keep one", group)
    try:
        adapter = entries[0].load()(argument)
    except LongtailError:
        raise
    except Exception as error:
        raise InputError(
            f"the adapter {entries[0].value} failed: {type(error).__name__}: {error}", name
        ) from error
    lacking = [method for method in methods if not callable(getattr(adapter, method, None))]
    if lacking:
        raise InputError(
            f"the adapter {entries[0].value} gave a {type(adapter).__name__}, "
            f"which lacks {' and '.join(lacking)}",
            name,
        )
    return adapter
