"""Opened networks: how they run, what is checked of them, and one that remembers.

One intra-op thread unless more are asked for, and none spins: spinning burns a whole core for
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from contracts.errors import CorruptError, InputError
from contracts.ids import sha256_hex
from contracts.model_manifest import ModelManifest
from edge_agent.ports import Session, SessionOpener

_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
    RuntimeError,
    ValueError,
)

Arrays = Mapping[str, NDArray[Any]]
Outputs = list[NDArray[np.float32]]


def open_session(content: bytes, place: str, threads: int = 1) -> Session:
    """The bytes as an onnxruntime session, whose runs take so many threads, the caller's among
    them. Raises `InputError` when they are no model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # An x86 core without VNNI would add int8 products in 16 bits, which overflow: the answers would
    # not be those that the model was gated by. With VNNI it changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    options.log_severity_level = 3
    try:
        session: Session = ort.InferenceSession(
            content, options, providers=["CPUExecutionProvider"]
        )
    except _ORT_ERRORS as error:
        raise InputError(f"not a usable ONNX model: {_short(error)}", place) from error
    return session


def run_session(session: Session, names: list[str], feed: Arrays, place: str) -> Outputs:
    """The named outputs. Raises `InputError` when the network does not run."""
    try:
        return session.run(names, feed)
    except _ORT_ERRORS as error:
        raise InputError(f"the model does not run: {_short(error)}", place) from error


class RememberingSession:
    """A session that answers from memory when it is fed the same again, value by value.

    Two users of one model in one process (a simulated vehicle's agent and its planner) make it
    run once a frame. The feed is copied, since its owner reuses the arrays; the answer is the
    very arrays of the run, which nobody may write to. Serves one thread.

    Attributes:
        runs: how often the network truly ran.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._names: list[str] = []
        self._feed: dict[str, NDArray[Any]] = {}
        self._outputs: Outputs = []
        self.runs = 0

    def get_inputs(self) -> Sequence[Any]:
        return self._session.get_inputs()

    def get_outputs(self) -> Sequence[Any]:
        return self._session.get_outputs()

    def run(self, output_names: list[str], feed: Arrays) -> Outputs:
        """As the session's own; an array that holds NaN is never the same as before."""
        if self._outputs and self._is_as_before(output_names, feed):
            return self._outputs
        self._outputs = []
        outputs = self._session.run(output_names, feed)
        self.runs += 1
        for array in outputs:
            array.flags.writeable = False
        self._keep(feed)
        self._names, self._outputs = list(output_names), outputs
        return outputs

    def _is_as_before(self, names: list[str], feed: Arrays) -> bool:
        kept = self._feed
        return (
            names == self._names
            and feed.keys() == kept.keys()
            and all(
                array.dtype == kept[name].dtype and np.array_equal(array, kept[name])
                for name, array in feed.items()
            )
        )

    def _keep(self, feed: Arrays) -> None:
        for name in self._feed.keys() - feed.keys():
            del self._feed[name]
        for name, array in feed.items():
            mine = self._feed.get(name)
            if mine is None or mine.shape != array.shape or mine.dtype != array.dtype:
                self._feed[name] = array.copy()
            else:
                np.copyto(mine, array)


class SharedSessions:
    """A `SessionOpener` that opens equal bytes once, as one `RememberingSession` for all users."""

    def __init__(self, opener: SessionOpener = open_session) -> None:
        self._opener = opener
        self.sessions: dict[str, RememberingSession] = {}

    def __call__(self, content: bytes, place: str) -> Session:
        digest = sha256_hex(content)
        if digest not in self.sessions:
            self.sessions[digest] = RememberingSession(self._opener(content, place))
        return self.sessions[digest]


def check_tensor(
    name: str,
    side: str,
    found: Mapping[str, Any],
    shape: tuple[int, ...],
    place: str,
    kind: str = "float",
) -> None:
    """Compare a declared tensor; -1 stands for any size, a name in the file for one not fixed."""
    tensor = found.get(name)
    if tensor is None:
        raise InputError(f"no {side} is called {name!r}; found {sorted(found)}", place)
    if tensor.type != f"tensor({kind})":
        raise InputError(f"{side} {name!r} is {tensor.type}, expected tensor({kind})", place)
    check_shape(side, name, tensor.shape, shape, place)


def check_shape(
    side: str, name: str, found: Sequence[Any], expected: Sequence[int], place: str
) -> None:
    """Raises `InputError` with both shapes when they do not match."""
    matches = len(found) == len(expected) and all(
        -1 in (want, have) or not isinstance(have, int) or have == want
        for have, want in zip(found, expected, strict=True)
    )
    if not matches:
        wanted = ["any" if size == -1 else size for size in expected]
        raise InputError(f"{side} {name!r} has shape {list(found)}, expected {wanted}", place)


def check_probes(manifest: ModelManifest, outputs: Arrays, place: str) -> None:
    """Compare the self-test's outputs with what the manifest says (`SelfTest`).

    Raises `CorruptError` for a value that differs, `InputError` for a probe of nothing.
    """
    for number, probe in enumerate(manifest.self_test.probes):
        where = f"{place}: self_test.probes.{number}"
        name = probe.tensor or manifest.decoder.tensor
        raw = outputs.get(name)
        if raw is None:
            raise InputError(f"no output is called {name!r}; found {sorted(outputs)}", where)
        inside = len(probe.index) == raw.ndim and all(
            0 <= i < n for i, n in zip(probe.index, raw.shape, strict=True)
        )
        if not inside:
            raise InputError(f"index {probe.index} is outside {list(raw.shape)}", where)
        found = float(raw[probe.index])
        if not abs(found - probe.value) <= probe.tolerance:
            told = f"{list(probe.index)}" if probe.tensor is None else f"{name}{list(probe.index)}"
            raise CorruptError(
                f"the self-test failed: output {told} is {found:.6g}, expected "
                f"{probe.value:.6g} within {probe.tolerance:g}",
                where,
            )


def unit_vector(raw: NDArray[np.float32]) -> NDArray[np.float32]:
    """The embedding [d] scaled to length 1; a zero vector stays zero."""
    flat = raw.reshape(-1).astype(np.float64)
    return (flat / max(float(np.linalg.norm(flat)), 1e-12)).astype(np.float32)


def _short(error: BaseException) -> str:
    """The first line of a foreign error, bounded."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
