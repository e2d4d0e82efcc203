"""The frozen scenario suite: its drives by recipe, checked against what was frozen.

    OUT/suite.json                  the frozen suite (`contracts.scenario_suite`)
    OUT/<scenario>-<seed>/          one drive (`sim_fleet.dataset`), named by its recipe

A suite is two files: the recipe, which people write, and the frozen suite beside it, which holds
the digest of each drive. A drive that comes out otherwise on another machine is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from contracts.errors import CorruptError, InputError
from contracts.labels import read_labels
from contracts.scenario_suite import (
    SUITE_FILE,
    FrozenScenario,
    FrozenSuite,
    SuiteRecipe,
    read_suite,
    suite_text,
)
from contracts.spec_yaml import parse_yaml, read_text, validate_located
from kernels.clip.content import content_digest
from sim_fleet.dataset import DatasetSpec, write_dataset

PUBLISHED = Path(__file__).parent / "suites" / "road.yaml"
Progress = Callable[[int, int, str], None]


def read_recipe(path: Path = PUBLISHED) -> SuiteRecipe:
    """A recipe from its YAML file. Raises `InputError` with line and column."""
    return validate_located(SuiteRecipe, parse_yaml(read_text(path), str(path)))


def frozen_file(recipe: Path) -> Path:
    """Where the frozen suite of a recipe lies: `road.yaml` and `road.json`."""
    return recipe.with_suffix(".json")


def write_suite(
    recipe: SuiteRecipe, frozen: FrozenSuite | None, out: Path,
    progress: Progress = lambda done, of, name: None,
) -> FrozenSuite:  # fmt: skip
    """Write all drives and `suite.json`; drives that are there stay, and are checked too.

    Args:
        frozen: what the drives must hold; None freezes them as they come out.

    Raises `InputError` when recipe and frozen suite are not of one version, `CorruptError` when
    a drive does not hold what was frozen.
    """
    if frozen is not None:
        _check_same(recipe, frozen)
    (out / SUITE_FILE).unlink(missing_ok=True)
    spec = DatasetSpec.model_validate({
        "apiVersion": "longtail/dataset/v1", "name": recipe.name, "sensors": "s",
        "drives": [each.drive for each in recipe.scenarios],
    })  # fmt: skip
    folders = write_dataset(spec, out, progress)
    if len(folders) != len(recipe.scenarios):
        raise InputError("a scenario is one drive: its seeds are [seed, 1]", recipe.name)
    found = [
        FrozenScenario(scenario=each, folder=folder.name, frames=_content(folder))
        for each, folder in zip(recipe.scenarios, folders, strict=True)
    ]
    if frozen is None:
        suite = FrozenSuite(name=recipe.name, version=recipe.version, scenarios=tuple(found))
    else:
        _check_frames(found, frozen)
        suite = frozen
    (out / SUITE_FILE).write_text(suite_text(suite), "utf-8")
    return suite


def refrozen(new: FrozenSuite, old: FrozenSuite | None) -> FrozenSuite:
    """A new version that keeps every `must` of the old one.

    Raises `InputError` when the version did not rise, or a `must` changed or went.
    """
    if old is None:
        return new
    if new.version <= old.version:
        raise InputError(f"version {new.version} follows {old.version}: raise it", new.name)
    kept = {each.digest for each in new.scenarios}
    musts = [each for each in old.scenarios if each.standing == "must"]
    lost = [each.scenario.name for each in musts if each.digest not in kept]
    if lost:
        raise InputError(f"{lost[0]} must be passed, and cannot be changed or left out", new.name)
    return new.promoted([each.scenario.name for each in musts])


def _content(folder: Path) -> str:
    labels = [read_labels(path) for path in sorted((folder / "labels").glob("*.npz"))]
    return content_digest(folder / "clip.mcap", labels)


def _check_same(recipe: SuiteRecipe, frozen: FrozenSuite) -> None:
    told = (recipe.name, recipe.version, recipe.scenarios)
    held = tuple(each.scenario for each in frozen.scenarios)
    if told != (frozen.name, frozen.version, held):
        raise InputError(
            f"the recipe is not what was frozen as version {frozen.version}: freeze it anew",
            recipe.name,
        )


def _check_frames(found: list[FrozenScenario], frozen: FrozenSuite) -> None:
    wrong = [
        each.scenario.name
        for each, kept in zip(found, frozen.scenarios, strict=True)
        if each.frames != kept.frames
    ]
    if wrong:
        names = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise CorruptError(
            f"{len(wrong)} of {len(found)} drives do not hold what was frozen: {names}",
            frozen.name,
        )


def suite_of(recipe: Path) -> FrozenSuite | None:
    """The frozen suite of a recipe, None where it was never frozen."""
    file = frozen_file(recipe)
    return read_suite(file) if file.is_file() else None
