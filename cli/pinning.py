"""Sets of clips that a cloud keeps hot, told by the commands that make them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

from client.storage import StorageClient
from contracts.storage import PinKind

PinOption = Annotated[
    str | None,
    typer.Option("--pin", metavar="CLOUD", help="URL of the cloud that shall keep its clips hot."),
]


def pin_at(
    cloud: str | None, operator_token: str | None, kind: PinKind, digest: str, clips: Iterable[str]
) -> None:
    """Keep the clips of a set hot at a cloud, if one is given. Raises `contracts.errors`."""
    if cloud is None:
        return
    pin = StorageClient(cloud, operator_token).pin(kind, digest, sorted(set(clips)))
    typer.echo(f"{pin.clips} clips stay hot at {cloud}", err=True)
