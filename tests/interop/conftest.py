"""What the interop tests share: clips that the real agent made, and a real cloud process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.interop.programs import SIM, Drive, clips_of, run_agent, serving_cloud


@pytest.fixture(scope="session")
def sim_drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """A simulated drive with camera, lidar and the bundled model; its clips wait in the spool."""
    state = tmp_path_factory.mktemp("sim") / "state"
    run_agent(state, SIM)
    return Drive(state, clips_of(state)[0])


@pytest.fixture(scope="module")
def laptop_cloud() -> Iterator[str]:
    """URL of `longtail cloud serve` in laptop mode: no tokens set."""
    with serving_cloud() as url:
        yield url
