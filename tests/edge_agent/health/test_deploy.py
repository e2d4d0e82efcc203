"""What is installed on a vehicle: the unit and the sample configuration."""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from edge_agent.config import AgentConfig, load_config
from tests.edge_agent.health.confined_agent import PRIVILEGED, RESOURCES

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "longtail-agent.service"
SAMPLE = DEPLOY / "agent.toml"


def settings() -> dict[str, list[str]]:
    """The unit's settings by name, with every value given."""
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text().splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_the_sample_configuration_loads() -> None:
    config = load_config(SAMPLE, {})
    assert config.state == Path("/var/lib/longtail")
    assert config.link.networkmanager
    assert config.metrics.port == 9464


def test_the_sample_is_right_where_it_is_commented_out(tmp_path: Path) -> None:
    """Each `# key = value` line of the sample, uncommented, is a configuration that loads."""
    text = re.sub(r"^# (\[|[\w\"/.]+ *= )", r"\1", SAMPLE.read_text(), flags=re.MULTILINE)
    # Two alternatives are alternatives.
    text = re.sub(r"^networkmanager = true", "", text, flags=re.MULTILINE)
    text = re.sub(r"^file *= .*power.toml.*$", "", text, flags=re.MULTILINE)
    path = tmp_path / "agent.toml"
    path.write_text(text)
    config = load_config(path, {})
    assert config.power.can is not None
    assert config.ota.trust is not None
    assert config.redaction.masks["/camera/front"] == ((0.0, 0.9, 1.0, 1.0),)


def test_the_sample_names_every_section() -> None:
    text = SAMPLE.read_text()
    sections = {
        name for name, field in AgentConfig.model_fields.items()
        if hasattr(field.annotation, "model_fields")
    }  # fmt: skip
    missing = {name for name in sections if f"[{name}]" not in text}
    assert missing == set()


def test_the_sample_keeps_to_the_defaults_that_it_shows() -> None:
    """A value that the sample shows as it is by default must be the default."""
    shown = tomllib.loads(SAMPLE.read_text())
    config, default = load_config(SAMPLE, {}), AgentConfig()
    for section in ("budget", "upload", "signal_log", "spool", "watchdog", "power", "redaction"):
        assert section in shown
        assert getattr(config, section) == getattr(default, section), section


def test_the_unit_watches_and_confines_the_agent() -> None:
    found = settings()
    assert found["Type"] == ["notify"]
    assert found["WatchdogSec"] == ["60s"]
    assert found["Restart"] == ["on-failure"]
    assert found["StartLimitIntervalSec"] == ["0"]  # nobody is there to start it by hand
    assert found["DynamicUser"] == ["yes"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["NoNewPrivileges"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""]
    assert f"/var/lib/{found['StateDirectory'][0]}" == str(load_config(SAMPLE, {}).state)
    assert {"MemoryMax", "CPUWeight", "IOWeight"} <= found.keys()
    assert "MemoryDenyWriteExecute" not in found  # numba compiles


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/longtail/bin/longtail", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
def test_the_unit_exposes_little(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/longtail/bin/longtail", sys.executable))
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25",
         str(unit)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd-analyze cannot judge a file")
    assert done.returncode == 0, done.stdout[-300:]


def denied_by_the_unit() -> set[str]:
    """The calls that the unit's filter takes away from the agent."""
    allowed, denied, *again = settings()["SystemCallFilter"]
    assert (allowed, denied) == ("@system-service", "~@privileged @resources")
    return (RESOURCES | PRIVILEGED).keys() - set(again)


@pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="numbers of x86-64"
)
@pytest.mark.parametrize("more", [(), ("setpriority",)])
def test_clips_are_packed_under_the_unit_s_filter(tmp_path: Path, more: tuple[str, ...]) -> None:
    """And under a stricter one: the pack thread's priority is no reason to pack nothing."""
    state = tmp_path / "state"
    words = ["agent", "run", "--once", "--source", "sim:duration_s=20", "--state", str(state)]
    denied = sorted(denied_by_the_unit() | set(more))
    done = subprocess.run(
        [sys.executable, "-m", "tests.edge_agent.health.confined_agent", *denied, "--", *words,
         "--json"],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["lost_clips"] == 0
    assert len(report["clips"]) >= 1
    assert ("keeps its priority" in done.stderr) == bool(more), done.stderr[-2000:]
