"""`longtail agent doctor`: can this machine run the agent, and if not, why."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from contracts.errors import LongtailError
from edge_agent.config import AgentConfig


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's answer."""

    check: str
    ok: bool
    detail: str


def examine(config: AgentConfig) -> list[Finding]:
    """Run every check; each looks at one thing and none stops the others."""
    checks: list[tuple[str, Callable[[], str]]] = [
        ("state folder", lambda: _state(config)),
        ("disk", lambda: _disk(config)),
        ("kernel cache", _kernel_cache),
        ("trigger specs", lambda: _specs(config)),
        ("model", lambda: _model(config)),
        ("link", lambda: _link(config)),
        ("cloud", lambda: _cloud(config)),
    ]
    return [_examined(name, check) for name, check in checks]


def _examined(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except (LongtailError, OSError) as error:
        return Finding(name, False, str(error))


def _state(config: AgentConfig) -> str:
    folder = config.state.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"x")
        os.fsync(file.fileno())
    return f"{folder} can be written and synced"


def _disk(config: AgentConfig) -> str:
    free_bytes = shutil.disk_usage(config.state.expanduser()).free
    floor_bytes = config.spool.floor_free
    if free_bytes <= floor_bytes:
        raise OSError(
            f"{free_bytes / 1e9:.1f} GB free, below the floor of {floor_bytes / 1e9:g} GB"
        )
    return f"{free_bytes / 1e9:.1f} GB free, floor {floor_bytes / 1e9:g} GB"


def _kernel_cache() -> str:
    """numba refuses to import cached kernels where it finds no folder to write to."""
    import kernels.rules as compiled

    configured = os.environ.get("NUMBA_CACHE_DIR")
    folder = Path(configured) if configured else Path(compiled.__file__).parent
    if not os.access(folder, os.W_OK):
        raise OSError(f"{folder} cannot be written: set NUMBA_CACHE_DIR to a folder that can")
    return f"compiled kernels are kept in {folder}"


def _specs(config: AgentConfig) -> str:
    from edge_agent.setup import load_all_specs

    return f"{len(load_all_specs(config.specs))} specs compile"


def _model(config: AgentConfig) -> str:
    from edge_agent.setup import configured_model

    model = configured_model(config)
    if model is None:
        return "none configured"
    return f"{config.model} passes its self-test, {len(model.class_names)} classes"


def _link(config: AgentConfig) -> str:
    from edge_agent.setup import link_monitor

    link = link_monitor(config).link()
    return f"{link.kind}{', metered' if link.metered else ''}"


def _cloud(config: AgentConfig) -> str:
    if config.cloud is None:
        return "none configured: clips stay on the vehicle"
    from urllib.error import URLError
    from urllib.request import urlopen

    url = f"{config.cloud.rstrip('/')}/healthz"
    try:
        with urlopen(url, timeout=5) as answer:
            return f"{config.cloud} answers {answer.status}"
    except (URLError, ValueError) as error:
        raise OSError(f"{url} does not answer: {error}") from error
