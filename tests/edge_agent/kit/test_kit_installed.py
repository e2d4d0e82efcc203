"""Adapters of other packages: found by their entry points, kept apart from ours."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.errors import InputError
from edge_agent.config import AgentConfig
from edge_agent.kit.conformance import check_source
from edge_agent.ports import Link
from edge_agent.setup import link_monitor
from edge_agent.sources.registry import open_source

PACKAGE = """
from contracts.errors import InputError
from edge_agent.kit.templates.network_probe import KernelProbe as Probe
from edge_agent.kit.templates.source import open_speed_log


def refuse(rest):
    raise InputError("in our own words")


def fail(rest):
    raise RuntimeError("out of cheese")


def nothing(rest):
    return rest


def probe(argument):
    from pathlib import Path
    return Probe(Path(argument))
"""
ENTRY_POINTS = """[longtail.sources]
speedlog = acme_adapters:open_speed_log
refuse = acme_adapters:refuse
fail = acme_adapters:fail
nothing = acme_adapters:nothing
gone = acme_adapters:gone
sim = acme_adapters:fail

[longtail.links]
acme = acme_adapters:probe
nothing = acme_adapters:nothing
"""


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package: what pip leaves of it on the path."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "acme_adapters.py").write_text(PACKAGE)
    install(site, "acme_adapters", ENTRY_POINTS)
    monkeypatch.syspath_prepend(str(site))
    return site


def install(site: Path, name: str, entry_points: str) -> None:
    folder = site / f"{name}-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text(entry_points)


def test_an_installed_source_opens_by_its_scheme(acme: Path, tmp_path: Path) -> None:
    log = tmp_path / "drive.csv"
    log.write_text("time_s,speed_kmh\n0,36\n")
    report = check_source(lambda: open_source(f"speedlog:{log}"))
    assert report.samples == {"/signals/ego.speed_mps": 1}


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("refuse:x", "^in our own words$"),
        ("fail:x", "adapter acme_adapters:fail failed: RuntimeError: out of cheese"),
        ("nothing:x", "gave a str, which lacks describe and samples"),
        ("gone:x", "adapter acme_adapters:gone failed: AttributeError"),
        ("speedlg:x", "did you mean 'speedlog'.*speedlog:..."),
    ],
)
def test_what_another_package_does_wrong_is_named(address: str, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        open_source(address)


@pytest.mark.usefixtures("acme")
def test_a_shipped_scheme_is_never_replaced() -> None:
    assert open_source("sim:duration_s=5").describe().drive_id == "sim-0"


def test_two_packages_of_one_name_are_an_error(acme: Path) -> None:
    install(acme, "other", "[longtail.sources]\nspeedlog = other:source\n")
    with pytest.raises(
        InputError, match=r"several packages offer 'speedlog': acme_adapters:.*other:"
    ):
        open_source("speedlog:x")


def test_an_installed_probe_is_chosen_by_name(acme: Path, tmp_path: Path) -> None:
    (tmp_path / "net" / "wlan0").mkdir(parents=True)
    (tmp_path / "net" / "wlan0" / "operstate").write_text("up")
    config = AgentConfig.model_validate({"link": {"adapter": f"acme:{tmp_path / 'net'}"}})
    assert link_monitor(config).link() == Link("wifi")
    for adapter, complaint in (
        ("acmee", "no adapter is called 'acmee'; installed: acme, nothing; did you mean 'acme'"),
        ("nothing:x", "which lacks link"),
    ):
        wrong = AgentConfig.model_validate({"link": {"adapter": adapter}})
        with pytest.raises(InputError, match=complaint):
            link_monitor(wrong)


def test_a_missing_library_names_its_extra() -> None:
    from edge_agent.sources.address import optional_module

    with pytest.raises(InputError, match=r"pip install 'longtail\[can\]'"):
        optional_module("no_such_library.at_all", "can")
