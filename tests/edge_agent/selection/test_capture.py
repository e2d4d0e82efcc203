"""Capture windows: merging, due times and what a job asks for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from contracts.trigger_spec import LoadedSpec, parse_spec
from edge_agent.selection.capture import MAX_CLIP_NS, CaptureBook
from kernels.triggers.engine import Fire


def spec(name: str = "a", body: str = "", kind: str = "hard_brake") -> LoadedSpec:
    text = f"apiVersion: longtail/v1\nkind: {kind}\nid: {name}\nversion: 1\nowner: x\n{body}"
    return parse_spec(text, name)


def fire(loaded: LoadedSpec, at_s: float, length_s: float = 0.0) -> Fire:
    end_ns = round(at_s * NS_PER_S)
    return Fire(loaded, end_ns, end_ns - round(length_s * NS_PER_S), end_ns, 1.0, {}, "")


CAPTURE = "capture: {pre: 5s, post: 3s}\n"


def test_a_job_is_due_when_its_post_roll_has_passed_and_only_once() -> None:
    book = CaptureBook("v", "b")
    book.add(fire(spec(body=CAPTURE), 10.0, 0.5))
    assert book.due(13 * NS_PER_S) == []
    (job,) = book.due(13 * NS_PER_S + 1)
    assert book.due(99 * NS_PER_S) == []
    assert job.requested.start_mono_ns == round(4.5 * NS_PER_S)
    assert job.requested.end_mono_ns == 13 * NS_PER_S
    assert job.event.start_mono_ns == round(9.5 * NS_PER_S)
    assert job.safety


def test_overlapping_windows_become_one_clip_with_all_causes() -> None:
    book = CaptureBook("v", "b")
    book.add(fire(spec("a", CAPTURE), 10.0))
    book.add(fire(spec("b", "capture: {pre: 1s, post: 9s}\nupload: {priority: low}\n"), 12.0))
    book.add(fire(spec("a", CAPTURE), 40.0))
    first, second = book.flush()
    assert first.trigger_ids == ("a", "b")
    assert (first.requested.start_mono_ns, first.requested.end_mono_ns) == (
        5 * NS_PER_S, 21 * NS_PER_S,
    )  # fmt: skip
    assert first.priority == "normal"
    assert second.trigger_ids == ("a",)


@given(st.lists(st.tuples(st.floats(0, 600), st.sampled_from(["1s", "20s", "60s"])), max_size=40))
def test_every_fire_is_in_exactly_one_clip_that_covers_it(fires: list[tuple[float, str]]) -> None:
    book = CaptureBook("v", "b")
    made = []
    jobs = []
    for at_s, post in sorted(fires):
        found = fire(spec("a", f"capture: {{pre: 2s, post: {post}}}\n"), at_s)
        jobs += book.due(found.fired_mono_ns)
        made.append(found)
        book.add(found)
    jobs += book.flush()
    caught = [cause.fired_mono_ns for job in jobs for cause in job.causes]
    assert sorted(caught) == [f.fired_mono_ns for f in made]
    for job in jobs:
        assert job.requested.end_mono_ns - job.requested.start_mono_ns <= MAX_CLIP_NS
        for cause in job.causes:
            assert job.requested.start_mono_ns <= cause.start_mono_ns - 2 * NS_PER_S
            assert cause.end_mono_ns <= job.requested.end_mono_ns


def test_channels_and_rates() -> None:
    book = CaptureBook("v", "b")
    thin = 'capture: {channels: ["/signals/*"], downsample: {"/signals/imu*": 4}}\n'
    book.add(fire(spec("a", thin), 10.0))
    (job,) = book.flush()
    assert job.wants("/signals/ego.speed_mps")
    assert job.wants("/clip/cause")
    assert not job.wants("/camera/front")
    assert job.keep_every("/signals/imu.accel_x_mps2") == 4
    book.add(fire(spec("a", thin), 10.0))
    book.add(fire(spec("b"), 10.0))
    (both,) = book.flush()
    assert both.wants("/camera/front")
    assert both.keep_every("/signals/imu.accel_x_mps2") == 1


def test_the_random_stream_tells_its_probability() -> None:
    book = CaptureBook("v", "b")
    book.add(fire(spec("r", "when: {probability: 0.25}\n", "random_baseline"), 10.0))
    (job,) = book.flush()
    assert job.stream == "random"
    assert job.inclusion_probability == 0.25
