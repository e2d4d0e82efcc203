"""Works through the steps of committed clips, beside the receiver and never in its way.

| what a step meets                        | what follows                                         |
|------------------------------------------|------------------------------------------------------|
| its end, or nothing to do                | the next step                                        |
| `UnreadableError`                        | the clip is quarantined with the reason              |
| `TransientError`, `ExhaustedError`,      | the run waits, longer each time; after               |
| the database or the disk failing         | `MOST_ATTEMPTS` the step has failed, the rest goes on |
| anything else                            | the step has failed, the rest goes on                |
| the process ends                         | another goes on at this step once the lease is over  |
| that again and again                     | after `MOST_ATTEMPTS` begins the step has failed     |
| the lease was lost, the clip was erased  | nothing is written; an erased clip's views go        |

Around the steps, while a run is read and written down, the same holds: a database that fails leaves
the run to the next one after its lease, anything else fails the steps that are left.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress

import sqlalchemy as sa
import structlog
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from cloud_ingest.schema import READY, clip_identity, clips
from cloud_ingest.steps.book import Outcome, Run, StepBook
from cloud_ingest.steps.work import Done, Ending, Means, Perform, UnreadableError, Work
from contracts.clip import ClipManifest
from contracts.clock import NS_PER_S
from contracts.errors import (
    ConflictError,
    ExhaustedError,
    InputError,
    LongtailError,
    TransientError,
)

LOOP = "steps"
MOST_ATTEMPTS = 5
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 900.0
_INTAKE = 500
_log = structlog.get_logger(__name__)


class StepRunner:
    """The workers of one process.

    Args:
        means: what steps may use.
        workers: clips at a time; 0 leaves the steps to other replicas.
        poll_s: how often to look for work when there was none.
        failed: told of each failure that no step foresaw.
    """

    def __init__(
        self,
        book: StepBook,
        steps: Mapping[str, Perform],
        means: Means,
        workers: int,
        poll_s: float,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._book = book
        self._steps = steps
        self._means = means
        self._workers = workers
        self._poll_ns = int(poll_s * NS_PER_S)
        self._failed = failed
        self._name = secrets.token_hex(8)
        self._in_hand: set[str] = set()
        self.ended: Counter[tuple[str, str]] = Counter({(step, "failed"): 0 for step in steps})
        """How many steps came to which end here."""

    async def run(self) -> None:
        """Until cancelled. A failure is logged, and tried again in the next round."""
        if not self._workers:
            return
        renewing = asyncio.create_task(self._renew())
        try:
            while True:
                if not await self._round():
                    await self._means.clock.sleep_ns(self._poll_ns)
        finally:
            renewing.cancel()
            await asyncio.wait({renewing})
            with suppress(SQLAlchemyError):
                await self._book.let_go(self._name)

    async def run_until_idle(self) -> int:
        """Do all that is due now; returns how many clips were worked on."""
        worked = 0
        while (done := await self._once()) or await self._book.take_in(_INTAKE):
            worked += done
        return worked

    async def _round(self) -> int:
        try:
            return await self._once()
        except (LongtailError, SQLAlchemyError, OSError) as error:
            _log.warning("a round of steps failed", error=str(error))
            self._failed(LOOP)
            return 0

    async def _once(self) -> int:
        await self._book.take_in(_INTAKE)
        runs = await self._book.claim(self._name, max(1, self._workers))
        # All of them have ended when this has, also when it is cancelled.
        async with asyncio.TaskGroup() as group:
            for run in runs:
                group.create_task(self._guarded(run))
        return len(runs)

    async def _renew(self) -> None:
        while True:
            await self._means.clock.sleep_ns(self._book.lease_ns // 3)
            try:
                await self._book.renew(self._name, sorted(self._in_hand))
            except Exception as error:  # noqa: BLE001 - without leases others would do it twice
                _log.warning("leases not renewed", error=f"{type(error).__name__}: {error}")

    async def _guarded(self, run: Run) -> None:
        """One clip as far as it goes; raises nothing that would end the others."""
        self._in_hand.add(run.clip_id)
        try:
            await self._told(run)
        except (LongtailError, SQLAlchemyError, OSError) as error:
            # Nobody renews its lease now: it is taken up again after that.
            _log.warning("a run has to wait", clip_id=run.clip_id, error=str(error))
            self._failed(LOOP)
        except Exception:  # noqa: BLE001 - one clip's trouble is not the others'
            _log.exception("a run failed", clip_id=run.clip_id)
            self._failed(LOOP)
        finally:
            self._in_hand.discard(run.clip_id)

    async def _told(self, run: Run) -> None:
        """One clip; what is wrong with it is written to its steps."""
        try:
            await self._run(run)
        except ConflictError:
            _log.info("a run was lost", clip_id=run.clip_id)
            await self._forget_views(run)
        except (TransientError, ExhaustedError, SQLAlchemyError, OSError):
            raise
        except Exception as error:
            is_foreseen = isinstance(error, LongtailError)
            reason = str(error) if is_foreseen else f"{type(error).__name__}: {error}"
            await self._book.fail_all(run, list(self._steps), reason)
            self.ended.update((step, "failed") for step in self._steps)
            if is_foreseen:
                _log.warning("a run failed", clip_id=run.clip_id, reason=reason)
            else:
                raise

    async def _run(self, run: Run) -> None:
        """One clip from the first step that did not end to the last."""
        names = list(self._steps)
        work, problem = await self._work(run)
        if work is None:
            await self._book.skip_all(run, names, problem)
            return
        ended = await self._book.ended_steps(run)
        left = [name for name in names if name not in ended]
        if not left:
            await self._book.close(run)
            return
        attempts = await self._book.begin(run, left[0])
        for step, following in zip(left, [*left[1:], None], strict=True):
            outcome = await self._perform(step, work, attempts)
            if isinstance(outcome, UnreadableError):
                reason = f"cannot be read: {outcome}"
                others = [name for name in names if name != step]
                await self._book.quarantine(run, Outcome(step, "failed", reason), others)
                self.ended[step, "failed"] += 1
                _log.warning("quarantined", clip_id=run.clip_id, reason=reason)
                return
            if outcome.state == "waiting":
                wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempts - 1))
                await self._book.put_off(run, outcome, wait_s)
                return
            attempts = await self._book.end(run, outcome, following)
            self.ended[step, outcome.state] += 1

    async def _perform(self, step: str, work: Work, attempts: int) -> Outcome | UnreadableError:
        if attempts > MOST_ATTEMPTS:
            return Outcome(step, "failed", f"was begun {attempts - 1} times and never ended")
        try:
            ending: Ending = await self._steps[step](work)
        except UnreadableError as error:
            return error
        except (TransientError, ExhaustedError, SQLAlchemyError, OSError) as error:
            reason = str(error) if isinstance(error, LongtailError) else type(error).__name__
            _log.warning("a step has to wait", clip_id=work.clip_id, step=step, reason=reason)
            state = "waiting" if attempts < MOST_ATTEMPTS else "failed"
            return Outcome(step, "waiting" if state == "waiting" else "failed", reason)
        except LongtailError as error:
            return Outcome(step, "failed", str(error))
        except Exception as error:  # noqa: BLE001 - one clip's trouble is not the others'
            _log.exception("a step failed", clip_id=work.clip_id, step=step)
            return Outcome(step, "failed", f"{type(error).__name__}: {error}")
        if isinstance(ending, Done):
            return Outcome(step, "done", product=ending.product)
        return Outcome(step, "skipped", ending.reason)

    async def _work(self, run: Run) -> tuple[Work | None, str]:
        """The clip to work on, or why it cannot be worked on.

        Raises `InputError` for a manifest that another version has stored.
        """
        query = sa.select(
            clips.c.vehicle_id, clips.c.state, clips.c.state_reason, clips.c.manifest
        ).where(clips.c.clip_id == run.clip_id)
        async with self._means.engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None, "there is no such clip"
        if row.state != READY or row.manifest is None:
            return None, f"the clip is quarantined: {row.state_reason}"
        try:
            manifest = ClipManifest.model_validate(row.manifest)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(step) for step in first["loc"])
            reason = f"this version cannot read the stored manifest: {field}: {first['msg']}"
            raise InputError(reason) from error
        return Work(run.clip_id, row.vehicle_id, manifest, self._means), ""

    async def _forget_views(self, run: Run) -> None:
        """Views that were made while the clip was erased go with it."""
        query = sa.select(clip_identity.c.erased_utc).where(clip_identity.c.clip_id == run.clip_id)
        async with self._means.engine.connect() as connection:
            erased = (await connection.execute(query)).scalar_one_or_none()
        if erased is not None:
            await asyncio.to_thread(self._means.views.remove_all, run.clip_id)
