"""SIGKILL at seeded moments while a person publishes: each release is there whole, or not at
all, and a stock client updates from whatever is left.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from contracts.errors import TransientError
from tests.cloud_ingest.ota_support import Person, StockClient, http_of, write_model, write_spec
from tests.cloud_ingest.server_process import ServerProcess

KILLS = 2
PUBLISHING_S = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    folder = Path(tempfile.mkdtemp(prefix="lt-ota-kill-"))
    process = ServerProcess(folder / "cloud")
    try:
        process.start()
        yield process
    finally:
        if process.stop() != 0:
            # A killed server leaves its database behind; a start and a stop end it in order.
            process.start()
            process.stop()
        shutil.rmtree(folder)


def check_whole(server: ServerProcess, folder: Path, expected: dict[str, bytes]) -> int:
    """What is listed downloads and verifies, and what is not is absent; how many are there."""
    person = Person(server.url, server.folder / "ota" / "offline")
    listed = {f"{row.kind}s/{row.name}/{row.version}" for row in person.client.releases()}
    root = (server.folder / "ota" / "metadata" / "image" / "1.root.json").read_bytes()
    with http_of(server.url) as http:
        stock = StockClient(server.url, folder / "stock", root, http)
        for path, content in expected.items():
            is_listed = path.rpartition("/")[0] in listed
            assert stock.download(path) == (content if is_listed else None), path
    return len(listed)


def publish_all(server: ServerProcess, model: tuple[Path, Path], specs: list[Path]) -> bool:
    """One try, from the start; True when all of it was answered."""
    person = Person(server.url, server.folder / "ota" / "offline")
    try:
        person.publish_model(model)
        for path in specs:
            person.publish(path)
    except TransientError:
        return False
    return True


def run(server: ServerProcess, folder: Path, seed: int) -> None:
    source = random.Random(seed)
    content = source.randbytes(3_000_000)
    model = write_model(folder, content, seed)
    specs = [write_spec(folder, f"brake{seed}-{number}") for number in range(KILLS)]
    expected = {f"triggers/{path.stem[:-2]}/1/spec.yaml": path.read_bytes() for path in specs}
    expected[f"models/eyes/{seed}/model.onnx"] = content
    expected[f"models/eyes/{seed}/manifest.yaml"] = model[1].read_bytes()
    for _ in range(KILLS):
        # What publishing takes here, roughly: kills fall before, into and after its steps.
        killer = threading.Timer(source.uniform(0.0, PUBLISHING_S), server.kill)
        killer.start()
        publish_all(server, model, specs)
        killer.join()
        server.start()
        check_whole(server, folder, expected)
    before = check_whole(server, folder, {})
    assert publish_all(server, model, specs)
    assert check_whole(server, folder, expected) >= max(before, 1 + KILLS)


@pytest.mark.parametrize("seed", [1])
def test_publishing_is_whole_or_not_at_all(
    server: ServerProcess, tmp_path: Path, seed: int
) -> None:
    run(server, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_publishing_is_whole_or_not_at_all_at_length(
    server: ServerProcess, tmp_path: Path, seed: int
) -> None:
    run(server, tmp_path, seed)
