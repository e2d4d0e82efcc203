"""Clips like a clip: exact, filtered, in one model's space, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from cli.clips import app
from cli.loop import app as loop
from client import CloudClient
from cloud_ingest.schema import embeddings
from contracts.clip import ClipEmbedding, ClipSummary
from contracts.clock import NS_PER_S
from contracts.embedding import embedding_of
from contracts.errors import InputError
from contracts.trigger_spec import SimilarToSpec, load_spec
from kernels.clip.reader import read_manifest
from offline.acquisition.adapters.scoring import ClipFile, Scored
from offline.acquisition.cost import ClipFeatures
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest

SPACE, OTHER = "a" * 64, "b" * 64
COUNT = 12


def send(
    vehicle: Vehicle, number: int, vector: tuple[float, ...] | None, space: str = SPACE,
    weather: str = "clear", **changes: object,
) -> str:  # fmt: skip
    embedding = None if vector is None else ClipEmbedding(model_digest=space, vector=vector)
    manifest = make_manifest(
        start_mono_ns=number * 20 * NS_PER_S, embedding=embedding, model_digest=space,
        summary=ClipSummary(weather=weather), **changes,
    )  # fmt: skip
    return vehicle.upload(make_clip(manifest), manifest)


def vectors(count: int, seed: int = 3) -> list[tuple[float, ...]]:
    found = np.random.default_rng(seed).normal(size=(count, 8))
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return [tuple(row) for row in found.round(7).tolist()]


@pytest.fixture
def client(cloud: RunningServer) -> CloudClient:
    return CloudClient(cloud.url)


def test_the_nearest_come_first_whatever_the_filter(client: CloudClient, vehicle: Vehicle) -> None:
    told = vectors(COUNT)
    weather = ["rain" if k % 3 == 0 else "clear" for k in range(COUNT)]
    ids = [send(vehicle, k, told[k], weather=weather[k]) for k in range(COUNT)]
    send(vehicle, 50, told[0], OTHER)  # the same vector of another model: never compared
    send(vehicle, 51, None)
    cosines = np.array(told) @ np.array(told[4])
    order = [k for k in np.argsort(-cosines) if k != 4]
    page = client.like(ids[4], limit=1000)
    assert [row.clip.clip_id for row in page.clips] == [ids[k] for k in order]
    assert [row.cosine for row in page.clips] == pytest.approx(cosines[order], abs=1e-5)
    assert page.compared == COUNT - 1
    assert page.reference.model_digest == SPACE
    assert page.reference.vector == pytest.approx(told[4], abs=1e-6)
    for limit in (1, 3):
        rain = client.like(ids[4], "weather = 'rain'", limit)
        assert [r.clip.clip_id for r in rain.clips] == [
            ids[k] for k in order if weather[k] == "rain"
        ][:limit]
        assert rain.compared == 4
    assert len(client.like(ids[4], "weather = 'rain' LIMIT 2").clips) == 2
    nothing = client.like(ids[4], "weather = 'snow'")
    assert (nothing.compared, nothing.clips) == (0, ())


def test_what_cannot_be_compared_is_told(client: CloudClient, vehicle: Vehicle) -> None:
    clip, bare = send(vehicle, 0, vectors(1)[0]), send(vehicle, 1, None)
    with pytest.raises(InputError, match="there is no such clip"):
        client.like("f" * 64)
    with pytest.raises(InputError, match="no model has looked at it"):
        client.like(bare)
    with pytest.raises(InputError, match="embeddings of aaaaaaaaaaaa, not one of bbbb"):
        client.like(clip, space="bbbb")
    with pytest.raises(InputError, match="there is no other order"):
        client.like(clip, "ORDER BY start_utc")
    with pytest.raises(InputError, match="did you mean 'weather'"):
        client.like(clip, "wether = 'rain'")
    quarantined = vehicle.upload(b"not a clip", make_manifest())
    with pytest.raises(InputError, match="has no embedding"):
        client.like(quarantined)


def test_an_operator_adds_another_models_embedding(client: CloudClient, vehicle: Vehicle) -> None:
    first, second = vectors(2)
    one, other = send(vehicle, 0, first), send(vehicle, 1, second)
    added = ClipEmbedding(model_digest=OTHER, vector=(1.0, 0.0))
    assert client.put_embedding(one, added).is_new
    assert not client.put_embedding(one, added).is_new
    assert client.like(one, space=OTHER).compared == 0
    assert client.put_embedding(other, added.model_copy(update={"vector": (0.6, 0.8)})).is_new
    (found,) = client.like(one, space=OTHER[:6]).clips
    assert (found.clip.clip_id, found.cosine) == (other, pytest.approx(0.6))
    # Without a name it is the model that the vehicle ran.
    assert client.like(one).reference.model_digest == SPACE
    # Not of its own: one must be named.
    for space in ("c" * 64, "d" * 64):
        client.put_embedding(bare := send(vehicle, 5, None), added)
        client.put_embedding(bare, ClipEmbedding(model_digest=space, vector=(1.0,)))
    with pytest.raises(InputError, match="name one as space"):
        client.like(bare)


@pytest.mark.parametrize("vector", [(), (0.0, 0.0), (1.0, 0.0, 0.0), (1e300, 1.0)])
def test_a_vector_that_cannot_be_compared_is_refused(
    client: CloudClient, vehicle: Vehicle, vector: tuple[float, ...]
) -> None:
    one, other = (send(vehicle, k, v) for k, v in enumerate(vectors(2)))
    client.put_embedding(one, ClipEmbedding(model_digest=OTHER, vector=(1.0, 0.0)))
    with pytest.raises(InputError, match="vector"):
        client.put_embedding(other, ClipEmbedding(model_digest=OTHER, vector=vector))
    with pytest.raises(InputError, match="there is no such clip"):
        client.put_embedding("f" * 64, ClipEmbedding(model_digest=OTHER, vector=(1.0, 0.0)))


def test_strange_vectors_of_vehicles_break_no_search(
    client: CloudClient, vehicle: Vehicle, tables: sa.Engine
) -> None:
    one, other, zero, short = (send(vehicle, k, v) for k, v in enumerate(vectors(4)))
    with tables.begin() as connection:
        for clip_id, vector in ((zero, [0.0] * 8), (short, [1.0, 0.0])):
            connection.execute(
                sa.update(embeddings).where(embeddings.c.clip_id == clip_id).values(vector=vector)
            )
    page = client.like(one)
    assert [row.clip.clip_id for row in page.clips] == [other]
    assert page.compared == 1
    assert client.like(zero).clips == ()


def test_bad_ids_and_spaces_are_refused_and_the_calls_documented(
    http: httpx.Client, vehicle: Vehicle
) -> None:
    clip = send(vehicle, 0, vectors(1)[0])
    assert http.get(f"/v1/clips/{clip}/like", params={"space": "xyz"}).status_code == 400
    assert http.get("/v1/clips/xyz/like").status_code == 400
    paths = http.get("/openapi.json").json()["paths"]
    assert {"/v1/clips/{clip_id}/like", "/v1/clips/{clip_id}/embedding"} <= set(paths)


def longtail(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["like", *map(str, arguments)])


def test_a_spec_looks_for_more_of_a_clip(
    cloud: RunningServer, client: CloudClient, vehicle: Vehicle, tmp_path: Path
) -> None:
    told = vectors(COUNT)
    ids = [send(vehicle, k, told[k], stream="random" if k else "triggered") for k in range(COUNT)]
    out = tmp_path / "like.yaml"
    common = (ids[0][:8], "--cloud", cloud.url)
    listed = longtail(*common, "--limit", 3)
    assert listed.exit_code == 0 and f"{COUNT - 1} clips compared" in listed.stdout
    done = longtail(*common, "--spec", out, "--rate", 0.28, "--json")
    assert done.exit_code == 0, done.exception
    entry = json.loads(done.stdout)
    assert entry["spec"] == str(out) and len(entry["clips"]) == 10
    loaded = load_spec(out)
    assert isinstance(loaded.spec, SimilarToSpec)
    assert (loaded.spec.id, loaded.spec.when.space) == (f"like-{ids[0][:12]}", SPACE)
    assert embedding_of(loaded.spec.when.reference) == pytest.approx(told[0], abs=1e-3)
    # Three of the eleven random clips reach it: 28 %, rounded down.
    cosines = np.sort(np.array(told)[1:] @ np.array(told[0]))[::-1]
    assert loaded.spec.when.similarity == pytest.approx(cosines[2], abs=2e-6)
    assert "0.28 of 11 random-stream clips" in loaded.spec.description
    given = longtail(*common, "--spec", out, "--threshold", 0.75)
    assert given.exit_code == 0 and load_spec(out).spec.when.similarity == 0.75  # type: ignore[union-attr]
    for wrong, reason in (
        (("--spec", out), "a rate of 0.01 needs 100 or more"),
        (("--spec", out, "--rate", 1), "scenes unlike it"),
        (("--threshold", 0.5), "name its file with --spec"),
        (("--spec", tmp_path / "no" / "x.yaml", "--threshold", 0.5), "cannot be written"),
    ):
        error = longtail(*common, *wrong).exception
        assert isinstance(error, InputError) and reason in error.message


class ByManifest:
    """Stands in for a network: opens the fetched clip, and tells a vector of when it began."""

    digest = "9" * 64

    def score(self, clip: ClipFile) -> Scored:
        began_s = read_manifest(clip.path).actual.start_mono_ns / NS_PER_S
        if began_s == 20:
            raise InputError("shows nothing", str(clip.path))
        vector = np.array([1.0, began_s / 100], np.float32)
        features = ClipFeatures(frames=1, boxes=0)
        return Scored({}, features, vector / np.float32(np.linalg.norm(vector)), OTHER)


def test_clips_are_brought_into_another_models_space(
    cloud: RunningServer, client: CloudClient, vehicle: Vehicle, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told = vectors(4)
    ids = [send(vehicle, k, told[k]) for k in range(4)]
    monkeypatch.setattr("cli.loop_embed.model_scorer", lambda path, settings: ByManifest())
    (tmp_path / "model.onnx").write_bytes(b"")
    words = ["--model", str(tmp_path / "model.onnx"), "--cloud", cloud.url, "--json"]
    words += ["--scores", str(tmp_path / "scores")]
    for new, known in ((3, 0), (0, 3)):
        done = CliRunner().invoke(loop, ["embed", *words])
        assert done.exit_code == 0, done.exception
        entry = json.loads(done.stdout)
        assert (entry["space"], entry["new"], entry["known"]) == (OTHER, new, known)
        (left_out,) = entry["left_out"]
        assert left_out["place"] == f"clip {ids[1]}" and "shows nothing" in left_out["reason"]
    found = client.like(ids[0], space=OTHER)
    assert [row.clip.clip_id for row in found.clips] == [ids[2], ids[3]]
