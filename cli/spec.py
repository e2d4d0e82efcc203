"""`longtail spec ...`: write, check, test and try trigger specs."""

from __future__ import annotations

import difflib
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.output import JsonOption, TokenOption, print_json
from cli.publish import approve_spec, publish_spec, withdraw_spec
from cli.spec_release import mount as mount_release_commands
from cli.spec_trial import SpecPaths, backtest, diff, spec_files
from contracts.errors import InputError
from contracts.spec_yaml import read_text
from contracts.trigger_spec import json_schema_text, load_spec

app = typer.Typer(help="Trigger specs.", no_args_is_help=True)
app.command()(backtest)
app.command()(diff)


app.command("publish")(publish_spec)
app.command("approve")(approve_spec)
app.command("withdraw")(withdraw_spec)
mount_release_commands(app)


@app.callback()
def _group() -> None:
    """Trigger specs."""


@app.command()
def schema() -> None:
    """Print the JSON Schema of a trigger spec, for editors."""
    typer.echo(json_schema_text(), nl=False)


@app.command()
def lint(paths: SpecPaths, as_json: JsonOption = False) -> None:
    """Check specs: keys, units, names, rules. Every complaint is `file:line:column: ...`."""
    files = spec_files(paths)
    complaints = []
    for file in files:
        try:
            load_spec(file)
        except InputError as error:
            complaints.append({"place": error.place or str(file), "message": error.message})
    if as_json:
        print_json({"checked": len(files), "complaints": complaints})
    else:
        for complaint in complaints:
            typer.echo(f"{complaint['place']}: {complaint['message']}", err=True)
        typer.echo(f"{len(files)} specs checked, {len(complaints)} with complaints")
    if complaints:
        raise typer.Exit(1)


@app.command()
def fmt(
    paths: SpecPaths,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit 1 if any would.")] = (
        False
    ),
    drop_comments: Annotated[
        bool, typer.Option("--drop-comments", help="Drop comments that have no canonical place.")
    ] = False,
) -> None:
    """Rewrite specs in canonical form: order of keys, units, one line where it fits.

    Comments before a key and behind a one-line value move with their key. A file with a
    comment inside a value is left alone, with a complaint, unless --drop-comments says so.
    """
    from cli.spec_format import format_spec

    texts = [(file, read_text(file)) for file in spec_files(paths)]
    formatted = [
        (file, text, format_spec(text, str(file), drop_comments=drop_comments))
        for file, text in texts
    ]
    changed = [(file, text, new) for file, text, new in formatted if text != new]
    for file, text, new in changed:
        if check:
            lines = difflib.unified_diff(
                text.splitlines(), new.splitlines(), str(file), "canonical", lineterm=""
            )
            typer.echo("\n".join(lines))
        else:
            _replace(file, new)
    typer.echo(f"{len(texts)} specs, {len(changed)} {'not canonical' if check else 'rewritten'}")
    if check and changed:
        raise typer.Exit(1)


def _replace(file: Path, text: str) -> None:
    """Replace a file's content whole: a failure half-way leaves the old one."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(file.stat().st_mode & 0o7777)
        temporary.replace(file)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"cannot be written: {error.strerror}", str(file)) from error


@app.command()
def test(
    paths: SpecPaths,
    as_json: JsonOption = False,
) -> None:
    """Run specs' own tests: `tests/<id>.yaml` beside each, made-up drives and their fires."""
    from contracts.spec_cases import load_cases
    from kernels.backtest.cases import run_case

    entries: list[dict[str, Any]] = []
    untested: list[str] = []
    for file in spec_files(paths):
        loaded = load_spec(file)
        path = file.parent / "tests" / f"{loaded.spec.id}.yaml"
        if not path.is_file():
            untested.append(loaded.spec.id)
            continue
        cases = load_cases(path)
        if cases.id != loaded.spec.id:
            raise InputError(f"tests {cases.id!r}, not {loaded.spec.id!r}", str(path))
        for case in cases.cases:
            result = run_case(loaded, case)
            entries.append(
                {
                    "id": loaded.spec.id, "case": case.name, "passed": result.passed,
                    "missing": [_expected_words(e) for e in result.missing],
                    "extra": [_fire_words(f) for f in result.extra],
                    "fires": [_fire_words(f) for f in result.fires],
                }
            )  # fmt: skip
    failed = [entry for entry in entries if not entry["passed"]]
    if as_json:
        print_json({"cases": entries, "untested": untested})
    else:
        for entry in failed:
            typer.echo(f"{entry['id']}: {entry['case']}")
            for words in entry["missing"]:
                typer.echo(f"  - expected {words}")
            for words in entry["extra"]:
                typer.echo(f"  + fired {words}")
        for name in untested:
            typer.echo(f"{name}: no tests/{name}.yaml")
        typer.echo(f"{len(entries)} cases, {len(failed)} failed, {len(untested)} specs untested")
    if failed or not entries:
        raise typer.Exit(1)


def _expected_words(expected: Any) -> str:
    text = f", {expected.text}" if expected.text else ""
    return f"at {expected.at / 1e9:g} s ± {expected.within / 1e6:g} ms{text}"


def _fire_words(fire: Any) -> str:
    evidence = ", ".join(f"{k} {v:.4g}" for k, v in fire.evidence.items())
    words = ", ".join(filter(None, (fire.text, evidence)))
    return f"at {fire.fired_mono_ns / 1e9:g} s, score {fire.score:.3g}: {words}"


@app.command()
def explain(
    clip: Annotated[str, typer.Argument(help="A clip file; with --cloud its id, or its beginning")],
    cloud: Annotated[
        str | None, typer.Option("--cloud", envvar="LONGTAIL_CLOUD", help="The cloud's URL.")
    ] = None,
    operator_token: TokenOption = None,
    as_json: JsonOption = False,
) -> None:
    """Why a clip was kept: each cause's condition, bound, measured values, hold and window."""
    from cli.spec_explain import explain as explained
    from cli.spec_explain import in_words

    if Path(clip).is_file():
        entries = explained(Path(clip))
    elif cloud is None:
        raise InputError("no such file; for a clip's id give --cloud", clip)
    else:
        from cli.clips import whole_id
        from client import CloudClient

        client = CloudClient(cloud, operator_token)
        with tempfile.TemporaryDirectory(prefix="longtail-explain-") as folder:
            entries = explained(client.pull(whole_id(client, clip), Path(folder)))
    if as_json:
        print_json(entries)
    else:
        typer.echo("\n".join(line for entry in entries for line in in_words(entry)))
