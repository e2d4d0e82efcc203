"""From clips to what is chosen: facts, tracks, scores kept, shards, and a whole turn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.channels import BEV
from contracts.clip import (
    ChannelSummary,
    ClipEmbedding,
    ClipManifest,
    ClipSummary,
    ObjectSummary,
)
from contracts.clip_search import ClipRow
from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.samples import Cuboid, Detection, PerceptionFrame, PoseSample
from kernels.clip.encoding import encode_sample
from kernels.clip.perception import encode_perception
from kernels.clip.writer import write_clip
from offline.acquisition.adapters.facts import manifest_facts, row_facts
from offline.acquisition.adapters.pool import ScoredClips
from offline.acquisition.adapters.request import AcquisitionRequest, acquire, read_request
from offline.acquisition.adapters.scoring import (
    ClipFile,
    Scored,
    ScoringSettings,
    ToldScorer,
    _told_by_vehicle,
    instants_of,
)
from offline.acquisition.adapters.sources import CloudClip, FolderClip, cloud_clips, folder_clips
from offline.acquisition.adapters.store import ScoreStore
from offline.acquisition.adapters.tracks import tracked
from offline.acquisition.cost import ClipFeatures
from offline.acquisition.records import SelectorConfig
from offline.acquisition.scores.tracks import track_scores
from tests.cloud_ingest.support import make_manifest

SPACE = "a" * 64
OFFSET_NS = 1_700_000_000 * NS_PER_S


def told_manifest(number: int, **changes: Any) -> ClipManifest:
    """A clip whose vehicle saw cars and a cyclist, in a space of four values."""
    vector = np.random.default_rng(number).normal(size=4)
    summary = ClipSummary(
        weather="rain" if number % 3 == 0 else "clear", tod="night", max_uncertainty=0.05 * number,
        detected_objects={
            "car": ObjectSummary(frames=10, max_in_frame=2, max_probability=0.9),
            "cyclist": ObjectSummary(frames=5, max_in_frame=1, max_probability=0.6),
        },
    )  # fmt: skip
    channel = ChannelSummary(
        name="/perception/bev", schema_name="longtail.Perception", messages=10, payload_bytes=1
    )
    values: dict[str, Any] = {
        "summary": summary, "channels": (channel,),
        "embedding": ClipEmbedding(model_digest=SPACE, vector=tuple(vector.tolist())),
    }  # fmt: skip
    return make_manifest(start_mono_ns=number * 20 * NS_PER_S, **(values | changes))


def write(folder: Path, number: int, messages: list[Any] | None = None, **changes: Any) -> Path:
    path = folder / f"{number:03d}.mcap"
    with path.open("wb") as stream:
        write_clip(stream, told_manifest(number, **changes), messages or [], {})
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "clips"
    folder.mkdir()
    for number in range(12):
        write(folder, number)
    return folder


def test_facts_of_a_manifest_and_of_its_row_are_alike(clips: Path) -> None:
    (first, *_) = folder_clips([clips])
    facts = first.facts()
    assert facts.drive == "car-1/drive-1" and facts.causes == ("brake",)
    assert facts.slices == ("weather=rain", "tod=night", "object=car", "object=cyclist")
    assert (facts.stream, facts.probability) == ("triggered", None)
    assert facts.end_ns - facts.start_ns == 10 * NS_PER_S
    row = ClipRow(
        clip_id=facts.clip_id, vehicle_id="car-1", drive_id="drive-1", start_utc_ns=facts.start_ns,
        duration_s=10.0, weather="rain", tod="night", stream="triggered", causes=("brake",),
        detected_objects=("cyclist", "car"), size_bytes=1, state="ready", received_utc_ns=0,
    )  # fmt: skip
    assert row_facts(row) == facts
    for broken in ({"state": "quarantined", "state_reason": "odd"}, {"duration_s": None}):
        with pytest.raises(InputError, match=r"odd|does not know"):
            row_facts(row.model_copy(update=broken))
    manifest = told_manifest(1, stream="random", inclusion_probability=0.02)
    assert manifest_facts("0" * 64, manifest).probability == 0.02


def test_the_vehicles_word_is_scored_from_the_manifest_alone(clips: Path) -> None:
    scored = ToldScorer(ScoringSettings(every_s=1.0)).score(folder_clips([clips])[4])
    assert scored.scores == {"uncertainty": pytest.approx(0.2)}
    # 11 instants; two cars in each frame, a cyclist in half of them, who is rare.
    assert scored.features.frames == 11
    assert scored.features.boxes == 22 + 6
    assert scored.space == SPACE
    assert np.linalg.norm(scored.embedding) == pytest.approx(1, abs=1e-6)


def box(x_m: float, kind: str = "car", probability: float = 0.9) -> Detection:
    cuboid = Cuboid((x_m, 2.0, 0.8), (4.0, 2.0, 1.6), 0.0, (0.0, 0.0))
    return Detection(None, kind, probability, np.array([probability], np.float32), cuboid)


def steps(*seen: list[Detection]) -> tuple[list[PerceptionFrame], list[PoseSample]]:
    """Frames at 10 Hz of an ego that drives 10 m/s along x."""
    frames = [
        PerceptionFrame(BEV, k * NS_PER_S // 10, SPACE, tuple(found), 0.1, 0.9)
        for k, found in enumerate(seen)
    ]
    poses = [
        PoseSample(k * NS_PER_S // 10, np.array([1.0 * k, 0.0, 0.0]), np.array([0, 0, 0, 1.0]))
        for k in range(len(seen))
    ]
    return frames, poses


def test_what_stands_is_one_track_whatever_the_ego_does() -> None:
    """A parked car comes nearer by a metre a frame; once it is missed, once it is a truck."""
    seen = [[box(20.0 - k, "truck" if k == 4 else "car")] for k in range(8)]
    seen[2] = []
    found = tracked(*steps(*seen))
    assert found is not None
    assert set(found.track_id.tolist()) == {0}
    np.testing.assert_allclose(found.xy_m, [[20.0, 2.0]] * 7)
    scores = track_scores(found)
    assert scores["gaps"].tolist() == [1 / 8]
    assert scores["flips"].tolist() == [2 / 6]
    assert scores["jumps"].tolist() == [0.0]


def test_neighbours_keep_apart_and_what_is_gone_for_long_is_another() -> None:
    two = [[box(20.0 - k), box(26.0 - k), box(3.0 - k, probability=0.1)] for k in range(3)]
    late = [[] for _ in range(12)]
    found = tracked(*steps(*two, *late, [box(20.0 - 15)]))
    assert found is not None
    assert sorted(found.track_id.tolist()) == [0, 0, 0, 1, 1, 1, 2]
    assert len(found.frames_mono_ns) == 16


def test_without_poses_or_a_birds_eye_model_there_are_no_tracks() -> None:
    frames, poses = steps([box(5.0)])
    assert tracked(frames, []) is None
    assert tracked([], poses) is None
    assert tracked([replace(frames[0], channel="/camera/front")], poses) is None
    late = replace(poses[0], mono_ns=5 * NS_PER_S)
    assert tracked(frames, [late]) is None


def test_what_the_vehicle_saw_is_read_back(tmp_path: Path) -> None:
    frames, poses = steps([box(5.0)], [box(4.0)])
    messages = [m for frame in frames for m in encode_perception(frame, OFFSET_NS)]
    messages += [encode_sample(pose, OFFSET_NS) for pose in poses]
    path = write(tmp_path, 0, sorted(messages, key=lambda m: m.mono_ns))
    told, where = _told_by_vehicle(path, told_manifest(0))
    assert [frame.mono_ns for frame in told] == [frame.mono_ns for frame in frames]
    assert [pose.mono_ns for pose in where] == [pose.mono_ns for pose in poses]
    found = tracked(told, where)
    assert found is not None and set(found.track_id.tolist()) == {0}


def test_instants_leave_room_for_past_and_future() -> None:
    manifest = told_manifest(0)
    instants = instants_of(manifest, 2.0, ahead_s=0.3)
    assert instants == [round((0.5 + 2 * k) * NS_PER_S) for k in range(5)]


class Counting(ToldScorer):
    """Tells how often it was asked."""

    asked = 0

    def score(self, clip: ClipFile) -> Scored:
        self.asked += 1
        return super().score(clip)


def request(**select: Any) -> AcquisitionRequest:
    values = {"budget": 200, "seed": 3, "score_weights": {"uncertainty": 1.0}, **select}
    return AcquisitionRequest(every_s=2.0, select=SelectorConfig(**values))


def test_no_clip_is_scored_twice_and_the_choice_is_the_same(clips: Path, tmp_path: Path) -> None:
    reports = []
    for count in (12, 0):
        scorer = Counting(request().scoring)
        store = ScoreStore(tmp_path / "scores", scorer.digest)
        found = ScoredClips(scorer, store)
        reports.append(acquire(request(), found, folder_clips([clips])))
        assert scorer.asked == count
    first, second = reports
    assert (first.scored, first.reused, second.scored, second.reused) == (12, 0, 0, 12)
    assert first.selection == second.selection
    assert first.selection.pool == 12 and first.selection.selections
    chosen = {one.clip_id for one in first.selection.selections}
    assert set(first.places) == chosen and all(str(clips) in p for p in first.places.values())
    # Another way of scoring is another store.
    other = request().model_copy(update={"every_s": 1.0}).scoring
    assert ScoreStore(tmp_path / "scores", ToldScorer(other).digest).get(next(iter(chosen))) is None


def test_shards_of_any_size_give_the_same_choice(
    clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = []
    for size in (1, 5, 256):
        monkeypatch.setattr("offline.acquisition.adapters.pool.SHARD", size)
        found = ScoredClips(ToldScorer(request().scoring))
        shards = list(found.shards(folder_clips([clips]), size))
        assert [len(shard.candidates) for shard in shards][:-1] == [size] * (len(shards) - 1)
        reports.append(acquire(request(), found, folder_clips([clips])).selection)
    assert reports[0] == reports[1] == reports[2]


def test_what_is_labelled_is_not_chosen(clips: Path) -> None:
    labelled = folder_clips([clips])[:4]
    found = ScoredClips(ToldScorer(request().scoring))
    report = acquire(request(), found, folder_clips([clips]), labelled)
    known = {one.facts().clip_id for one in labelled}
    assert report.selection.already_labelled == 4
    assert not known & {one.clip_id for one in report.selection.selections}


def test_a_bad_clip_is_left_out_and_told_but_a_bad_labelled_one_is_an_error(clips: Path) -> None:
    (clips / "bad.mcap").write_bytes(b"no clip")
    write(clips, 99, embedding=None)
    found = ScoredClips(ToldScorer(request().scoring))
    report = acquire(request(), found, folder_clips([clips]))
    assert [Path(one.place).name for one in report.left_out] == ["099.mcap", "bad.mcap"]
    assert "let a model score it" in report.left_out[0].reason
    assert report.selection.pool == 12
    with pytest.raises(InputError, match="a labelled clip cannot be used") as raised:
        acquire(request(), found, folder_clips([clips]), [FolderClip(clips / "bad.mcap")])
    assert raised.value.place == str(clips / "bad.mcap")
    with pytest.raises(InputError, match=r"no clip can be chosen: .*bad\.mcap"):
        acquire(request(), ScoredClips(found.scorer), [FolderClip(clips / "bad.mcap")])


def test_spaces_of_two_models_never_meet(clips: Path) -> None:
    other = ClipEmbedding(model_digest="b" * 64, vector=(1.0, 0.0, 0.0, 0.0))
    write(clips, 50, embedding=other)
    with pytest.raises(InputError, match="of model bbbbbbbbbbbb, those before of aaaaaaaaaaaa"):
        acquire(request(), ScoredClips(ToldScorer(request().scoring)), folder_clips([clips]))


def test_damaged_scores_are_an_error_and_no_miss(tmp_path: Path) -> None:
    scorer = ToldScorer(ScoringSettings())
    store = ScoreStore(tmp_path, scorer.digest)
    features = ClipFeatures(frames=1, boxes=2)
    scored = Scored({"uncertainty": 0.5}, features, np.ones(3, np.float32), SPACE)
    store.put("1" * 64, scored)
    back = store.get("1" * 64)
    assert back is not None and (back.scores, back.features) == (scored.scores, features)
    np.testing.assert_array_equal(back.embedding, scored.embedding)
    (path,) = tmp_path.rglob("*.npz")
    path.rename(path.with_name(f"{'2' * 64}.npz"))
    with pytest.raises(CorruptError, match="of another clip"):
        store.get("2" * 64)
    path.write_bytes(b"PK")
    with pytest.raises(CorruptError, match="no scored clip"):
        store.get("1" * 64)


def test_clips_of_the_cloud_are_fetched_only_when_opened(clips: Path) -> None:
    files = {clip.facts().clip_id: clip.path for clip in folder_clips([clips])}
    asked: list[Path] = []

    def fetch(clip_id: str, folder: Path) -> Path:
        asked.append(folder)
        return files[clip_id]

    rows = [
        ClipRow(
            clip_id=name, vehicle_id="car-1", drive_id="drive-1", start_utc_ns=0, duration_s=1.0,
            stream="triggered", size_bytes=1, state="ready", received_utc_ns=0,
        )
        for name in files
    ]  # fmt: skip
    tell = {name: FolderClip(path).manifest for name, path in files.items()}
    found = ScoredClips(ToldScorer(request().scoring))
    report = acquire(request(), found, cloud_clips(rows, tell.get, fetch))
    assert report.selection.pool == 12 and asked == []
    one = CloudClip(rows[0], lambda name: None, fetch)
    with pytest.raises(InputError, match="cannot be read"):
        _ = one.manifest
    with pytest.raises(InputError, match="only while it is open"):
        _ = one.path


def test_a_request_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "turn.yaml"
    path.write_text(
        "apiVersion: longtail/acquisition/v1\nunit: labeller_s\nselect:\n  budget: 4000\n"
        "  seed: 7\n  quotas: [{kind: slice, name: tod=night, at_least: 5}]\n"
    )
    found = read_request(path)
    assert found.costs.unit == "labeller_s" and found.select.quotas[0].at_least == 5
    path.write_text("unit: boxes\nselect: {budget: 1, seed: 1, budgte: 2}\n")
    with pytest.raises(InputError, match="did you mean 'budget'") as raised:
        read_request(path)
    assert raised.value.place is not None and raised.value.place.startswith(f"{path}:2:")
