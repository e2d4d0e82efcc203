"""A network probe: which link the vehicle has, as the kernel's interface states tell.

Interfaces are told apart by the beginning of their names (`wlan0`, `eth0`, `wwan0`); of several
that are up, the one that costs least counts. Copy this file, then ask your modem or router
instead. Register it and choose it in agent.toml:

    [project.entry-points."longtail.links"]
    kernel = "my_package.network_probe:open_kernel_probe"

    [link]
    adapter = "kernel"                 # or "kernel:ARGUMENT"
"""

from __future__ import annotations

from pathlib import Path

from contracts.errors import InputError
from edge_agent.ports import Link

_KINDS = (
    (("eth", "en"), Link("ethernet")),
    (("wlan", "wl"), Link("wifi")),
    (("wwan", "ww", "rmnet"), Link("cellular", metered=True)),
)


class KernelProbe:
    """`LinkMonitor` over `/sys/class/net`.

    Attributes: `problem`: why the link is `none` although it may not be; None when all is known.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.problem: str | None = None

    def link(self) -> Link:
        # Called often, from the event loop: be quick, and never raise. What cannot be known is
        # none: an unknown link is never taken for a free one.
        self.problem = None
        try:
            up = [path.name for path in self._folder.iterdir() if self._is_up(path)]
        except OSError as error:
            self.problem = str(error)
            return Link("none")
        for beginnings, link in _KINDS:
            if any(name.startswith(beginnings) for name in up):
                return link
        return Link("none")

    def _is_up(self, interface: Path) -> bool:
        return (interface / "operstate").read_text("ascii", errors="replace").strip() == "up"


def open_kernel_probe(argument: str) -> KernelProbe:
    """The entry point: `argument` is what follows `kernel:`, here another folder to read."""
    folder = Path(argument or "/sys/class/net")
    if not folder.is_dir():
        raise InputError("no such folder", str(folder))
    return KernelProbe(folder)
