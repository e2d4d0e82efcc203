"""Processes that train one network together: each takes its part of every step's frames.

Torch's own: a process group, and `DistributedDataParallel`, which averages gradients as they come
back and keeps the statistics of normalisation alike. All draw the same order of examples, and what
a step's loss is divided by is counted over all of them: a step is the one that a single process
would take. Each draws mirror and dropout for its own, so a crew of another size is another training
by these draws alone; the same size and seed is the same one, on the same kind of machine, up to the
order in which gradients are added.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist

from contracts.errors import InputError, TransientError
from contracts.geometry import Int64s

_PATIENCE = timedelta(minutes=30)
"""How long one waits for the others: a first pass over the data may take so long."""


@dataclass(frozen=True, slots=True)
class Crew:
    """This process among those that train together. The one of rank 0 leads: it writes files."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def wait(self) -> None:
        """Until all have come as far."""
        if self.size > 1:
            dist.barrier()

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader does it, and then the others, who find on disk what was kept there."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def part(self, places: Int64s) -> Int64s:
        """Of a step's examples those that are this process's. None has nothing to do: where there
        are fewer examples than processes some are seen twice.
        """
        if places.size < self.size:
            places = np.resize(places, self.size)
        return places[self.rank :: self.size]

    def count(self, own: Tensor) -> Tensor:
        """What a sum over this process's part of a step is divided by, for the mean over the crew
        to be the sum over all by the count of all; nowhere less than one.
        """
        if self.size == 1:
            return own.clamp(min=1)
        total = own.detach().clone()
        dist.all_reduce(total)
        return total.clamp(min=1) / self.size

    def rng(
        self, rng: np.random.Generator, seed: int, epoch: int, step: int
    ) -> np.random.Generator:
        """What this process draws a step's mirror and dropout from; alone, the run's own."""
        return rng if self.size == 1 else np.random.default_rng([seed, epoch, step, self.rank])

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network such that gradients are everybody's."""
        if self.size == 1:
            return network
        # A sensor that is dropped leaves its part of the network without a gradient.
        return nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)


ALONE = Crew()


@contextmanager
def joined(rank: int, size: int, rendezvous: Path) -> Iterator[Crew]:
    """Join a crew of `size`; it begins when all have joined.

    Args:
        rendezvous: a file that all see under this path, and that none has used before.

    Raises `TransientError` when the others do not come.
    """
    if not 0 <= rank < size:
        raise InputError(f"there is no rank {rank} among {size}", "crew")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    try:
        dist.init_process_group(
            backend,
            init_method=rendezvous.absolute().as_uri(),
            rank=rank,
            world_size=size,
            timeout=_PATIENCE,
        )
    except (RuntimeError, dist.DistError) as error:
        raise TransientError(f"the crew did not come together: {error}", str(rendezvous)) from error
    try:
        yield Crew(rank, size)
    finally:
        dist.destroy_process_group()
