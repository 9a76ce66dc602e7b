"""The option table, the types of its values, and what is made from it."""

from __future__ import annotations

import re
import sys

import pytest

from gateway.config import usage, values
from gateway.config.addresses import MAX_UNIX_PATH, Address, parse_address
from gateway.config.options import BY_NAME, GROUPS, NAMES, OPTIONS, Option, find
from gateway.core.http.limits import Limits, Timeouts
from gateway.errors import ConfigError

# -- The table


def test_names_and_flags_are_unique():
    flags = [flag for option in OPTIONS for flag in option.all_flags]
    assert len(flags) == len(set(flags))
    assert len(BY_NAME) == len(OPTIONS)
    variables = [variable for option in OPTIONS for variable in (option.variable, *option.env)]
    assert len(variables) == len(set(variables))
    every_name = [name for option in OPTIONS for name in option.names]
    assert not set(every_name) & set(BY_NAME)


def test_an_alias_never_hides_an_option():
    for name, option in BY_NAME.items():
        assert NAMES[name] is option


@pytest.mark.parametrize(("part", "cls"), [("limits", Limits), ("timeouts", Timeouts)])
def test_every_limit_and_timeout_is_an_option_with_the_same_default(part, cls):
    options = {option.part.partition(".")[2]: option for option in OPTIONS if option.part.startswith(part + ".")}
    assert sorted(options) == sorted(cls.__slots__)
    defaults = cls()
    for attribute, option in options.items():
        assert getattr(defaults, attribute) == option.default, attribute


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.name)
def test_defaults_are_values_and_survive_being_shown(option: Option):
    assert option.group in GROUPS
    assert option.read(option.default, "x") == option.default
    assert option.read(option.show(option.default), "x") == option.default
    assert option.help
    assert option.help[0] == "-" or not option.help.endswith(".")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("--graceful-timeout", "--timeout-graceful-shutdown"),
        ("--keep-alive", "--timeout-keep-alive"),
        ("--certfile", "--ssl-certfile"),
        ("--keyfile", "--ssl-keyfile"),
        ("--chdir", "--working-dir"),
        ("--access-log-format", "--access-logformat"),
        ("--error-logfile", "--log-file"),
        ("--limit-request-field-size", "--limit-request-field_size"),
        ("--limit-connections", "--worker-connections"),
        ("-b", "--bind"),
        ("-w", "--workers"),
        ("-c", "--config"),
        ("-k", "--worker-class"),
    ],
)
def test_both_families_of_flags(one, other):
    parse = usage.parser().parse_args
    value = "1"
    assert vars(parse([one, value])) == vars(parse([other, value])) != {}


def test_keywords_of_both_families():
    assert find("timeout_keep_alive") is find("keep-alive") is find("keepalive") is BY_NAME["keep_alive"]
    assert find("ssl_certfile") is BY_NAME["certfile"]
    assert find("keep_alives") is None


def test_only_given_arguments_are_parsed():
    assert vars(usage.parser().parse_args([])) == {}
    assert vars(usage.parser().parse_args(["a:b", "--no-sendfile", "-b", ":1", "-b", ":2"])) == {
        "app": "a:b",
        "sendfile": "false",
        "bind": [":1", ":2"],
    }


def test_a_flag_is_never_abbreviated():
    # An abbreviation that works today is ambiguous, or another option, tomorrow.
    assert usage.parser().parse_known_args(["--thread", "3"])[1] == ["--thread"]


def test_help_shows_groups_defaults_and_units():
    text = usage.parser().format_help()
    for group in GROUPS:
        assert f"\n{group}:" in text
    for option in OPTIONS:
        if option.name != "app":
            assert option.flag in text
    flat = re.sub(r"\s+", " ", text)
    assert "--keep-alive, --timeout-keep-alive TIME" in flat
    assert "(default: 5 s)" in flat
    assert "(default: 8190 bytes)" in flat
    assert "(default: 127.0.0.1:8000)" in flat
    assert "--loop, --asgi-loop {auto,asyncio,uvloop}" in flat
    assert "%(h)s" in flat
    assert "%%" not in flat
    assert max(map(len, text.splitlines())) <= 110


def test_markdown_has_every_option():
    text = usage.markdown()
    for option in OPTIONS:
        if option.name != "app" and not (option.kind is values.SWITCH and option.default):
            assert re.search(rf"`{option.flag}[ `]", text), option.flag
    assert "`--no-sendfile`" in text
    assert "%%" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    # Three columns each: what stands in a cell has no bare bar.
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


def test_suggest():
    assert values.suggest("thread", BY_NAME) == "; did you mean threads?"
    assert values.suggest("xyzzy", BY_NAME) == ""


# -- Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30", 30),
        ("0", 0),
        ("0.5", 0.5),
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("1h", 3600),
        ("1h1m1s", 3661),
        ("1.5m", 90),
        (" 2S ", 2),
        ("1d", 86400),
        (30, 30),
        (0.25, 0.25),
    ],
)
def test_durations(text, seconds):
    value = values.read_duration(text)
    assert value == seconds
    assert isinstance(value, float)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "-1",
        "1x",
        "1 s",
        "1s1",
        "nan",
        "inf",
        "1e3",
        "--",
        "٣",
        True,
        None,
        [],
        float("nan"),
        -1,
        1e300,
        "999999h",
    ],
)
def test_durations_refused(text):
    with pytest.raises(ValueError):
        values.read_duration(text)


@pytest.mark.parametrize(
    "seconds", [0, 0.001, 0.5, 1, 1.5, 2.25, 59, 60, 75, 90, 120, 121, 3600, 3661, 86400, 0.1234567]
)
def test_durations_survive_being_shown(seconds):
    """What is printed for one value is read as the same value."""
    assert values.read_duration(values.show_duration(float(seconds))) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.5, "500ms"),
        (1.0, "1s"),
        (90.0, "90s"),
        (120.0, "120s"),
        (150.0, "2m30s"),
        (3600.0, "1h"),
        (0.0, 0),
        (1.5, "1500ms"),
    ],
)
def test_durations_are_shown_with_a_unit(seconds, text):
    assert values.show_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("65536", 65536),
        ("64K", 65536),
        ("64k", 65536),
        ("64KiB", 65536),
        ("64 KiB", 65536),
        ("1MiB", 1 << 20),
        ("1MB", 10**6),
        ("1KB", 1000),
        ("2m", 2 << 20),
        ("1GB", 10**9),
        ("1GiB", 1 << 30),
        ("1.5K", 1536),
        ("2G", 2 << 30),
        ("10B", 10),
        ("0", 0),
        (123, 123),
    ],
)
def test_sizes(text, count):
    assert values.read_size(text) == count


@pytest.mark.parametrize(
    "text", ["", "K", "-1", "1X", "1.1", "0.3K", "1e3", "9" * 30, "9" * 5000, True, 1.5, None, -1, 2**63]
)
def test_sizes_refused(text):
    with pytest.raises(ValueError):
        values.read_size(text)


@pytest.mark.parametrize("count", [0, 1, 1023, 1024, 1025, 1 << 20, 3 << 30, 8190, 2**63 - 1])
def test_sizes_survive_being_shown(count):
    assert values.read_size(values.show_size(count)) == count


@pytest.mark.parametrize("text", ["", "+1", "-1", "1_000", "٣", "1.0", "0x10", True, 1.0, None, "9" * 5000])
def test_integers_refused(text):
    with pytest.raises(ValueError):
        values.read_integer(text)


def test_switches():
    assert [values.read_switch(text) for text in ("1", "true", "YES", "on", True)] == [True] * 5
    assert [values.read_switch(text) for text in ("0", "false", "No", "off", False)] == [False] * 5
    for wrong in ("", "2", "maybe", 1, 0, None):
        with pytest.raises(ValueError):
            values.read_switch(wrong)
    assert values.read_auto_switch("auto") is None
    assert values.read_auto_switch("on") is True
    assert [values.show_auto_switch(value) for value in (None, True, False)] == ["auto", True, False]


def test_modes():
    assert values.read_mode("660") == values.read_mode("0o660") == values.read_mode("0660") == 0o660
    assert values.read_mode(0o660) == 0o660
    for wrong in ("8", "", "rw", 660 * 10, 0o1777, "1777"):
        with pytest.raises(ValueError):
            values.read_mode(wrong)


def test_headers():
    assert values.read_header("X-A: b ") == ("X-A", "b")
    assert values.read_header("X-A:b:c") == ("X-A", "b:c")
    assert values.read_header(("X-A", "b")) == values.read_header([b"X-A", b"b"]) == ("X-A", "b")
    assert values.read_header("X-A:") == ("X-A", "")
    for wrong in ("X-A", ":b", "X A:b", "X-A :b", "X-A:b\r\nX-B: c", "X-A:\0", "X-A:\u20ac", ("a",), 3):
        with pytest.raises(ValueError):
            values.read_header(wrong)


def test_trusted_peers():
    texts = ["127.0.0.1", "::1", "10.0.0.0/8", "fd00::/8", "*", "unix", "UNIX", " 10.1.2.3 "]
    assert [values.read_trusted(text) for text in texts] == [
        "127.0.0.1",
        "::1",
        "10.0.0.0/8",
        "fd00::/8",
        "*",
        "unix",
        "unix",
        "10.1.2.3",
    ]
    with pytest.raises(ValueError, match=r"write 10\.0\.0\.0/8"):
        values.read_trusted("10.1.2.3/8")
    for wrong in ("", "localhost", "10.0.0", "10.0.0.0/33"):
        with pytest.raises(ValueError):
            values.read_trusted(wrong)


def test_root_paths():
    assert values.read_root_path("") == values.read_root_path("/") == ""
    assert values.read_root_path("/a/b/") == "/a/b"
    for wrong in ("a", "/a b", "/a?b", "/a\r\n", "/a#b"):
        with pytest.raises(ValueError):
            values.read_root_path(wrong)


def test_text_without_nul():
    with pytest.raises(ValueError, match="NUL"):
        values.read_text("a\0b")


def test_paths_take_path_objects(tmp_path):
    assert values.read_path(tmp_path) == str(tmp_path)


def test_hosts():
    assert values.read_host("[::1]") == values.read_host("::1") == "::1"
    for wrong in ("*", "a b", "", "::g", "256.1.1.1", "http://a"):
        with pytest.raises(ValueError):
            values.read_host(wrong)


# -- Addresses


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:80", Address("tcp", "127.0.0.1", 80)),
        ("localhost:0", Address("tcp", "localhost", 0)),
        (":9000", Address("tcp", "0.0.0.0", 9000)),
        ("[::1]:80", Address("tcp", "::1", 80)),
        ("[::]:80", Address("tcp", "::", 80)),
        ("[fe80::1%eth0]:80", Address("tcp", "fe80::1%eth0", 80)),
        ("[::1]", Address("tcp", "::1", 8000)),
        ("example.com", Address("tcp", "example.com", 8000)),
        ("9000", Address("tcp", "127.0.0.1", 9000)),
        ("tcp://127.0.0.1:80", Address("tcp", "127.0.0.1", 80)),
        ("unix:/run/a.sock", Address("unix", path="/run/a.sock")),
        ("unix:///run/a.sock", Address("unix", path="/run/a.sock")),
        ("unix:a.sock", Address("unix", path="a.sock")),
        ("fd://3", Address("fd", fd=3)),
        ("fd:3", Address("fd", fd=3)),
        (" 127.0.0.1:80 ", Address("tcp", "127.0.0.1", 80)),
    ],
)
def test_addresses(text, address):
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")
def test_abstract_address():
    address = parse_address("unix:@name")
    assert address == Address("abstract", path="name")
    assert str(address) == "unix:@name"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("/run/a.sock", "write unix:/run/a.sock"),
        ("./a.sock", "write unix:./a.sock"),
        ("@name", "write unix:@name"),
        ("::1", "in brackets"),
        ("::1:8000", "in brackets"),
        ("[::1", r"write \[IPv6\]:PORT"),
        ("[::1]80", r"write \[IPv6\]:PORT"),
        ("[nonsense]:80", "no IPv6 address"),
        ("http://127.0.0.1:80", "is a URL"),
        ("https://127.0.0.1:80", "--certfile"),
        ("a:b", "no port"),
        ("a:", "no port"),
        ("a:65536", "0 to 65535"),
        ("a:-1", "no port"),
        ("a:٣", "no port"),
        ("*:80", r"write 0\.0\.0\.0"),
        ("a b:80", "no host name"),
        ("1.2.3:80", "no IPv4 address"),
        ("unix:", "lacks a path"),
        ("unix:@", "lacks a path"),
        ("fd://x", "no descriptor"),
        ("fd://", "no descriptor"),
        ("fd://99999999999", "no descriptor"),
        ("", "empty"),
        ("unix:/" + "x" * 200, f"at most {MAX_UNIX_PATH} bytes"),
    ],
)
def test_addresses_refused_with_a_hint(text, hint):
    with pytest.raises(ValueError, match=hint):
        parse_address(text)


def test_the_longest_unix_path():
    path = "/" + "x" * (MAX_UNIX_PATH - 1)
    assert parse_address("unix:" + path).path == path
    with pytest.raises(ValueError):
        parse_address("unix:" + path + "x")


def test_a_unix_socket_by_its_own_option():
    uds = BY_NAME["uds"]
    assert uds.read("/run/a.sock", "") == uds.read("unix:/run/a.sock", "") == "/run/a.sock"
    with pytest.raises(ConfigError, match="at most"):
        uds.read("/" + "x" * 200, "--uds")


# -- Reading an option


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("keep_alive", "5x", "W: expected seconds, as in 30, 30s, 1m30s or 500ms, not '5x'"),
        ("limit_request_line", "8Q", "W: expected bytes, as in 65536, 64K or 1MiB, not '8Q'"),
        ("threads", "many", "W: expected a whole number, not 'many'"),
        ("threads", None, "W: expected a whole number, not None"),
        ("workers", 0, "W: 0 is too small; at least 1"),
        ("threads", 4097, "W: 4097 is too large; at most 4096"),
        ("port", "70000", "W: 70000 is too large; at most 65535"),
        ("loop", "uvlop", "W: 'uvlop' is not one of auto, asyncio, uvloop; did you mean uvloop?"),
        ("log_level", "loud", "W: 'loud' is not one of critical, error, warning, info, debug, trace"),
        ("sendfile", "maybe", "W: expected true or false, not 'maybe'"),
        ("error_logfile", "", "W: expected a path, not an empty one"),
        ("bind", "a:b", "W: 'b' is no port; a port is a number from 0 to 65535"),
        ("keyfile_password", 1234, "W: expected a text, not this"),
    ],
)
def test_messages(name, value, message):
    with pytest.raises(ConfigError) as caught:
        BY_NAME[name].read(value, "W")
    assert str(caught.value) == message


def test_choices_are_read_in_any_case():
    assert BY_NAME["log_level"].read("INFO", "") == "info"
    assert BY_NAME["cert_reqs"].read(2, "") == BY_NAME["cert_reqs"].read("Required", "") == "required"


def test_several_values():
    bind = BY_NAME["bind"]
    assert [str(item) for item in bind.read(":1,unix:/a, :2", "")] == ["0.0.0.0:1", "unix:/a", "0.0.0.0:2"]
    assert bind.read([":1", ":2"], "") == bind.read(":1,:2", "")
    # A field's value may contain commas; fields are separated by lines.
    assert BY_NAME["header"].read("A: b, c\nD: e", "") == (("A", "b, c"), ("D", "e"))
    assert BY_NAME["header"].read([("A", "b")], "") == (("A", "b"),)
    assert BY_NAME["forwarded_allow_ips"].read("", "") == ()


def test_not_set():
    assert BY_NAME["certfile"].read("", "") is None
    assert BY_NAME["certfile"].read(None, "") is None


def test_a_secret_is_not_shown():
    assert BY_NAME["keyfile_password"].show("hush") == "***"
    assert BY_NAME["keyfile_password"].show(None) == ""
