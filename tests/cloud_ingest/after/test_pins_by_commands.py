"""The commands that make label sets and dataset versions keep their clips hot."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from cli.label import app as label_app
from cli.loop import app as loop_app
from client.storage import StorageClient
from cloud_ingest.schema import clip_identity
from contracts.errors import InputError
from contracts.ids import digest_file
from tests.cloud_ingest.support import RunningServer
from tests.offline.datasets.drives import write_drive

RUNNER = CliRunner()


def known(tables: sa.Engine, paths: list[Path]) -> None:
    """The cloud has these clips."""
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    with tables.begin() as connection:
        for path in paths:
            found = digest_file(path)
            row = {
                "clip_id": found.clip_id(), "size_bytes": found.size_bytes, "received_utc": now,
            }  # fmt: skip
            connection.execute(sa.insert(clip_identity).values(row))


def test_a_set_that_is_made_is_pinned(
    cloud: RunningServer, tables: sa.Engine, tmp_path: Path
) -> None:
    for n in range(3):
        write_drive(tmp_path / f"drives/{n}", [100 + n], drive=f"d{n}")
    words = ["set", str(tmp_path / "drives"), "--store", str(tmp_path / "store")]
    with pytest.raises(InputError, match="no such clip"):
        RUNNER.invoke(label_app, [*words, "--pin", cloud.url], catch_exceptions=False)
    known(tables, sorted((tmp_path / "drives").rglob("*.mcap")))
    done = RUNNER.invoke(label_app, [*words, "--json", "--pin", cloud.url], catch_exceptions=False)
    labels = json.loads(done.stdout)["digest"]
    built = RUNNER.invoke(
        loop_app,
        ["dataset", "build", labels, "--store", str(tmp_path / "store"), "--snapshot",
         "2026-01-31T12:00:00Z", "--split", "train=1", "--json", "--pin", cloud.url],
        catch_exceptions=False,
    )  # fmt: skip
    version = json.loads(built.stdout)["digest"]
    pins = {(pin.kind, pin.name): pin.clips for pin in StorageClient(cloud.url).pins()}
    assert pins == {("label_set", labels): 3, ("dataset_version", version): 3}
