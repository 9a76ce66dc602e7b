"""Mounts as people write them: on the command line, in TOML and in Python."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway import loader
from gateway.config import sources
from gateway.config.mounts import Mount, Mounts, is_mounts
from gateway.config.settings import Config
from gateway.errors import AppLoadError, ConfigError


def wsgi(environ: Any, start_response: Any) -> list[bytes]:
    return []


async def asgi(scope: Any, receive: Any, send: Any) -> None:
    pass


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(*argv: str) -> Config:
    return sources.load(argv, {})[0]


def problem(call: Any, *arguments: Any, **keywords: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **keywords)
    text = str(caught.value)
    assert "\n" not in text
    return text


# One mount


@pytest.mark.parametrize(
    ("path", "kept", "prefix"),
    [
        ("/", "/", ""),
        ("/legacy", "/legacy", "/legacy"),
        ("/legacy/", "/legacy", "/legacy"),
        ("/a/b/", "/a/b", "/a/b"),
        ("/gr\u00fc\u00dfe", "/gr\u00fc\u00dfe", "/gr\u00fc\u00dfe"),
        ("/a.b/.c", "/a.b/.c", "/a.b/.c"),
    ],
)
def test_path(path: str, kept: str, prefix: str) -> None:
    mount = Mount(path, asgi)
    assert (mount.path, mount.prefix) == (kept, prefix)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("legacy", "write /legacy"),
        ("", "starts with a slash"),
        ("/a?b", "no spaces, ? or #"),
        ("/a#b", "no spaces, ? or #"),
        ("/a b", "no spaces, ? or #"),
        ("/a\nb", "no spaces, ? or #"),
        ("/a%20b", "written decoded"),
        ("/a//b", "no empty segments"),
        ("//", "no empty segments"),
        ("/a/../b", "no segments . and .."),
        ("/.", "no segments . and .."),
        ("/\udc80", "UTF-8"),
        (b"/a", "expected a path"),
        (None, "expected a path"),
    ],
)
def test_no_path(path: Any, words: str) -> None:
    assert words in problem(Mount, path, asgi)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": "four"}, "threads: expected a whole number, not 'four'"),
        ({"threads": -1}, "threads: expected a whole number"),
        ({"interface": "cgi"}, "interface: expected one of auto, wsgi, asgi, "),
        ({"factory": "yes"}, "factory: expected true or false"),
        ({"limit_request_body": "ten"}, "limit_request_body: expected bytes"),
        ({"request_timeout": "soon"}, "request_timeout: expected seconds"),
        ({"limit_concurrency": None}, "limit_concurrency: expected a whole number"),
        ({"app": ""}, "app: expected a target"),
        ({"app": 5}, "app: expected a target"),
        ({"app": [Mount("/a", asgi)]}, "mounts can't stand inside of mounts"),
        ({"app": "m:make()", "factory": True}, "is called already"),
    ],
)
def test_wrong_options(options: dict[str, Any], words: str) -> None:
    text = problem(Mount, **{"path": "/x", "app": "m:app", **options})
    assert text.startswith("Mount: /x: ")
    assert words in text


def test_values_are_read_as_everywhere() -> None:
    mount = Mount("/x", " m:app ", interface="WSGI", limit_request_body="1MiB")
    assert (mount.app, mount.interface, mount.limit_request_body) == ("m:app", "wsgi", 1 << 20)
    assert pickle.loads(pickle.dumps(mount)) == mount


def test_public_names() -> None:
    assert (gateway.Mount, gateway.Mounts) == (Mount, Mounts)


# Several


def test_mounts() -> None:
    mounts = Mounts([Mount("/a", asgi), "/b=m:app", {"path": "/c", "app": "m:app", "threads": 2}])
    assert [mount.path for mount in mounts] == ["/a", "/b", "/c"]
    assert is_mounts(mounts)
    assert is_mounts(list(mounts))
    assert not is_mounts([])
    assert not is_mounts(["/b=m:app"])
    assert "is given twice" in problem(Mounts, [Mount("/a", asgi), Mount("/a/", wsgi)])
    assert "there are none" in problem(Mounts, [])


@pytest.mark.parametrize("given", [{"mounts": [Mount("/a", asgi)]}, {"app": Mounts([Mount("/a", asgi)])}])
def test_config(given: dict[str, Any]) -> None:
    config = Config(**given)
    assert config.application.mount == (Mount("/a", asgi),)
    assert config.application.app is None
    assert config.application.name == "/a function"
    assert config.replace(threads=3).application.mount == config.application.mount
    assert Config("m:app").replace(**given).application.app is None
    assert config.replace(app="m:app").application[:2] == ("m:app", ())


def test_config_refuses() -> None:
    mounts = [Mount("/a", asgi)]
    assert "the application and keyword mounts both say what to serve" in problem(Config, "m:app", mounts=mounts)
    assert "both hold mounts" in problem(Config, Mounts(mounts), mounts=mounts)
    assert problem(Config, mounts=[*mounts, Mount("/a/", wsgi)]) == "keyword mounts: /a is given twice"
    assert "each mount has its own" in problem(Config, mounts=mounts, interface="wsgi")
    assert "each mount has its own" in problem(Config, mounts=mounts, factory=True)
    assert "expected a mount" in problem(Config, mounts=["/a"])


def test_worker_class() -> None:
    """One of gunicorn's says nothing about the interface of a mount."""
    mounts = [Mount("/a", asgi)]
    config = Config(mounts=mounts, worker_class="sync")
    assert (config.threads, config.interface) == (1, "auto")
    assert config.notices == ("worker class sync: taken as --threads 1",)
    config = Config(mounts=mounts, worker_class="gthread")
    assert (config.threads, config.interface) == (8, "auto")
    assert "has no effect on mounts" in config.notices[0]


# Files and the command line


def test_command_line(folder: Path) -> None:
    config = load("--mount", "/legacy=legacy.wsgi:app", "--mount=/=api:make(debug=True)")
    assert [(mount.path, mount.app) for mount in config.application.mount] == [
        ("/legacy", "legacy.wsgi:app"),
        ("/", "api:make(debug=True)"),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mount", "/x"], "--mount: expected a mount, as in /legacy=legacy.wsgi:app, not '/x'"),
        (["--mount", "/x="], "--mount: expected a mount, as in /legacy=legacy.wsgi:app, not '/x='"),
        (["--mount", "m:app"], "--mount: expected a mount, as in /legacy=legacy.wsgi:app, not 'm:app'"),
        (["--mount", "x=m:app"], "--mount: 'x': the path of a mount starts with a slash; write /x"),
        (["--mount", "/x=a:b", "--mount", "/x/=c:d"], "--mount: /x is given twice"),
        (
            ["--mount", "/x=a:b", "c:d"],
            (
                "TARGET and --mount both say what to serve; keep one ('c:d' beside mounts is a mount too, at / for what"
                " is left)"
            ),
        ),
        (
            ["--mount", "/x=a:b", "--interface", "wsgi"],
            "--interface: each mount has its own; say it there, as interface = ... in [[mount]]",
        ),
        (
            ["--mount", "/x=a:b", "--factory"],
            "--factory: each mount has its own; say it there, as in --mount /=module:make()",
        ),
    ],
)
def test_command_line_refuses(folder: Path, arguments: list[str], message: str) -> None:
    assert problem(load, *arguments) == message


def test_toml(folder: Path) -> None:
    (folder / "gateway.toml").write_text(
        '[[mount]]\npath = "/legacy"\napp = "legacy:app"\nthreads = 2\nlimit-request-body = "1M"\n'
        'request_timeout = "1m30s"\n'
        '[[mount]]\npath = "/"\napp = "api:make"\nfactory = true\nlimit_concurrency = 10\n'
    )
    config = load()
    assert config.application.mount == (
        Mount("/legacy", "legacy:app", threads=2, limit_request_body=1 << 20, request_timeout=90),
        Mount("/", "api:make", factory=True, limit_concurrency=10),
    )
    # What is printed can be read again.
    (folder / "gateway.toml").write_text(sources.to_toml(config))
    assert load().application.mount == config.application.mount
    shown = json.loads(json.dumps(config.describe()))["mount"]["value"]
    assert shown[0] == {
        "path": "/legacy",
        "app": "legacy:app",
        "threads": 2,
        "limit_request_body": "1MiB",
        "request_timeout": "90s",
    }
    # A target on the command line is stronger, and so are mounts there.
    assert load("other:app").application[:2] == ("other:app", ())
    assert load("--mount", "/=other:app").application.mount == (Mount("/", "other:app"),)


def test_toml_in_short(folder: Path) -> None:
    (folder / "pyproject.toml").write_text('[tool.gateway]\nmounts = ["/a=m:app"]\n')
    assert load().application.mount == (Mount("/a", "m:app"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[[mount]]\npath = "/x"\napp = "m:app"\nthreads = "four"\n',
            "mount: /x: threads: expected a whole number, not 'four'",
        ),
        (
            '[[mount]]\npath = "/x"\napp = "m:app"\nfactory = "true"\n',
            "mount: /x: factory: expected true or false, not 'true'",
        ),
        ('[[mount]]\npath = "/x"\napp = ["m:app"]\n', "mount: /x: app: mounts can't stand inside of mounts; give each"),
        ('[[mount]]\npath = "/x"\n', "mount: a mount lacks 'app'; it takes a path and an app"),
        ('[[mount]]\napp = "m:app"\n', "mount: a mount lacks 'path'; it takes a path and an app"),
        ('[[mount]]\npath = 5\napp = "m:app"\n', "mount: path: expected a path, as in /legacy, not 5"),
        (
            '[[mount]]\npath = "/x"\napp = "m:app"\nthread = 4\n',
            "mount: there is no 'thread' in a mount; did you mean threads?",
        ),
        ('[mount]\npath = "/x"\n', "mount: expected a mount, as in /legacy=legacy.wsgi:app, not a table; several"),
        ("mount = 5\n", "mount: expected a mount, as in /legacy=legacy.wsgi:app, not 5"),
        ('mount = ["/x=a:b", "/x=c:d"]\n', "mount: /x is given twice"),
        ('app = "a:b"\nmount = ["/x=a:b"]\n', "app and gateway.toml: mount both say what to serve"),
    ],
)
def test_toml_refuses(folder: Path, text: str, message: str) -> None:
    (folder / "gateway.toml").write_text(text)
    assert problem(load).startswith(f"gateway.toml: {message}")


# Loading


def test_loading(tmp_path: Path) -> None:
    (tmp_path / "mounted_apps.py").write_text(
        "from gateway import Mount, Mounts\n"
        "def old(environ, start_response): ...\n"
        "async def new(scope, receive, send): ...\n"
        "def make(): return old\n"
        "both = Mounts([Mount('/old', old), Mount('/made', make, factory=True), Mount('/', 'mounted_apps:new')])\n"
        "plain = list(both)\n"
        "def make_both(): return both\n"
        "inner = Mounts([Mount('/x', 'mounted_apps:both')])\n"
        "limited = Mounts([Mount('/x', new, threads=2)])\n"
    )
    where = {"app_dir": str(tmp_path)}
    for target in ("both", "plain", "make_both()"):
        loaded = loader.load(f"mounted_apps:{target}", **where)
        assert isinstance(loaded, loader.LoadedMounts)
        assert [(mount.path, app.kind) for mount, app in loaded.mounts] == [
            ("/old", "wsgi"),
            ("/made", "wsgi"),
            ("/", "asgi3"),
        ]
    assert "holds mounts" in problem(loader.load, "mounted_apps:both", interface="wsgi", **where)
    assert "can't stand inside of mounts" in problem(loader.load, "mounted_apps:inner", **where)
    assert "threads" in problem(loader.load, "mounted_apps:limited", **where)


@pytest.mark.parametrize(
    ("app", "options", "words"),
    [
        ("no_such_module:app", {}, "mount /x: no module no_such_module"),
        (asgi, {"interface": "wsgi"}, "mount /x: "),
        (json, {}, "is a module, not an application"),
        (object(), {}, "mount /x: "),
    ],
)
def test_loading_names_the_mount(app: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(AppLoadError) as caught:
        loader.load_mounts([Mount("/", asgi), Mount("/x", app, **options)])
    assert words in str(caught.value)
    assert caught.value.exit_code == 2


def test_loading_keeps_the_cause(tmp_path: Path) -> None:
    (tmp_path / "broken_mounted.py").write_text("1 / 0\n")
    with pytest.raises(AppLoadError) as caught:
        loader.load_mounts([Mount("/x", "broken_mounted:app")], app_dir=str(tmp_path))
    assert caught.value.show_traceback
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.exit_code == 4
