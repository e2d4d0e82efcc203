"""Evidence that is measured on models: what their files are, and what they cost."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

import numpy as np

from contracts.errors import LongtailError
from contracts.samples import Float32s
from kernels.bev.pattern import self_test_inputs
from offline.gates.evidence import BudgetEvidence, ManifestEvidence
from offline.gates.model_file import ModelFile

SelfTest = Callable[[ModelFile], None]
"""Opens a model as the vehicle does, and raises a `LongtailError` where that would refuse it."""
EmbeddingPairs = Iterable[tuple[Float32s, Float32s]]
"""Of the same frames, the candidate's first; of any length, where the models differ in it."""
BUDGET_FRAMES = 40


def manifest_evidence(
    candidate: ModelFile, reference: ModelFile, self_test: SelfTest,
    embeddings: Callable[[], EmbeddingPairs],
) -> ManifestEvidence:  # fmt: skip
    """`embeddings` are asked for only of a file that is what it says it is.

    Raises `CorruptError` for a reference that is not: nothing can be held against it.
    """
    reference.checked()
    fault = ""
    try:
        self_test(candidate)
    except LongtailError as error:
        fault = str(error)
    cosine = None if fault else median_cosine(embeddings())
    return ManifestEvidence(
        candidate=candidate.manifest, reference=reference.manifest,
        file_sha256=candidate.sha256, file_bytes=len(candidate.content),
        reference_sha256=reference.sha256, self_test=fault[:1000], embedding_cosine=cosine,
    )  # fmt: skip


def median_cosine(pairs: EmbeddingPairs) -> float | None:
    """None without any pair, and for vectors of different lengths."""
    found = []
    for one, other in pairs:
        if one.shape != other.shape:
            return None
        scale = float(np.linalg.norm(one) * np.linalg.norm(other))
        found.append(float(one @ other) / scale if scale else 0.0)
    return float(np.clip(np.median(found), -1.0, 1.0)) if found else None


def budget_evidence(
    candidate: ModelFile, reference: ModelFile, frames: int = BUDGET_FRAMES
) -> BudgetEvidence:
    """CPU time of the networks, in turn, on the manifests' self-test inputs.

    One thread that never spins, as on the vehicle. What a network of this kind costs does not
    depend on what it sees. Taking turns gives both the same share of whatever else the machine
    does; the first run of each is not counted. Raises `CorruptError` for a file that is not its
    manifest's.
    """
    from models.student.export import Graph

    graphs = [Graph(candidate.checked()), Graph(reference.checked())]
    feeds = [self_test_inputs(candidate.manifest), self_test_inputs(reference.manifest)]
    spent: tuple[list[int], list[int]] = ([], [])
    for turn in range(frames + 1):
        for graph, feed, times in zip(graphs, feeds, spent, strict=True):
            before = time.process_time_ns()
            graph.run(feed)
            after = time.process_time_ns()
            if turn:
                times.append(after - before)
    ours, theirs = (statistics.median(times) / 1e6 for times in spent)
    return BudgetEvidence(
        frames=frames, candidate_cpu_ms=ours, reference_cpu_ms=theirs,
        candidate_bytes=len(candidate.content),
    )  # fmt: skip
