"""Parts of a merged drive, and recorded ones side by side in the order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from contracts.clock import Clock, SystemClock
from contracts.samples import Sample
from edge_agent.drive.door import channel_of
from edge_agent.ports import CountingSource, SensorSource, SourceDescription
from edge_agent.sources.leaps import plausible_samples
from edge_agent.sources.streams import merge_samples


@dataclass(frozen=True, slots=True)
class Part:
    """A member with what it tells, after `drop`, and what is added to its times.

    `address` is for people: without passwords. `turned_away` counts by reason the samples whose
    time cannot be: in the order of time, one far ahead would keep back all that follows it.
    """

    address: str
    source: SensorSource
    told: SourceDescription
    drop: frozenset[str]
    shift_ns: int
    turned_away: Counter[str] = field(default_factory=Counter, compare=False)

    def take(self, sample: Sample) -> Sample | None:
        """The sample on the drive's clock; None for one that is dropped."""
        if self.drop:
            channel = channel_of(sample)
            if channel in self.drop or channel.removeprefix("/signals/") in self.drop:
                return None
        if self.shift_ns == 0:
            return sample
        return replace(sample, mono_ns=sample.mono_ns + self.shift_ns)

    def samples(self, clock: Clock) -> Iterator[Sample]:
        """All that is not dropped. `clock`: the machine's."""
        source = self.source
        for sample in plausible_samples(source.samples(), source, self.told, clock, self._tell):
            taken = self.take(sample)
            if taken is not None:
                yield taken

    def _tell(self, _: Sample, reason: str) -> None:
        self.turned_away[reason] += 1


def part_counts(parts: Sequence[Part]) -> Counter[str]:
    """What the parts left out, by part and reason."""
    found: Counter[str] = Counter()
    for part in parts:
        counts = part.turned_away.copy()
        if isinstance(part.source, CountingSource):
            counts.update(part.source.counts)
        name = part.address.partition(",")[0]
        found.update({f"{name}: {reason}": count for reason, count in counts.items() if count})
    return found


class MergedSource:
    """`SensorSource` over recorded parts."""

    def __init__(self, parts: Sequence[Part], told: SourceDescription) -> None:
        self._parts = parts
        self._told = told

    @property
    def counts(self) -> Counter[str]:
        """What the parts left out, by part and reason."""
        return part_counts(self._parts)

    def describe(self) -> SourceDescription:
        return self._told

    def samples(self) -> Iterator[Sample]:
        return merge_samples(*(part.samples(SystemClock()) for part in self._parts))
