"""Route, people, settle, label set: the whole path over a real PostgreSQL, killed and repeated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.label import app
from contracts.errors import ConflictError, InputError
from offline.labels.calibration.calibrator import PUBLISHED
from offline.labels.formats.sequence import LabelSequence, read_sequence
from offline.labels.qa.effort import Effort
from offline.labels.queue.store import ReviewQueue
from offline.labels.queue.task_files import read_tasks
from offline.labels.review.drives import read_drives, said_by
from offline.labels.review.journal import JOURNAL_FILE
from offline.labels.review.simulated import known_of
from offline.labels.review.tasks import work_s
from tests.offline.labels.review.street import write_street, wrongness

RUNNER = CliRunner()
Run = Callable[..., Any]
BUDGET_S = 60_000.0


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A command's JSON."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def invoke(*arguments: str | Path | float, words: bool = False) -> Any:
        more = [] if words else ["--json"]
        result = RUNNER.invoke(app, [*map(str, arguments), *more], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout if words else json.loads(result.stdout)

    return invoke


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*.npz"))}


def test_from_auto_labels_over_people_to_a_label_set(run: Run, tmp_path: Path) -> None:
    truth, auto = write_street(tmp_path, 3)
    golds = ("--gold", truth / "clip-2")
    routed, out, state = tmp_path / "routed", tmp_path / "out", tmp_path / "state"
    route = ("route", auto, "--out", routed, "--accept", 0.9, "--budget", BUDGET_S,
             "--audit-share", 0.3, "--gold-share", 0.2, "--state", state, *golds)  # fmt: skip
    report = run(*route)
    assert not report["guaranteed"] and "no precision is guaranteed" in report["rule"]
    assert 0 < sum(report["cost_s"].values()) <= BUDGET_S
    assert report["tasks"]["gold"] and report["tasks"]["audit"] and report["tasks"]["routed"]
    assert report["tasks"]["search"] and report["boxes"]["rejected"] == 20
    before = files(routed)
    assert run(*route)["new_tasks"] == 0 and files(routed) == before
    with pytest.raises(ConflictError, match="another routing is here already"):
        run(*route, "--budget", 9)

    settle = ("settle", routed, "--out", out, "--state", state, *golds)
    opened = run(*settle)
    assert not opened["decided"] and opened["open"] == sum(report["tasks"].values())
    while run("simulate", truth, "--of", routed, "--seed", 3)["answers"]:
        told = run(*settle)
    assert told["open"] == 0
    assert told["agreement"]["fleiss_kappa"] > 0.6
    assert told["agreement"]["icc"]["length"]["value"] > 0.9
    assert {"simulated-1", "simulated-2", "simulated-3"} <= set(told["annotators"])
    assert not any(one["failed"] for one in told["annotators"].values())
    assert told["audits"]["audited"] > 0 and told["audits"]["level"] == 0

    auto_wrong, auto_lost, _ = wrongness(auto, truth)
    wrong, lost, overlap = wrongness(out, truth)
    assert wrong < 0.3 * auto_wrong and lost < auto_lost and overlap > 0.8

    after, journal = files(out), (state / JOURNAL_FILE).read_bytes()
    again = run(*settle)
    assert (again["decided"], again["tasks_told"], again["files_written"]) == ({}, 0, 0)
    assert files(out) == after and (state / JOURNAL_FILE).read_bytes() == journal
    made = run("set", out, "--store", tmp_path / "store", "--annotator", "simulated-1")
    assert made["clips"] == 3 and made["shares"]["consensus"] > 0
    people = {
        said_by(box, frame).made_by
        for drive in out.iterdir() for frame in read_sequence(drive).frames
        for box in frame.record.boxes if said_by(box, frame).source in {"consensus", "human"}
    }  # fmt: skip
    assert people and all("simulated-" in name for name in people)


class KilledError(Exception):
    """Instead of a process's end."""


@pytest.mark.parametrize("steps", [0, 3])
def test_a_killed_settle_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    truth, auto = write_street(tmp_path, 1, tracks=9)
    run("route", auto, "--out", tmp_path / "routed", "--accept", 0.9)
    run("simulate", truth, "--of", tmp_path / "routed", "--experts", 0)
    settle = ("settle", tmp_path / "routed", "--out", tmp_path / "out", "--state", tmp_path / "s")
    decide, calls = ReviewQueue.decide, list[str]()

    async def dying(self: ReviewQueue, *arguments: Any) -> Any:
        if len(calls) == steps:
            raise KilledError
        calls.append(arguments[0])
        return await decide(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ReviewQueue, "decide", dying)
        with pytest.raises(KilledError):
            run(*settle)
    journal = tmp_path / "s" / JOURNAL_FILE
    decided = journal.read_bytes()
    # The decisions were on disk before the queue heard of any; a line torn later is cut off.
    journal.write_bytes(decided + b'{"task_id": "12')
    told = run(*settle)
    assert (told["decided"], told["tasks_told"] > 0) == ({}, True)
    assert journal.read_bytes() == decided
    states = {row["state"] for row in run("queue", "list", "--tier", "consensus")}
    assert states <= {"accepted", "rejected"}
    again = run(*settle)
    assert (again["tasks_told"], again["files_written"]) == (0, 0)


def test_who_fails_gold_is_not_counted(run: Run, tmp_path: Path) -> None:
    truth, auto = write_street(tmp_path, 2, tracks=9)
    golds = ("--gold", truth / "clip-1")
    routed, state = tmp_path / "routed", tmp_path / "state"
    run("route", auto, "--out", routed, "--accept", 0.9, "--gold-share", 0.6, *golds)
    run("simulate", truth, "--of", routed, "--annotators", 3, "--experts", 1, "--errors", 12)
    told = run("settle", routed, "--out", tmp_path / "out", "--state", state, *golds)
    failed = [name for name, one in told["annotators"].items() if one["failed"]]
    assert failed and told["decided"]["again"] > 0
    words = run("settle", routed, "--out", tmp_path / "out", "--state", state, *golds, words=True)
    assert "FAILED gold: not counted" in words and "decided: nothing" in words


def test_tasks_go_into_a_file(run: Run, tmp_path: Path) -> None:
    _, auto = write_street(tmp_path, 1)
    path = tmp_path / "tasks.jsonl"
    words = run("route", auto, "--out", tmp_path / "routed", "--calibrator", PUBLISHED,
                "--budget", 900, "--tasks", path, words=True)  # fmt: skip
    assert "accepted by calibrator" in words and "kept with a risk of" in words
    tasks = read_tasks(path)
    assert tasks and sum(work_s(one.task, Effort()) for one in tasks) <= 900
    assert run("queue", "add", path)["new"] == len(tasks)
    with pytest.raises(InputError, match="say from when on labels are accepted"):
        run("route", auto, "--out", tmp_path / "other")
    with pytest.raises(InputError, match=r"lacks routing\.json"):
        run("settle", auto, "--out", tmp_path / "out", "--state", tmp_path / "state")


def test_truth_of_other_instants_is_told_by_instant(run: Run, tmp_path: Path) -> None:
    truth, auto = write_street(tmp_path, 1, tracks=9)
    routed = tmp_path / "routed"
    run("route", auto, "--out", routed, "--accept", 0.9)
    asked, whole = read_drives([routed]), read_drives([truth])
    (name,) = whole
    frames = whole[name].labels.frames
    late = replace(whole[name], labels=LabelSequence(frames[2:]))
    known = known_of({name: late}, asked)[name]
    assert known.frames == (None, None, *frames[2:])
    assert known.tells_of([2]) and not known.tells_of([1, 2])
    with pytest.raises(InputError, match="a task asks for frame"):
        known.tells_of([len(frames)])
    # Of what the truth says nothing, nobody can tell: no answer is made of another instant.
    for path in sorted((truth / name / "labels").glob("*.npz"))[:2]:
        path.unlink()
    run("simulate", truth, "--of", routed)
    tasks = run("queue", "list")
    told = [run("queue", "show", task["task_id"]) for task in tasks]
    early = [one for one in told if min(one["frames"]) < 2]
    assert early, "the street has tasks of its first frames"
    for one in early:
        assert {j["verdict"] for j in one["judgements"]} <= {"cannot_tell"}
