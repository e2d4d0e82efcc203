"""A clip in a few plain sentences, made from what it says about itself. Pure.

Only what is known is told, in the words that people search by: when, where and in what weather;
what was seen; how the vehicle drove; why the clip was kept. The wording is part of a caption
space's meaning: who changes it raises `VERSION`, and captions are made anew.
"""

from __future__ import annotations

from contracts.clip import ClipManifest, ClipSummary

VERSION = 1

_KMH_PER_MPS = 3.6
_STANDING_MPS = 0.5
_HARD_MPS2 = 3.0
_SHARP_MPS2 = 2.5
_CLOSE_S = 2.0
_UNSURE = 0.6

_TIMES = {
    "day": "by day", "dusk": "at dusk", "dawn": "at dawn", "night": "at night, in the dark",
    "glare": "against a low, blinding sun",
}  # fmt: skip
_WEATHERS = {
    "clear": "in clear weather", "rain": "in the rain on a wet road",
    "fog": "in fog with poor visibility", "snow": "in snow", "cloudy": "under clouds",
    "overcast": "under clouds",
}  # fmt: skip
_ROADS = {
    "urban": "in the city", "city": "in the city", "suburban": "in a suburb",
    "suburb": "in a suburb", "residential": "in a residential street",
    "rural": "on a country road", "country": "on a country road", "highway": "on a highway",
    "motorway": "on a motorway",
}  # fmt: skip
_OBJECTS = {
    "pedestrian": ("a person on foot", "people on foot"),
    "cyclist": ("a cyclist on a bicycle", "cyclists on bicycles"),
    "motorcycle": ("a motorcycle", "motorcycles"),
    "road_worker": ("a road worker", "road workers"),
    "cone": ("a traffic cone", "traffic cones of road works"),
    "animal": ("an animal on the road", "animals on the road"),
    "debris": ("debris, a lost object lying on the road", "debris, lost objects on the road"),
    "truck": ("a truck", "trucks"),
    "bus": ("a bus", "buses"),
    "car": ("a car", "cars"),
}
_CAUSES = {
    "hard_brake": "it braked hard", "hard_accel": "it accelerated hard", "swerve": "it swerved",
    "jerk": "it jerked", "ttc": "it came close to a collision",
    "disengagement": "the driver took over from the autopilot",
    "operator_bookmark": "the driver marked the moment",
    "rare_class": "something rare was seen", "unknown_object": "an unknown object was seen",
    "low_confidence": "the model was unsure of what it saw",
    "planner_divergence": "the planned path jumped",
    "sensor_disagreement": "the sensors disagreed", "track_flicker": "a tracked object flickered",
    "shadow_disagreement": "a newer model in shadow disagreed",
    "similar_to": "the scene was like one that was asked for",
    "random_baseline": "it was drawn at random",
}  # fmt: skip


def caption_of(manifest: ClipManifest) -> str:
    """The caption; never empty."""
    summary = manifest.summary
    told = [_setting(summary), _seen(summary), _driving(summary), _why(manifest)]
    return " ".join(sentence for sentence in told if sentence)


def _setting(summary: ClipSummary) -> str:
    parts = [
        words.get(value, f"({value})")
        for words, value in (
            (_ROADS, summary.road_type), (_TIMES, summary.tod), (_WEATHERS, summary.weather),
        )
        if value
    ]  # fmt: skip
    return f"A drive {' '.join(parts)}." if parts else "A drive."


def _seen(summary: ClipSummary) -> str:
    order = list(_OBJECTS)
    names = sorted(
        summary.detected_objects,
        key=lambda name: (order.index(name) if name in order else -1, name),
    )
    things = [_thing(name, summary.detected_objects[name].max_in_frame) for name in names]
    return f"Seen: {'; '.join(things)}." if things else ""


def _thing(name: str, count: int) -> str:
    plain = name.replace("_", " ")
    one, several = _OBJECTS.get(name, (f"a {plain}", f"{plain}s"))
    if count <= 1:
        return one
    return f"many {several}" if count > 5 else several


def _driving(summary: ClipSummary) -> str:
    parts = []
    slowest, fastest = summary.min_speed_mps, summary.max_speed_mps
    if fastest is not None and fastest < _STANDING_MPS:
        parts.append("stood still")
    elif fastest is not None:
        parts.append(f"drove up to {fastest * _KMH_PER_MPS:.0f} km/h")
        if slowest is not None and slowest < _STANDING_MPS:
            parts.append("came to a stop")
    if (summary.max_decel_mps2 or 0) >= _HARD_MPS2:
        parts.append("braked hard")
    if (summary.max_lat_accel_mps2 or 0) >= _SHARP_MPS2:
        parts.append("turned sharply")
    if summary.min_ttc_s is not None and summary.min_ttc_s < _CLOSE_S:
        parts.append("nearly collided")
    if (summary.max_uncertainty or 0) >= _UNSURE:
        parts.append("was unsure of what it saw")
    return f"The vehicle {_listed(parts)}." if parts else ""


def _why(manifest: ClipManifest) -> str:
    reasons = dict.fromkeys(
        _CAUSES.get(cause.kind, cause.kind.replace("_", " ")) for cause in manifest.causes
    )
    return f"Kept because {_listed(list(reasons))}." if reasons else ""


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
