"""The option table as people meet it: the command line with its help, and the table in the README."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from ..errors import ConfigError
from . import values
from .options import GROUPS, OPTIONS, Option

PROGRAM = "gateway"


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that raises ConfigError where the original prints its usage and exits."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


class Formatter(argparse.HelpFormatter):
    """Help in columns that fit 110 characters, the flag's value shown once."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30, width=110)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        return f"{', '.join(action.option_strings)} {self._format_args(action, action.metavar)}"  # type: ignore[arg-type]


def parser() -> argparse.ArgumentParser:
    """The command line. What it parses are texts, only those that were given, under the options' names."""
    result = Parser(
        PROGRAM,
        usage=f"{PROGRAM} [options] TARGET",
        description="Serve a WSGI or ASGI application over HTTP.",
        epilog="Every option can also be given as an environment variable (GATEWAY_<OPTION>), in gateway.toml or "
        "in [tool.gateway] of pyproject.toml. 0 switches a limit or timeout off. "
        f"`{PROGRAM} migrate gunicorn.conf.py` prints a configuration of gunicorn as gateway.toml; `{PROGRAM} ctl` and "
        f"`{PROGRAM} top` are for a server that runs with --control-socket.",
        formatter_class=Formatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        add_help=False,
    )
    groups = {name: result.add_argument_group(name) for name in GROUPS}
    for option in OPTIONS:
        add_argument(groups[option.group], option)
    configuration = groups["Configuration"]
    configuration.add_argument("--check-config", action="store_true", help="load options and application, and say OK")
    configuration.add_argument(
        "--print-config",
        choices=("toml", "json"),
        metavar="json",
        help="print every option with its value and where that comes from, as TOML or JSON, and exit",
    )
    configuration.add_argument("-v", "--version", action="store_true", help="print versions and exit")
    configuration.add_argument("-h", "--help", action="help", help="print this and exit")
    return result


def add_argument(group: Any, option: Option) -> None:
    """Add `option` to an argparse group."""
    note = f" (default: {option.show_default()})"
    if option.name == "app":
        group.add_argument("app", nargs="?", metavar=option.placeholder, help=option.help)
    elif option.is_switch:
        group.add_argument(
            *option.all_flags,
            dest=option.name,
            action=Switch,
            help=option.help + note,
        )
    else:
        group.add_argument(
            *option.all_flags,
            dest=option.name,
            action="append" if option.repeatable else "store",
            metavar=metavar(option),
            help=option.help + note,
        )


class Switch(argparse.Action):
    """`--x` and `--no-x`, stored as the texts "true" and "false"."""

    def __init__(self, option_strings: Any, dest: str, **more: Any) -> None:
        self.negative = frozenset("--no-" + flag[2:] for flag in option_strings if flag.startswith("--"))
        super().__init__([*option_strings, *sorted(self.negative)], dest, nargs=0, **more)

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        setattr(namespace, self.dest, "false" if option_string in self.negative else "true")


def metavar(option: Option) -> str:
    """What the help shows in place of the option's value."""
    if option.choices:
        return "{" + ",".join(option.choices) + "}"
    return option.placeholder or option.kind.metavar


def markdown() -> str:
    """The option table of the README."""
    lines: list[str] = []
    for group in GROUPS:
        lines += [f"**{group}**", "", "| Option | Default | |", "| --- | --- | --- |"]
        for option in OPTIONS:
            if option.group == group:
                lines.append(markdown_row(option))
        lines.append("")
    return "\n".join(lines)


def markdown_row(option: Option) -> str:
    """One row of the README's table."""
    if option.name == "app":
        flags = "`TARGET`"
    else:
        shown = option.all_flags
        if option.kind is values.SWITCH and option.default:
            shown = tuple("--no-" + flag[2:] for flag in shown)
        value = "" if option.is_switch else " " + metavar(option).replace("|", "\\|")
        flags = ", ".join(f"`{flag}`" for flag in shown[:-1])
        flags += (", " if flags else "") + f"`{shown[-1]}{value}`"
    text = option.help.replace("%%", "%").replace("|", "\\|")
    if option.env:
        text += f" (also ${', $'.join(option.env)})"
    default = option.show_default().replace("|", "\\|")
    return f"| {flags} | {default} | {text} |"
