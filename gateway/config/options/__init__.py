"""Every option of gateway, once: name, type, default, flags, environment variables, help.

From this table come the command line, the `GATEWAY_*` variables, the keys of TOML files, the keywords of `Config`, and
the table in the README (`usage.py` makes the first and the last). For an option named `keep_alive`:

- flag: `--keep-alive`, and those listed in `flags`: both families of names that people know are accepted. Switches also
  have a `--no-` form.
- environment: `GATEWAY_KEEP_ALIVE`, and those listed in `env`, which other programs know too.
- TOML key and keyword: `keep_alive` (in TOML `keep-alive` as well), each further long flag in that spelling, and
  `names`. These are variables with GATEWAY_ before them, too.

`part` names what the value is for: "limits.x" and "timeouts.x" are attributes of the request path's `Limits` and
`Timeouts`; everything else is cut into the sections of `settings.py` by the option's own name.

Each group is a module of its own; `option.py` says what a row can have in it.
"""

from __future__ import annotations

from . import (
    application,
    configuration,
    development,
    limits,
    listening,
    logging,
    processes,
    proxy,
    responses,
    running,
    timeouts,
    tls,
    websocket,
)
from .option import Option

__all__ = ["BY_NAME", "GROUPS", "NAMES", "OPTIONS", "Option", "find"]

# In the order of the help and of the README.
OPTIONS: tuple[Option, ...] = (
    *application.OPTIONS,
    *listening.OPTIONS,
    *running.OPTIONS,
    *processes.OPTIONS,
    *development.OPTIONS,
    *limits.OPTIONS,
    *timeouts.OPTIONS,
    *websocket.OPTIONS,
    *responses.OPTIONS,
    *proxy.OPTIONS,
    *tls.OPTIONS,
    *logging.OPTIONS,
    *configuration.OPTIONS,
)

GROUPS: tuple[str, ...] = tuple(dict.fromkeys(option.group for option in OPTIONS))

BY_NAME: dict[str, Option] = {option.name: option for option in OPTIONS}


def _names() -> dict[str, Option]:
    names: dict[str, Option] = {}
    for option in OPTIONS:
        for flag in option.all_flags:
            if flag.startswith("--"):
                names[flag[2:].replace("-", "_")] = option
        for name in option.names:
            names[name] = option
    return names


NAMES: dict[str, Option] = _names()
"""Option by each of its names: its own, its long flags with underscores, and `names`."""


def find(name: str) -> Option | None:
    """The option a keyword or TOML key names, or None."""
    return NAMES.get(name.replace("-", "_"))
