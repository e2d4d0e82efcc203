"""The step `read`: the whole clip once, message by message, so that what follows can rely on it.

Manifest and metadata are read at the commit already; what the commit does not look at is whether
all that the manifest promises can be read. What cannot is quarantined.
"""

from __future__ import annotations

from collections import Counter

from cloud_ingest.steps.answering import Product
from cloud_ingest.steps.computing import Material
from cloud_ingest.steps.work import Done, Ending, UnreadableError, Work
from contracts.errors import CorruptError
from kernels.clip.reader import read_messages


async def read(work: Work) -> Ending:
    """Raises `UnreadableError` where the file breaks off or holds fewer messages than it says."""
    try:
        return Done(await work.compute("read"))
    except CorruptError as error:
        raise UnreadableError(error.message, error.place) from error


def count(material: Material) -> Product:
    """How many messages and channels there are. Raises `CorruptError` for one that is damaged."""
    found: Counter[str] = Counter()
    with material.open() as stream:
        try:
            for message in read_messages(stream):
                found[message.channel] += 1
        except CorruptError as error:
            raise CorruptError(error.message) from error  # its place is the store's own
    for channel in material.manifest.channels:
        if found[channel.name] < channel.messages:
            raise CorruptError(
                f"holds {found[channel.name]} of {channel.messages} messages", channel.name
            )
    return {"messages": found.total(), "channels": len(found)}
