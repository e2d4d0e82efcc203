"""What all executors keep to, and what only processes can go through."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.errors import CorruptError, InputError
from offline.executor.choice import executor_of
from offline.executor.inline import InlineExecutor
from offline.executor.local_pool import LocalPool
from offline.executor.messages import answer_bytes, answer_from, request_bytes
from offline.executor.ports import Executor, Failure, Product, Task
from offline.executor.ray_cluster import RayCluster, performed
from offline.executor.source import source_digest
from tests.offline.executor.works import ECHO, TROUBLE

CLIPS = [f"c{number}" for number in range(8)]


def results(executor: Executor, function: str = ECHO) -> Mapping[str, Product | Failure]:
    tasks = [Task(clip, {"text": clip}) for clip in CLIPS]
    found = list(executor.run(function, tasks))
    assert len(found) == len(CLIPS)
    return {outcome.clip: outcome.result for outcome in found}


def expected(clip: str) -> Product:
    return Product({"a": clip.encode(), "empty": b"", "b": b"\n\0" + clip.encode()}, {"n": 1.5})


def test_processes_give_what_this_process_gives() -> None:
    assert results(InlineExecutor()) == {clip: expected(clip) for clip in CLIPS}
    assert results(LocalPool(2)) == results(InlineExecutor())
    assert list(LocalPool(2).run(ECHO, [])) == []


def test_what_goes_wrong_names_its_clip_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TROUBLE, str(tmp_path))
    for clip, how in {"c0": "kill", "c2": "exit", "c3": "input", "c5": "bug"}.items():
        (tmp_path / clip).write_text(how)
    found = results(LocalPool(2))
    for clip in ("c1", "c4", "c6", "c7"):
        assert found[clip] == expected(clip)
    failures = {clip: each for clip, each in found.items() if isinstance(each, Failure)}
    assert {clip: (each.kind, each.reason) for clip, each in failures.items()} == {
        "c0": ("WorkerDied", "its worker process died: SIGKILL, perhaps for want of memory"),
        "c2": ("WorkerDied", "its worker process died: it ended with exit code 3"),
        "c3": ("InputError", "c3.txt:7: no such lane"),
        "c5": ("ZeroDivisionError", "ZeroDivisionError: as planned"),
    }
    assert "works.py" in failures["c5"].detail


def test_closing_early_ends_the_workers() -> None:
    outcomes = LocalPool(2).run(ECHO, [Task(clip, {"text": clip}) for clip in CLIPS])
    assert next(outcomes).result
    outcomes.close()
    assert list(outcomes) == []


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("tests.offline.executor.works:nothing", "returned NoneType, not a Product"),
        ("tests.offline.executor.works:absent", "no function 'absent'"),
        ("tests.offline.executor.absent:echo", "cannot be imported"),
        ("echo", "no 'module:function'"),
    ],
)
def test_what_is_no_work_is_told(function: str, reason: str) -> None:
    for result in results(InlineExecutor(), function).values():
        assert isinstance(result, Failure)
        assert (result.kind, reason in result.reason) == ("InputError", True)


def test_a_request_is_a_json_value() -> None:
    for bad in (float("nan"), Path("x")):
        with pytest.raises(InputError, match="no JSON value"):
            list(InlineExecutor().run(ECHO, [Task("c", {"text": bad})]))  # type: ignore[dict-item]


@given(
    st.dictionaries(st.text(max_size=9), st.binary(max_size=40), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3),
    st.integers(0, 60),
)
def test_answers_survive_the_way(
    files: dict[str, bytes], figures: dict[str, int | str], cut: int
) -> None:
    product = Product(files, figures)
    content = answer_bytes(product)
    assert answer_from(content) == product
    assert list(answer_from(content).files) == list(files)  # type: ignore[union-attr]
    short = content[: max(0, len(content) - 1 - cut)]
    with pytest.raises(CorruptError):
        answer_from(short)


def test_a_cluster_with_other_code_is_told() -> None:
    content = request_bytes(ECHO, {"text": "c"})
    result = answer_from(performed(ECHO, "0" * 64, content))
    assert isinstance(result, Failure)
    assert "the cluster has other code" in result.reason
    assert answer_from(performed(ECHO, source_digest(ECHO), content)) == expected("c")


def test_options_that_make_no_executor_are_refused() -> None:
    for refused in (lambda: executor_of(-1), lambda: LocalPool(0), lambda: RayCluster("local", 0)):
        with pytest.raises(InputError, match="workers"):
            refused()
    for address in ("", "auto"):
        with pytest.raises(InputError, match="ray: tell the cluster's address"):
            executor_of(None, address)
    assert isinstance(executor_of(0), InlineExecutor)


def test_the_digest_of_source_follows_imports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_stage"
    package.mkdir()
    sources = {
        "__init__.py": "", "far.py": "Y = 1\n", "other.py": "",
        "near.py": "def f():\n    from .far import Y\n    return Y\n",
        "work.py": "import json\nfrom some_stage import near\n",
    }  # fmt: skip
    for name, text in sources.items():
        (package / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))

    def digest() -> str:
        source_digest.cache_clear()
        return source_digest("some_stage.work:f")

    first = digest()
    (package / "other.py").write_text("X = 1\n")
    assert digest() == first
    for name in ("far.py", "near.py", "__init__.py"):
        (package / name).write_text(sources[name] + "# more\n")
        changed = digest()
        assert changed != first
        first = changed
    with pytest.raises(InputError, match="no such module"):
        source_digest("some_stage.absent:f")
    source_digest.cache_clear()
