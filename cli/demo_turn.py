"""The demonstration's turn of the loop: the fleet meets what the student does not know, sends
clips, and gets a retrained student back.

The same commands that a person would type, one after another, over less than a full run takes: a
few scenes, a few frames of the old, twelve scenarios in the suite. People are simulated.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cli.demo_fleet import ORACLE, drive_fleet, recipe, shipped_student
from cli.demo_processes import longtail
from cli.demo_road_down import VEHICLE
from cli.output import absolute
from client import CloudClient
from contracts.errors import TransientError

if TYPE_CHECKING:
    from sim_fleet.fleet import FleetReport

BUDGET_BOXES = 900
"""More than the usual eight clips are expected to hold: so short a retraining needs all of them."""
RECIPES = ("old", "held-out", "calibrate")
SLICES = ("same-scenes", "other-scenes")
"""Of the drives by which both students are compared."""
Say = Callable[[str], None]
Run = Callable[[Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class TurnShown:
    """What the turn came to: its progress as JSON, and figures before and after by slice."""

    turn: dict[str, Any]
    next_day: FleetReport
    before_after: dict[str, list[dict[str, Any]]]
    report: Path


@contextmanager
def rendering(folder: Path) -> Iterator[Callable[[], None]]:
    """Render what the turn measures on, beside whatever else is going on, and drive by the
    shipped student what its successor will be compared to it by; the call waits.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    words = [
        ["sim", "suite", "--recipe", str(recipe("suite")), "--out", str(data / "suite")],
        *(["sim", "dataset", str(recipe(name)), "--out", str(data / name)] for name in RECIPES),
        _trials(folder, shipped_student()),
    ]
    with _beside("rendering", data / "rendering.log", words) as rendered:
        yield rendered


@contextmanager
def _beside(
    what: str, log_path: Path, commands: Sequence[Sequence[str]]
) -> Iterator[Callable[[], None]]:
    """Run commands, one after another, beside the block; the call waits for them, and raises
    `TransientError` where one failed.
    """
    script = "\n".join(shlex.join(longtail(*each)) + " || exit 1" for each in commands)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            ["/bin/sh", "-c", script], stdout=log, stderr=log, start_new_session=True
        )

        def waited() -> None:
            if process.wait() != 0:
                raise TransientError(f"{what} failed; the log tells why", absolute(log_path))

        try:
            yield waited
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)  # the shell would leave its child behind
            process.wait()


def turn(
    folder: Path, url: str, seed: int, say: Say, run: Run, rendered: Callable[[], None]
) -> TurnShown:
    """One turn over the clips that are home. Raises `TransientError` where a step fails."""
    clips, truth = folder / "clips", folder / "truth"
    clips.mkdir(exist_ok=True)
    # A vehicle that only woke may have sent a moment of its standing: nothing to see in it.
    where = f"vehicle_id != '{VEHICLE}' AND lidar_sweeps > 0"
    client = CloudClient(url)
    found = [client.pull(row.clip_id, clips) for row in client.search(where)]
    run(["sim", "truth", str(clips), "--truth", str(folder / ORACLE), "--out", str(truth)])
    rendered()
    spec = folder / "loop.yaml"
    spec.write_text(yaml.safe_dump(_document(folder, url), sort_keys=False), "utf-8")
    say(f"{len(found)} clips; the loop's file: {absolute(spec)}")
    loop = folder / "loop"
    done = json.loads(_run_turn(spec, loop, folder, say))
    for line in _told(done):
        say(line)
    say("the next day: the vehicles wake, take what was rolled out, and drive the same scenes")
    next_day = drive_fleet(folder, url, seed, lambda text: None, day=1)
    say("both students are compared on those scenes, and on other roads")
    model = _retrained(loop)
    changes = _driven(folder, model, run)
    before, after = _report_files(folder / "trials", shipped_student(), model)
    page = json.loads(run(
        ["loop", "report", "--loop", str(loop), "--trials", str(before), "--trials", str(after),
         "--json"]
    ))["report"]  # fmt: skip
    return TurnShown(done, next_day, changes, Path(page))


def _retrained(loop: Path) -> Path:
    return next((loop / "stages" / "train").glob("*/product/model/student-s.onnx"))


def _document(folder: Path, url: str) -> dict[str, Any]:
    """The loop's file. It lies in the folder, and paths in it are looked up from there."""
    folder = folder.resolve()
    ota = folder / "cloud" / "ota" / "offline"
    held_out = str(folder / "data" / "held-out")
    return {
        "apiVersion": "longtail/loop/v1", "name": "demo", "seed": 1,
        "ingest": {"folders": [str(folder / "clips")]},
        "acquire": {
            "by": str(shipped_student().with_suffix(".manifest.yaml")),
            "request": {"unit": "boxes", "select": {"budget": BUDGET_BOXES, "seed": 1}},
        },
        "label": {"bf16": True, "members": 3, "mirror": False, "workers": 2},
        "review": {"truth": str(folder / "truth"), "accept": 0.9},
        # What is new is calibrated on what is new: classes that were rare have other scores now.
        "dataset": {"every_s": 0.5, "rule": {"parts": [["train", 3], ["validation", 1]]}},
        "train": {
            # As many on every machine: their number is in the last bits of the weights.
            "threads": 2,
            "recipe": str(recipe("retrain")), "replay": [str(folder / "data" / "old")],
            "calibrate": [str(folder / "data" / "calibrate")], "range_frames": 24,
        },
        "evaluate": {
            "suite": str(folder / "data" / "suite"), "tails": [held_out], "random": [held_out],
            "probabilities": str(_drawn(folder)), "policy": str(recipe("gates")),
        },
        "specs": {"rare_below": 300},
        "shadow": {
            "by": "simulated", "drives": str(recipe("shadow")), "key": str(ota / "models-1.pem"),
        },
        "rollout": {
            "url": url, "key": str(ota / "models-1.pem"), "spec_key": str(ota / "triggers-1.pem"),
            "actor": "demo", "stages": "100", "soak_s": 0, "guardrails": False,
            "until": "started",  # the vehicles wake on the next day
        },
    }  # fmt: skip


def _drawn(folder: Path) -> Path:
    """All that there is was driven: each drive counts alike."""
    path = folder / "probabilities.json"
    path.write_text('{"*": 1.0}\n', "utf-8")
    return path


def _run_turn(spec: Path, loop: Path, folder: Path, say: Say) -> str:
    """The command, its stages told as they end."""
    words = ["loop", "run", str(spec), "--loop", str(loop), "--folder", str(folder / "cloud"),
             "--json"]  # fmt: skip
    with (folder / "loop.json").open("w+b") as out:
        process = subprocess.Popen(longtail(*words), stdout=out, stderr=subprocess.PIPE, text=True)
        last = ""
        for line in process.stderr or ():
            text = line.rpartition("\r\x1b[K")[2].strip()
            stage, _, how = text.partition(": ")
            if stage in _STAGES and how.startswith("done"):
                say(text)
            last = text or last
        code = process.wait()
        out.seek(0)
        answer = out.read().decode()
    if code != 0:
        found = json.loads(answer) if answer.strip() else {"why": last, "report": absolute(loop)}
        raise TransientError(f"nothing was shipped: {found['why']}", found["report"])
    return answer


_STAGES = frozenset({
    "ingest", "acquire", "label", "review", "dataset", "train", "evaluate", "specs", "shadow",
    "rollout",
})  # fmt: skip


def _told(done: dict[str, Any]) -> Iterator[str]:
    figures = {row["stage"]: row["figures"] for row in done["stages"]}
    boxes, review = figures["dataset"]["boxes"], figures["review"]
    yield (
        f"{figures['acquire']['chosen']} clips chosen; labels: {boxes}; simulated people took "
        f"{review['simulated_s']:.0f} s"
    )
    gates = figures["evaluate"]["gates"]
    passed = sum(verdict == "pass" for verdict in gates.values())
    yield f"{passed} gates passed, then {figures['shadow']['frames']} frames in shadow"


def _driven(folder: Path, model: Path, run: Run) -> dict[str, list[dict[str, Any]]]:
    """The same drives by both models: what changed, by slice."""
    told = json.loads(run([*_trials(folder, shipped_student(), model), "--json"]))
    rows: list[dict[str, Any]] = told["comparisons"][0]["figures"]
    return {name: [row for row in rows if row["slice"] == name] for name in SLICES}


def _trials(folder: Path, *models: Path) -> list[str]:
    """The command; what a model has driven before, it does not drive again."""
    chosen = [word for model in models for word in ("--model", str(model))]
    return ["sim", "trials", str(recipe("trials")), *chosen, "--out", str(folder / "trials")]


def _report_files(folder: Path, *models: Path) -> list[Path]:
    from contracts.ids import sha256_hex

    return [next(folder.glob(f"*-{sha256_hex(model.read_bytes())[:12]}.json")) for model in models]
