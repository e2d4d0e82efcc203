"""Makes docs/road-down.md: a spec from its first draft to a vehicle and back, as it happened.

    .venv/bin/python docs/road_down.py

Starts a cloud and a vehicle of its own in a temporary folder, runs the commands below, and writes
down what they printed. Takes about a minute and a half.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli.demo_processes import agent_process, cloud_process, longtail
from cli.demo_road_down import drive_and_change, example_spec, run_quietly

TARGET = Path(__file__).with_name("road-down.md")
INTRODUCTION = """\
# The road down, as it happened

A fleet operator wants clips of the moment in which a queue moves again. This is every command from
the first draft of the spec to a vehicle that runs it, and back, with what each printed; made by
[docs/road_down.py](road_down.py), which anybody can run. The vehicle is one agent process that
drives all the while; nothing is restarted. How it works: [updates.md](updates.md).
"""


class Page:
    """The transcript so far."""

    def __init__(self, url: str, folder: Path) -> None:
        self._run = run_quietly(url)
        self._url = url
        self._folder = folder
        self.lines = [INTRODUCTION]

    def say(self, text: str) -> None:
        self.lines.append(
            f"{text[0].upper()}{text[1:]}{'' if text.endswith(('.', ':')) else '.'}\n"
        )

    def run(self, arguments: Sequence[str]) -> str:
        """Run a command that must succeed, and write down both."""
        output = self._run(arguments)
        self._show(arguments, output)
        return output

    def run_failing(self, arguments: Sequence[str]) -> None:
        """Run a command that must fail, and write down what it said."""
        done = subprocess.run(
            longtail(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        if done.returncode == 0:
            raise SystemExit(f"should have failed: {' '.join(arguments)}")
        self._show(arguments, done.stdout)

    def _show(self, arguments: Sequence[str], output: str) -> None:
        words = " ".join(f'"{a}"' if re.search(r"[\s'*]", a) else a for a in arguments)
        text = f"$ longtail {words}\n{output.rstrip()}\n"
        text = text.replace(f"{self._folder}/", "").replace(f" --cloud {self._url}", "")
        lines = [line.rstrip() for line in text.splitlines()]
        self.lines.append("```console\n" + "\n".join(lines) + "\n```\n")


def write_draft(spec: Path) -> None:
    """The example with a slip of the pen."""
    text = example_spec().read_text().splitlines(keepends=True)[1:]
    spec.write_text("".join(text).replace("lead.distance_m", "lead.distence_m"))


def earlier_drive(folder: Path, url: str) -> None:
    """A drive of the day before, so that there is history to try the spec on."""
    with agent_process(
        folder, url, "--source", "sim:seed=4,duration_s=240", "--vehicle", "other-car", "--once"
    ) as process:
        process.wait()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="longtail-road-down-") as name:
        folder = Path(name)
        (folder / "cloud-and-car").mkdir()
        place = folder / "cloud-and-car"
        yesterday = folder / "yesterday"
        yesterday.mkdir()
        with cloud_process(place) as url:
            earlier_drive(yesterday, url)
            TARGET.write_text(transcript(folder, place, url))


def transcript(folder: Path, place: Path, url: str) -> str:
    page = Page(url, folder)
    spec = folder / "pulls-away.yaml"
    (folder / "tests").mkdir()
    (folder / "tests" / spec.name).write_text(
        (example_spec().parent / "tests" / spec.name).read_text()
    )
    logs = str(folder / "yesterday" / "agent" / "signals")
    page.lines.append("## Write it\n")
    write_draft(spec)
    page.lines.append(f"```yaml\n{spec.read_text().rstrip()}\n```\n")
    page.run_failing(["spec", "lint", str(spec)])
    page.say("a slip of the pen, found before anything ran. Mended:")
    spec.write_text(spec.read_text().replace("lead.distence_m", "lead.distance_m"))
    page.run(["spec", "lint", str(spec)])
    page.run(["spec", "test", str(spec)])
    page.lines.append("## See what it would cost\n")
    page.say("four minutes that a vehicle logged the day before, with the size of real clips:")
    clips = str(folder / "yesterday" / "agent" / "spool")
    page.run(["spec", "backtest", str(spec), "--log", logs, "--clips", clips, "--vehicles", "100"])
    page.lines.append("## Send it to a vehicle that drives\n")
    shown = drive_and_change(place, url, spec, page.say, page.run)
    page.lines.append("## What happened on the vehicle\n")
    page.say(f"one process, {shown.agent_pid}, from the first line to the last:")
    rows = "\n".join(f"| {moment.at_s:.0f} s | {moment.what} |" for moment in shown.moments)
    page.lines.append(f"| drive time | |\n|---|---|\n{rows}\n")
    page.say("what its own log says of it:")
    page.lines.append(f"```\n{log_lines(place / 'vehicle' / 'agent.log')}\n```\n")
    return "\n".join(page.lines)


def log_lines(log: Path) -> str:
    """The agent's lines about releases, its line-up, and the trigger."""
    wanted = ("release_ready", "lineup changed", "pulls-away", "drive")
    told = [line for line in log.read_text().splitlines() if any(word in line for word in wanted)]
    return "\n".join(re.sub(r"\s{2,}", "  ", line) for line in told)


if __name__ == "__main__":
    main()
