"""The frozen scenario suite: its drives by recipe, checked against what was frozen.

    OUT/suite.json                  the frozen suite (`contracts.scenario_suite`)
    OUT/<scenario>-<seed>/          one drive (`sim_fleet.dataset`), named by its recipe

A suite is two files: the recipe, which people write, and the frozen suite beside it, which holds
the digest of each drive, and its likeness: another kind of processor computes other last bits
(`contracts.likeness`). A drive that comes out otherwise than that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from contracts.errors import CorruptError, InputError
from contracts.labels import FrameLabels, read_labels
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
from kernels.clip.likeness import check_as_frozen, likeness_of
from sim_fleet.dataset import DatasetSpec, write_dataset

CLIP_FILE = "clip.mcap"
PUBLISHED = Path(__file__).parent / "suites" / "road.yaml"
Progress = Callable[[int, int, str], None]


class WrittenSuite(NamedTuple):
    """A suite whose drives lie in a folder. `alike` names the scenarios that are not bit for bit
    as they were frozen, by arithmetic alone.
    """

    suite: FrozenSuite
    alike: tuple[str, ...] = ()


def read_recipe(path: Path = PUBLISHED) -> SuiteRecipe:
    """A recipe from its YAML file. Raises `InputError` with line and column."""
    return validate_located(SuiteRecipe, parse_yaml(read_text(path), str(path)))


def frozen_file(recipe: Path) -> Path:
    """Where the frozen suite of a recipe lies: `road.yaml` and `road.json`."""
    return recipe.with_suffix(".json")


def write_suite(
    recipe: SuiteRecipe, frozen: FrozenSuite | None, out: Path,
    progress: Progress = lambda done, of, name: None,
) -> WrittenSuite:  # fmt: skip
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
    if frozen is None:
        written = WrittenSuite(_frozen(recipe, folders))
    else:
        written = WrittenSuite(frozen, _alike(frozen, folders))
    (out / SUITE_FILE).write_text(suite_text(written.suite), "utf-8")
    return written


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


def _frozen(recipe: SuiteRecipe, folders: list[Path]) -> FrozenSuite:
    found = []
    for each, folder in zip(recipe.scenarios, folders, strict=True):
        clip, labels = folder / CLIP_FILE, _labels(folder)
        found.append(
            FrozenScenario(
                scenario=each, folder=folder.name, frames=content_digest(clip, labels),
                likeness=likeness_of(clip, labels),
            )
        )  # fmt: skip
    return FrozenSuite(name=recipe.name, version=recipe.version, scenarios=tuple(found))


def _labels(folder: Path) -> list[FrameLabels]:
    return [read_labels(path) for path in sorted((folder / "labels").glob("*.npz"))]


def _check_same(recipe: SuiteRecipe, frozen: FrozenSuite) -> None:
    told = (recipe.name, recipe.version, recipe.scenarios)
    held = tuple(each.scenario for each in frozen.scenarios)
    if told != (frozen.name, frozen.version, held):
        raise InputError(
            f"the recipe is not what was frozen as version {frozen.version}: freeze it anew",
            recipe.name,
        )


def _alike(frozen: FrozenSuite, folders: list[Path]) -> tuple[str, ...]:
    """Names of scenarios whose drives are not bit for bit as frozen, and yet the same."""
    alike, wrong = [], []
    for each, folder in zip(frozen.scenarios, folders, strict=True):
        clip, labels = folder / CLIP_FILE, _labels(folder)
        try:
            if not check_as_frozen(clip, labels, each.frames, each.likeness):
                alike.append(each.scenario.name)
        except InputError as error:
            wrong.append(f"{each.scenario.name} ({error.message})")
    if wrong:
        names = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise CorruptError(
            f"{len(wrong)} of {len(folders)} drives are not what was frozen: {names}", frozen.name
        )
    return tuple(alike)


def suite_of(recipe: Path) -> FrozenSuite | None:
    """The frozen suite of a recipe, None where it was never frozen."""
    file = frozen_file(recipe)
    return read_suite(file) if file.is_file() else None
