"""A source's address behind its scheme: `TARGET,name=value,...`, and what recordings are called.

A target may hold anything but a comma, so that URLs pass: what follows the first comma are
options. Every adapter reads its address here, so that all complain alike.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from contracts.clock import NS_PER_DAY, Clock, ClockQuality
from contracts.errors import InputError
from contracts.ids import sha256_hex
from contracts.quantities import duration_ns_of
from contracts.signals import nearest_name

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_TIME_IS_SYNCHRONISED = Path("/run/systemd/timesync/synchronized")
_FINGERPRINT_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Address:
    """`scheme:target,options`."""

    scheme: str
    target: str
    options: Mapping[str, str]

    @property
    def place(self) -> str:
        """Where errors point: without passwords that a URL may hold."""
        return f"{self.scheme}:{without_password(self.target)}"

    def required(self, name: str, example: str) -> str:
        """An option that must be there."""
        if name not in self.options:
            raise InputError(f"option {name!r} is missing; give {name}={example}", self.place)
        return self.options[name]

    def path(self, name: str) -> Path | None:
        """An option that names an existing file; None when it is not given."""
        text = self.options.get(name)
        if text is None:
            return None
        if not Path(text).is_file():
            raise InputError(f"{name}={text}: no such file", self.place)
        return Path(text)

    def duration_ns(self, name: str, default_ns: int) -> int:
        """An option such as `2s` or `300ms`."""
        if name not in self.options:
            return default_ns
        return duration_ns_of(self.options[name], f"{self.place}: {name}")


def without_password(url: str) -> str:
    """A URL that may be logged: `user:secret@` becomes `***@`."""
    return re.sub(r"(?<=://)[^/@]*@", "***@", url)


def parse_address(scheme: str, rest: str, known: Iterable[str]) -> Address:
    """Read what follows `scheme:`. Raises `InputError` for an unknown or repeated option."""
    target, *items = rest.split(",")
    options: dict[str, str] = {}
    names = tuple(known)
    place = f"{scheme}:{without_password(target)}"
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not value:
            raise InputError(f"{item!r} is not an option; options are name=value", place)
        if name not in names:
            hint = nearest_name(name, names)
            raise InputError(f"no option {name!r}{hint}; known: {', '.join(names)}", place)
        if name in options:
            raise InputError(f"option {name!r} is given twice", place)
        options[name] = value
    return Address(scheme, target, options)


def optional_module(name: str, extra: str) -> ModuleType:
    """Import a library that only an extra installs. Raises `InputError` naming the extra."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"this source needs {name.partition('.')[0]!r}, which is not installed: "
            f"pip install 'longtail[{extra}]' ({error})"
        ) from error


def as_name(text: str, fallback: str = "drive") -> str:
    """A text as `contracts.ids.Name`: other characters become dots."""
    return re.sub(r"[^A-Za-z0-9._-]", ".", text).lstrip("._-")[:100] or fallback


def fingerprint(paths: Iterable[Path]) -> str:
    """Tells recordings of one name apart: of their files' names, sizes and first bytes."""
    told = []
    for path in paths:
        with path.open("rb") as file:
            head = sha256_hex(file.read(_FINGERPRINT_BYTES))
        told.append(f"{path.name} {path.stat().st_size} {head}")
    return sha256_hex("\n".join(told).encode())[:12]


def machine_boot_id() -> str:
    """The running kernel's boot id. Raises `InputError` where the system has none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except OSError as error:
        raise InputError(f"a live source needs the boot id: {error.strerror}", str(_BOOT_ID)) from (
            error
        )


def is_machines_clock(utc_minus_mono_ns: int, clock: Clock) -> bool:
    """Whether a source's times are of this machine's clock, by what it told of their UTC.

    A wall clock that was corrected since does not matter.
    """
    return abs(clock.utc_ns() - clock.mono_ns() - utc_minus_mono_ns) < NS_PER_DAY


def machine_clock_quality() -> ClockQuality:
    """What systemd says of the machine's clock; without its word it is not synchronised."""
    return ClockQuality(synchronised=_TIME_IS_SYNCHRONISED.exists(), source="system")
