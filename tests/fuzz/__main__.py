"""`python -m tests.fuzz [--seconds 600] [TARGET ...]`: fuzz every decoder and parser, or some.

`--replay FILE` runs one target on a saved input and lets its error through.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import structlog

from tests.fuzz.running import as_json, run_apart, work
from tests.fuzz.targets import TARGETS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for each target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, metavar="FILE")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    given = parser.parse_args()
    unknown = set(given.targets) - TARGETS.keys()
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    if given.worker is not None:
        (name,) = given.targets
        sys.stdout.write(as_json(work(name, given.seconds, given.seed, given.worker)))
        return 0
    if given.replay is not None:
        (name,) = given.targets
        with TARGETS[name].opened() as run:
            run(given.replay.read_bytes())
        return 0
    failed = False
    sys.stdout.write(f"seed {given.seed}, {given.seconds:g} s each\n")
    for name in given.targets or TARGETS:
        findings = run_apart(name, given.seconds, given.seed)
        failed = failed or bool(findings.failures)
        sys.stdout.write(findings.line() + "\n")
        for failure in findings.failures:
            sys.stdout.write(f"  {failure}\n")
        sys.stdout.flush()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
