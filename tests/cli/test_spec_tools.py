"""`longtail spec`: the form of a spec, its own tests, backtests, differences, explanations."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from cli.spec import app
from cli.spec_format import format_spec
from contracts.errors import InputError
from contracts.spec_cases import load_cases, parse_cases
from contracts.trigger_spec import load_specs, parse_spec
from edge_agent.app import run_agent
from edge_agent.config import AgentConfig
from tests.road.conftest import serving

PUBLISHED = Path(__file__).resolve().parents[2] / "trigger_specs"
IDS = [loaded.spec.id for loaded in load_specs(PUBLISHED)]

SPEC = """\
# who: fleet
apiVersion: longtail/v1
kind: expression
owner: fleet   # behind the owner
# before the id,
# in two lines
id: brakes
version: 1
cooldown: 60000ms
for: 0s
when: ego.decel_mps2 > 2.0 and ego.speed_mps > 3
capture: {post: 1500ms, pre: 5000ms}
budget: {bytes_per_day: 200000kB, clips_per_day: 4}
target:
  expires: 2027-06-30
# the end
"""
CANONICAL = """\
# who: fleet
apiVersion: longtail/v1
kind: expression
# before the id,
# in two lines
id: brakes
version: 1
owner: fleet  # behind the owner
when: ego.decel_mps2 > 2.0 and ego.speed_mps > 3
for: 0s
cooldown: 1min
capture: {pre: 5s, post: 1500ms}
budget: {clips_per_day: 4, bytes_per_day: 200MB}
target: {expires: 2027-06-30}
# the end
"""


def longtail(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def as_json(*arguments: str | Path) -> Any:
    done = longtail(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# fmt ----------------------------------------------------------------------------------------


def test_fmt_orders_keys_writes_units_and_keeps_comments() -> None:
    assert format_spec(SPEC, "a.yaml") == CANONICAL
    assert format_spec(CANONICAL, "a.yaml") == CANONICAL


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (("  expires: 2027-06-30", "  expires: 2027-06-30  # why"), 15),
        (("target:\n", "target:  # why\n"), 14),
        (("target:\n", "target:\n  # why\n"), 15),
        (("version: 1\n", "version: 1\ndescription: >-  # why\n  Some text.\n"), 9),
    ],
)
def test_fmt_refuses_what_would_lose_a_comment(change: tuple[str, str], line: int) -> None:
    text = SPEC.replace(*change)
    with pytest.raises(InputError, match="comment inside a value") as caught:
        format_spec(text, "a.yaml")
    assert caught.value.place == f"a.yaml:{line}"
    dropped = format_spec(text, "a.yaml", drop_comments=True)
    assert "why" not in dropped
    assert parse_spec(dropped, "a.yaml").spec == parse_spec(text, "a.yaml").spec


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=150)


@given(TEXTS, st.text("abc #:'\"-[]{}>|,", min_size=1, max_size=30), st.floats(0.001, 19.9))
def test_fmt_changes_no_meaning_and_is_its_own_fixed_point(
    description: str, owner: str, bound: float
) -> None:
    text = (
        f"owner: {json.dumps(owner)}\nkind: hard_brake # a '#' of its own\n"
        f"description: {json.dumps(description)}\n# above\nid: t\nversion: 1\n"
        f"when: {{decel_mps2: {bound}}}\napiVersion: longtail/v1\n"
    )
    try:
        before = parse_spec(text, "a.yaml").spec
    except InputError:
        return
    once = format_spec(text, "a.yaml")
    assert parse_spec(once, "a.yaml").spec == before
    assert "kind: hard_brake  # a '#' of its own\n" in once
    assert "# above\nid: t\n" in once
    assert format_spec(once, "a.yaml") == once


def test_fmt_command_checks_and_rewrites(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(SPEC)
    checked = longtail("fmt", "--check", path)
    assert checked.exit_code == 1
    assert "+cooldown: 1min" in checked.output
    assert path.read_text() == SPEC
    assert longtail("fmt", path).exit_code == 0
    assert path.read_text() == CANONICAL
    assert longtail("fmt", "--check", path).exit_code == 0
    assert list(tmp_path.iterdir()) == [path]


def test_published_specs_are_canonical() -> None:
    done = longtail("fmt", "--check", PUBLISHED)
    assert done.exit_code == 0, done.output


# test ---------------------------------------------------------------------------------------


def test_published_specs_pass_their_own_tests() -> None:
    found = as_json("test", PUBLISHED)
    assert found["untested"] == []
    assert all(case["passed"] for case in found["cases"]), found


@pytest.mark.parametrize("name", IDS)
def test_each_published_spec_is_seen_to_fire_and_to_be_silent(name: str) -> None:
    cases = load_cases(PUBLISHED / "tests" / f"{name}.yaml").cases
    assert any(case.fires for case in cases)
    assert any(not case.fires for case in cases)


def test_every_published_spec_tells_its_cost() -> None:
    for loaded in load_specs(PUBLISHED):
        assert "Costs about" in loaded.spec.description, loaded.spec.id


def test_a_failure_tells_what_was_expected_and_what_came(tmp_path: Path) -> None:
    shutil.copytree(PUBLISHED, tmp_path / "specs")
    path = tmp_path / "specs" / "hard-brake.yaml"
    path.write_text(path.read_text().replace("for: 300ms", "for: 400ms"))
    done = longtail("test", path)
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0].startswith("hard-brake: half a second of 4 m/s²")
    assert "  - expected at 2.5 s ± 40 ms" in lines
    assert "  + fired at 2.6 s, score 1.15: decel_mps2 3.437, speed_mps 17.6" in lines
    path.write_text(path.read_text().replace("decel_mps2: 3.0", "decel_mps2: 2.0"))
    assert "ordinary braking is too weak\n  + fired" in longtail("test", path).output


def test_a_spec_without_tests_is_told(tmp_path: Path) -> None:
    shutil.copy(PUBLISHED / "jerk.yaml", tmp_path)
    done = longtail("test", tmp_path)
    assert done.exit_code == 1
    assert "jerk: no tests/jerk.yaml" in done.output


CASES = """\
apiVersion: longtail/v1
kind: spec_tests
id: t
cases:
  - name: a
    duration: 10s
    signals:
      ego.speed_mps: {0s: 1, 5s: null}
      ego.accel_mps2: {ramp: {1s: 0, 3s: 4}}
    fires: []
"""


def test_series_hold_ramp_and_go_absent() -> None:
    signals = parse_cases(CASES, "t.yaml").cases[0].signals
    speed, accel = signals["ego.speed_mps"], signals["ego.accel_mps2"]
    assert [speed.at(t) for t in (0, 4_999_999_999)] == [1.0, 1.0]
    assert str(speed.at(5 * 10**9)) == str(accel.at(10**9 - 1)) == "nan"
    assert [accel.at(t * 10**9) for t in (1, 2, 3, 9)] == [0.0, 2.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("change", "line", "says"),
    [
        (("ego.speed_mps", "ego.sped_mps"), 5, "did you mean 'ego.speed_mps'"),
        (("5s: null", "5s: 300"), 5, "between -20 and 120 m/s"),
        (("{0s: 1, 5s: null}", "{5s: 1, 0s: 2}"), 8, "times must rise"),
        (("{0s: 1, 5s: null}", "{5: 1}"), 8, "unknown unit"),
        (("{0s: 1, 5s: null}", "fast"), 8, "not a number"),
        (("duration: 10s", "duration: 2h"), 6, "less than or equal"),
        (("    fires: []\n", ""), 5, "'fires' is missing"),
        (("fires: []", "fires: [{at: 1s, around: 1s}]"), 10, "unknown key 'around'"),
    ],
)
def test_complaints_about_tests_name_their_place(
    change: tuple[str, str], line: int, says: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse_cases(CASES.replace(*change), "t.yaml")
    assert says in caught.value.message
    assert (caught.value.place or "").startswith(f"t.yaml:{line}:")


# backtest, diff, explain --------------------------------------------------------------------


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short simulated drive without a model, with a rule that keeps a clip."""
    folder = tmp_path_factory.mktemp("agent")
    values = {
        "state": folder, "source": "sim:seed=1,duration_s=6", "vehicle_id": "car",
        "specs": (PUBLISHED,), "rules": ("ego.speed_mps > 3",),
    }  # fmt: skip
    report = run_agent(AgentConfig.model_validate(values))
    assert report.triggers["rule-1"].kept == 1
    return folder


def rule(path: Path, when: str) -> Path:
    path.write_text(
        "apiVersion: longtail/v1\nkind: expression\nid: rule-1\nversion: 1\n"
        f'owner: command-line\nwhen: "{when}"\n'
    )
    return path


def test_backtest_reports_figures_and_fires(state: Path, tmp_path: Path) -> None:
    mine = rule(tmp_path / "mine.yaml", "ego.speed_mps > 3")
    found = as_json(
        "backtest", mine, PUBLISHED / "hard-brake.yaml", "--log", state / "signals",
        "--clips", state / "spool", "--hours-per-day", "2",
    )  # fmt: skip
    (drive,) = found["drives"]
    assert drive["driven_s"] == pytest.approx(6.0, abs=0.1)
    figures, brake = found["specs"]
    (clip,) = (state / "spool").rglob("*.mcap")
    assert figures["live"] == {"same": 1, "only_replayed": 0, "only_recorded": 0}
    assert figures["clips_per_day"] == pytest.approx(2 * 3600 / drive["driven_s"])
    assert figures["clip_bytes"] == clip.stat().st_size
    assert len(figures["fired"]) == 1
    assert brake["fired"] == []
    assert brake["fires_per_hour"] == 0
    table = longtail("backtest", mine, "--log", state / "signals")
    assert table.exit_code == 0
    assert "exactly (1)" in table.output
    assert "unknown without clips" in table.output


def test_backtest_needs_logs(tmp_path: Path) -> None:
    spec = rule(tmp_path / "a.yaml", "ego.speed_mps > 3")
    assert isinstance(longtail("backtest", spec).exception, InputError)
    assert isinstance(longtail("backtest", spec, "--log", tmp_path / "none").exception, InputError)
    (tmp_path / "empty").mkdir()
    done = longtail("backtest", spec, "--log", tmp_path / "empty")
    assert "no .ltsl file" in str(done.exception)


def test_diff_tells_meaning_and_fires(state: Path, tmp_path: Path) -> None:
    before = rule(tmp_path / "a.yaml", "ego.speed_mps > 3")
    after = rule(tmp_path / "b.yaml", "ego.speed_mps > 100")
    after.write_text(after.read_text() + "for: 2s\n")
    done = longtail("diff", before, after, "--log", state / "signals")
    assert done.exit_code == 0, done.output
    assert "when: ego.speed_mps > 3 → ego.speed_mps > 100" in done.output
    assert "for (the condition must hold this long before it fires): 0s → 2s" in done.output
    assert "0 fires gained, 1 lost" in done.output
    turned = as_json("diff", after, before, "--log", state / "signals")
    assert (len(turned["gained"]), len(turned["lost"])) == (1, 0)


def test_diff_speaks_units_and_knows_defaults(tmp_path: Path) -> None:
    base = (PUBLISHED / "hard-brake.yaml").read_text()
    before, after = tmp_path / "a.yaml", tmp_path / "b.yaml"
    before.write_text(base)
    after.write_text(base.replace("decel_mps2: 3.0, ", "") + "mode: rising_edge\n")
    assert longtail("diff", before, after).output == "no difference in meaning\n"
    after.write_text(base.replace("decel_mps2: 3.0", "decel_mps2: 2.5").replace("4GB", "1GB"))
    assert longtail("diff", before, after).output.splitlines() == [
        "when.decel_mps2 (bound on filtered deceleration): 3 m/s² → 2.5 m/s²",
        "budget.bytes_per_day: 4GB → 1GB",
    ]
    kinds = longtail("diff", before, PUBLISHED / "jerk.yaml").output
    assert "kind: hard_brake → jerk" in kinds
    assert "when.decel_mps2 (bound on filtered deceleration): gone, was 3 m/s²" in kinds
    assert "when.jerk_mps3 (bound on |filtered jerk|): new, 12 m/s³" in kinds


def test_explain_tells_condition_measure_hold_and_window(state: Path) -> None:
    (clip,) = (state / "spool").rglob("*.mcap")
    done = longtail("explain", clip)
    assert done.exit_code == 0, done.output
    assert "rule-1 v1 (expression), score 1" in done.output
    assert "condition  ego.speed_mps > 3" in done.output
    assert " m/s\n" in done.output
    assert "window     5s before and 5s after asked; the clip has" in done.output
    (entry,) = as_json("explain", clip)
    assert entry["hold_asked"] == "0s"
    assert entry["window_asked"] == {"pre": "5s", "post": "5s"}
    missing = longtail("explain", "abcd")
    assert "--cloud" in str(missing.exception)


def test_explain_sets_evidence_beside_bounds() -> None:
    from cli.spec_words import checks_of
    from contracts.clip import Cause

    loaded = next(s for s in load_specs(PUBLISHED) if s.spec.id == "swerve")
    cause = Cause(
        trigger_id="swerve", trigger_version=1, spec_digest=loaded.digest, kind="swerve",
        fired_mono_ns=2, start_mono_ns=1, end_mono_ns=2, score=1.1,
        evidence={"lat_accel_mps2": -4.4, "yaw_rate_radps": 0.1, "speed_mps": 20.0},
    )  # fmt: skip
    found = {check.text(): check.holds for check in checks_of(loaded.spec, cause)}
    assert found == {
        "lat_accel_mps2 |-4.4 m/s²| > 4 m/s²": True,
        "yaw_rate_radps |0.1 rad/s| > 0.25 rad/s": False,
    }


def test_explain_fetches_a_clip_from_the_cloud(tmp_path: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="longtail-spec-") as folder,  # PostgreSQL's, too
        serving(Path(folder)) as (url, _),
    ):
        values = {
            "state": tmp_path, "source": "sim:seed=1,duration_s=6", "vehicle_id": "car",
            "rules": ("ego.speed_mps > 3",), "cloud": url,
        }  # fmt: skip
        (clip,) = run_agent(AgentConfig.model_validate(values)).clips
        assert clip.state == "uploaded"
        done = longtail("explain", clip.clip_id[:8], "--cloud", url)
    assert done.exit_code == 0, done.output
    assert "condition  ego.speed_mps > 3" in done.output
