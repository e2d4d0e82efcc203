"""rosbags' reader, with errors in our words and messages one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contracts.errors import CorruptError, InputError
from edge_agent.sources.address import optional_module

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader


@contextmanager
def of_its_type(topic: str) -> Iterator[None]:
    """Raise `InputError` where a message lacks what its type should have: the bag itself says what
    its types are made of.
    """
    try:
        yield
    except (AttributeError, TypeError, IndexError, ValueError) as error:
        raise InputError(f"not what its type should be: {error}", topic) from error


class Bag:
    """An opened bag. Close it.

    Attributes: `types`: message type by topic; `fielddefs`: fields by type, as rosbags has them;
    `start_ns`: wall time of the first message.

    Raises `InputError` for what is no bag.
    """

    def __init__(self, path: Path) -> None:
        highlevel = optional_module("rosbags.highlevel", "ros")
        typesys = optional_module("rosbags.typesys", "ros")
        self._path = path
        if not path.exists():
            raise InputError("no such bag; give ros2:BAG_FOLDER", str(path))
        try:
            # Old sqlite bags hold no message definitions: then those of a common release do.
            default = typesys.get_typestore(typesys.Stores.ROS2_HUMBLE)
            self._reader: AnyReader = highlevel.AnyReader([path], default_typestore=default)
            self._reader.open()
        except Exception as error:  # its readers and parsers raise many kinds
            raise InputError(
                f"not a bag that can be read: {error} "
                "(`ros2 bag reindex`, or `mcap recover` of an MCAP file, may mend it)",
                str(path),
            ) from error
        if not self._reader.connections:
            self.close()
            raise InputError("the bag is empty", str(path))
        self.types = {c.topic: c.msgtype for c in self._reader.connections}
        self.fielddefs = self._reader.typestore.fielddefs
        self.start_ns: int = self._reader.start_time

    def close(self) -> None:
        if self._reader.stack is not None:
            self._reader.close()

    def ahead(self, topic: str) -> Iterator[Any]:
        """Messages of one topic up to where the bag breaks off, which `messages` will tell."""
        try:
            for _, _, message in self.messages(frozenset({topic}), Counter()):
                yield message
        except CorruptError:
            return

    def messages(
        self, topics: frozenset[str], counts: Counter[str]
    ) -> Iterator[tuple[str, int, Any]]:
        """Topic, time of recording and message. Raises `CorruptError` where the bag breaks off."""
        wanted = [c for c in self._reader.connections if c.topic in topics]
        if not wanted:
            return
        raw = self._reader.messages(connections=wanted)
        given = 0
        while True:
            try:
                found = next(raw, None)
            except Exception as error:
                raise CorruptError(
                    f"the bag breaks off after {given} messages: {error or type(error).__name__}",
                    str(self._path),
                ) from error
            if found is None:
                return
            given += 1
            connection, recorded_ns, content = found
            try:
                message = self._reader.deserialize(content, connection.msgtype)
            except Exception:  # noqa: BLE001  # a message of the wrong length raises many kinds
                counts[f"{connection.topic}: message cannot be read"] += 1
                continue
            yield connection.topic, recorded_ns, message
