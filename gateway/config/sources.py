"""Where options come from: defaults < file < environment < command line.

- File: `--config FILE`, else `gateway.toml` in the app dir, else `[tool.gateway]` of the `pyproject.toml` there.
  Relative paths in it are relative to the current directory, as on the command line.
- Environment: `GATEWAY_<OPTION>`, and variables that other programs know too (WEB_CONCURRENCY, FORWARDED_ALLOW_IPS,
  SCRIPT_NAME, SENDFILE), which are weaker. PORT is the weakest of all: a platform sets it for whatever it starts, so it
  only counts where nothing else says where to listen, and then it means all addresses.
- Env files are read first: what they set counts as environment, for gateway and for the application. A variable that is
  set already stays as it is; of several files, the last one that has a variable wins.

Each value keeps its source, for error messages and `--print-config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from ..errors import ConfigError
from .options import BY_NAME, NAMES, OPTIONS, Option, find, suggest
from .settings import Config, Source
from .usage import parser

RANK_PLATFORM = 1
RANK_FILE = 2
RANK_SHARED_VARIABLE = 3
RANK_VARIABLE = 4
RANK_COMMAND_LINE = 5

ALL_ADDRESSES = "0.0.0.0"

Given = dict[str, tuple[Any, Source]]

# What a command line asks for beside serving.
ACTIONS = ("check_config", "print_config", "version")


def load(
    argv: Sequence[str] = (),
    environ: MutableMapping[str, str] | None = None,
) -> tuple[Config, dict[str, Any]]:
    """The config that `argv`, `environ` (default: os.environ) and files make, and the actions that `argv` asks for.

    `environ` is changed by env files. Raises ConfigError; exits for --help, as argparse does.
    """
    if environ is None:
        environ = os.environ
    arguments, actions = parse_arguments(argv)
    command_line = {
        name: (value, Source(RANK_COMMAND_LINE, "TARGET" if name == "app" else BY_NAME[name].flag))
        for name, value in arguments.items()
    }
    return gather(command_line, environ), actions


def gather(command_line: Given, environ: MutableMapping[str, str]) -> Config:
    """The config of a command line that is parsed already; see `load`."""
    early = {**environment(environ), **command_line}
    if "env_file" in early:
        load_env_files(*early["env_file"], environ)
        early = {**environment(environ), **command_line}
    file = read_file(early.get("config"), early.get("app_dir"))
    if "env_file" in file and "env_file" not in early:
        load_env_files(*file["env_file"], environ)
    given = {**platform(environ), **file, **environment(environ), **command_line}
    if "port" in given and given["port"][1].rank == RANK_PLATFORM and "host" not in given:
        given["host"] = (ALL_ADDRESSES, given["port"][1])
    return Config.from_sources(given)


def parse_arguments(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options on a command line, as texts by name, and its actions. Raises ConfigError."""
    # Its value is optional, so argparse would take a target that follows it.
    argv = ["--print-config=toml" if argument == "--print-config" else argument for argument in argv]
    namespace, unknown = parser().parse_known_args(argv)
    if unknown:
        flag = unknown[0].partition("=")[0]
        if not flag.startswith("-"):
            raise ConfigError(f"{unknown[0]!r} is one argument too many; there is one TARGET")
        flags = [flag for option in OPTIONS for flag in option.all_flags]
        raise ConfigError(f"there is no option {flag}{suggest(flag, flags)}")
    arguments = vars(namespace)
    actions = {name: arguments.pop(name) for name in ACTIONS if name in arguments}
    return arguments, actions


def environment(environ: Mapping[str, str]) -> Given:
    """What the environment says, PORT aside."""
    given: Given = {}
    aliases: dict[str, list[str]] = {option.name: [] for option in OPTIONS}
    for alias, option in NAMES.items():
        aliases[option.name].append("GATEWAY_" + alias.upper())
    for option in OPTIONS:
        names = [(name, RANK_SHARED_VARIABLE) for name in option.env if name != "PORT"]
        names += [(name, RANK_VARIABLE) for name in (*aliases[option.name], option.variable)]
        for name, rank in names:
            value = environ.get(name)
            if value is None or (value.strip() == "" and not option.kind.takes_empty):
                continue
            # Kubernetes sets GATEWAY_PORT=tcp://10.0.0.1:80 in every pod beside a service of the name "gateway".
            if name == "GATEWAY_PORT" and value.startswith(("tcp://", "udp://", "sctp://")):
                continue
            given[option.name] = (value, Source(rank, f"environment variable {name}"))
    return given


def platform(environ: Mapping[str, str]) -> Given:
    """The port a platform asks for by $PORT."""
    port = environ.get("PORT", "").strip()
    return {"port": (port, Source(RANK_PLATFORM, "environment variable PORT"))} if port else {}


def read_file(config: tuple[Any, Source] | None, app_dir: tuple[Any, Source] | None) -> Given:
    """What the configuration file says: the one that `config` names, else the one found in `app_dir`.

    Raises ConfigError: it can't be read, is no TOML, or has a key that is no option.
    """
    if config is not None and config[0]:
        path, where = os.fspath(config[0]), config[1].text
        if path.endswith(".py"):
            raise ConfigError(f"{where}: {path} is Python; gateway reads TOML, with the same names for options")
        document = read_toml(path, where)
        if os.path.basename(path) != "pyproject.toml":
            return check_table(document, path)
        table = tool_table(document, path)
        if table is None:
            raise ConfigError(f"{where}: {path} has no [tool.gateway]")
        return check_table(table, f"{path} [tool.gateway]")
    folder = os.fspath(app_dir[0]) if app_dir is not None and app_dir[0] else ""
    path = os.path.join(folder, "gateway.toml")
    if os.path.isfile(path):
        return check_table(read_toml(path, ""), path)
    path = os.path.join(folder, "pyproject.toml")
    if os.path.isfile(path):
        return check_table(tool_table(read_toml(path, ""), path) or {}, f"{path} [tool.gateway]")
    return {}


def read_toml(path: str, where: str) -> dict[str, Any]:
    """The TOML document at `path`, which `where` has named. Raises ConfigError."""
    import tomllib

    prefix = f"{where}: " if where else ""
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{prefix}can't read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: is not UTF-8, as TOML must be") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is no TOML: {error}") from None


def tool_table(document: dict[str, Any], path: str) -> dict[str, Any] | None:
    """[tool.gateway] of a pyproject.toml, or None if there is none. Raises ConfigError."""
    tool = document.get("tool")
    table = tool.get("gateway") if isinstance(tool, dict) else None
    if table is not None and not isinstance(table, dict):
        raise ConfigError(f"{path}: tool.gateway must be a table, written [tool.gateway]")
    return table


def check_table(table: dict[str, Any], file: str) -> Given:
    """The options in a TOML table of `file`. Raises ConfigError: a key that is no option, twice the same option."""
    given: Given = {}
    for key, value in table.items():
        option = find(key)
        if option is None:
            hint = suggest(key.replace("-", "_"), NAMES)
            raise ConfigError(f"{file}: there is no option {key!r}{hint}")
        if option.name == "config":
            raise ConfigError(f"{file}: {key} can't stand in a file")
        if option.name in given:
            raise ConfigError(f"{file}: {key} and another name for it are both there; keep one")
        check_native(option, key, value, file)
        given[option.name] = (value, Source(RANK_FILE, f"{file}: {key}"))
    return given


def check_native(option: Option, key: str, value: Any, file: str) -> None:
    """TOML has types, so a switch is `true` and a number is bare there. Raises ConfigError."""
    if option.is_switch and not isinstance(value, bool) and value != "auto":
        raise ConfigError(f"{file}: {key}: expected {option.kind.expected}, not {value!r}")
    if isinstance(value, dict):
        raise ConfigError(f"{file}: {key}: expected {option.kind.expected}, not a table")


def load_env_files(value: Any, source: Source, environ: MutableMapping[str, str]) -> None:
    """Set the variables of env files that are not set yet. Raises ConfigError."""
    option = BY_NAME["env_file"]
    paths = option.read(value, source.text)
    if not paths:
        return
    try:
        import dotenv
    except ImportError:
        raise ConfigError(f"{source.text}: env files need python-dotenv; pip install python-dotenv") from None
    found: dict[str, str] = {}
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                contents = dotenv.dotenv_values(stream=file)
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise ConfigError(f"{source.text}: can't read {path}: {reason}") from None
        found.update({name: text for name, text in contents.items() if text is not None})
    for name, text in found.items():
        environ.setdefault(name, text)


def to_toml(config: Config) -> str:
    """Every option as a line of TOML, with its source behind it; a file of these lines gives the same config."""
    lines = []
    for name, entry in config.describe().items():
        line = f"{name} = {toml_value(entry['value'])}"
        option = BY_NAME[name]
        # What a file can't say: not set, a secret that is masked here, the file itself.
        absent = name == "config" or option.secret or (entry["value"] == "" and option.optional)
        lines.append(f"{'# ' if absent else ''}{line}  # {entry['source']}")
    return "\n".join(lines)


def toml_value(value: Any) -> str:
    """A string, number, bool or list of such in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        # TOML has no other characters that must be escaped in a basic string than controls.
        return (
            '"' + "".join(c if c == "\t" or (c >= " " and c != "\x7f") else f"\\u{ord(c):04x}" for c in escaped) + '"'
        )
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    return repr(value)
