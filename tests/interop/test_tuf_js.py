"""The stock tuf-js under Node updates from the real service's image repository, unchanged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from client.releases import ReleaseClient
from client.signing import load_key
from cloud_ingest.ota.ceremony import Plan, hold_ceremony
from cloud_ingest.ota.key_folder import KeyFolder
from cloud_ingest.ota.remote import RemoteRoles, send_newer
from cloud_ingest.ota.rotation import KeyOffice
from contracts.clock import SystemClock
from contracts.ota import ReleaseId
from tests.cloud_ingest.ota_support import write_model, write_spec
from tests.interop.programs import clean_environment, find_program, serving_cloud

pytestmark = pytest.mark.interop

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "tuf_update.mjs"


@dataclass(frozen=True, slots=True)
class Served:
    """A service with keys of its own, and a client that trusts its first root."""

    url: str
    keys: KeyFolder
    node: str
    client: Path

    def update(self, path: str) -> dict[str, Any]:
        """Run tuf-js once; what it told."""
        asked = {
            "metadata": f"{self.url}/v1/ota/image/metadata",
            "targets": f"{self.url}/v1/ota/image/targets",
            "folder": str(self.client),
            "path": path,
        }
        done = subprocess.run(
            [self.node, str(SCRIPT), json.dumps(asked)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
            env=clean_environment(),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def download(self, path: str) -> bytes | None:
        told = self.update(path)
        assert told["outcome"] == "success", told
        return None if told["file"] is None else Path(told["file"]).read_bytes()

    @property
    def publisher(self) -> ReleaseClient:
        return ReleaseClient(self.url, "ann")

    def key(self, role: str) -> Any:
        return load_key(self.keys.offline / f"{role}-1.pem")


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    if not (FOLDER / "node_modules" / "tuf-js").is_dir():
        pytest.skip("tuf-js is not installed (make interop)")
    node = find_program("node", "from nodejs.org or the system's packages, 20.17 or newer")
    keys = hold_ceremony(tmp_path / "keys", Plan(models_threshold=2), SystemClock())
    client = tmp_path / "client"
    client.mkdir()
    (client / "root.json").write_bytes((keys.trust / "image.root.json").read_bytes())
    with serving_cloud(LONGTAIL_OTA=str(keys.path)) as url:
        yield Served(url, keys, node, client)


def test_it_gets_what_people_publish(served: Served, tmp_path: Path) -> None:
    path = write_spec(tmp_path)
    assert served.download("triggers/brake/1/spec.yaml") is None
    served.publisher.publish_spec(path, served.key("triggers"))
    assert served.download("triggers/brake/1/spec.yaml") == path.read_bytes()
    content = bytes(range(256)) * 10_000
    served.publisher.publish_model(*write_model(tmp_path, content), served.key("models"))
    assert served.download("models/eyes/1/model.onnx") is None, "it waits for a second person"
    served.publisher.approve("model", load_key(served.keys.offline / "models-2.pem"))
    assert served.download("models/eyes/1/model.onnx") == content
    release = ReleaseId("trigger", "brake", 1)
    served.publisher.withdraw(release, served.key("triggers"), "it was wrong")
    assert served.download("triggers/brake/1/spec.yaml") is None


def test_it_follows_fresh_keys(served: Served, tmp_path: Path) -> None:
    remote = RemoteRoles(served.url, None, "ann")
    for number, name in enumerate(("root-1", "targets", "triggers-1", "image"), 1):
        path = write_spec(tmp_path, version=number)
        served.publisher.publish_spec(path, served.key("triggers"))
        KeyOffice(served.keys, (), SystemClock(), remote.newest).rotate(name)
        send_newer(served.keys, remote)
        assert served.download(f"triggers/brake/{number}/spec.yaml") == path.read_bytes()
    remote.close()


def test_it_refuses_a_service_of_other_keys(served: Served, tmp_path: Path) -> None:
    foreign = hold_ceremony(tmp_path / "foreign", Plan(), SystemClock())
    root = (foreign.trust / "image.root.json").read_bytes()
    (served.client / "root.json").write_bytes(root)
    told = served.update("triggers/brake/1/spec.yaml")
    assert told["outcome"] == "error"
    assert "signed by" in told["message"]
