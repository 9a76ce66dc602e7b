"""Config: what options ask of each other, and the sections cut from them."""

from __future__ import annotations

import copy
import pickle

import pytest

from gateway.config import Address, Config, sections
from gateway.config.options import OPTIONS
from gateway.core.http.limits import Limits, Timeouts
from gateway.errors import ConfigError


def app(environ, start_response):
    raise NotImplementedError


def error(**options) -> str:
    with pytest.raises(ConfigError) as caught:
        Config("a:b", **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_defaults():
    config = Config()
    assert config.application.app is None
    assert config.listen == sections.ListenSettings((Address("tcp", "127.0.0.1", 8000),), 2048, False, 0o666)
    assert config.tls is None
    assert config.log.level == 20
    assert config.log.access_logfile is None
    assert config.forwarded.trusted == ("127.0.0.1", "::1", "unix")
    assert config.graceful_timeout == 30.0
    assert config.wsgi == sections.WSGISettings(8, 0.0005, 1024, 30.0, True)
    assert config.asgi == sections.ASGISettings("auto", "auto", 60.0, 30.0, True)
    assert config.websocket == sections.WebSocketSettings("auto", True, 65536, 128)
    assert config.notices == ()


def test_the_application_may_be_an_object():
    assert Config(app).application.app is app
    assert Config(app).describe()["app"]["value"] == repr(app)


def test_every_option_is_an_attribute():
    config = Config(threads="3")
    assert config.threads == 3
    for option in OPTIONS:
        if option.name not in ("bind", "threads"):
            assert getattr(config, option.name) == option.default
    with pytest.raises(AttributeError, match="thread_s"):
        _ = config.thread_s


def test_sections_have_the_names_of_options():
    names = {option.name for option in OPTIONS}
    found = [value for name, value in vars(sections).items() if name.endswith("Settings")]
    assert len(found) == 10
    for section in found:
        assert set(section._fields) - {"addresses"} <= names


def test_every_option_has_a_use():
    """An option that no section, part or rule takes would be a promise that nobody keeps."""
    used = {"bind", "host", "port", "uds", "fd", "workers", "worker_class", "graceful_timeout", "config", "env_file"}
    used |= {"io", "env", "gunicorn_cmd_args"}
    used |= {option.name for option in OPTIONS if option.part}
    used |= {"certfile", "keyfile", "keyfile_password", "ca_certs", "cert_reqs", "ciphers"}
    used |= {"ssl_min_version", "timeout_handshake"}
    for name, value in vars(sections).items():
        if name.endswith("Settings"):
            used |= set(value._fields)
    assert {option.name for option in OPTIONS} - used == set()


def test_limits_and_timeouts():
    config = Config(limit_request_line="1K", worker_connections=7, keep_alive="1m15s", timeout_head=0)
    limits = config.limits(Limits)
    assert isinstance(limits, Limits)
    assert limits.request_line == 1024
    assert limits.connections == 7
    assert limits.request_fields == 100
    timeouts = config.timeouts(Timeouts)
    assert timeouts.keep_alive == 75.0
    assert timeouts.head == 0.0
    assert timeouts.body == 30.0


def test_websocket():
    config = Config(ws_max_size="1M", ws_ping_interval=0, ws="none", ws_per_message_deflate=False)
    limits, timeouts = config.limits(Limits), config.timeouts(Timeouts)
    assert (limits.websocket_message, limits.websocket_frame, limits.websocket_queue) == (1 << 20, 0, 65536)
    assert (timeouts.websocket_ping, timeouts.websocket_pong, timeouts.websocket_close) == (0.0, 20.0, 5.0)
    assert not config.websocket.enabled
    assert not config.websocket.ws_per_message_deflate
    assert Config().websocket.enabled
    # Less than the smallest windows take.
    assert error(ws_deflate_memory="16K") == "keyword ws_deflate_memory: 16K is too small; at least 24576 bytes"
    assert "did you mean none" in error(ws="nome")


def test_it_can_not_be_changed():
    config = Config()
    with pytest.raises(AttributeError, match=r"config\.replace\(threads=\.\.\.\)"):
        config.threads = 3
    with pytest.raises(TypeError):
        config.values["threads"] = 3
    with pytest.raises(AttributeError):
        del config.listen
    with pytest.raises(AttributeError):
        config.log.log_level = "debug"


def test_replace():
    config = Config("a:b", threads=3, bind=":1")
    other = config.replace(keep_alive=1, uds="/run/x.sock")
    assert other.threads == 3
    assert other.keep_alive == 1.0
    assert other.listen.addresses == (Address("unix", path="/run/x.sock"),)
    assert other.replace(port=5).listen.addresses == (Address("tcp", "127.0.0.1", 5),)
    assert config.listen.addresses == (Address("tcp", "0.0.0.0", 1),)
    with pytest.raises(ConfigError, match="no option 'keepalife'"):
        config.replace(keepalife=1)


def test_copies_and_equality():
    config = Config("a:b", threads=3, header=["A: b"], keyfile_password="x", certfile="/nowhere.pem")
    for twin in (copy.copy(config), copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert twin.listen == config.listen
        assert twin.source("threads") == config.source("threads")
    assert config != config.replace(threads=4)
    assert config != 1


def test_repr_shows_what_was_given_but_no_secret():
    text = repr(Config("a:b", threads=3, keyfile_password="hush", certfile="/nowhere.pem"))
    assert "threads=3" in text
    assert "keep_alive" not in text
    assert "hush" not in text


# -- Names


def test_unknown_options_get_a_suggestion():
    assert error(thread=3) == "there is no option 'thread'; did you mean threads?"
    assert error(xyzzy=3) == "there is no option 'xyzzy'"


def test_names_of_both_families():
    config = Config(timeout_keep_alive=7, ssl_min_version="1.3", loglevel="debug", headers=[("a", "b")], accesslog="-")
    assert config.keep_alive == 7.0
    assert config.log.level == 10
    assert config.response.extra_fields == ((b"a", b"b"),)
    assert config.log.access_logfile == "-"


def test_twice_the_same_option():
    assert "both given" in error(keep_alive=1, timeout_keep_alive=2)


def test_a_wrong_value_names_the_keyword_that_was_used():
    assert error(timeout_keep_alive="x").startswith("keyword timeout_keep_alive: expected seconds")


# -- Where to listen


@pytest.mark.parametrize(
    ("options", "addresses"),
    [
        ({"bind": ":1"}, ["0.0.0.0:1"]),
        ({"bind": [":1", "unix:/a", ":1"]}, ["0.0.0.0:1", "unix:/a"]),
        ({"bind": Address("tcp", "::1", 5)}, ["[::1]:5"]),
        ({"bind": []}, ["127.0.0.1:8000"]),
        ({"host": "0.0.0.0"}, ["0.0.0.0:8000"]),
        ({"host": "[::]", "port": 0}, ["[::]:0"]),
        ({"port": 0}, ["127.0.0.1:0"]),
        ({"uds": "/a"}, ["unix:/a"]),
        ({"uds": "unix:/a"}, ["unix:/a"]),
        ({"fd": 0}, ["fd://0"]),
    ],
)
def test_listening(options, addresses):
    assert [str(address) for address in Config(**options).listen.addresses] == addresses


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"uds": "/a", "host": "b"}, "keyword host and keyword uds"),
        ({"uds": "/a", "port": 1}, "keyword port and keyword uds"),
        ({"fd": 3, "bind": ":1"}, "keyword bind and keyword fd"),
        ({"port": 3, "bind": ":1"}, "keyword bind and keyword port"),
    ],
)
def test_two_ways_to_listen(options, names):
    assert error(**options).startswith(f"{names} both say where to listen")


# -- Rules between options


def test_workers():
    assert Config(workers=4).processes.workers == 4
    assert "keyword workers: 4 processes can't be had" in error(workers=4, supervisor=False)


@pytest.mark.parametrize(
    "options", [{"keyfile": "k"}, {"keyfile_password": "p"}, {"ca_certs": "c"}, {"ciphers": "c"}, {"cert_reqs": 1}]
)
def test_tls_options_need_a_certificate(options):
    assert error(**options) == f"keyword {next(iter(options))}: TLS needs a certificate; give --certfile as well"


def test_a_certificate_needs_a_key(tmp_path):
    bare = tmp_path / "cert.pem"
    bare.write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    assert error(certfile=bare) == f"keyword certfile: {bare} holds no private key; give --keyfile as well"
    both = tmp_path / "both.pem"
    both.write_text(bare.read_text() + "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n")
    assert Config(certfile=both).tls.keyfile is None


def test_client_certificates_need_authorities():
    message = error(certfile="c", keyfile="k", cert_reqs="required")
    assert message.startswith("keyword cert_reqs: ")
    assert "--ca-certs" in message


def test_tls():
    tls = Config(
        ssl_certfile="c",
        ssl_keyfile="k",
        ssl_keyfile_password="p",
        ssl_ca_certs="a",
        ssl_cert_reqs=2,
        timeout_handshake=3,
    ).tls
    assert (tls.certfile, tls.keyfile, tls.password, tls.ca_certs) == ("c", "k", "p", "a")
    assert (tls.cert_reqs, tls.minimum_version, tls.handshake_timeout) == ("required", "1.2", 3.0)


def test_one_field_larger_than_all():
    assert "--limit-request-fields-size" in error(limit_request_field_size="1M")
    assert Config(limit_request_field_size="1M", limit_request_fields_size=0)
    # Who lowers the whole need not lower what is in it.
    assert Config(limit_request_fields_size="4K").limit_request_field_size == 8190


def test_factory_of_a_call():
    with pytest.raises(ConfigError, match="leave --factory out"):
        Config("a:b()", factory=True)


@pytest.mark.parametrize(
    ("name", "interface"),
    [
        ("gthread", "wsgi"),
        ("gevent", "wsgi"),
        ("gunicorn.workers.ggevent.GeventWorker", "wsgi"),
        ("uvicorn.workers.UvicornWorker", "asgi"),
        ("project.workers.MyUvicornWorker", "asgi"),
        ("uvicorn_worker.UvicornWorker", "asgi"),
        ("asgi", "asgi"),
    ],
)
def test_worker_classes_choose_the_interface(name, interface):
    config = Config(worker_class=name)
    assert config.application.interface == interface
    assert config.notices == (f"worker class {name}: taken as --interface {interface}",)


@pytest.mark.parametrize("name", ["sync", "gunicorn.workers.sync.SyncWorker"])
def test_sync_workers_run_one_request_at_a_time(name):
    config = Config(worker_class=name)
    assert (config.application.interface, config.threads) == ("wsgi", 1)
    assert config.notices == (f"worker class {name}: taken as --interface wsgi --threads 1",)
    assert config.source("threads").text == config.source("interface").text == "keyword worker_class"
    config = Config(worker_class=name, threads=5)
    assert config.threads == 5
    assert config.notices == (f"worker class {name}: taken as --interface wsgi",)
    # What follows from the worker class is gone with it.
    other = Config(worker_class=name).replace(worker_class="asgi")
    assert (other.application.interface, other.threads) == ("asgi", 8)
    assert other.notices == ("worker class asgi: taken as --interface asgi",)


def test_an_interface_beats_a_worker_class():
    config = Config(worker_class="sync", interface="asgi")
    assert config.application.interface == "asgi"
    assert config.notices == ("worker class sync: has no effect beside --interface asgi",)


def test_unknown_worker_class():
    assert "no worker classes" in error(worker_class="my.Worker")


def test_without_proxy_headers_nobody_is_trusted():
    assert Config(proxy_headers=False, forwarded_allow_ips="*").forwarded.trusted == ()


# -- Reload


def test_reload_is_one_worker_that_is_given_time_in_a_debugger_and_takes_none_to_end():
    config = Config("main:app", reload=True)
    assert (config.workers, config.timeout, config.graceful_timeout, config.notices) == (1, 0.0, 3.0, ())
    assert config.source("timeout").text == "--reload"
    assert (config.access_logfile, config.access_log_format) == ("-", "short")
    config = Config("main:app", reload=True, timeout=5, graceful_timeout="7s")
    assert (config.timeout, config.graceful_timeout) == (5.0, 7.0)
    assert config.replace(reload=False).graceful_timeout == 7.0
    assert Config("main:app", reload=True).replace(reload=False).timeout == 30.0


def test_what_has_no_effect_with_reload_is_said():
    config = Config("main:app", reload=True, workers=4, preload=True)
    assert (config.workers, config.preload) == (1, False)
    assert [text.partition(" ")[0] for text in config.notices] == ["keyword", "keyword"]
    assert all("has no effect with --reload" in text for text in config.notices)


def test_reload_takes_uvicorns_names_and_several_values():
    config = Config(
        "main:app", reload=True, reload_dirs=[".", ".."], reload_includes="*.html,*.css", reload_excludes=["x"]
    )
    section = config.development
    assert (section.reload_dir, section.reload_include, section.reload_exclude) == (
        (".", ".."),
        ("*.html", "*.css"),
        ("x",),
    )
    assert section.reload_delay == 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"app": "main:app", "supervisor": False}, "is done by the master"),
        ({"app": "main:app", "reload_dir": "/nowhere/at/all"}, "/nowhere/at/all does not exist or is no directory"),
        ({"app": print}, 'as in gateway.run("main:app", reload=True)'),
    ],
)
def test_where_nothing_can_be_loaded_anew(options, message):
    with pytest.raises(ConfigError, match="keyword reload") as caught:
        Config(reload=True, **options)
    assert message in str(caught.value)
