"""`longtail loop lineage`: what a thing comes from, and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.output import JsonOption, print_json

if TYPE_CHECKING:
    from offline.datasets.lineage import Branch


def lineage(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A model's manifest, or the digest (its beginning will do) of a model, dataset "
            "version, label set, clip or trigger spec, or a vehicle.",
        ),
    ],
    store: Annotated[
        Path | None, typer.Option("--store", file_okay=False, help="Folder of a datasets' store.")
    ] = None,
    loop: Annotated[
        Path | None,
        typer.Option("--loop", exists=True, file_okay=False, help="Folder of a loop: all it made."),
    ] = None,
    model: Annotated[
        list[Path],
        typer.Option(exists=True, dir_okay=False, help="A model's manifest; may be repeated."),
    ] = [],  # noqa: B006
    limit: Annotated[int, typer.Option(min=1, help="Branches shown of each thing.")] = 10,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Walk rollout → gate report → model → dataset version → label set → clip → trigger spec and
    vehicle, and back. Rollouts and gate reports are known of a loop's folder.
    """
    from contracts.errors import InputError
    from contracts.model_manifest import ModelManifest
    from contracts.spec_yaml import parse_yaml, read_text, validate_located
    from offline.datasets.lineage import lineage_of
    from offline.datasets.store import DatasetStore
    from offline.pipeline.lineage import loop_lineage
    from offline.pipeline.turn import LoopFolder

    paths = dict.fromkeys([*model, *([Path(what)] if Path(what).is_file() else [])])
    manifests = {
        path: validate_located(ModelManifest, parse_yaml(read_text(path), str(path)))
        for path in paths
    }
    if loop is not None:
        known = loop_lineage(LoopFolder(loop))
    elif store is not None:
        known = lineage_of(
            DatasetStore(store), [(manifest.sha256, manifest) for manifest in manifests.values()]
        )
    else:
        raise InputError("say where to look", "--store or --loop")
    asked = manifests.get(Path(what))
    thing = known.find(what if asked is None else asked.sha256)
    origins, uses = known.origins(thing), known.uses(thing)
    if as_json:
        print_json({"origins": _plain(origins), "uses": _plain(uses)})
        return
    typer.echo(_line(origins))
    _tell(origins, limit)
    if uses.beyond:
        typer.echo("went into")
        _tell(uses, limit)


def _plain(branch: Branch) -> dict[str, Any]:
    return {
        "kind": branch.thing.kind, "name": branch.thing.name, "told": branch.told,
        "missing": branch.missing, "beyond": [_plain(each) for each in branch.beyond],
    }  # fmt: skip


def _tell(branch: Branch, limit: int, depth: int = 1) -> None:
    for each in branch.beyond[:limit]:
        typer.echo("  " * depth + _line(each))
        _tell(each, limit, depth + 1)
    if len(branch.beyond) > limit:
        typer.echo("  " * depth + f"… and {len(branch.beyond) - limit} more (--limit)")


def _line(branch: Branch) -> str:
    told = "not in this store" if branch.missing else branch.told
    return f"{branch.thing.kind} {branch.thing.name}{f' ({told})' if told else ''}"
