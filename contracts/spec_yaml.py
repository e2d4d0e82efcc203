"""Read hand-written YAML so that every complaint names `file:line:column`.

Guarantees: only plain YAML (no tags that build objects, no duplicate keys, bounded size and
nesting); each value remembers where it stood. The one module among the contracts that
imports yaml.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from yaml.reader import ReaderError

from contracts.errors import InputError
from contracts.signals import nearest_name

MAX_SPEC_BYTES = 256 * 1024
MAX_DEPTH = 24

_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null", "timestamp")
)

Path_ = tuple[str | int, ...]
ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a text, counted from 1."""

    line: int
    column: int


@dataclass(slots=True)
class LocatedYaml:
    """A YAML document as plain values, with the position of every key and value."""

    source: str
    value: Any
    values: dict[Path_, Mark] = field(default_factory=dict)
    keys: dict[Path_, Mark] = field(default_factory=dict)
    scalar_starts: dict[Path_, Mark] = field(default_factory=dict)

    def place(self, path: Path_, *, of_key: bool = False) -> str:
        """`source:line:column` of a path, or of the nearest enclosing value that exists."""
        table = self.keys if of_key and path in self.keys else self.values
        while path and path not in table:
            path = path[:-1]
            table = self.values
        mark = table.get(path, Mark(1, 1))
        return f"{self.source}:{mark.line}:{mark.column}"

    def place_in_scalar(self, path: Path_, offset: int) -> str:
        """Position of character `offset` inside a one-line scalar's text."""
        mark = self.scalar_starts.get(path)
        if mark is None:
            return self.place(path)
        return f"{self.source}:{mark.line}:{mark.column + offset}"


class _Composer:
    """Turns yaml nodes into plain values while noting positions."""

    def __init__(self, located: LocatedYaml) -> None:
        self._located = located
        self._scalars = yaml.SafeLoader("")

    def build(self, node: yaml.Node, path: Path_) -> Any:
        mark = Mark(node.start_mark.line + 1, node.start_mark.column + 1)
        self._located.values[path] = mark
        place = f"{self._located.source}:{mark.line}:{mark.column}"
        if len(path) > MAX_DEPTH:
            raise InputError(f"nested deeper than {MAX_DEPTH} levels", place)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, i)) for i, child in enumerate(node.value)]
        if not isinstance(node, yaml.ScalarNode) or node.tag not in _PLAIN_TAGS:
            raise InputError(f"tag {node.tag!r} is not allowed; use plain YAML", place)
        if node.start_mark.line == node.end_mark.line:
            quote = 1 if node.style in ("'", '"') else 0
            self._located.scalar_starts[path] = Mark(mark.line, mark.column + quote)
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(f"cannot read {node.value!r}: {error}", place) from error

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            mark = Mark(key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            place = f"{self._located.source}:{mark.line}:{mark.column}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise InputError("a key must be plain text", place)
            key = str(key_node.value)
            if key in result:
                raise InputError(f"key {key!r} is given twice", place)
            self._located.keys[(*path, key)] = mark
            result[key] = self.build(value_node, (*path, key))
        return result


def parse_yaml(text: str, source: str) -> LocatedYaml:
    """Parse one document. Raises `InputError` with `source:line:column`."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_SPEC_BYTES:
        raise InputError(f"longer than {MAX_SPEC_BYTES} bytes", source)
    try:
        node = yaml.SafeLoader(text).get_single_node()
    except ReaderError as error:
        before = text[: error.position]
        column = len(before) - before.rfind("\n")
        raise InputError(
            f"character {error.character!r} is not allowed in YAML",
            f"{source}:{before.count(chr(10)) + 1}:{column}",
        ) from error
    except RecursionError as error:
        raise InputError("nested too deeply", source) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise InputError(f"not valid YAML: {error.problem or error}", place) from error
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {error}", source) from error
    if node is None:
        raise InputError("the document is empty", f"{source}:1:1")
    located = LocatedYaml(source, None)
    try:
        located.value = _Composer(located).build(node, ())
    except RecursionError as error:
        raise InputError("nested too deeply", source) from error
    return located


def read_text(path: Path) -> str:
    """A small UTF-8 text file. Raises `InputError` when it is missing, large or not UTF-8."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SPEC_BYTES + 1)
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"not UTF-8 at byte {error.start}", str(path)) from error
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(path)) from error


def _known_keys(model: type[BaseModel], path: Path_) -> list[str]:
    """Names allowed at `path`, as far as the model's own fields tell."""
    current: Any = model
    for step in path:
        if not (isinstance(current, type) and issubclass(current, BaseModel)):
            return []
        found = None
        for name, info in current.model_fields.items():
            if step in (name, info.alias):
                found = info.annotation
        current = found
    if isinstance(current, type) and issubclass(current, BaseModel):
        return [info.alias or name for name, info in current.model_fields.items()]
    return []


def validate_located(model: type[ModelT], located: LocatedYaml) -> ModelT:
    """Validate against a pydantic model. Raises `InputError` for the file's first complaint."""
    try:
        return model.model_validate(located.value)
    except ValidationError as error:
        complaints = []
        for item in error.errors():
            path: Path_ = tuple(item["loc"])
            unknown = item["type"] == "extra_forbidden"
            place = located.place(path, of_key=unknown)
            if unknown:
                known = _known_keys(model, path[:-1])
                listed = f"; known here: {', '.join(known)}" if known else ""
                message = f"unknown key {path[-1]!r}{nearest_name(str(path[-1]), known)}{listed}"
            elif item["type"] == "missing":
                message = f"key {path[-1]!r} is missing"
            else:
                field_name = ".".join(str(step) for step in path)
                message = item["msg"].removeprefix("Value error, ")
                message = f"{field_name}: {message}" if field_name else message
            line, column = (int(part) for part in place.rsplit(":", 2)[1:])
            complaints.append((line, column, message, place))
        _, _, message, place = min(complaints)
        raise InputError(message, place) from error
