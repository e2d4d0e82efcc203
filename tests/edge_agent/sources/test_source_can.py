"""CAN: a user's DBC and mapping, logs in several formats, and whatever a frame carries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from pathlib import Path

import can
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.clock import NS_PER_S
from contracts.errors import CorruptError, InputError
from contracts.samples import SignalSample
from edge_agent.kit.conformance import check_refusals, check_source
from edge_agent.sources.can.binding import BoundMap, Frame, bind_map, load_dbc
from edge_agent.sources.can.mapping import load_map
from edge_agent.sources.can.source import CanLogSource
from edge_agent.sources.registry import open_source
from tests.edge_agent.can_logs import MAP, START_S, Vehicle, drive, write_log, write_vehicle


def values_of(source: CanLogSource) -> dict[str, list[float]]:
    found: dict[str, list[float]] = defaultdict(list)
    for sample in source.samples():
        assert isinstance(sample, SignalSample)
        found[sample.name].append(sample.value)
    return dict(found)


def log_source(folder: Path, frames: list[can.Message], mapping: str = MAP) -> CanLogSource:
    path = write_log(folder / "drive.log", frames)
    source = open_source(f"can:{path},map={write_vehicle(folder, mapping)}")
    assert isinstance(source, CanLogSource)
    return source


@pytest.mark.parametrize("suffix", [".log", ".blf", ".asc"])
def test_a_log_gives_catalogued_signals_in_their_units(tmp_path: Path, suffix: str) -> None:
    path = write_log(tmp_path / f"drive{suffix}", drive(Vehicle()))
    address = f"can:{path},map={write_vehicle(tmp_path)}"
    report = check_source(lambda: open_source(address))
    assert report.notes == ()
    assert report.samples["/signals/ego.speed_mps"] == 100
    assert report.span_s == pytest.approx(1.982, abs=0.01)  # the mapped GAP is at +2 ms
    source = open_source(address)
    assert isinstance(source, CanLogSource)
    values = values_of(source)
    assert values["ego.speed_mps"][:3] == pytest.approx([0.0, 1 / 3.6, 2 / 3.6])
    assert values["ego.yaw_rate_radps"][0] == pytest.approx(math.radians(5.0))
    assert values["driver.gas_pressed"][:2] == [0.0, 1.0]
    assert values["driver.brake_pressed"][:2] == [0.0, 1.0]
    assert set(values["autonomy.engaged"]) == {1.0} and len(values["autonomy.engaged"]) == 200
    assert values["lead.distance_m"] == pytest.approx([40.0] * 100)  # its multiplexer page only


def test_wall_time_of_the_log_is_told(tmp_path: Path) -> None:
    source = log_source(tmp_path, drive(Vehicle()))
    told = source.describe()
    first = next(iter(source.samples()))
    assert first.mono_ns + told.utc_minus_mono_ns == pytest.approx(START_S * 1e9, abs=1000)
    assert told.clock.source == "recording" and not told.clock.synchronised


def test_what_is_not_available_gives_no_value_and_is_counted(tmp_path: Path) -> None:
    vehicle = Vehicle()
    frames = [
        vehicle.motion(START_S, 36.0),
        vehicle.motion(START_S + 0.1, 655.35),  # raw 65535, labelled SNA
        vehicle.motion(START_S + 0.2, 500.0),  # above the DBC's own maximum
        vehicle.frame(START_S + 0.3, "ACC", STATE=7, PAGE=1, CLOSING=0),
        vehicle.frame(START_S + 0.4, "ACC", STATE=5, PAGE=1, CLOSING=0),  # a state nobody named
        vehicle.frame(START_S + 0.5, "ACC", STATE=3, PAGE=1, CLOSING=0),
        vehicle.frame(START_S + 0.6, "ACC", STATE=1, PAGE=3),  # a page that the DBC lacks
    ]
    source = log_source(tmp_path, frames)
    values = values_of(source)
    assert values["ego.speed_mps"] == pytest.approx([10.0])
    assert values["autonomy.engaged"] == [1.0, 0.0]
    assert source.counts["ego.speed_mps: not available"] == 1
    assert source.counts["ego.speed_mps: outside of the DBC's range"] == 1
    assert source.counts["autonomy.engaged: not available"] == 2
    assert source.counts["lead.distance_m: never seen"] == 1


def test_a_frozen_sender_is_stale_not_steady(tmp_path: Path) -> None:
    vehicle = Vehicle()
    good = vehicle.motion(START_S, 36.0)
    frozen = [
        can.Message(
            timestamp=START_S + 0.02 * i, arbitration_id=256, is_extended_id=False,
            data=good.data, channel=0,
        )
        for i in range(1, 6)
    ]  # fmt: skip
    source = log_source(tmp_path, [good, *frozen, vehicle.motion(START_S + 1, 37.0)])
    assert values_of(source)["ego.speed_mps"] == pytest.approx([10.0, 37 / 3.6])
    assert source.counts["MOTION: alive counter stands still"] == 5


def test_frames_that_carry_nothing_are_counted_by_what_they_are(tmp_path: Path) -> None:
    vehicle = Vehicle()
    frames = [
        vehicle.motion(START_S, 36.0),
        can.Message(timestamp=START_S, arbitration_id=0x7FF, is_extended_id=False, data=b"\1"),
        can.Message(timestamp=START_S, is_error_frame=True, arbitration_id=0x40),
        can.Message(
            timestamp=START_S, arbitration_id=256, is_extended_id=False, is_remote_frame=True
        ),
        can.Message(timestamp=START_S, arbitration_id=256, is_extended_id=False, data=b"\1\2"),
        # the same number with 29 bits is another message
        can.Message(timestamp=START_S, arbitration_id=256, is_extended_id=True, data=bytes(8)),
    ]
    source = log_source(tmp_path, frames)
    assert len(values_of(source)["ego.speed_mps"]) == 1
    assert source.counts["frames not mapped"] == 2
    assert source.counts["error frames"] == 1
    assert source.counts["remote requests"] == 1
    assert source.counts["MOTION: frame too short"] == 1


def test_a_clock_that_is_set_while_recording_does_not_turn_time_back(tmp_path: Path) -> None:
    vehicle = Vehicle()
    frames = [vehicle.motion(START_S + i, i) for i in range(3)]
    frames += [vehicle.motion(START_S - 7200 + i, i) for i in range(3)]
    source = log_source(tmp_path, frames)
    # python-can's writer straightens stamps, so the log is written by hand
    lines = [f"({f.timestamp:.6f}) can0 100#{f.data.hex().upper()}" for f in frames]
    (tmp_path / "drive.log").write_text("\n".join(lines) + "\n")
    times = [s.mono_ns / NS_PER_S for s in source.samples() if s.name == "ego.speed_mps"]  # type: ignore[union-attr]
    assert times == pytest.approx([1, 2, 3, 3, 4, 5], abs=1e-5)
    assert source.counts["clock set while recording"] == 1


def test_only_the_named_bus_is_read(tmp_path: Path) -> None:
    vehicle = Vehicle()
    frames = []
    for i in range(4):
        frame = vehicle.motion(START_S + i, 3.6 * i)
        frame.channel = i % 2
        frames.append(frame)
    path = write_log(tmp_path / "drive.blf", frames)
    mapping = write_vehicle(tmp_path, MAP.replace("MOTION.SPEED}", "MOTION.SPEED, channel: 1}"))
    source = open_source(f"can:{path},map={mapping}")
    assert isinstance(source, CanLogSource)
    assert values_of(source)["ego.speed_mps"] == pytest.approx([1.0, 3.0])


@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        ("MOTION.SPEED", "MOTION.SPED", r"5:19: MOTION has no signal 'SPED'; did you mean 'SPEED'"),
        ("MOTION.SPEED", "MOTON.SPEED", "no message 'MOTON'; did you mean 'MOTION'"),
        ("ego.speed_mps", "ego.sped_mps", r"5:3: no signal is called 'ego.sped_mps'; did you mean"),
        ("MOTION.SPEED}", "MOTION.SPEED, unit: m/s}", "is in km/h, not m/s; .* force_unit"),
        ("MOTION.SPEED}", "MOTION.SPEED, unit: kmhh}", "unknown unit 'kmhh'"),
        ("MOTION.SPEED}", "MOTION.YAW}", r"deg/s \(turn rate\), ego.speed_mps in m/s \(speed\)"),
        ("MOTION.SPEED}", "PEDALS.RAW_TORQUE}", "unit 'Nm', which is not known here: give unit"),
        ("PEDALS.GAS, above: 2", "PEDALS.GAS", "not a single bit: say when it holds"),
        ("{ACTIVE: 1,", "{ACTIV: 1,", r"'ACTIV' is no state of ACC.STATE; did you mean 'ACTIVE'"),
        ("{ACTIVE: 1,", "{ACTIVE: 3,", "3 is outside of autonomy.engaged"),
        ("scale: -1", "scale: 0", "scale must not be 0"),
        ("scale: -1", "scal: -1", "6:42: unknown key 'scal'"),
        ("MOTION: ALIVE", "MOTION: ALIV", "no signal 'ALIV'; did you mean 'ALIVE'"),
        ("dbc: vehicle.dbc", "dbc: other.dbc", "3:1: no such DBC"),
        ("kind: CanMap", "kind: CarMap", "2:7: kind"),
    ],
)
def test_a_wrong_mapping_is_refused_where_it_is_wrong(
    tmp_path: Path, before: str, after: str, complaint: str
) -> None:
    assert before in MAP
    path = write_log(tmp_path / "drive.log", drive(Vehicle(), 0.1))
    mapping = write_vehicle(tmp_path, MAP.replace(before, after))
    with pytest.raises(InputError, match=rf"vehicle.can.yaml.*{complaint}"):
        open_source(f"can:{path},map={mapping}")


def test_a_unit_may_be_forced_where_the_dbc_is_wrong(tmp_path: Path) -> None:
    mapping = MAP.replace("MOTION.SPEED}", "MOTION.SPEED, unit: mph, force_unit: true}")
    source = log_source(tmp_path, [Vehicle().motion(START_S, 10.0)], mapping)
    assert values_of(source)["ego.speed_mps"] == pytest.approx([4.4704])


@pytest.mark.parametrize(
    ("address", "complaint"),
    [
        ("can:{log}", "option 'map' is missing"),
        ("can:{log},map=none.yaml", "no such file"),
        ("can:{log},mapp={map}", "no option 'mapp'; did you mean 'map'"),
        ("can:{log},map={map},dbc=none.dbc", "no such file"),
        ("can:{log},map={map},dbc={map}", "not a CAN database"),
        ("can:{log},map={map},bitrate=1", "bitrate is for a live bus"),
        ("can:nothing.log,map={map}", "no such file"),
        ("can:can0,map={map}", "give can:LOG_FILE,map=MAP or can:INTERFACE/CHANNEL"),
        ("can:socketcann/can0,map={map}", "no interface 'socketcann'; did you mean 'socketcan'"),
        ("can:virtual/x,map={map},bitrate=fast", "bitrate must be a whole number"),
        ("can:virtual/x,map={map},give_up=5", "give_up"),
    ],
)
def test_wrong_addresses(tmp_path: Path, address: str, complaint: str) -> None:
    path = write_log(tmp_path / "drive.log", drive(Vehicle(), 0.1))
    given = address.format(log=path, map=write_vehicle(tmp_path))
    error = check_refusals(lambda: open_source(given))
    assert complaint in str(error)


@pytest.mark.parametrize(
    ("sound", "beyond", "complaint"),
    [
        ("(0.01,0)", f"(1{'0' * 400},0)", "MOTION.SPEED: its factor is no finite number"),
        ("(0.01,0)", f"(0.01,-{'9' * 400})", "MOTION.SPEED: its offset is no finite number"),
        ('[0|400] "km/h"', '[0|1e999] "km/h"', "MOTION.SPEED: its maximum"),
        ('65535 "SNA"', f'{"7" * 400} "SNA"', "MOTION.SPEED: one of its states"),
    ],
)
def test_numbers_that_no_frame_can_carry_are_refused(
    tmp_path: Path, sound: str, beyond: str, complaint: str
) -> None:
    """Found by fuzzing: cantools reads them as ints of any length."""
    write_vehicle(tmp_path)
    dbc = tmp_path / "vehicle.dbc"
    assert sound in dbc.read_text()
    dbc.write_text(dbc.read_text().replace(sound, beyond))
    with pytest.raises(InputError, match=complaint) as caught:
        load_dbc(dbc, None)
    assert caught.value.place == str(dbc)


def test_a_log_that_breaks_off_gives_what_is_whole(tmp_path: Path) -> None:
    path = write_log(tmp_path / "drive.log", drive(Vehicle()))
    address = f"can:{path},map={write_vehicle(tmp_path)}"
    whole = list(open_source(address).samples())
    text = path.read_text().splitlines()
    path.write_text("\n".join([*text[:200], "(17900", ""]))
    given = []
    with pytest.raises(CorruptError, match="whole up to frame 200"):
        for sample in open_source(address).samples():
            given.append(sample)  # noqa: PERF402  # what came before the error is kept
    assert given == whole[: len(given)] and len(given) > 100
    path.write_text("")
    check_refusals(lambda: open_source(address), "an empty log")


def test_the_mapping_has_a_schema_for_editors() -> None:
    from edge_agent.sources.can.mapping import CanMap

    schema = CanMap.model_json_schema(by_alias=True)
    assert {"from", "states", "unit"} <= schema["$defs"]["CanSignalRule"]["properties"].keys()
    assert Counter(schema["required"]) == Counter(["apiVersion", "kind", "signals"])


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([256, 257, 0x18FECA15, 7]), st.booleans(), st.binary(max_size=64)
        ),
        max_size=10,
    )
)
def test_whatever_a_bus_carries_is_a_value_or_counted(
    bound: BoundMap, frames: list[tuple[int, bool, bytes]]
) -> None:
    for frame_id, is_extended, payload in frames:
        before = sum(bound.counts.values())
        found = list(bound.decode(Frame(frame_id, is_extended, payload)))
        assert all(math.isfinite(value) for _, value in found)
        known = (frame_id, is_extended) in ((256, False), (257, False), (0x18FECA15, True))
        assert found or known or sum(bound.counts.values()) > before


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> BoundMap:
    mapping = write_vehicle(tmp_path_factory.mktemp("can"))
    return bind_map(load_map(mapping), load_dbc(mapping.parent / "vehicle.dbc", None))


def test_ids_count_by_their_masked_bits(tmp_path: Path) -> None:
    """As J1939 needs it: any sender's and priority's ACC is the ACC."""
    masked = MAP.replace("signals:", "frame_id_mask: 0xFFFF00\nsignals:")
    loaded = load_map(write_vehicle(tmp_path, masked))
    dbc = load_dbc(tmp_path / "vehicle.dbc", loaded.rules.frame_id_mask)
    with pytest.raises(InputError, match=r":4:1: PEDALS and MOTION have the same id"):
        bind_map(loaded, dbc)
    few = "\n".join(line for line in masked.splitlines() if "MOTION" not in line)
    loaded = load_map(write_vehicle(tmp_path, few.replace("counters:", "")))
    found = bind_map(loaded, dbc)
    active = Frame(0x0CFECA99, True, bytes([2, 3, 0, 0, 0, 0, 0, 0]))
    assert dict(found.decode(active)) == {"autonomy.engaged": 1.0}
