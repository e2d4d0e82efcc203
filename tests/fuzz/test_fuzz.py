"""Every decoder and parser of bytes from disk or network, against mutants of what it reads.

By default a short burst each; `make soak` and `make fuzz` go on for minutes, in processes whose
memory is bounded (`FUZZ_SECONDS`, ten minutes each unless told otherwise).
"""

from __future__ import annotations

import base64
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import structlog

from contracts.errors import CorruptError
from tests.fuzz import running
from tests.fuzz.clips import clip_file
from tests.fuzz.mutation import mutate_bytes, mutate_json, mutate_text
from tests.fuzz.pictures import jpegs
from tests.fuzz.running import run_apart, run_here
from tests.fuzz.sources import can_logs, dbc_seed, pcd
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS
from tests.fuzz.vehicle import ZONES, vehicle_keys

# A reader of another project that leaves a broken file open is not what is looked for here.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

BURST = 120
SLOW_BURST = 12
"""For targets that work on files."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "FOUND", tmp_path / "found")


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds_themselves_are_accepted(name: str) -> None:
    target = TARGETS[name]
    with target.opened() as run:
        for content in target.seeds():
            run(content)


@pytest.mark.parametrize("name", TARGETS)
def test_a_burst_of_mutants(name: str) -> None:
    target = TARGETS[name]
    findings = run_here(target, SLOW_BURST if target.slow else BURST)
    assert findings.failures == []
    assert findings.inputs > 0


BLF_FOR_EVER = base64.b64decode(
    "TE9HR5AAAAAFAAAAAgYIAZgBAAAAAAAAcAQAAAAAAAAUAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAATE9CShAAAQAGAQAACgAAAAIAAAAAAAAAwAMAAAAAAAB4nPPxd/JSYGBkMGBgAJIMDEwMqIAR"
    "TkCADw71DdNmwNQzMhKhnkHXEGY0E1iCkYD5h0/C1DODzWdkwm9+VBITVD0LxHwmZrzmf/gFU88KNZ+ZBZ/57ZOZ"
    "oerZYOazsOIxX1aHBaqeHW4+Kxtu87ccgannQJjPxo7TfK9YVlhUERX+D7/C1DMSFb/lfWyw+GIkIr4Y+NTZYfHF"
    "QER81S/ZD1PPwkhEfDFYFb/lfWyw+GIkIr4Y+NTZYfHFQER81S/ZD1PPwkhEfDFYR3DA4ouBiPiqv/gBpp6NkYj4"
    "+p/eyQmLLwYi4qv+nyIXLL4YiYiv/1N2wdQTlb/qtYO5YfGFHL8A3L86AwAA"
)
"""A log whose reader stands still and gives the same frame again and again."""

FOUND_ONCE = (
    ("trigger-spec", lambda: b"a: " + b"[" * 2000),
    ("can-map", lambda: b"a: " + b"[" * 2000),
    ("can-blf", lambda: BLF_FOR_EVER),
    # A sampling factor that no JPEG has, in the frame's header.
    ("picture-look", lambda: jpegs()[0].replace(b"\x01\x11\x00", b"\x01\x44\x00", 1)),
    ("jpeg", lambda: jpegs()[0].replace(b"\x01\x11\x00", b"\x01\x44\x00", 1)),
    ("can-dbc", lambda: dbc_seed()[0].replace(b"0|16@1+", b"1665536|16@1+")),
    ("can-dbc", lambda: dbc_seed()[0].replace(b"MOTION: 8", b"MOTION: 80000000")),
    ("clip", lambda: clip_file().replace(b"child_frame_id", b"chald_frame_id")),
    ("clip", lambda: clip_file().replace(b"closing_mps", b"clxsing_mps")),
    ("scan", lambda: pcd("ascii").replace(b"COUNT 1", b"COUNT 0")),
    ("scan", lambda: pcd("ascii").replace(b"TYPE F F F F", b"TYPE F F F U")),
    ("scan", lambda: pcd("ascii").replace(b"POINTS 12", b"POINTS 3000000")),
    ("expression", lambda: b"ego.speed_mps > 1" + b"0" * 400),
    ("zones", lambda: ZONES.replace(b"8.5", b"1" + b"0" * 400)),
    ("ota-state", lambda: b"[" * 100_000),
    ("check-in-number", lambda: b"[" * 100_000),
    ("time-floor", lambda: b"[" * 100_000),
    ("log-cursor", lambda: b'[1e400, "x"]'),
    ("log-cursor", lambda: b"[" * 100_000),
    ("server-answer", lambda: b"Upload-Offset: " + b"9" * 5000 + b"\n\n{}"),
    ("ota-words", lambda: b"triggers/brake/" + b"9" * 5000 + b"/spec.yaml"),
    ("can-asc", lambda: can_logs(".asc")[0].replace(b"0.010000 1", b"nan 1")),
    ("can-asc", lambda: can_logs(".asc")[0].replace(b"0.020000 1", b"1e300 1")),
    ("agent-config", lambda: b"quota = " + b"9" * 5000),
    ("agent-config", lambda: b'[spool]\nquota = "' + b"9" * 400 + b'GB"'),
    ("trigger-spec", lambda: b"capture: {pre: " + b"9" * 400 + b"s}"),
    ("vehicle-key", lambda: vehicle_keys()[0].replace(b"K2Vw", b"K2VA")),
)


@pytest.mark.parametrize(("name", "made"), FOUND_ONCE)
def test_what_was_found_once_is_refused(name: str, made: Callable[[], bytes]) -> None:
    target = TARGETS[name]
    content = made()
    assert content not in target.seeds()
    with target.opened() as run, suppress(*target.refusals):
        run(content)


@pytest.mark.soak
@pytest.mark.parametrize("name", TARGETS)
def test_ten_minutes_of_mutants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "FOUND", Path("build") / "fuzz")
    seconds = float(os.environ.get("FUZZ_SECONDS", "600"))
    findings = run_apart(name, seconds, seed=random.SystemRandom().randrange(2**31))
    assert findings.failures == []
    assert findings.inputs > 0


# The fuzzer itself -------------------------------------------------------------------------------


def target_that(run) -> Target:  # type: ignore[no-untyped-def]
    return Target("made", lambda: [b"seed of some length"], run)


def test_a_crash_is_found_and_its_input_kept() -> None:
    def run(content: bytes) -> None:
        if len(content) < 10:
            raise ZeroDivisionError
        raise CorruptError("a refusal is none")

    findings = run_here(target_that(run), 1000)
    assert len(findings.failures) == 1
    path = Path(findings.failures[0].rsplit(": ", 1)[1])
    assert len(path.read_bytes()) < 10


def test_a_hang_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "INPUT_S", 0.05)

    def run(content: bytes) -> None:
        while True:
            pass

    findings = run_here(target_that(run), 1)
    assert "longer than" in findings.failures[0]


def test_mutants_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    seeds = [json.dumps({"a": [1, 2, {"b": "text"}]}).encode()]
    for mutate in (
        lambda rng: mutate_bytes(rng, seeds),
        lambda rng: mutate_text(rng, seeds, ["word"]),
        lambda rng: mutate_json(rng, seeds),
    ):
        first = [mutate(random.Random(n)) for n in range(100)]
        assert first == [mutate(random.Random(n)) for n in range(100)]
        assert len(set(first)) > 40
