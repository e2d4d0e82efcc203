"""The doctor's answers: each check passes, warns with advice, or fails with what to do."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import can
import pytest

from edge_agent.cli import BUNDLED_MODEL
from edge_agent.config import AgentConfig
from edge_agent.health import doctor_machine
from edge_agent.health.doctor import examine
from edge_agent.health.doctor_machine import (
    Finding,
    Remark,
    direct_writes,
    governors,
    service_manager,
)
from edge_agent.health.doctor_sensors import sensors
from tests.edge_agent.agent_drives import PUBLISHED
from tests.edge_agent.can_logs import Vehicle, write_vehicle
from tests.edge_agent.redaction.test_zones import SQUARE, zone


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_machine.reading_of, "__defaults__", (0.01,))


def findings(tmp_path: Path, **config: Any) -> dict[str, Finding]:
    values = {"state": tmp_path / "state", "specs": (PUBLISHED,), **config}
    return {f.check: f for f in examine(AgentConfig.model_validate(values))}


def test_a_sound_machine(tmp_path: Path) -> None:
    power, zones = tmp_path / "power.toml", tmp_path / "zones.geojson"
    power.write_text("ignition = true\nsupply_v = 12.6\ntemperature_c = 41\n")
    zones.write_text(json.dumps(zone(SQUARE)))
    found = findings(
        tmp_path, metrics={"port": 0}, power={"file": power},
        redaction={"model": BUNDLED_MODEL, "zones": zones, "masks": {"/c": [[0, 0, 1, 1]]}},
    )  # fmt: skip
    assert {name for name, f in found.items() if f.level == "fail"} <= {"kernel cache", "disk"}
    assert found["metrics"].level == "ok"
    assert found["power"].detail == "ignition on, 12.6 V, 41 °C"
    assert "1 masks on /c" in found["redaction"].detail
    assert "self-test" in found["redaction"].detail
    assert found["no-record zones"].detail == "1 polygons, 50 m around them"


def test_what_is_wrong_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = findings(
            tmp_path, metrics={"port": port}, power={"file": tmp_path / "none.toml"},
            redaction={"zones": tmp_path / "none.geojson"},
            link={"file": tmp_path / "nothing"},
        )  # fmt: skip
    assert found["metrics"].level == "fail" and "choose another" in found["metrics"].detail
    assert found["power"].level == "warn" and "[power]" in found["power"].advice
    assert found["redaction"].level == "warn" and "privacy.md" in found["redaction"].advice
    assert found["no-record zones"].level == "fail"
    assert found["link"].level == "warn" and found["link"].advice
    assert not any(f.ok for f in found.values() if f.level == "fail")


def test_a_redaction_model_that_is_none_fails(tmp_path: Path) -> None:
    found = findings(tmp_path, redaction={"model": tmp_path / "no.onnx"})
    assert found["redaction"].level == "fail"


@pytest.mark.parametrize(
    ("environment", "advice"),
    [
        ({}, None),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "60000000"}, None),
        ({"INVOCATION_ID": "1"}, "Type=notify"),
        ({"INVOCATION_ID": "1", "NOTIFY_SOCKET": "/run/x"}, "WatchdogSec"),
    ],
)
def test_the_service_managers_watch(environment: dict[str, str], advice: str | None) -> None:
    found = service_manager(environment)
    if advice is None:
        assert isinstance(found, str)
    else:
        assert isinstance(found, Remark) and advice in found.advice


@pytest.mark.parametrize(
    ("governor", "driver", "slow"),
    [
        ("schedutil", "acpi-cpufreq", False),
        ("performance", "intel_pstate", False),
        ("powersave", "intel_pstate", False),
        ("powersave", "acpi-cpufreq", True),
        ("conservative", "cpufreq-dt", True),
    ],
)
def test_governors(tmp_path: Path, governor: str, driver: str, slow: bool) -> None:
    for number in range(2):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
        (folder / "scaling_driver").write_text(f"{driver}\n")
    found = governors(tmp_path)
    assert isinstance(found, Remark) == slow
    assert isinstance(governors(tmp_path / "none"), str)


def test_direct_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct_writes(tmp_path)
    assert list(tmp_path.iterdir()) == []
    real = os.open

    def refusing(path: Any, flags: int, mode: int = 0o777) -> int:
        if Path(path).name == ".doctor-direct":
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", refusing)
    found = direct_writes(tmp_path)
    assert isinstance(found, Remark) and "ext4" in found.advice


def test_a_recording_tells_what_it_holds(tmp_path: Path) -> None:
    found = findings(tmp_path, source="sim:duration_s=5")["sensors"]
    assert found.level == "ok" and found.detail.startswith("a recording of 1 cameras, 1 lidars")
    assert findings(tmp_path)["sensors"].detail.startswith("none configured")
    assert findings(tmp_path, source="sim:durations=1")["sensors"].level == "fail"


@contextmanager
def speaking(channel: str) -> Iterator[None]:
    """A vehicle's end of a virtual bus, which tells of its motion."""
    over, vehicle = threading.Event(), Vehicle()

    def speak() -> None:
        with can.Bus(interface="virtual", channel=channel) as bus:
            while not over.wait(0.002):
                bus.send(vehicle.motion(0.0, 36.0))

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def test_sensors_that_speak_are_heard(tmp_path: Path) -> None:
    mapping = write_vehicle(tmp_path)
    text = mapping.read_text()
    mapping.write_text(text[: text.index("  driver.gas_pressed")])
    with speaking("doctor-1"):
        assert sensors(f"can:virtual/doctor-1,map={mapping}", 60.0) == "2 signals heard"


def test_a_sensor_that_is_away_is_named_beside_those_that_speak(tmp_path: Path) -> None:
    mapping = write_vehicle(tmp_path)
    file = tmp_path / "vehicle.sources.yaml"
    file.write_text(
        "apiVersion: longtail/v1\nkind: Sources\nsources:\n"
        f'  - address: "can:virtual/doctor-2,map={mapping}"\n'
        '  - address: "camera:http://127.0.0.1:9/x,name=front"\n'
    )
    with speaking("doctor-2"):
        found = sensors(f"all:{file}", patience_s=1.0)
    assert isinstance(found, Remark)
    assert found.detail.startswith("2 of 7 heard, silent: /camera/front, ")
    assert "cannot be opened" in found.detail
    assert "ego." not in found.detail
