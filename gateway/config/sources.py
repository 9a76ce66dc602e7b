"""Where options come from: defaults < file < environment < command line.

- File: `--config FILE`, else `gateway.toml` in the app dir, else `[tool.gateway]` of the `pyproject.toml` there. Only
  `--config` names a Python file, which has gunicorn's names for settings; in it, `gateway = {...}` is like
  `[tool.gateway]`, and stronger than the settings around it. Relative paths are relative to the current directory, as
  on the command line.
- Environment: `GATEWAY_<OPTION>`, and what other programs know too, which is weaker: GUNICORN_CMD_ARGS where
  --gunicorn-cmd-args asks for it, then WEB_CONCURRENCY, FORWARDED_ALLOW_IPS, SCRIPT_NAME and SENDFILE. PORT is the
  weakest of all: a platform sets it for whatever it starts, so it only counts where nothing else says where to listen,
  and then it means all addresses.
- Env files are read first: what they set counts as environment, for gateway and for the application. A variable that is
  set already stays as it is; of several files, the last one that has a variable wins. What `--env` sets always counts.

Each value keeps its source, for error messages and `--print-config`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from ..errors import ConfigError
from . import gunicorn, python
from .gunicorn import Given, Translation
from .mounts import MOUNTS
from .options import BY_NAME, NAMES, OPTIONS, Option, find
from .rules import Source
from .settings import Config, Extras
from .usage import parser
from .values import suggest

RANK_PLATFORM = 1
RANK_FILE = 2
RANK_SHARED_VARIABLE = 3
RANK_VARIABLE = 4
RANK_COMMAND_LINE = 5

ALL_ADDRESSES = "0.0.0.0"

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
    arguments, named = gunicorn_arguments(early, environ)
    file = read_file(early.get("config") or named, early.get("chdir"), early.get("app_dir"))
    if "gunicorn_cmd_args" not in early:
        arguments, _ = gunicorn_arguments(file.given, environ)
    if "env_file" in file.given and "env_file" not in early:
        load_env_files(*file.given["env_file"], environ)
    assignments = {**file.given, **arguments.given, **command_line}.get("env")
    if assignments is not None:
        set_variables(*assignments, environ)
    shared, variables = split(environment(environ))
    given = {**platform(environ), **file.given, **shared, **arguments.given, **variables, **command_line}
    if named is not None:
        given.setdefault("config", named)
    if "port" in given and given["port"][1].rank == RANK_PLATFORM and "host" not in given:
        given["host"] = (ALL_ADDRESSES, given["port"][1])
    drop_tls(given, file, arguments)
    warnings = [*file.warnings, *arguments.warnings]
    if file.is_gunicorn and environ.get(gunicorn.ARGUMENTS) and "gunicorn_cmd_args" not in given:
        warnings.append(f"environment variable {gunicorn.ARGUMENTS} has no effect without --gunicorn-cmd-args")
    notices = [text for name, source, text in file.notices if given[name][1] is source]
    return Config.from_sources(given, Extras(file.hooks, tuple(warnings), tuple(notices)))


def drop_tls(given: Given, *translations: Translation) -> None:
    """Take out of `given` what gunicorn ignores without a certificate, with a warning."""
    if any(name in given and given[name][0] for name in ("certfile", "keyfile")):
        return
    for translation in translations:
        for name in translation.needs_certificate:
            if given.get(name) is translation.given[name]:
                del given[name]
                translation.leave_out(name, "there is no certfile")


def split(given: Given) -> tuple[Given, Given]:
    """Variables that other programs know too, and gateway's own."""
    shared = {name: entry for name, entry in given.items() if entry[1].rank == RANK_SHARED_VARIABLE}
    return shared, {name: entry for name, entry in given.items() if name not in shared}


def gunicorn_arguments(asking: Given, environ: Mapping[str, str]) -> tuple[Translation, tuple[Any, Source] | None]:
    """What GUNICORN_CMD_ARGS says, where `asking` wants it read, and the file it names. Raises ConfigError."""
    if "gunicorn_cmd_args" in asking:
        value, source = asking["gunicorn_cmd_args"]
        if BY_NAME["gunicorn_cmd_args"].read(value, source.text):
            return gunicorn.from_arguments(environ.get(gunicorn.ARGUMENTS, ""), RANK_SHARED_VARIABLE)
    return Translation("", RANK_SHARED_VARIABLE), None


def set_variables(value: Any, source: Source, environ: MutableMapping[str, str]) -> None:
    """Set what --env says. Raises ConfigError."""
    for text in BY_NAME["env"].read(value, source.text):
        name, _, environ[name] = text.partition("=")


def apply_environment(config: Config, environ: MutableMapping[str, str]) -> None:
    """Set the variables that the options of `config` ask for, env files included. Raises ConfigError."""
    load_env_files(config.values["env_file"], config.source("env_file"), environ)
    set_variables(config.values["env"], config.source("env"), environ)


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
        # Adds to the environment, so it has no place in it; and GATEWAY_ENV is a name that a user may well have.
        if option.name == "env":
            continue
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


def read_file(config: tuple[Any, Source] | None, *folders: tuple[Any, Source] | None) -> Translation:
    """What the configuration file says: the one that `config` names, else the one found in `folders`, one in the other.

    Raises ConfigError: it can't be read, is wrong, or has a key that is no option.
    """
    folder = os.path.join("", *(os.fspath(entry[0]) for entry in folders if entry is not None and entry[0]))
    if config is not None and config[0]:
        return read_named_file(os.fspath(config[0]), config[1].text, folder)
    result = Translation("", RANK_FILE)
    path = os.path.join(folder, "gateway.toml")
    if os.path.isfile(path):
        result.given = check_table(read_toml(path, ""), path)
        return result
    path = os.path.join(folder, "pyproject.toml")
    if os.path.isfile(path):
        result.given = check_table(tool_table(read_toml(path, ""), path) or {}, f"{path} [tool.gateway]")
    return result


def read_named_file(name: str, where: str, folder: str) -> Translation:
    """What the file `name` says: TOML, or Python if it is called so; see `is_python`. Raises ConfigError."""
    if is_python(name):
        return read_python(name, where, folder)
    path = name.removeprefix("file:")
    document = read_toml(path, where)
    result = Translation(path, RANK_FILE)
    if os.path.basename(path) != "pyproject.toml":
        result.given = check_table(document, path)
        return result
    table = tool_table(document, path)
    if table is None:
        raise ConfigError(f"{where}: {path} has no [tool.gateway]")
    result.given = check_table(table, f"{path} [tool.gateway]")
    return result


def is_python(name: str) -> bool:
    """Whether a configuration file of this name is Python: NAME.py, or as gunicorn says it python:MODULE, file:PATH."""
    return name.endswith(".py") or name.startswith("python:") or (name.startswith("file:") and not is_toml(name))


def is_toml(name: str) -> bool:
    """Whether a configuration file says by its name that it is TOML."""
    return name.lower().endswith(".toml")


def read_python(name: str, where: str, folder: str) -> Translation:
    """What a configuration in Python says, see `is_python`, importing from `folder`. Raises ConfigError."""
    if name.startswith("python:"):
        label = name
        settings = python.run_module(name.removeprefix("python:"), where, folder)
    else:
        label = name.removeprefix("file:")
        settings = python.run_file(label, where, folder)
    result = gunicorn.from_file(settings, label, RANK_FILE)
    own = settings.get("gateway")
    # The name may be anything else in a file that was made for gunicorn.
    if isinstance(own, dict):
        result.given.update(check_table({str(key): value for key, value in own.items()}, f"{label}: gateway"))
    return result


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
        hint = "" if is_toml(path) else "; a file of Python is called NAME.py"
        raise ConfigError(f"{path}: is no TOML: {error}{hint}") from None


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
        hint = f"; several, each written [[{key}]]" if option.kind is MOUNTS else ""
        raise ConfigError(f"{file}: {key}: expected {option.kind.expected}, not a table{hint}")


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
    """A string, number, bool, or list or dict of such in TOML."""
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
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    return repr(value)
