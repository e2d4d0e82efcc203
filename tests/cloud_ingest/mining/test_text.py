"""The text model in NumPy, and the making of a space that is killed and goes on."""

from __future__ import annotations

import asyncio
import json
import signal
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from cloud_ingest.database import open_engine
from cloud_ingest.mining.bert import BertEncoder, installed_encoder
from cloud_ingest.mining.captioner import BATCH, Captioner
from cloud_ingest.mining.spaces import Spaces, caption_space
from cloud_ingest.mining.wordpiece import WordPiece
from cloud_ingest.mining_schema import embedding_jobs, embedding_spaces
from cloud_ingest.schema import clips, embeddings
from contracts.clip import ClipSummary
from contracts.clock import SystemClock
from contracts.errors import InputError
from tests.cloud_ingest.mining.support import add_clip
from tests.cloud_ingest.mining.test_search import WordCounts
from tests.cloud_ingest.support import make_manifest

HIDDEN, INNER, HEADS, LAYERS = 16, 32, 4, 2
PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "cycl",
    "##ist",
    "rain",
    "in",
    "the",
    ",",
    "cafe",
]


def write_model(folder: Path, seed: int = 1) -> dict[str, np.ndarray]:
    """A tiny BERT of random weights, as sentence-transformers lays it out."""
    rng = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (len(PIECES), HIDDEN),
        "embeddings.position_embeddings.weight": (300, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,), "embeddings.LayerNorm.bias": (HIDDEN,),
    }  # fmt: skip
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes[f"{at}.attention.{part}.weight"] = (HIDDEN, HIDDEN)
            shapes[f"{at}.attention.{part}.bias"] = (HIDDEN,)
        shapes[f"{at}.intermediate.dense.weight"] = (INNER, HIDDEN)
        shapes[f"{at}.intermediate.dense.bias"] = (INNER,)
        shapes[f"{at}.output.dense.weight"] = (HIDDEN, INNER)
        shapes[f"{at}.output.dense.bias"] = (HIDDEN,)
        for norm in ("attention.output.LayerNorm", "output.LayerNorm"):
            shapes[f"{at}.{norm}.weight"] = shapes[f"{at}.{norm}.bias"] = (HIDDEN,)
    weights = {
        name: rng.normal(scale=0.3, size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    header, content = {}, b""
    for name, values in weights.items():
        end = len(content) + values.nbytes
        header[name] = {
            "dtype": "F32", "shape": values.shape, "data_offsets": [len(content), end],
        }  # fmt: skip
        content += values.tobytes()
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + content)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    config = {
        "model_type": "bert", "hidden_act": "gelu", "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS, "layer_norm_eps": 1e-12,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def test_text_is_cut_as_bert_cuts_it(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(PIECES))
    words = WordPiece(tmp_path / "vocab.txt")

    def pieces(text: str, at_most: int = 50) -> str:
        return " ".join(PIECES[number] for number in words.ids(text, at_most))

    assert pieces("A cyclist, in\tthe RAIN") == "[CLS] a cycl ##ist , in the rain [SEP]"
    assert pieces("Café\u200b \0rain") == "[CLS] cafe rain [SEP]"
    assert pieces("cyclists 北a") == "[CLS] [UNK] [UNK] a [SEP]"
    assert pieces("x" * 101) == "[CLS] [UNK] [SEP]"
    assert pieces("a a a a", 4) == "[CLS] a a [SEP]"
    (tmp_path / "vocab.txt").write_text("a\n")
    with pytest.raises(InputError, match=r"no piece \[CLS\]"):
        WordPiece(tmp_path / "vocab.txt")


def test_the_model_is_what_torch_makes_of_the_same_weights(tmp_path: Path) -> None:
    import torch

    weights = write_model(tmp_path / "tiny")
    encoder = BertEncoder(tmp_path / "tiny", "tiny")
    sentences = ["a cyclist in the rain", "rain", "the the, a cafe"]
    held = {name: torch.from_numpy(values) for name, values in weights.items()}

    def one(sentence: str) -> np.ndarray:
        ids = WordPiece(tmp_path / "tiny" / "vocab.txt").ids(sentence, 256)
        hidden = held["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + held["embeddings.position_embeddings.weight"][: len(ids)]
        hidden = hidden + held["embeddings.token_type_embeddings.weight"][0]
        norm = "embeddings.LayerNorm"
        hidden = torch.nn.functional.layer_norm(
            hidden, (HIDDEN,), held[f"{norm}.weight"], held[f"{norm}.bias"], 1e-12
        )[None]
        for layer in range(LAYERS):
            at = f"encoder.layer.{layer}"
            block = torch.nn.TransformerEncoderLayer(
                HIDDEN, HEADS, INNER, 0.0, "gelu", 1e-12, batch_first=True
            ).eval()
            parts = [f"{at}.attention.self.{part}" for part in ("query", "key", "value")]
            state = {
                "self_attn.in_proj_weight": torch.cat([held[f"{part}.weight"] for part in parts]),
                "self_attn.in_proj_bias": torch.cat([held[f"{part}.bias"] for part in parts]),
            }
            for theirs, ours in (
                ("self_attn.out_proj", "attention.output.dense"),
                ("linear1", "intermediate.dense"), ("linear2", "output.dense"),
                ("norm1", "attention.output.LayerNorm"), ("norm2", "output.LayerNorm"),
            ):  # fmt: skip
                for kind in ("weight", "bias"):
                    state[f"{theirs}.{kind}"] = held[f"{at}.{ours}.{kind}"]
            block.load_state_dict(state)
            with torch.no_grad():
                hidden = block(hidden)
        pooled = hidden[0].mean(0)
        found: np.ndarray = (pooled / pooled.norm()).numpy()
        return found

    expected = np.stack([one(sentence) for sentence in sentences])
    assert encoder.encode(sentences) == pytest.approx(expected, abs=2e-6)
    # Neither the order nor the company of a sentence changes its vector.
    assert encoder.encode(sentences[::-1]) == pytest.approx(expected[::-1], abs=2e-6)


def test_a_space_is_named_by_all_that_its_vectors_depend_on(tmp_path: Path) -> None:
    write_model(tmp_path / "one")
    write_model(tmp_path / "two", seed=2)
    one, two = (BertEncoder(tmp_path / name, name) for name in ("one", "two"))
    assert one.space != two.space
    assert caption_space(one) not in (one.space, caption_space(two))
    (tmp_path / "one" / "vocab.txt").write_text("\n".join([*PIECES, "more"]))
    assert BertEncoder(tmp_path / "one", "one").space != one.space


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", b"\xff" * 40, "no safetensors file"),
        ("config.json", b'{"model_type": "gpt2"}', "only BERT"),
        ("vocab.txt", None, "a text model needs"),
    ],
)
def test_a_folder_that_is_no_such_model_is_refused(
    tmp_path: Path, file: str, content: bytes | None, reason: str
) -> None:
    write_model(tmp_path / "tiny")
    path = tmp_path / "tiny" / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=reason):
        BertEncoder(tmp_path / "tiny", "tiny")


def test_the_wheels_model_knows_what_sentences_mean() -> None:
    encoder = installed_encoder()
    if encoder is None:
        pytest.skip("needs longtail[text]")
    cyclist, bike, quiet = encoder.encode(
        ["A cyclist crosses in the rain at night.",
         "somebody on a bike rides over the road while it is dark and wet",
         "An uneventful drive on the motorway by day."]
    )  # fmt: skip
    assert cyclist @ bike > 0.45 > 0.3 > cyclist @ quiet


# ---------------------------------------------------------------- killed and resumed

_WORKER = """
import asyncio, sys
from cloud_ingest.database import open_engine
from cloud_ingest.mining.captioner import Captioner
from cloud_ingest.mining.spaces import Spaces, caption_space
from contracts.clock import SystemClock
from tests.cloud_ingest.mining.test_search import WordCounts

class Stuck(WordCounts):
    calls = 0

    def encode(self, sentences):
        self.calls += 1
        if self.calls == 3:
            print("stuck", flush=True)
            sys.stdin.read()
        return super().encode(sentences)

async def main(url):
    engine = open_engine(url)
    encoder = Stuck()
    spaces = Spaces(engine, SystemClock(), {caption_space(encoder): encoder})
    captioner = Captioner(engine, SystemClock(), spaces)
    while await captioner.job_step():
        pass

asyncio.run(main(sys.argv[1]))
"""


def test_a_killed_reembedding_goes_on_where_it_was(database_url: str, tables: sa.Engine) -> None:
    count = 4 * BATCH + 10
    manifest = make_manifest(summary=ClipSummary(weather="rain")).model_dump(mode="json")
    with tables.begin() as connection:
        for number in range(count):
            add_clip(connection, number, manifest=manifest, caption="older")

    encoder = WordCounts()
    space = caption_space(encoder)

    async def registered() -> None:
        engine = open_engine(database_url)
        await Spaces(engine, SystemClock(), {space: encoder}).register_all()
        await engine.dispose()

    asyncio.run(registered())
    command = [sys.executable, "-c", _WORKER, database_url]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"stuck\n"
        child.send_signal(signal.SIGKILL)
    with tables.connect() as connection:
        job = connection.execute(sa.select(embedding_jobs)).one()
        held = connection.execute(sa.select(sa.func.count()).select_from(embeddings)).scalar_one()
    assert (job.embedded, held, job.finished_utc) == (2 * BATCH, 2 * BATCH, None)

    async def resumed() -> None:
        engine = open_engine(database_url)
        captioner = Captioner(
            engine, SystemClock(), Spaces(engine, SystemClock(), {space: encoder})
        )
        while True:
            # The dead worker's transaction may hold the job until the database sees its end.
            while await captioner.job_step():
                pass
            async with engine.connect() as connection:
                done = sa.select(embedding_jobs.c.finished_utc)
                if (await connection.execute(done)).scalar_one() is not None:
                    break
        await engine.dispose()

    asyncio.run(resumed())
    with tables.connect() as connection:
        job = connection.execute(sa.select(embedding_jobs)).one()
        held = connection.execute(sa.select(sa.func.count()).select_from(embeddings)).scalar_one()
        captions = connection.execute(sa.select(clips.c.caption).distinct()).scalars().all()
        default = connection.execute(
            sa.select(embedding_spaces.c.space).where(embedding_spaces.c.is_default)
        ).scalar_one()
    assert (job.embedded, held) == (count, count)  # none twice, none left out
    assert len(captions) == 1 and "rain" in str(captions[0])
    assert default == space
