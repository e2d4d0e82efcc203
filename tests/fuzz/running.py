"""Running a target: mutants in, anything but an answer or a proper refusal is a failure.

`run_here` is one burst in this process. `run_apart` runs for a time in a process of its own whose
memory is bounded, so that a crash of the interpreter, a hang inside of C and memory without bound
are caught too; the input at fault is then the one that lies in the shared file.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO

from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

INPUT_S = 5.0
"""The longest that one input may take, of the processor's time."""
SILENT_S = 60.0
"""A process that spends so much of the processor's time on one input hangs where no signal reaches
it; one that waits for something instead gets ten times as long."""
HEADROOM_BYTES = 1 << 30
"""What a target may map beyond what it has when its seeds are made."""
FOUND = Path("build") / "fuzz"
_SLOT_BYTES = 4 << 20


class SlowError(Exception):
    """One input took longer than `INPUT_S`."""


@dataclass
class Findings:
    """What a run came to."""

    target: str
    inputs: int = 0
    accepted: int = 0
    seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0.0
        end = f"{len(self.failures)} FAILURES" if self.failures else "no failure"
        return (
            f"{self.target:18} {self.inputs:9} inputs {rate:8.0f}/s"
            f" {self.accepted:8} accepted  {end}"
        )


def run_here(target: Target, inputs: int, seed: int = 0) -> Findings:
    """A burst of so many inputs. The first failure ends it."""
    rng = random.Random(f"{target.name}/{seed}")
    findings = Findings(target.name)
    with target.opened() as run:
        for _ in range(inputs):
            content = target.mutant(rng)
            failure = _try(target, run, content, findings)
            if failure:
                findings.failures.append(f"{failure}\ninput: {save(target, content)}")
                break
    return findings


def _try(target: Target, run, content: bytes, findings: Findings) -> str:  # type: ignore[no-untyped-def]
    """Empty when all is well."""
    findings.inputs += 1
    try:
        with _limited(INPUT_S):
            run(content)
    except target.refusals:
        return ""
    except SlowError:
        return f"took longer than {INPUT_S:g} s of the processor"
    except MemoryError:
        return "asked for more memory than there is for it"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "".join(traceback.format_exception(error, limit=-6))
    findings.accepted += 1
    return ""


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise SlowError

    # Of the processor's time: a machine that is busy with other things makes nothing slow.
    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def save(target: Target, content: bytes) -> Path:
    """Keep an input that failed, named by its content."""
    folder = FOUND / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / hashlib.sha256(content).hexdigest()[:16]
    path.write_bytes(content)
    return path


# A process of its own ----------------------------------------------------------------------------


def run_apart(name: str, seconds: float, seed: int) -> Findings:
    """Run a target for a time in a process whose memory is bounded."""
    target = TARGETS[name]
    FOUND.mkdir(parents=True, exist_ok=True)
    slot = FOUND / f".{name}.{os.getpid()}"
    slot.write_bytes(bytes(_SLOT_BYTES))
    words = [sys.executable, "-m", "tests.fuzz", "--worker", str(slot), "--seed", str(seed)]
    words += ["--seconds", f"{seconds:g}", name]
    try:
        # Files, not pipes: a worker that says much must not wait for somebody to listen.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with subprocess.Popen(words, stdout=out, stderr=err) as worker:
                hung = _watch(worker, slot)
            said, complained = _content(out), _content(err)
        try:
            return Findings(**json.loads(said))
        except (ValueError, TypeError):
            content, inputs = _slot_content(slot)
            why = "hangs" if hung else f"ended with {worker.returncode}"
            failure = f"{why}: {complained.decode(errors='replace')[-2000:]}"
            failure += f"\ninput: {save(target, content)}"
            return Findings(name, inputs, 0, seconds, [failure])
    finally:
        slot.unlink(missing_ok=True)


def _content(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _watch(worker: subprocess.Popen[bytes], slot: Path) -> bool:
    """Wait for the worker; kill one that makes no progress, and say so."""
    before, spent_s, since_s = -1, 0.0, time.monotonic()
    while True:
        try:
            worker.wait(timeout=SILENT_S)
            return False
        except subprocess.TimeoutExpired:
            inputs = _slot_content(slot)[1]
            if inputs != before:
                before, spent_s, since_s = inputs, _cpu_s(worker.pid), time.monotonic()
                continue
            waited = time.monotonic() - since_s >= 10 * SILENT_S
            if waited or _cpu_s(worker.pid) - spent_s >= SILENT_S:
                worker.kill()
                return True


def _cpu_s(pid: int) -> float:
    """What a process has had of the processor; a busy machine makes nothing hang."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def _slot_content(slot: Path) -> tuple[bytes, int]:
    content = slot.read_bytes()
    length = int.from_bytes(content[:8], "little")
    return content[16 : 16 + length], int.from_bytes(content[8:16], "little")


def work(name: str, seconds: float, seed: int, slot: Path) -> Findings:
    """The worker: like `run_here`, against the clock, each input in the slot before it is tried."""
    target = TARGETS[name]
    rng = random.Random(f"{name}/{seed}")
    findings = Findings(name)
    warnings.simplefilter("ignore")
    with slot.open("r+b") as file, mmap.mmap(file.fileno(), 0) as shared, target.opened() as run:
        for content in target.seeds():  # what compiles or loads does it before memory is bounded
            _try(target, run, content, Findings(name))
        _bound_memory()
        begin_s = time.monotonic()
        while (now_s := time.monotonic()) - begin_s < seconds:
            content = target.mutant(rng)
            shared[:8] = len(content).to_bytes(8, "little")
            shared[8:16] = findings.inputs.to_bytes(8, "little")
            shared[16 : 16 + len(content)] = content
            failure = _try(target, run, content, findings)
            if failure:
                findings.failures.append(f"{failure}\ninput: {save(target, content)}")
                if len(findings.failures) >= 5:
                    break
        findings.seconds = now_s - begin_s
    return findings


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + HEADROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


def as_json(findings: Findings) -> str:
    return json.dumps(asdict(findings))
