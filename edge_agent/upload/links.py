"""Link monitors: which connection the vehicle has now.

Guarantees: what cannot be read is `none`, and says so in `problem`: an unknown link is never
taken for a free one. A modem manager's adapter belongs here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from contracts.errors import InputError
from edge_agent.ports import Link

_KINDS: tuple[str, ...] = get_args(Link.__annotations__["kind"]) or (
    "wifi",
    "ethernet",
    "cellular",
    "none",
)
NO_LINK = Link("none")


def parse_link(text: str, place: str | None = None) -> Link:
    """Read `wifi|ethernet|cellular|none [metered]`. Raises `InputError` for anything else."""
    words = text.split()
    if not words or words[0] not in _KINDS or words[1:] not in ([], ["metered"]):
        raise InputError(
            f"{text.strip()[:80]!r} is not a link: write one of {', '.join(_KINDS)},"
            " and 'metered' after it where bytes cost money",
            place,
        )
    metered = words[0] == "cellular" or words[1:] == ["metered"]
    match words[0]:
        case "wifi":
            return Link("wifi", metered)
        case "ethernet":
            return Link("ethernet", metered)
        case "cellular":
            return Link("cellular", metered)
    return NO_LINK


class FixedLink:
    """A link that changes only when told to."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def link(self) -> Link:
        return self._link

    def change(self, link: Link) -> None:
        self._link = link


class FileLink:
    """A text file that a network script keeps, read again whenever it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._link = NO_LINK
        self.problem: str | None = None

    def link(self) -> Link:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._link = parse_link(self._path.read_text("utf-8"), str(self._path))
                self._seen, self.problem = seen, None
        except (OSError, UnicodeDecodeError, InputError) as error:
            self._link, self._seen, self.problem = NO_LINK, None, str(error)
        return self._link
