"""`longtail cloud ...`: the typer group that the umbrella command mounts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cloud_ingest.keys_cli import app as keys_app

app = typer.Typer(help="The cloud service.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")


@app.callback()
def _group() -> None:
    """The cloud service."""


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Folder of database and clips.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written with the service's URL once it answers.")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="How vehicles reach the service (PUBLIC_URL).")
    ] = None,
) -> None:
    """Receive, keep and find clips until stopped.

    Without more it is a whole service for this machine: embedded PostgreSQL and a local store
    under the folder. DATABASE_URL, OBJECT_STORE_URL, PUBLIC_URL and LONGTAIL_OPERATOR_TOKEN
    put it on real infrastructure.
    """
    from cloud_ingest.serve import serve as run
    from cloud_ingest.settings import load_settings

    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "folder": folder,
        "ready_file": ready_file,
        "public_url": public_url,
    }
    run(load_settings({name: value for name, value in given.items() if value is not None}))
