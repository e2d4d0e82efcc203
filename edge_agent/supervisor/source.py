"""A source under supervision: a live one that fails or ends is opened again.

A recording that breaks off has ended: what came before counts, and the break is told. Sensors of
now come back (a cable, a driver, a camera that boots), so a `LiveSource` is asked for its samples
again, with longer waits each time, until too many tries failed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import structlog

from contracts.errors import LongtailError
from contracts.samples import Sample
from edge_agent.ports import LiveSource, SensorSource
from edge_agent.supervisor.supervisor import Restarts

TASK = "source"

log = structlog.get_logger(__name__)


def supervised_samples(
    source: SensorSource,
    restarts: Restarts,
    wait: Callable[[float], bool],
    on_break: Callable[[str], object],
) -> Iterator[Sample]:
    """The source's samples; ends with a recording, when stopped, or when the daemon is to end.

    What a recording raises that is no `LongtailError` is passed on: it is a mistake of ours. So is
    what it raises before its first sample: there is nothing to be saved then.

    Args:
        wait: waits for some seconds, True as soon as it is to stop, as `threading.Event.wait`.
        on_break: told why a source broke off, in a few words.
    """
    live = isinstance(source, LiveSource)
    begun = False
    while True:
        why = "the source has ended"
        try:
            samples = source.samples()
            first = next(samples, None)
            if first is not None:
                begun = True
                yield first
                yield from samples
        except LongtailError as error:
            if not (live or begun):
                raise
            why = error.message
            log.error("source broke off", reason=str(error), live=live)
            on_break(why)
        except Exception as error:
            if not live:
                raise
            why = f"{type(error).__name__}: {error}"
            log.exception("source failed")
            on_break(why)
        if not live or wait(0.0):
            return
        wait_s = restarts.failed(TASK, why)
        if wait_s is None or wait(wait_s):
            return
