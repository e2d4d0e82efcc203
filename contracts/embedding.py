"""A scene's embedding as text, small enough for a trigger spec: half-precision values, base64.

Only the direction counts. Rounding turns a vector by less than 1/2000 rad, so that its cosine
with a near one moves by less than 1e-4: scenes of one network often differ by little more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.errors import InputError
from contracts.samples import Float32s

MAX_VALUES = 4096
MAX_CHARACTERS = -(-2 * MAX_VALUES // 3) * 4


def embedding_text(vector: Sequence[float] | NDArray[np.floating]) -> str:
    """The text of a vector [d]. Raises `InputError` for one without a direction."""
    values = np.asarray(vector, dtype=np.float64)
    length = float(np.linalg.norm(values))
    if values.ndim != 1 or not 1 <= values.size <= MAX_VALUES or not 0 < length < np.inf:
        raise InputError(f"needs 1 to {MAX_VALUES} values that are not all 0", "embedding")
    return base64.b64encode((values / length).astype("<f2").tobytes()).decode()


def embedding_of(text: str) -> Float32s:
    """The unit vector float32 [d] of a text. Raises `InputError`."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError("is not base64", "embedding") from error
    if not content or len(content) % 2 or len(content) > 2 * MAX_VALUES:
        raise InputError(f"holds no 1 to {MAX_VALUES} half-precision values", "embedding")
    values = np.frombuffer(content, dtype="<f2").astype(np.float64)
    length = float(np.linalg.norm(values))
    if not 0 < length < np.inf:
        raise InputError("has no direction", "embedding")
    return np.asarray(values / length, dtype=np.float32)
