"""uvicorn's keywords and signatures: all of them, with the same defaults."""

from __future__ import annotations

import inspect
import ssl
import warnings
from typing import Any

import pytest

import gateway
from gateway.config.settings import Config
from gateway.config.uvicorn import KEYWORDS, differing, translate
from gateway.errors import ConfigError


def options(**values: Any) -> dict[str, Any]:
    """What becomes of these keywords, none of which is without effect."""
    translation = translate(values)
    assert translation.warnings == []
    Config("main:app", **translation.options)
    return translation.options


# Signatures. uvicorn is no dependency; where it is installed it tells whether the tables are true.


def parameters(function: Any) -> dict[str, Any]:
    found = dict(inspect.signature(function).parameters)
    found.pop("self", None)
    return found


@pytest.mark.parametrize("name", ["run", "Config.__init__"])
def test_signatures_are_the_same(name: str) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    integration = pytest.importorskip("gateway.integrations.uvicorn")
    theirs, ours = uvicorn, integration
    for part in name.split("."):
        theirs, ours = getattr(theirs, part), getattr(ours, part)
    expected, found = parameters(theirs), parameters(ours)
    assert list(found) == list(expected)
    for parameter in expected:
        assert found[parameter].kind == expected[parameter].kind
        if parameter not in ("app", "log_config"):
            assert found[parameter].default == expected[parameter].default
            assert KEYWORDS[parameter].default == expected[parameter].default


def test_every_keyword_is_known() -> None:
    uvicorn = pytest.importorskip("uvicorn")
    assert {"app", *KEYWORDS} == {*parameters(uvicorn.run), *parameters(uvicorn.Config.__init__)}


@pytest.mark.parametrize("name", ["run", "serve", "startup", "main_loop", "shutdown", "handle_exit", "capture_signals"])
def test_methods_of_the_server_are_the_same(name: str) -> None:
    uvicorn = pytest.importorskip("uvicorn")
    integration = pytest.importorskip("gateway.integrations.uvicorn")
    theirs, ours = getattr(uvicorn.Server, name), getattr(integration.Server, name)
    assert list(parameters(ours)) == list(parameters(theirs))
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)


# Keywords


def test_defaults_ask_for_nothing() -> None:
    values = {name: keyword.default for name, keyword in KEYWORDS.items()}
    assert differing(values) == {"access_log": True}
    assert set(options(**values)) <= {name for name in KEYWORDS if values[name] is not None} | {
        "access_logfile",
        "access_log_format",
    }


def test_keywords_of_the_same_name_are_taken() -> None:
    values = {
        "host": "::1", "port": 1234, "lifespan": "off", "interface": "wsgi", "reload_dirs": ["a"], "root_path": "/x",
        "limit_concurrency": 5, "backlog": 10, "limit_max_requests": 7, "timeout_keep_alive": 9, "factory": True,
        "timeout_graceful_shutdown": 4, "use_colors": False, "headers": [("X-A", "b")], "ws_per_message_deflate": False,
    }  # fmt: skip
    assert options(**values) == values
    config = Config("main:app", **values)
    assert (config.max_requests, config.keep_alive, config.graceful_timeout) == (7, 9.0, 4.0)
    assert config.header == (("X-A", "b"),)


def test_keywords_that_mean_something_else() -> None:
    assert options(ws_ping_interval=None, ws_ping_timeout=3) == {"ws_ping_interval": 0, "ws_ping_timeout": 3}
    assert options(loop="none") == {"loop": "asyncio"}
    assert options(access_log=True) == {"access_logfile": "-", "access_log_format": "short"}
    assert options(access_log=False) == {"access_logfile": None}
    assert Config("main:app", reload=True, **options(access_log=False)).access_logfile is None
    assert [options(log_level=level)["log_level"] for level in ("debug", 30, 5, 1, 35)] == [
        "debug",
        "warning",
        "trace",
        "trace",
        "warning",
    ]
    assert options(ssl_version=ssl.PROTOCOL_TLS_SERVER, reset_contextvars=True, timeout_notify=5) == {}
    assert options(workers=None, limit_concurrency=None, app_dir=None, log_config=None) == {}


def test_a_level_above_info_holds_for_the_access_log() -> None:
    for level in ("warning", "ERROR", 50):
        assert options(access_log=True, log_level=level)["access_logfile"] is None
    for level in ("info", "debug", 20):
        assert options(access_log=True, log_level=level)["access_logfile"] == "-"
    assert "access_logfile" not in options(log_level="warning")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("http", "h11", "one implementation"),
        ("http2", True, "no such option yet"),
        ("ws", "wsproto", "one implementation"),
        ("loop", "zuvloop", "auto, asyncio and uvloop"),
        ("loop", "mine:factory", "auto, asyncio and uvloop"),
        ("ws_max_queue", 64, "ws_max_queue_size"),
        ("log_config", {"version": 1}, "gateway.error"),
        ("h11_max_incomplete_event_size", 100, "limit_request_line"),
        ("ssl_version", ssl.TLSVersion.TLSv1_2, "ssl_min_version"),
        ("ssl_context_factory", print, "no such option yet"),
        ("callback_notify", print, "no such option yet"),
    ],
)
def test_what_gateway_lacks_is_named_once(name: str, value: Any, reason: str) -> None:
    translation = translate({name: value, "port": 0})
    assert translation.options == {"port": 0}
    [text] = translation.warnings
    assert text.startswith(name) and "has no effect: " in text and reason in text


def test_an_unknown_keyword_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^run\(\) got an unexpected keyword argument 'prot'; did you mean port\?$"):
        gateway.run("main:app", prot=1)


def test_gateways_own_keywords_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Config] = []
    monkeypatch.setattr("gateway.server.program.run", lambda config, **more: seen.append(config))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gateway.run("main:app", bind="127.0.0.1:0", threads=3, timeout_keep_alive=7)
    with pytest.warns(UserWarning, match="http='h11' has no effect") as caught:
        gateway.run(Config("main:app", threads=2), http="h11", log_level="WARNING")
    assert caught[0].filename == __file__
    assert [(config.threads, config.keep_alive, config.log_level) for config in seen] == [
        (3, 7.0, "info"),
        (2, 5.0, "warning"),
    ]


def test_a_value_that_can_not_be_is_an_error_of_configuration() -> None:
    with pytest.raises(ConfigError, match="port"):
        gateway.run("main:app", port="eighty")


@pytest.mark.parametrize("limit", ["limit_max_requests", "max_worker_age", "workers", "max_worker_memory"])
def test_what_needs_a_master_gets_one(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    pytest.importorskip("fcntl")
    seen: list[Config] = []
    monkeypatch.setattr("gateway.supervisor.master.run", seen.append)
    gateway.run("main:app", **{limit: 2**20 if "memory" in limit else 2})
    assert len(seen) == 1


def test_variables_are_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pytest.importorskip("dotenv")
    monkeypatch.setattr("gateway.server.program.run", lambda config, **more: None)
    monkeypatch.setenv("SET_BEFORE", "stays")
    monkeypatch.setenv("SET_BY_FILE", "")
    monkeypatch.delenv("SET_BY_FILE")
    (tmp_path / ".env").write_text("SET_BEFORE=no\nSET_BY_FILE=yes\n")
    import os

    gateway.run("main:app", env_file=tmp_path / ".env")
    assert (os.environ["SET_BEFORE"], os.environ["SET_BY_FILE"]) == ("stays", "yes")
