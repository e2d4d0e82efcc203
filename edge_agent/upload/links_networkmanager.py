"""The link as NetworkManager sees it, over D-Bus (the extra `dbus`, jeepney).

Follows the primary connection's type, whether it is metered, and whether it reaches the internet
(NetworkManager's D-Bus interface, `org.freedesktop.NetworkManager`: properties
`PrimaryConnectionType`, `Metered`, `Connectivity`, `State`). Changes come by signal, so that a
link that turns metered stops what is being sent at its next piece.

Guarantees: what is not known is `none`, and an unknown cost is taken for a cost. While
NetworkManager or the bus is away there is no link; when it comes back all is read anew. The link
may be asked in any thread; it is followed on the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from contracts.clock import NS_PER_S, Clock
from contracts.errors import InputError
from edge_agent.ports import Link
from edge_agent.upload.links import NO_LINK

SERVICE = "org.freedesktop.NetworkManager"
PATH = "/org/freedesktop/NetworkManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
FIRST_WAIT_NS = NS_PER_S
LONGEST_WAIT_NS = 30 * NS_PER_S

CONNECTED_SITE, CONNECTED_GLOBAL = 60, 70
"""`NMState`: some network is reached; the internet is."""
CONNECTIVITY_UNKNOWN, CONNECTIVITY_FULL = 0, 4
METERED_NO = frozenset({2, 4})
"""`NMMetered`: no, and probably not; unknown, yes and probably are taken for yes."""
_KINDS = {
    "802-3-ethernet": "ethernet", "802-11-wireless": "wifi", "gsm": "cellular",
    "cdma": "cellular", "wimax": "cellular", "bluetooth": "cellular",
    # What joins or carries others costs what NetworkManager says of it.
    "bond": "ethernet", "bridge": "ethernet", "team": "ethernet", "vlan": "ethernet",
}  # fmt: skip

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NetworkState:
    """The properties that matter, as NetworkManager numbers them."""

    state: int = 0
    connectivity: int = 0
    connection_type: str = ""
    metered: int = 0


def link_of(network: NetworkState) -> Link:
    """The link that a state of the network gives."""
    if not network.connection_type:
        return NO_LINK
    if network.connectivity == CONNECTIVITY_UNKNOWN:
        # Checks may be switched off: then the state is all there is.
        is_up = network.state == CONNECTED_GLOBAL
    else:
        is_up = network.connectivity == CONNECTIVITY_FULL
    if not is_up:
        return NO_LINK
    kind = _KINDS.get(network.connection_type, "cellular")
    metered = network.metered not in METERED_NO
    if kind == "ethernet":
        return Link("ethernet", metered)
    if kind == "wifi":
        return Link("wifi", metered)
    return Link("cellular", True)


def changed(network: NetworkState, properties: Mapping[str, Any]) -> NetworkState:
    """The state after a `PropertiesChanged`; values are D-Bus variants, (signature, value)."""

    def number(name: str, before: int) -> int:
        found = properties.get(name, ("", before))[1]
        return found if isinstance(found, int) else before

    kind = properties.get("PrimaryConnectionType", ("", network.connection_type))[1]
    return NetworkState(
        number("State", network.state),
        number("Connectivity", network.connectivity),
        kind if isinstance(kind, str) else "",
        number("Metered", network.metered),
    )


class NetworkManagerLink:
    """A `LinkMonitor` that follows NetworkManager while `run` runs.

    Args:
        bus: `system`, `session`, or a D-Bus address (`unix:path=...`).
        clock: for the waits while the bus is away.

    Attributes:
        on_change: told of each change, on the event loop.
        problem: why nothing is known, empty while NetworkManager answers.
        answered: the link of its newest answer, None before the first.
    """

    def __init__(self, bus: str, clock: Clock) -> None:
        try:
            import jeepney  # noqa: F401
        except ImportError as error:
            raise InputError("needs jeepney: pip install 'longtail[dbus]'", "link") from error
        self._bus = {"system": "SYSTEM", "session": "SESSION"}.get(bus, bus)
        self._clock = clock
        self._network = NetworkState()
        self._link = NO_LINK
        self.on_change: Callable[[], object] = lambda: None
        self.problem = "not asked yet"
        self.answered: Link | None = None

    def link(self) -> Link:
        return self._link

    async def run(self) -> None:
        """Follow until cancelled; a bus that is away is asked again, later each time."""
        wait_ns = FIRST_WAIT_NS
        while True:
            try:
                await self._follow()
            # ValueError: refused; KeyError: no address in the environment; EOFError: hung up.
            except (OSError, ValueError, KeyError, EOFError, RuntimeError) as error:
                if not self.problem:
                    wait_ns = FIRST_WAIT_NS
                self._lose(f"D-Bus is away: {type(error).__name__}: {error}")
            await self._clock.sleep_ns(wait_ns)
            wait_ns = min(LONGEST_WAIT_NS, 2 * wait_ns)

    async def _follow(self) -> None:
        from jeepney import HeaderFields, MatchRule, MessageType, message_bus
        from jeepney.io.asyncio import open_dbus_connection

        properties = MatchRule(
            type="signal", sender=SERVICE, interface=PROPERTIES, member="PropertiesChanged",
            path=PATH,
        )  # fmt: skip
        owners = MatchRule(
            type="signal", sender=message_bus.bus_name, interface=message_bus.interface,
            member="NameOwnerChanged",
        )  # fmt: skip
        owners.add_arg_condition(0, SERVICE)
        async with await open_dbus_connection(self._bus) as bus:
            await bus.send(message_bus.AddMatch(properties))
            await bus.send(message_bus.AddMatch(owners))
            # Read after listening: what changes meanwhile is told again, never missed.
            asked = await self._ask(bus)
            while True:
                message = await bus.receive()
                fields, body = message.header.fields, message.body
                # A body is what its signature says; other signals are not for us.
                shape = (fields.get(HeaderFields.member), fields.get(HeaderFields.signature))
                if fields.get(HeaderFields.reply_serial) == asked:
                    failed = message.header.message_type == MessageType.error or shape[1] != "a{sv}"
                    self._read(body, failed=failed)
                elif shape == ("NameOwnerChanged", "sss") and body[0] == SERVICE:
                    if body[2]:
                        asked = await self._ask(bus)
                    else:
                        self._lose("NetworkManager is away")
                elif shape == ("PropertiesChanged", "sa{sv}as") and body[0] == SERVICE:
                    self._take(changed(self._network, body[1]))

    async def _ask(self, bus: Any) -> int:
        """Ask for all properties; the serial of the answer to come."""
        from jeepney import DBusAddress, Properties

        serial = next(bus.outgoing_serial)
        address = DBusAddress(PATH, bus_name=SERVICE, interface=SERVICE)
        await bus.send(Properties(address).get_all(), serial=serial)
        return int(serial)

    def _read(self, body: Any, *, failed: bool) -> None:
        if failed:
            self._lose(f"NetworkManager does not answer: {body[0] if body else 'no reason'}")
            return
        self.problem = ""
        self._take(changed(NetworkState(), body[0]))

    def _take(self, network: NetworkState) -> None:
        self._network = network
        self.answered = link_of(network)
        self._show(self.answered)

    def _lose(self, why: str) -> None:
        if self.problem != why:
            log.warning("link unknown", reason=why)
        self.problem = why
        self._network = NetworkState()
        self._show(NO_LINK)

    def _show(self, link: Link) -> None:
        before, self._link = self._link, link
        if link != before:
            log.info("link changed", kind=link.kind, metered=link.metered)
            self.on_change()
