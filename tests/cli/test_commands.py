"""The umbrella command: lazy groups, JSON where a program reads, one line on failure."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import GROUPS
from contracts.trigger_spec import json_schema_text

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"


def longtail(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_overview_names_every_group_and_loads_none() -> None:
    loaded = (
        "import sys; sys.argv = ['longtail', '--help']\n"
        "from cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'fastapi', 'onnxruntime', 'numba', 'torch', 'sqlalchemy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for group in GROUPS:
        assert group in done.stdout


def test_the_agent_needs_neither_torch_nor_a_web_server() -> None:
    loaded = (
        "import sys, edge_agent.app, edge_agent.cli\n"
        "heavy = {'fastapi', 'torch', 'sqlalchemy', 'uvicorn', 'httpx'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", loaded], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("group", [name for name in GROUPS if name != "demo"])
def test_every_group_has_help(group: str) -> None:
    done = longtail(group, "--help")
    assert done.returncode == 0, done.stderr
    assert "Commands" in done.stdout


def test_spec_commands() -> None:
    assert longtail("spec", "schema").stdout == json_schema_text()
    linted = longtail("spec", "lint", str(PUBLISHED), "--json")
    assert linted.returncode == 0
    assert json.loads(linted.stdout) == {"checked": 15, "complaints": []}


def test_an_unreachable_cloud_is_one_line() -> None:
    done = longtail("clips", "search", "--cloud", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert "127.0.0.1:9" in done.stderr


@pytest.mark.parametrize(
    "command",
    [("agent", "run", "--source", "sim:", "--once", "--state"), ("cloud", "serve", "--folder")],
)
def test_a_place_that_cannot_be_used_is_one_line(command: tuple[str, ...]) -> None:
    done = longtail(*command, "/proc/nowhere")
    assert done.returncode == 1
    assert done.stderr.strip() == "longtail: /proc/nowhere: No such file or directory"
    aloud = longtail("--verbose", *command, "/proc/nowhere")
    assert aloud.returncode == 1
    assert "Traceback" in aloud.stderr


def test_doctor_tells_what_is_wrong(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'state = "{tmp_path}/state"\nmodel = "/nowhere.onnx"\n')
    done = longtail("agent", "doctor", "--config", str(config), "--json")
    found = {row["check"]: row["ok"] for row in json.loads(done.stdout)}
    assert done.returncode == 1
    assert found["model"] is False
    assert found["state folder"] is True
    assert found["trigger specs"] is True
    config.write_text('stat = "x"\n')
    done = longtail("agent", "status", "--config", str(config))
    assert done.returncode == 1
    assert "unknown key 'stat'; did you mean 'state'?" in done.stderr
