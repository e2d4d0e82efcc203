"""The vehicle's own files: sidecars, ledger, update state, keys, configuration."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

from contracts.canonical import canonical_digest
from contracts.clock import VirtualClock
from contracts.upload import UploadRequest
from edge_agent.config import load_config
from edge_agent.disk import RealDisk
from edge_agent.identity import VehicleKey
from edge_agent.ledger import Ledger, open_ledger
from edge_agent.ota.manifest import Sequence as Sequence_
from edge_agent.ota.state import OtaState, read_state, write_state
from edge_agent.ota.trusted_time import TrustedTime
from edge_agent.perception.manifests import BUNDLED_MANIFESTS
from edge_agent.perception.manifests import read_manifest as read_model
from edge_agent.redaction.geojson import read_zones
from edge_agent.spool.entry import Sidecar
from edge_agent.spool.folder import read_sidecar, reason_of, seal_of, write_sidecar
from tests.fuzz.target import Target, seal_json
from tests.fuzz.wire import request_json
from tests.fuzz.words import SPEC_WORDS


@cache
def sidecars() -> tuple[bytes, ...]:
    request = UploadRequest.model_validate_json(request_json())
    sidecar = Sidecar(
        request=request, priority="safety", cellular="allowed", value=3.0, sequence=7, utc_ns=1
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{request.clip_id}.json"
        write_sidecar(RealDisk(), path, sidecar)
        return (path.read_bytes(),)


def sidecar_name() -> str:
    return UploadRequest.model_validate_json(request_json()).clip_id + ".json"


def seal_sidecar(content: bytes) -> bytes:
    return seal_json(content, lambda tree: tree.update(seal=seal_of(json.dumps(tree).encode())))


def seal_state(content: bytes) -> bytes:
    return seal_json(content, lambda tree: tree.update(sha256=canonical_digest(tree.get("state"))))


@cache
def ledgers() -> tuple[bytes, ...]:
    from tests.edge_agent.upload_rig import BOOT, record

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger.sqlite"
        ledger = Ledger(path, VirtualClock(), BOOT)
        for number in range(8):
            ledger.outbox.put(record(number))
            ledger.spending.reserve(("a", number), "safety", 10)
        ledger.cellular.settle(ledger.cellular.debit(1000), 900)
        ledger.close()
        return (path.read_bytes(),)


@cache
def ota_states() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.json"
        write_state(RealDisk(), path, OtaState(killed=("jerk",)))
        return (path.read_bytes(),)


ZONES = b"""{"type": "FeatureCollection", "features": [
 {"type": "Feature", "properties": {"name": "yard"}, "geometry": {"type": "Polygon", "coordinates":
  [[[8.5, 47.3], [8.6, 47.3], [8.6, 47.4], [8.5, 47.4], [8.5, 47.3]]]}},
 {"type": "Feature", "properties": {}, "geometry": {"type": "MultiPolygon", "coordinates":
  [[[[1.0, 2.0], [1.1, 2.0], [1.1, 2.1], [1.0, 2.0]]]]}}]}"""
CONFIG = b"""vehicle_id = "car-1"
state = "/tmp/x"
source = "sim:"
[spool]
quota = "8GB"
floor_free = "1GB"
[upload]
cellular_bytes_per_day = "50MB"
"""


def run_sequence(path: Path) -> None:
    Sequence_(path, RealDisk()).next()
    path.unlink(missing_ok=True)


def run_time_floor(path: Path) -> None:
    TrustedTime(path, RealDisk(), VirtualClock())


def run_ledger(path: Path) -> None:
    for old in path.parent.glob("ledger.sqlite*"):
        if old != path:
            old.unlink()
    ledger = open_ledger(path, VirtualClock(), "boot-1")
    try:
        ledger.cellular.spent()
        ledger.spending.of("a")
        ledger.outbox.waiting()
        ledger.tombstones.after()
        ledger.suppressions.rows()
        ledger.totals.all()
        ledger.spending.reserve(("b", 1), "ordinary", 1)
    finally:
        ledger.close()


def vehicle_keys() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "key.pem"
        VehicleKey.load_or_create(path, "car-1", RealDisk())
        return [path.read_bytes()]


@cache
def model_manifests() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(BUNDLED_MANIFESTS.glob("*.yaml"))[:2])


def run_key(path: Path) -> None:
    path.chmod(0o600)
    VehicleKey.load_or_create(path, "car-1", RealDisk())


TARGETS = (
    Target("sidecar", sidecars, run_file=read_sidecar, file_name=sidecar_name(), is_json=True,
           dress=seal_sidecar),
    Target("reason", lambda: [b'{"reason": "x", "from": "active", "utc_ns": 1}'], is_json=True,
           run_file=lambda p: reason_of(p.with_name("input")), file_name="input.reason.json"),
    Target("ledger", ledgers, run_file=run_ledger, file_name="ledger.sqlite", slow=True),
    Target("ota-state", ota_states, run_file=read_state, file_name="state.json", is_json=True,
           dress=seal_state),
    Target("check-in-number", lambda: [b'{"reserved": 64}'], run_file=run_sequence, is_json=True,
           file_name="sequence.json", slow=True),
    Target("time-floor", lambda: [b'{"floor_utc_ns": 5000000}'], run_file=run_time_floor,
           file_name="floor.json", is_json=True),
    Target("model-manifest", model_manifests, run_file=read_model, file_name="m.yaml",
           words=SPEC_WORDS, slow=True),
    Target("agent-config", lambda: [CONFIG], run_file=lambda p: load_config(p, {}),
           file_name="agent.toml", words=("[spool]", "quota", "=", '"5GB"', "[[x]]", "1e400")),
    Target("zones", lambda: [ZONES], run_file=read_zones, file_name="z.json", is_json=True),
    Target("vehicle-key", vehicle_keys, file_name="key.pem", slow=True,
           run_file=run_key),
)  # fmt: skip
