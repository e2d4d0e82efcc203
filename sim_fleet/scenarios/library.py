"""Scenario files: where they lie, how they build on each other, and what is wrong with them.

Every complaint names `file:line:column`.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from contracts.errors import InputError
from contracts.signals import nearest_name
from contracts.spec_yaml import LocatedYaml, parse_yaml, read_text, validate_located
from sim_fleet.scenarios.spec import ScenarioSpec, merged

FOLDER = Path(__file__).parent
_BASE = "base-"


class Library:
    """The scenarios and fragments of some folders, by id; later folders may not repeat ids.

    Raises `InputError` for the first file that is wrong.
    """

    def __init__(self, folders: tuple[Path, ...] = (FOLDER,)) -> None:
        self._files: dict[str, tuple[ScenarioSpec, LocatedYaml]] = {}
        for folder in folders:
            for path in sorted(folder.rglob("*.yaml")):
                self.add(path)

    def add(self, path: Path) -> str:
        """Read one more file; returns its id."""
        located = parse_yaml(read_text(path), str(path))
        spec = validate_located(ScenarioSpec, located)
        if spec.id in self._files:
            raise InputError(f"the id {spec.id!r} is taken by {self._files[spec.id][1].source}",
                             located.place(("id",)))  # fmt: skip
        self._files[spec.id] = (spec, located)
        return spec.id

    @property
    def names(self) -> tuple[str, ...]:
        """Ids of the scenarios that can be run: those that are neither base nor fragment."""
        return tuple(
            name for name in sorted(self._files)
            if not name.startswith(_BASE) and self._files[name][0].hard is not None
        )  # fmt: skip

    def scenario(self, name: str) -> ScenarioSpec:
        """The scenario with all that it builds on. Raises `InputError` with its place."""
        if name not in self._files:
            hint = nearest_name(name, self._files)
            raise InputError(f"no scenario {name!r}{hint}")
        whole = self._resolved(name, ())
        _, located = self._files[name]
        for key in ("title", "hard", "region", "tod"):
            if getattr(whole, key) is None:
                raise InputError(f"key {key!r} is missing, here and in what it extends",
                                 located.place(()))  # fmt: skip
        return whole

    def _resolved(self, name: str, under: tuple[str, ...]) -> ScenarioSpec:
        spec, located = self._files[name]
        wanted: list[tuple[tuple[str | int, ...], str | None]] = [(("extends",), spec.extends)]
        wanted += [(("with", i), other) for i, other in enumerate(spec.with_)]
        whole: ScenarioSpec | None = None
        for path, other in wanted:
            if other is None:
                continue
            place = located.place(path)
            if other in (*under, name):
                raise InputError(f"{' extends '.join((*under, name, other))}: a circle", place)
            if other not in self._files:
                hint = nearest_name(other, self._files)
                raise InputError(f"no scenario or fragment {other!r}{hint}", place)
            part = self._resolved(other, (*under, name))
            whole = part if whole is None else merged(whole, part)
        return spec if whole is None else merged(whole, spec)


@lru_cache(maxsize=1)
def built_in() -> Library:
    """The library that comes with the package."""
    return Library()


def load_scenario(name_or_path: str) -> ScenarioSpec:
    """A built-in scenario by id, or one from a YAML file that may build on the built-in ones."""
    if name_or_path.endswith((".yaml", ".yml")):
        library = Library()
        return library.scenario(library.add(Path(name_or_path)))
    return built_in().scenario(name_or_path)
