"""What the tests of updates share: files to publish, people with keys, stock TUF clients."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, TargetFile, Targets
from tuf.ngclient import FetcherInterface, Updater

from client.http import Retries
from client.releases import Outcome, ReleaseClient
from client.signing import load_key
from contracts.clock import Clock
from contracts.ota import ReleaseId

AT_ONCE = Retries(attempts=2, first_pause_s=0.001, longest_pause_s=0.002)
PIECE = 2**20
SPEC_PATH = "triggers/brake/1/spec.yaml"


def spec_text(trigger_id: str = "brake", version: int = 1, **changes: Any) -> str:
    document = {
        "apiVersion": "longtail/v1", "id": trigger_id, "version": version, "kind": "hard_brake",
        "owner": "people@example.com",
    }  # fmt: skip
    return yaml.safe_dump(document | changes, sort_keys=False)


def write_spec(folder: Path, trigger_id: str = "brake", version: int = 1, **changes: Any) -> Path:
    path = folder / f"{trigger_id}-{version}.yaml"
    path.write_text(spec_text(trigger_id, version, **changes))
    return path


def manifest_text(content: bytes, name: str = "eyes", version: int = 1, **changes: Any) -> str:
    document: dict[str, Any] = {
        "schema_version": 1, "name": name, "version": version,
        "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content),
        "licence": "Apache-2.0",
        "input": {"tensor": "images", "width": 64, "height": 64, "colour": "bgr"},
        "decoder": {"name": "yolox", "tensor": "output"},
        "classes": ["car"],
        "self_test": {"probes": [{"index": [0], "value": 1.0, "tolerance": 0.1}]},
    }  # fmt: skip
    return yaml.safe_dump(document | changes, sort_keys=False)


def write_model(folder: Path, content: bytes, version: int = 1) -> tuple[Path, Path]:
    """The model file and its manifest."""
    model, manifest = folder / f"eyes-{version}.onnx", folder / f"eyes-{version}.yaml"
    model.write_bytes(content)
    manifest.write_text(manifest_text(content, version=version))
    return model, manifest


@dataclass
class Person:
    """Somebody with a key who publishes on a service.

    `offline` is where keys lie; the person has `triggers-N` and `models-N`.
    """

    url: str
    offline: Path
    number: int = 1
    token: str | None = None
    name: str = "ann"
    clock: Clock | None = None

    @property
    def client(self) -> ReleaseClient:
        return ReleaseClient(self.url, self.name, self.token, retries=AT_ONCE, clock=self.clock)

    def key(self, role: str = "triggers") -> CryptoSigner:
        return load_key(self.offline / f"{role}-{self.number}.pem")

    def publish(self, path: Path) -> Outcome:
        return self.client.publish_spec(path, self.key())

    def publish_model(self, files: tuple[Path, Path]) -> Outcome:
        return self.client.publish_model(*files, self.key("models"))

    def withdraw(self, trigger_id: str = "brake", version: int = 1) -> Outcome:
        release = ReleaseId("trigger", trigger_id, version)
        return self.client.withdraw(release, self.key(), "it was wrong")


class Fetcher(FetcherInterface):
    """Fetches for a stock client as one caller, and notes what it fetched."""

    def __init__(self, http: httpx.Client, token: str | None = None) -> None:
        self._http = http
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.fetched: list[tuple[str, int]] = []

    def _fetch(self, url: str) -> Iterator[bytes]:
        answer = self._http.get(url, headers=self._headers)
        self.fetched.append((url.rpartition("/")[2], len(answer.content)))
        if answer.status_code != 200:
            raise DownloadHTTPError(answer.text, answer.status_code)
        return iter([answer.content])

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.fetched]


@dataclass
class StockClient:
    """python-tuf's own client of one repository, from a root that it was provisioned with."""

    url: str
    folder: Path
    root: bytes
    http: httpx.Client
    token: str | None = None
    vehicle_id: str | None = None
    fetcher: Fetcher = field(init=False)

    def refreshed(self) -> Updater:
        """An updater that has just refreshed; metadata stays in the folder for the next."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "files").mkdir(exist_ok=True)
        self.fetcher = Fetcher(self.http, self.token)
        of = "image" if self.vehicle_id is None else f"director/{self.vehicle_id}"
        updater = Updater(
            str(self.folder),
            f"{self.url}/v1/ota/{of}/metadata/",
            str(self.folder / "files"),
            f"{self.url}/v1/ota/image/targets/",
            self.fetcher,
            bootstrap=self.root,
        )
        updater.refresh()
        return updater

    def targets(self) -> Targets:
        """The verified top-level targets after a refresh."""
        self.refreshed()
        return Metadata[Targets].from_file(str(self.folder / "targets.json")).signed

    def download(self, path: str) -> bytes | None:
        """A target's verified bytes; None when the repository does not name it."""
        updater = self.refreshed()
        found = updater.get_targetinfo(path)
        return None if found is None else Path(updater.download_target(found)).read_bytes()


def put_file(http: httpx.Client, content: bytes, **headers: str) -> str:
    """Store a file; its digest."""
    digest = hashlib.sha256(content).hexdigest()
    answer = http.put(f"/v1/ota/files/{digest}", content=content, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"sha256": digest, "size_bytes": len(content)}
    return digest


def role_state(http: httpx.Client, role: str = "triggers") -> dict[str, Any]:
    answer = http.get(f"/v1/ota/image/roles/{role}")
    assert answer.status_code == 200, answer.text
    state: dict[str, Any] = answer.json()
    return state


def post_role(
    http: httpx.Client, role: str, metadata: Metadata[Any] | str, actor: str = "ann"
) -> httpx.Response:
    text = metadata if isinstance(metadata, str) else metadata.to_bytes().decode()
    body = {"metadata": text, "actor": actor}
    return http.post(f"/v1/ota/image/roles/{role}", json=body)


def next_role(http: httpx.Client, role: str = "triggers") -> Metadata[Targets]:
    """The role's newest metadata as its next version, unsigned."""
    metadata: Metadata[Targets] = Metadata.from_bytes(role_state(http, role)["metadata"].encode())
    metadata.signed.version += 1
    metadata.signatures.clear()
    return metadata


def name_file(metadata: Metadata[Targets], path: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    metadata.signed.targets[path] = TargetFile(len(content), {"sha256": digest}, path)


def expires_in(days: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(days=days)


def signed_part(content: bytes) -> dict[str, Any]:
    part: dict[str, Any] = json.loads(content)["signed"]
    return part


@contextmanager
def http_of(url: str, token: str | None = None) -> Iterator[httpx.Client]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        yield client
