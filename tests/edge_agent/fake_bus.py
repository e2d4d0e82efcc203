"""A D-Bus message bus in this process, and a NetworkManager to put on a bus.

`PrivateBus` speaks the D-Bus wire protocol on a unix socket: authentication, names, method calls
from peer to peer, and signals to those who asked for them by `AddMatch`. It knows just what the
agent's client and the fake service need, so that their tests run without Debian's dbus-daemon;
where that is there, the same tests run on it too.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.asyncio import DBusConnection, DBusRouter, Proxy, open_dbus_connection

NM = "org.freedesktop.NetworkManager"
NM_PATH = "/org/freedesktop/NetworkManager"
PROPERTIES = "org.freedesktop.DBus.Properties"
DBUS = "org.freedesktop.DBus"


class _Peer:
    def __init__(self, name: str, writer: asyncio.StreamWriter) -> None:
        self.name = name
        self.writer = writer
        self.rules: list[str] = []


class PrivateBus:
    """The bus. `kick` hangs up on everybody, as a bus that restarts does."""

    def __init__(self) -> None:
        self._peers: dict[str, _Peer] = {}
        self._owners: dict[str, str] = {}
        self._numbers = count(1)
        self._serials = count(1)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = _Peer(f":1.{next(self._numbers)}", writer)
        try:
            if await self._authenticated(reader, writer):
                self._peers[peer.name] = peer
                parser = Parser()
                while received := await reader.read(65536):
                    parser.add_data(received)
                    while (message := parser.get_next_message()) is not None:
                        self._take(peer, message)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._peers.pop(peer.name, None)
            for name in [n for n, owner in self._owners.items() if owner == peer.name]:
                self._own(name, "")
            writer.close()

    async def _authenticated(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await reader.readexactly(1)
        while line := await reader.readline():
            if line.startswith(b"AUTH"):
                writer.write(b"OK 0123456789abcdef0123456789abcdef\r\n")
            elif line.startswith(b"NEGOTIATE_UNIX_FD"):
                writer.write(b"ERROR\r\n")
            elif line.startswith(b"BEGIN"):
                return True
            else:
                writer.write(b"ERROR\r\n")
        return False

    def kick(self) -> None:
        for peer in list(self._peers.values()):
            peer.writer.close()

    def _send(self, peer: _Peer, message: Message, sender: str, serial: int | None = None) -> None:
        message.header.fields[HeaderFields.sender] = sender
        if not peer.writer.is_closing():
            peer.writer.write(message.serialise(serial or next(self._serials)))

    def _take(self, peer: _Peer, message: Message) -> None:
        fields = message.header.fields
        target = fields.get(HeaderFields.destination)
        if target == DBUS:
            self._answer(peer, message)
        elif message.header.message_type == MessageType.signal:
            self._publish(message, peer.name)
        else:
            other = self._peers.get(self._owners.get(target, target))
            if other is not None:
                self._send(other, message, peer.name, message.header.serial)
            elif message.header.message_type == MessageType.method_call:
                unknown = new_error(message, f"{DBUS}.Error.ServiceUnknown", "s", ("nobody",))
                self._send(peer, unknown, DBUS)

    def _answer(self, peer: _Peer, message: Message) -> None:
        match message.header.fields[HeaderFields.member]:
            case "Hello":
                reply = new_method_return(message, "s", (peer.name,))
            case "AddMatch":
                peer.rules.append(message.body[0])
                reply = new_method_return(message)
            case "RequestName":
                reply = new_method_return(message, "u", (1,))
                self._own(message.body[0], peer.name)
            case "ReleaseName":
                reply = new_method_return(message, "u", (1,))
                self._own(message.body[0], "")
            case _:
                reply = new_error(message, f"{DBUS}.Error.UnknownMethod")
        self._send(peer, reply, DBUS)

    def _own(self, name: str, owner: str) -> None:
        old = self._owners.pop(name, "")
        if owner:
            self._owners[name] = owner
        bus = DBusAddress("/org/freedesktop/DBus", interface=DBUS)
        self._publish(new_signal(bus, "NameOwnerChanged", "sss", (name, old, owner)), DBUS)

    def _publish(self, message: Message, sender: str) -> None:
        names = [sender, *(name for name, owner in self._owners.items() if owner == sender)]
        for peer in list(self._peers.values()):
            if any(_wants(rule, message, names) for rule in peer.rules):
                self._send(peer, message, sender)


def _wants(rule: str, message: Message, sender_names: list[str]) -> bool:
    """Whether a match rule, as text, lets a signal through."""
    fields = message.header.fields
    for part in rule.split(","):
        key, _, quoted = part.partition("=")
        value = quoted.strip("'")
        known = {
            "type": "signal", "interface": fields.get(HeaderFields.interface),
            "member": fields.get(HeaderFields.member), "path": fields.get(HeaderFields.path),
            "arg0": message.body[0] if message.body else None,
        }  # fmt: skip
        if key == "sender":
            if value not in sender_names:
                return False
        elif key in known and known[key] != value:
            return False
    return True


@asynccontextmanager
async def private_bus(folder: Path) -> AsyncIterator[tuple[str, PrivateBus]]:
    """The bus of this process: its address, and itself."""
    bus, path = PrivateBus(), folder / "bus"
    server = await asyncio.start_unix_server(bus.serve, path)
    try:
        yield f"unix:path={path}", bus
    finally:
        bus.kick()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0)


DAEMON = shutil.which("dbus-daemon")


@asynccontextmanager
async def daemon_bus(folder: Path) -> AsyncIterator[tuple[str, None]]:
    """Debian's dbus-daemon, with a bus of its own on which everything is allowed."""
    path = folder / "daemon"
    config = folder / "bus.conf"
    config.write_text(
        f"<busconfig><type>session</type><listen>unix:path={path}</listen><auth>EXTERNAL</auth>"
        "<policy context='default'><allow send_destination='*' eavesdrop='true'/>"
        "<allow eavesdrop='true'/><allow own='*'/></policy></busconfig>"
    )
    assert DAEMON is not None
    daemon = subprocess.Popen(  # noqa: ASYNC220
        [DAEMON, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert daemon.stdout is not None
    try:
        await asyncio.to_thread(daemon.stdout.readline)  # it listens when it has told where
        yield f"unix:path={path}", None
    finally:
        daemon.terminate()
        await asyncio.to_thread(daemon.wait)
        daemon.stdout.close()


class FakeNetworkManager:
    """The service: its properties, told on request and by signal as the real one does."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: DBusConnection | None = None
        self._serving: asyncio.Task[None] | None = None
        self.asked = 0
        self.properties: dict[str, tuple[str, Any]] = {
            "State": ("u", 70), "Connectivity": ("u", 4), "Metered": ("u", 4),
            "PrimaryConnectionType": ("s", "802-11-wireless"), "Version": ("s", "1.50"),
        }  # fmt: skip

    async def start(self) -> None:
        """Come up, and own the name."""
        self._connection = connection = await open_dbus_connection(self._address)
        async with DBusRouter(connection) as router:
            await Proxy(message_bus, router).RequestName(NM)
        self._serving = asyncio.create_task(self._serve(connection))

    async def stop(self) -> None:
        """Go away; the bus tells who listens."""
        assert self._connection is not None and self._serving is not None
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self._connection.close()
        self._connection = None

    async def _serve(self, connection: DBusConnection) -> None:
        while True:
            message = await connection.receive()
            fields = message.header.fields
            if message.header.message_type != MessageType.method_call:
                continue
            if fields[HeaderFields.member] == "GetAll" and fields[HeaderFields.path] == NM_PATH:
                self.asked += 1
                await connection.send(new_method_return(message, "a{sv}", (self.properties,)))
            else:
                await connection.send(new_error(message, f"{DBUS}.Error.UnknownMethod"))

    async def change(self, **properties: int | str) -> None:
        """Set properties, and say so."""
        changed = {
            name: ("s" if isinstance(value, str) else "u", value)
            for name, value in properties.items()
        }
        self.properties.update(changed)
        assert self._connection is not None
        address = DBusAddress(NM_PATH, interface=PROPERTIES)
        await self._connection.send(
            new_signal(address, "PropertiesChanged", "sa{sv}as", (NM, changed, []))
        )


__all__ = ["DAEMON", "FakeNetworkManager", "daemon_bus", "private_bus"]
