"""Which executor a command's options ask for."""

from __future__ import annotations

from contracts.errors import InputError
from offline.executor.ports import Executor


def executor_of(workers: int | None = None, ray: str | None = None) -> Executor:
    """Worker processes on this machine, or a Ray cluster where its address is given.

    Args:
        workers: how many; None for one a core (with Ray: all that the cluster has), 0 for none,
            that is, in this process.
        ray: the cluster's address; `local` starts one that ends with the run.

    Raises `InputError` for what does not fit together.
    """
    if ray is not None:
        from offline.executor.ray_cluster import RayCluster

        return RayCluster(ray, workers)
    if workers == 0:
        from offline.executor.inline import InlineExecutor

        return InlineExecutor()
    if workers is not None and workers < 0:
        raise InputError(f"must be 0 or more, is {workers}", "workers")
    from offline.executor.local_pool import LocalPool

    return LocalPool(workers)
