"""The thirteen tables: rows under tokens, written as a whole, read back with every link checked."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contracts.errors import InputError
from contracts.samples import Float64s
from kernels.clip.encoding import quaternion_of
from offline.labels.formats.files import read_json, write_json

TABLES = (
    "category", "attribute", "visibility", "instance", "sensor", "calibrated_sensor", "ego_pose",
    "log", "scene", "sample", "sample_data", "sample_annotation", "map",
)  # fmt: skip
CHAINED = ("sample", "sample_data", "sample_annotation")
"""Tables whose rows name the one before and after them, empty at the ends."""
LINKS: Mapping[str, Mapping[str, str]] = {
    "scene": {
        "log_token": "log", "first_sample_token": "sample", "last_sample_token": "sample",
    },
    "sample": {"scene_token": "scene"},
    "sample_data": {
        "sample_token": "sample", "ego_pose_token": "ego_pose",
        "calibrated_sensor_token": "calibrated_sensor",
    },
    "calibrated_sensor": {"sensor_token": "sensor"},
    "instance": {
        "category_token": "category", "first_annotation_token": "sample_annotation",
        "last_annotation_token": "sample_annotation",
    },
    "sample_annotation": {"sample_token": "sample", "instance_token": "instance"},
}  # fmt: skip
"""Which field of a table names a row of which other."""

Row = dict[str, Any]


def token_of(table: str, *parts: object) -> str:
    """A row's name: 32 hex digits of what it is about, so the same drive gives the same tokens."""
    text = "\x1f".join([table, *map(str, parts)])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def pose_fields(a_SE3_b: Float64s) -> dict[str, list[float]]:
    """A transform [4, 4] in nuScenes' words: its rotation as w, x, y, z."""
    x, y, z, w = quaternion_of(a_SE3_b[:3, :3])
    return {"translation": a_SE3_b[:3, 3].tolist(), "rotation": [w, x, y, z]}


class Tables:
    """Rows by table and token, in the order in which they came."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {name: {} for name in TABLES}

    def add(self, table: str, token: str, **fields: Any) -> str:
        """Add a row, or find the same one; its token."""
        row = {"token": token, **fields}
        if self.rows[table].setdefault(token, row) != row:
            raise InputError("two different rows would have one token", f"{table}: {token}")
        return token

    def chain(self, table: str, tokens: Sequence[str]) -> None:
        """Link rows to their neighbours."""
        for place, token in enumerate(tokens):
            self.rows[table][token] |= {
                "prev": tokens[place - 1] if place else "",
                "next": tokens[place + 1] if place + 1 < len(tokens) else "",
            }

    def write(self, folder: Path, beside: Mapping[str, Any]) -> None:
        """Put the folder in place as a whole: a file a table, and what else lies beside them."""
        partial = folder.with_name(f".{folder.name}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for name, rows in self.rows.items():
            write_json(partial / f"{name}.json", list(rows.values()))
        for name, value in beside.items():
            write_json(partial / name, value)
        partial.rename(folder)


def read_tables(folder: Path) -> Tables:
    """All tables of a folder. Raises `InputError` with file, row and field where something is
    missing, twice, or leads nowhere.
    """
    found = Tables()
    for name in TABLES:
        path = folder / f"{name}.json"
        rows = read_json(path)
        if not isinstance(rows, list):
            raise InputError("a list of rows is expected", str(path))
        for number, row in enumerate(rows):
            token = row.get("token") if isinstance(row, dict) else None
            if not isinstance(token, str) or not token:
                raise InputError("a row has a token", f"{path}: {number}")
            if token in found.rows[name]:
                raise InputError(f"token {token!r} is there twice", f"{path}: {number}")
            found.rows[name][token] = row
    check_links(found, str(folder))
    return found


def check_links(tables: Tables, place: str) -> None:
    """Follow every link. Raises `InputError` with `table.json: row: field`."""
    for name, fields in LINKS.items():
        for number, row in enumerate(tables.rows[name].values()):
            for field, target in fields.items():
                where = f"{place}/{name}.json: {number}: {field}"
                token = _text(row.get(field), where)
                if token not in tables.rows[target]:
                    raise InputError(f"no {target} {token!r}", where)
    for name in CHAINED:
        _check_chain(tables.rows[name], f"{place}/{name}.json")
    _check_counts(tables, place)
    mapped: set[str] = set()
    for number, row in enumerate(tables.rows["map"].values()):
        where, logs = f"{place}/map.json: {number}: log_tokens", row.get("log_tokens")
        if not isinstance(logs, list):
            raise InputError("a list is expected", where)
        mapped |= {_text(log, where) for log in logs}
    lost = sorted(set(tables.rows["log"]) - mapped)
    if lost:
        raise InputError(f"log {lost[0]!r} has no map", f"{place}/map.json")


def _text(value: Any, place: str) -> str:
    if not isinstance(value, str):
        raise InputError(f"a token is expected, not {value!r:.80}", place)
    return value


def _check_chain(rows: Mapping[str, Row], place: str) -> None:
    for number, (token, row) in enumerate(rows.items()):
        for here, there in (("next", "prev"), ("prev", "next")):
            where = f"{place}: {number}: {here}"
            other = _text(row.get(here), where)
            if other and rows.get(other, {}).get(there) != token:
                raise InputError(f"{other!r} does not lead back", where)


def _check_counts(tables: Tables, place: str) -> None:
    """Scenes and instances begin, end and count as their rows say."""
    for owner, item, what, field in (
        ("scene", "sample", "sample", "nbr_samples"),
        ("instance", "sample_annotation", "annotation", "nbr_annotations"),
    ):
        rows = tables.rows[item]
        counted = Counter(row[f"{owner}_token"] for row in rows.values())
        for number, (token, row) in enumerate(tables.rows[owner].items()):
            where = f"{place}/{owner}.json: {number}"
            if row.get(field) != counted[token]:
                raise InputError(f"has {counted[token]} rows of {item}.json", f"{where}: {field}")
            walked = len(chain_from(rows, row[f"first_{what}_token"]))
            last = rows[row[f"last_{what}_token"]]
            if walked != counted[token] or last["next"]:
                raise InputError(f"its chain of {item} is not its own", where)


def chain_from(rows: Mapping[str, Row], first: str) -> list[Row]:
    """Rows from one on, each after the one before. Raises `InputError` for a ring."""
    found: list[Row] = []
    token = first
    while token:
        if len(found) > len(rows):
            raise InputError("the chain bites its tail", first)
        found.append(rows[token])
        token = rows[token]["next"]
    return found
