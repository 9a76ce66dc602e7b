"""Which files count in development, what has changed about them, and what is shown of a failure."""

from __future__ import annotations

import importlib.util
import math
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

if sys.platform == "win32":
    pytest.skip("the master forks", allow_module_level=True)

from gateway.config.settings import Config
from gateway.server import share
from gateway.server.share import EMPTY, Board
from gateway.supervisor import changes, failure, modules
from gateway.supervisor.changes import Notified, Polling, Selection, Snapshot, forget_compiled, make_engine, stamp_of
from gateway.supervisor.child import LEAVING
from gateway.supervisor.development import Development, shown
from gateway.supervisor.failure import Failure

# Which files count


def counting(folder: Path, *names: str, **more: Sequence[str]) -> list[str]:
    """Those of the files `names` that count, by both ways to ask; they are made first."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    selection = Selection([str(folder)], **more)
    found = [name for name in names if selection.counts(str(folder / name))]
    assert sorted(entry.path for entry in selection.walk()) == sorted(str(folder / name) for name in found)
    return found


def test_files_of_python_count(tmp_path: Path) -> None:
    names = ("a.py", "b/c/d.py", "a.pyc", "a.txt", ".a.py", "~a.py", "a.py.swp", ".sw.py", "b/__pycache__/d.py")
    assert counting(tmp_path, *names) == ["a.py", "b/c/d.py"]


def test_folders_that_nobody_edits_do_not_count(tmp_path: Path) -> None:
    names = (
        ".venv/lib/a.py",
        ".git/hook.py",
        "node_modules/x/a.py",
        "env/pyvenv.cfg",
        "env/lib/a.py",
        "x/site-packages/a.py",
    )
    assert counting(tmp_path, *names) == []


def test_includes_add_to_the_files_of_python(tmp_path: Path) -> None:
    names = (
        "a.py",
        "page.html",
        "x/page.html",
        "templates/a.txt",
        "x/templates/b.txt",
        "x/other/c.txt",
        ".env",
        ".other",
    )
    found = counting(tmp_path, *names, includes=["*.html", "templates/*.txt", ".env"])
    # A plain name is stronger than the pattern .*
    assert found == ["a.py", "page.html", "x/page.html", "templates/a.txt", "x/templates/b.txt", ".env"]


def test_excludes_are_stronger_for_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "generated").mkdir()
    names = (
        "a.py",
        "a_test.py",
        "tests/a.py",
        "x/tests/a.py",
        "generated/a.py",
        "other/generated/a.py",
        "docs/conf.py",
    )
    excludes = ["*_test.py", "tests", str(tmp_path / "generated"), "docs/conf.py"]
    assert counting(tmp_path, *names, excludes=excludes) == ["a.py", "other/generated/a.py"]


def test_what_was_asked_for_replaces_what_is_so_by_itself(tmp_path: Path) -> None:
    assert counting(tmp_path / "one", "a.py", "b.txt", excludes=["*.py"], includes=["*.txt"]) == ["b.txt"]
    assert counting(tmp_path / "two", ".hidden.py", includes=[".*"]) == [".hidden.py"]


def test_an_included_folder_is_watched(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    selection = Selection([str(tmp_path / "a"), str(tmp_path / "a" / "b")], [str(tmp_path / "other")])
    assert selection.folders == (str(tmp_path / "a"), str(tmp_path / "other"))


def test_a_folder_whose_name_begins_like_that_of_another(tmp_path: Path) -> None:
    selection = Selection([str(tmp_path / "app")])
    assert selection.counts(str(tmp_path / "app" / "x.py"))
    assert not selection.counts(str(tmp_path / "app2" / "x.py"))
    assert Selection(["/"]).counts("/x.py")


def test_the_root_may_be_hidden(tmp_path: Path) -> None:
    assert counting(tmp_path / ".project", "a.py") == ["a.py"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.py").touch()
    (tmp_path / "loop").symlink_to(tmp_path)
    assert [entry.name for entry in Selection([str(tmp_path)]).walk()] == ["a.py"]


def test_a_watched_folder_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.py").touch()
    (tmp_path / "link").symlink_to("real")
    selection = Selection([str(tmp_path / "link")])
    real = str(tmp_path / "real" / "a.py")
    assert [entry.path for entry in selection.walk()] == [real]
    assert selection.counts(real)
    assert selection.elsewhere([real]) == set()


def test_files_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    for path in (project / "a.py", project / "b.yml", other / "a.yml", other / "x" / "b.yml", other / "lib.py"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(project)
    config = Config(
        "a:app",
        reload=True,
        env_file="settings.env",
        config="gunicorn.conf.py",
        reload_include=["../other/**/*.yml", "b.yml"],
    )
    selection = Selection.of(config.development)
    found = selection.elsewhere([str(other / "lib.py"), str(project / "a.py")])
    named = {"settings.env", "gateway.toml", "pyproject.toml"}
    # What is in a watched folder and counts there is noticed there.
    assert found == {
        *(str(project / name) for name in named),
        *(str(other / name) for name in ("a.yml", "x/b.yml", "lib.py")),
    }


# What has changed


def test_a_snapshot_knows_what_is_new_different_or_gone() -> None:
    snapshot = Snapshot(since=100.0)
    old, new = (99 * 10**9, 1, 1), (101 * 10**9, 1, 1)
    assert snapshot.compare({"old": old, "new": new, "missing": None}) == {"new"}
    assert snapshot.compare({"old": old, "new": new, "missing": None}) == set()
    assert snapshot.compare({"old": (99 * 10**9, 2, 1), "missing": old}) == {"old", "new", "missing"}
    snapshot.since = -math.inf
    assert snapshot.compare({"missing": old, "another": (1, 1, 1)}, complete=False) == {"another"}
    snapshot.know("loaded", old)
    assert snapshot.compare({"loaded": new}, complete=False) == {"loaded"}


def test_polling_sees_every_kind_of_change(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("1")
    facts = path.stat()
    polling = Polling(Selection([str(tmp_path)]), 0.0, since=facts.st_mtime + 1)
    assert polling.wait() == set()
    path.write_text("22")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert polling.wait() == {str(path)}
    assert polling.wait() == set()
    path.rename(tmp_path / "b.py")
    assert polling.wait() == {str(path), str(tmp_path / "b.py")}


@pytest.mark.parametrize("engine", [Polling, Notified])
def test_what_was_saved_while_everything_started_has_changed(tmp_path: Path, engine: type) -> None:
    if engine is Notified:
        pytest.importorskip("watchfiles")
    path = tmp_path / "a.py"
    path.touch()
    watching = engine(Selection([str(tmp_path)]), 0.0, since=path.stat().st_mtime - 1)
    assert watching.wait() == {str(path)}
    assert watching.wait() == set()


def test_what_watchfiles_can_not_do_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    selection = Selection([str(tmp_path)])
    assert isinstance(make_engine("poll", selection, 0.0, 0.0)[0], Polling)
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    for choice, problem in (
        ("auto", ""),
        ("watchfiles", "pip install 'gateway[reload]'"),
        ("inotify", "not installed"),
    ):
        engine, text = make_engine(choice, selection, 0.0, 0.0)
        assert isinstance(engine, Polling)
        assert problem in text and bool(problem) == bool(text)

    def fail(*arguments: object) -> None:
        raise OSError("too many files")

    monkeypatch.setattr(changes, "Notified", fail)
    engine, text = make_engine("auto", selection, 0.0, 0.0)
    assert isinstance(engine, Polling)
    assert text == "watchfiles can't watch: too many files"


def test_compiled_code_of_a_save_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.touch()
    compiled = Path(importlib.util.cache_from_source(str(path)))
    compiled.parent.mkdir()
    compiled.touch()
    forget_compiled([str(path), str(tmp_path / "missing.py"), "/a.txt"])
    assert not compiled.exists()
    assert stamp_of(str(path)) is not None and stamp_of(str(compiled)) is None


def test_files_are_named_in_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert shown([f"{tmp_path}/a.py", "/elsewhere/b.py"]) == "'a.py', '/elsewhere/b.py'"
    assert shown([f"{tmp_path}/{name}.py" for name in "abcde"]) == "'a.py', 'b.py', 'c.py' and 2 more"


# Modules


def test_modules_of_the_master_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "forgettable.py").write_text("import this_is_nowhere_else")
    (tmp_path / "this_is_nowhere_else.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    import forgettable  # noqa: F401

    modules.forget(Selection([str(tmp_path / "other")]))
    assert "forgettable" in sys.modules
    modules.forget(Selection([str(tmp_path), str(Path(changes.__file__).parent)]))
    assert "forgettable" not in sys.modules and "this_is_nowhere_else" not in sys.modules
    assert "gateway.supervisor.changes" in sys.modules


def test_files_of_modules_are_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "loaded_now.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    loaded = modules.LoadedFiles()
    import loaded_now  # noqa: F401

    assert loaded.fresh() == {str(tmp_path / "loaded_now.py"): stamp_of(str(tmp_path / "loaded_now.py"))}
    assert loaded.fresh() == {}
    del sys.modules["loaded_now"]


def test_files_of_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(SyntaxError) as caught:
        compile("def (", str(tmp_path / "broken.py"), "exec")
    assert set(modules.files_in(caught.value)) == {str(tmp_path / "broken.py"), __file__}


def test_what_is_installed_is_not_edited() -> None:
    assert modules.is_edited("/home/me/project/a.py")
    assert not modules.is_edited(os.__file__)
    assert not modules.is_edited("/x/site-packages/a.py")


# Whether the next worker waits for the one before


def test_a_machine_that_stood_still_makes_no_worker_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(share.time, "monotonic", lambda: now)
    board = Board()
    row = board.take()
    generations = SimpleNamespace(current=None, coming=None)
    children = {1: SimpleNamespace(state=LEAVING, row=row, generation=None)}
    config = Config("a:app", reload=True)
    master: Any = SimpleNamespace(log=None, config=config, board=board, children=children, generations=generations)
    after = Development(master)

    def holds_for(seconds: float, *, beats: bool) -> bool:
        """Whether it still does after a look now and then."""
        nonlocal now
        for _ in range(round(seconds / 0.05)):
            now += 0.05
            if beats:
                board.write(row, 3)
            if not after.holds(now):
                return False
        return True

    after.make_way()
    assert holds_for(3.0, beats=True), "it is only slow"
    now += 10.0
    assert after.holds(now)
    assert holds_for(0.9, beats=False)
    assert not holds_for(0.2, beats=False), "now it is stuck"
    assert holds_for(0.5, beats=True)
    assert not holds_for(1.0, beats=True), "that is long enough"
    after.make_way()
    assert holds_for(0.5, beats=True)
    board.write(row, EMPTY)
    assert holds_for(0.45, beats=False), "it may still end"
    assert not holds_for(0.1, beats=False), "it accepts no more, and that will do"


# The page


def test_nothing_of_a_failure_is_markup() -> None:
    page = failure.page(Failure("<i>{{TRACE}}</i>", 'Traceback:\n  File "<b>", line 1\nError: <script>{{NAME}}\n'))
    assert "&lt;i&gt;{{TRACE}}&lt;/i&gt;" in page
    assert "<i>  File &quot;&lt;b&gt;&quot;, line 1</i>\n<b>Error: &lt;script&gt;{{NAME}}</b>" in page
    assert page.count("<script>") == 1


def test_a_failure_without_a_traceback() -> None:
    assert "<pre" not in failure.page(Failure("no such option"))
    assert (
        failure.text(Failure("no such option"))
        == "The application can't start: no such option\n\nWaiting for the next save.\n"
    )


def test_failures_have_names() -> None:
    assert Failure("a", "b").name == Failure("a", "b").name != Failure("ab").name
