"""Searches by likeness through the service: clip, picture, sentence; pages; facets; saved ones."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from cli.clips import app
from client import CloudClient
from client.mining import MiningClient
from cloud_ingest.mining.captioner import Captioner
from cloud_ingest.mining.captions import caption_of
from cloud_ingest.schema import clips
from contracts.clip import Cause, ClipEmbedding, ClipSummary, ObjectSummary
from contracts.clock import NS_PER_S
from contracts.errors import ConflictError, InputError
from contracts.samples import Float32s
from tests.cloud_ingest.conftest import StartCloud
from tests.cloud_ingest.support import RunningServer, Vehicle, make_clip, make_manifest

SPACE, OTHER = "a" * 64, "b" * 64
SIZE = 512


class WordCounts:
    """A text model of the simplest kind: which words a sentence holds."""

    def __init__(self, name: str = "words") -> None:
        self.name = name
        self.space = sha256(name.encode()).hexdigest()

    def encode(self, sentences: Sequence[str]) -> Float32s:
        found = np.full((len(sentences), SIZE), 1e-3, np.float32)
        for number, sentence in enumerate(sentences):
            for word in re.findall("[a-z]+", sentence.lower()):
                found[number, zlib.crc32(f"{self.name} {word}".encode()) % SIZE] += 1
        return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.fixture
def worded(start_cloud: StartCloud) -> RunningServer:
    """A service with a text model, whose steps rest: the tests do them."""
    return start_cloud({"encoders": (WordCounts(),)}, steps_workers=0)


@pytest.fixture
def client(worded: RunningServer) -> CloudClient:
    return CloudClient(worded.url)


@contextmanager
def enrolled(server: RunningServer) -> Iterator[Vehicle]:
    with httpx.Client(base_url=server.url, timeout=30) as http:
        found = Vehicle(http)
        assert found.enrol().is_success and found.authenticate().is_success
        yield found


@pytest.fixture
def car(worded: RunningServer) -> Iterator[Vehicle]:
    with enrolled(worded) as found:
        yield found


def seen(*names: str) -> dict[str, ObjectSummary]:
    return {name: ObjectSummary(frames=9, max_in_frame=1, max_probability=0.9) for name in names}


def send(vehicle: Vehicle, number: int, vector: Sequence[float] = (), **summary: object) -> str:
    embedding = ClipEmbedding(model_digest=SPACE, vector=tuple(vector)) if len(vector) else None
    manifest = make_manifest(
        start_mono_ns=number * 20 * NS_PER_S, embedding=embedding, model_digest=SPACE,
        summary=ClipSummary(**summary),
    )  # fmt: skip
    return vehicle.upload(make_clip(manifest), manifest)


def captioner(server: RunningServer) -> Captioner:
    found: Captioner = server.app.state.service.mining.captioner
    return found


def caption_all(server: RunningServer) -> None:
    server.run(server.app.state.service.mining.spaces.register_all())
    while server.run(captioner(server).new_clips()):
        pass


def longtail(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_like_a_clip_or_a_picture_with_any_condition_page_by_page(
    client: CloudClient, car: Vehicle, worded: RunningServer
) -> None:
    vectors = np.random.default_rng(3).normal(size=(12, 8)).round(6)
    ids = [
        send(car, k, vectors[k].tolist(), weather="rain" if k % 3 == 0 else "clear")
        for k in range(12)
    ]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    order = [k for k in np.argsort(-(unit @ unit[4])) if k != 4]
    search = f"ORDER BY similarity TO clip('{ids[4]}')"
    found = list(client.search(search))
    assert [row.clip_id for row in found] == [ids[k] for k in order]
    assert [row.similarity for row in found] == pytest.approx((unit @ unit[4])[order], abs=1e-5)
    rain = list(client.search(f"weather = 'rain' {search} LIMIT 3"))
    assert [row.clip_id for row in rain] == [ids[k] for k in order if k % 3 == 0][:3]
    pages, cursor = [], None
    while True:
        query = {"where": search.replace(ids[4], ids[4][:10]), "limit": 4}
        page = car.http.get("/v1/clips", params=query | ({"cursor": cursor} if cursor else {}))
        pages += page.json()["clips"]
        cursor = page.json()["cursor"]
        if cursor is None:
            break
    assert [row["clip_id"] for row in pages] == [ids[k] for k in order]

    mining = MiningClient(worded.url)
    embedding = ClipEmbedding(model_digest=SPACE, vector=tuple(vectors[7].tolist()))
    picture = mining.put_picture(embedding)
    assert mining.put_picture(embedding) == picture
    like = list(
        client.search(f"ORDER BY similarity TO picture('{picture.picture_id[:8]}') LIMIT 1")
    )
    assert [row.clip_id for row in like] == [ids[7]]
    # Another model's picture meets none of these clips.
    strange = mining.put_picture(embedding.model_copy(update={"model_digest": OTHER}))
    assert not list(client.search(f"ORDER BY similarity TO picture('{strange.picture_id}')"))
    client.put_embedding(ids[1], ClipEmbedding(model_digest=OTHER, vector=(1.0, 0.0)))
    client.put_embedding(ids[2], ClipEmbedding(model_digest=OTHER, vector=(0.6, 0.8)))
    other = list(client.search(f"ORDER BY similarity TO clip('{ids[1]}', 'bbbb')"))
    assert [(row.clip_id, row.similarity) for row in other] == [(ids[2], 0.6)]


@pytest.mark.parametrize(
    ("search", "column", "words"),
    [
        ("ORDER BY similarity", 20, "expected TO"),
        ("ORDER BY similarity TO car('x')", 24, "sentence('words')"),
        ("ORDER BY similarity TO sentence(fog)", 33, "single quotes"),
        ("ORDER BY similarity TO sentence(' ')", 33, "says nothing"),
        ("ORDER BY similarity TO sentence('fog'", 38, "expected )"),
        ("ORDER BY similarity TO sentence('fog') DESC", 40, "no other order"),
        ("ORDER BY similarity TO sentence('fog', 'x')", 40, "hex digits"),
        ("ORDER BY similarity TO sentence('fog', 'abcd')", 33, "no space of captions"),
        ("ORDER BY similarity TO clip('abc')", 29, "at least 4 hex digits"),
        ("ORDER BY similarity TO clip('abcdef')", 29, "no such clip"),
        (f"ORDER BY similarity TO clip('{'0' * 64}')", 29, "there is no such clip"),
        (f"ORDER BY similarity TO picture('{'0' * 64}')", 32, "no such picture"),
        ("similarity > 0.5", 1, "no column"),
    ],
)
def test_errors_have_a_place(client: CloudClient, search: str, column: int, words: str) -> None:
    with pytest.raises(InputError) as raised:
        list(client.search(search))
    assert words in raised.value.message
    assert raised.value.place == f"where, column {column}"


def test_without_a_text_model_sentences_say_what_is_missing(start_cloud: StartCloud) -> None:
    client = CloudClient(start_cloud({"encoders": ()}).url)
    with pytest.raises(InputError, match=r"longtail\[text\]"):
        list(client.search("ORDER BY similarity TO sentence('fog')"))
    with pytest.raises(InputError, match="LONGTAIL_PICTURE_MODEL"):
        MiningClient(client._service.base_url).put_picture(Path(__file__))
    with pytest.raises(InputError, match="set aside"):
        list(client.search("ORDER BY similarity TO sentence('fog')", include_quarantined=True))


def test_a_sentence_finds_the_clip_that_it_describes(
    client: CloudClient, car: Vehicle, worded: RunningServer
) -> None:
    night = send(car, 0, weather="rain", tod="night", road_type="urban",
                 detected_objects=seen("cyclist"))  # fmt: skip
    deer = send(car, 1, weather="fog", tod="dusk", road_type="rural",
                detected_objects=seen("animal"))  # fmt: skip
    caption_all(worded)
    for text, expected in (
        ("an animal in fog on a country road", deer),
        ("a cyclist at night in the rain", night),
    ):
        found = list(client.search(f"ORDER BY similarity TO sentence('{text}')"))
        assert found[0].clip_id == expected and len(found) == 2
    assert "cyclist" in (client.show(night).clip.caption or "")
    assert [row.clip_id for row in client.search("caption LIKE '%animal%'")] == [deer]
    late = send(car, 2, weather="fog", tod="dusk", detected_objects=seen("debris"))
    caption_all(worded)
    result = longtail("search", "ORDER BY similarity TO sentence('debris lying there') LIMIT 1",
                      "--cloud", worded.url, "--json")  # fmt: skip
    assert [row["clip_id"] for row in json.loads(result.stdout)] == [late]


def test_captions_say_what_is_known_and_no_more() -> None:
    summary = ClipSummary(
        weather="rain", tod="night", road_type="urban", min_speed_mps=0.0, max_speed_mps=10.0,
        max_decel_mps2=6.0, min_ttc_s=1.0,
        detected_objects=seen("car", "cyclist", "hover_board")
        | {"pedestrian": ObjectSummary(frames=9, max_in_frame=8, max_probability=1)},
    )  # fmt: skip
    assert caption_of(make_manifest(summary=summary)) == (
        "A drive in the city at night, in the dark in the rain on a wet road."
        " Seen: a hover board; many people on foot; a cyclist on a bicycle; a car."
        " The vehicle drove up to 36 km/h, came to a stop, braked hard and nearly collided."
        " Kept because it braked hard."
    )
    strange = make_manifest(causes=(), summary=ClipSummary(weather="hail", max_speed_mps=0.0))
    assert caption_of(strange) == "A drive (hail). The vehicle stood still."
    assert caption_of(make_manifest(causes=(), summary=ClipSummary())) == "A drive."
    cause = make_manifest().causes[0]
    kinds = [cause.model_copy(update={"kind": kind}) for kind in ("swerve", "expression", "swerve")]
    assert isinstance(kinds[0], Cause)
    assert caption_of(make_manifest(causes=tuple(kinds), summary=ClipSummary())).endswith(
        "Kept because it swerved and expression."
    )


def test_facets_count_what_a_condition_lets_through(car: Vehicle, worded: RunningServer) -> None:
    for number in range(6):
        objects = seen(*("car", "bus")[: 1 + number % 2])
        weather = "rain" if number < 2 else "clear" if number < 5 else None
        send(car, number, weather=weather, detected_objects=objects, max_decel_mps2=number)
    mining = MiningClient(worded.url)
    page = mining.facets()
    counted = {facet.column: {v.value: v.clips for v in facet.values} for facet in page.facets}
    assert page.clips == 6
    assert counted["weather"] == {"clear": 3, "rain": 2, None: 1}
    assert counted["detected_objects"] == {"car": 6, "bus": 3}
    assert counted["cause_kinds"] == {"hard_brake": 6}
    (facet,) = mining.facets("max_decel_mps2 >= 1", ["weather"], most=1).facets
    assert [v.model_dump() for v in facet.values] == [{"value": "clear", "clips": 3}]
    assert (facet.other_values, facet.other_clips) == (2, 2)
    (safety,) = mining.facets("weather = 'snow'", ["safety"]).facets
    assert safety.values == ()
    for where, columns, reason in (
        ("", ["max_decel_mps2"], "measured"), ("", ["wether"], "did you mean 'weather'"),
        ("LIMIT 3", [], "without an order"), ("wether = 1", [], "did you mean"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=reason):
            mining.facets(where, columns)
    shown = longtail("facets", "--by", "weather", "--cloud", worded.url)
    assert "(not known)" in shown.stdout and "6 clips" in shown.stdout
    told = longtail("facets", "weather = 'rain'", "--cloud", worded.url, "--json")
    assert json.loads(told.stdout)["clips"] == 2


def test_searches_are_kept_under_a_name_by_their_owner(car: Vehicle, worded: RunningServer) -> None:
    ids = [send(car, k, (1.0, float(k)), weather="rain" if k else "clear") for k in range(3)]
    mining = MiningClient(worded.url)
    where = f"weather = 'rain' ORDER BY similarity TO clip('{ids[0]}')"
    assert mining.save_search("wet", where, "ann", "for the rain model").owner == "ann"
    assert [row.clip_id for row in mining.run_search("wet")] == [ids[1], ids[2]]
    assert [row.clip_id for row in mining.run_search("wet", 1)] == [ids[1]]
    with pytest.raises(InputError, match="did you mean 'weather'"):
        mining.save_search("dry", "wether = 'clear'", "ann")
    with pytest.raises(ConflictError, match="another owner"):
        mining.save_search("wet", "", "bob")
    mining.save_search("wet", "weather = 'clear'", "ann")
    assert [row.clip_id for row in mining.run_search("wet")] == [ids[0]]
    assert [search.name for search in mining.saved_searches("ann")] == ["wet"]
    assert mining.saved_searches("bob") == ()
    with pytest.raises(InputError, match="this owner has no saved search"):
        mining.forget_search("wet", "bob")
    mining.forget_search("wet", "ann")
    with pytest.raises(InputError, match="no saved search"):
        list(mining.run_search("wet"))
    common = ("--cloud", worded.url)
    assert longtail("saved", "save", "all", "", "--owner", "ann", *common).exit_code == 0
    assert len(json.loads(longtail("saved", "run", "all", "--json", *common).stdout)) == 3
    assert "ann" in longtail("saved", "list", *common).stdout
    assert longtail("saved", "forget", "all", "--owner", "ann", *common).exit_code == 0
    assert "no search" in longtail("saved", "list", *common).stdout


def test_a_space_is_made_anew_beside_and_becomes_the_default(
    start_cloud: StartCloud, tables: sa.Engine
) -> None:
    old, new = WordCounts("old"), WordCounts("new")
    server = start_cloud({"encoders": (old,)}, steps_workers=0)
    with enrolled(server) as vehicle:
        _made_anew(start_cloud, server, vehicle, tables, (old, new))


def _made_anew(
    start_cloud: StartCloud, server: RunningServer, vehicle: Vehicle, tables: sa.Engine,
    encoders: tuple[WordCounts, WordCounts],
) -> None:  # fmt: skip
    ids = [send(vehicle, k, tod="night" if k else "day") for k in range(3)]
    caption_all(server)
    with tables.begin() as connection:
        connection.execute(sa.update(clips).values(caption="of an older wording"))
    both = start_cloud({"encoders": encoders}, steps_workers=0)
    client, mining = CloudClient(both.url), MiningClient(both.url)
    both.run(both.app.state.service.mining.spaces.register_all())
    by_name = {row.encoder: row for row in mining.spaces()}
    assert by_name["old"].is_default and by_name["old"].vectors == 3
    assert not by_name["new"].is_default and by_name["new"].vectors == 0
    space = by_name["new"].space
    told = longtail("reembed", space[:6], "--cloud", both.url, "--json")
    assert json.loads(told.stdout)["reembedding"]["total"] == 3
    # A clip that comes meanwhile to a replica without the new model is not forgotten.
    late = send(vehicle, 7, tod="dusk")
    server.run(captioner(server).new_clips())
    while both.run(captioner(both).job_step()):
        pass
    by_name = {row.encoder: row for row in mining.spaces()}
    assert by_name["new"].is_default and not by_name["old"].is_default
    job = by_name["new"].reembedding
    assert job is not None and job.finished_utc_ns is not None and job.embedded == 4
    assert "dusk" in str(client.show(late).clip.caption)
    assert "night" in str(client.show(ids[2]).clip.caption)
    (found,) = client.search("ORDER BY similarity TO sentence('dusk') LIMIT 1")
    assert found.clip_id == late
    with pytest.raises(InputError, match="no text model new"):
        list(CloudClient(server.url).search("ORDER BY similarity TO sentence('dusk')"))
    assert "default" in longtail("spaces", "--cloud", both.url).stdout
    with pytest.raises(InputError, match="there is no such space"):
        mining.reembed("ffff")


def jpeg(colour: tuple[int, int, int]) -> bytes:
    import simplejpeg

    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:] = colour
    content: bytes = simplejpeg.encode_jpeg(pixels)
    return content


def mean_colour_model(path: Path) -> None:
    """An image encoder of the simplest kind: the mean of each colour, less CLIP's."""
    from onnx import TensorProto, helper, save_model

    node = helper.make_node("GlobalAveragePool", ["image"], ["mean"])
    flat = helper.make_node("Flatten", ["mean"], ["vector"])
    graph = helper.make_graph(
        [node, flat], "mean",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save_model(model, str(path))


def test_a_picture_finds_clips_by_their_key_frames(start_cloud: StartCloud, tmp_path: Path) -> None:
    model = tmp_path / "colours.onnx"
    mean_colour_model(model)
    server = start_cloud({"encoders": ()}, picture_model=model, steps_workers=0)
    with enrolled(server) as vehicle:
        ids = [send(vehicle, k) for k in range(2)]
    pictures = server.app.state.service.mining.pictures
    red, blue = (200, 10, 10), (10, 10, 200)
    for clip_id, colour in zip(ids, (red, blue), strict=True):
        space = server.run(pictures.embed(clip_id, [jpeg(colour), jpeg(colour)]))
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(jpeg((20, 5, 180)))
    found = longtail("search", "--picture", photo, "--cloud", server.url, "--json")
    assert [row["clip_id"] for row in json.loads(found.stdout)] == [ids[1], ids[0]]
    (row,) = MiningClient(server.url).spaces()
    assert (row.kind, row.space, row.vectors, row.is_default) == ("picture", space, 2, True)
    assert longtail("search", "--picture", photo, "--cloud", server.url).exit_code == 0
    photo.write_bytes(b"\xff\xd8 not a picture")
    error = longtail("search", "--picture", photo, "--cloud", server.url).exception
    assert isinstance(error, InputError) and "no JPEG" in error.message
    for content, kind, status in (
        (b"x", "text/plain", 415), (b"{", "application/json", 400),
        (bytes(17 * 2**20), "image/jpeg", 413),
    ):  # fmt: skip
        sent = httpx.post(
            f"{server.url}/v1/pictures", content=content, headers={"Content-Type": kind}
        )
        assert sent.status_code == status
    with pytest.raises(InputError, match="no model that can be run"):
        start_cloud({"encoders": ()}, picture_model=photo)
