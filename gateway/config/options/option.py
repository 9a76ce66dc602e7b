"""What a row of the option table is, and short ways to write those that are alike."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import ConfigError
from .. import values
from ..addresses import Address
from ..values import Kind, suggest


class Option(NamedTuple):
    """One row of the table; see the docstring of the package."""

    name: str
    kind: Kind
    default: Any
    help: str
    group: str = ""
    """The heading it stands under; that of its `table`."""
    flags: tuple[str, ...] = ()
    """Further flags; `--name-with-dashes` is there by itself."""
    names: tuple[str, ...] = ()
    """Further keywords and TOML keys, those that are no flags."""
    env: tuple[str, ...] = ()
    """Further environment variables, weaker than GATEWAY_<NAME>."""
    repeatable: bool = False
    """The value is a tuple of such values."""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    """Of a bare number: "bytes", "s", "bytes/s"; for the help. Empty for counts."""
    off: bool = False
    """0 switches it off."""
    part: str = ""
    default_text: str = ""
    """What the help calls the default when the value would not tell."""
    secret: bool = False
    """The value is not shown."""
    placeholder: str = ""
    """What the help shows in place of a value when the kind's own word says too little."""

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return "--" + self.name.replace("_", "-")

    @property
    def all_flags(self) -> tuple[str, ...]:
        """All flags: short ones, then the main one, then other long ones."""
        short = tuple(flag for flag in self.flags if not flag.startswith("--"))
        long = tuple(flag for flag in self.flags if flag.startswith("--"))
        return (*short, self.flag, *long)

    @property
    def variable(self) -> str:
        """The environment variable of this option."""
        return "GATEWAY_" + self.name.upper()

    @property
    def optional(self) -> bool:
        """None is a value: not set."""
        return self.default is None

    @property
    def is_switch(self) -> bool:
        """Stands on the command line without a value."""
        return not self.kind.metavar

    def read(self, value: object, where: str) -> Any:
        """The value as gateway uses it, from text, TOML or Python.

        `where` says in messages where the value stands. Raises ConfigError.
        """
        if value is None:
            if self.optional:
                return None
            raise ConfigError(f"{where}: expected {self.kind.expected}, not None")
        if self.repeatable:
            return self._read_several(value, where)
        if self.optional and value == "":
            return None
        return self._read_one(value, where)

    def show(self, value: Any) -> Any:
        """The value as TOML and JSON write it; `read` takes it back."""
        if self.secret and value:
            return "***"
        if value is None and self.kind is not values.AUTO_SWITCH:
            return ""
        if self.repeatable:
            return [self.kind.show(item) for item in value]
        return self.kind.show(value)

    def show_default(self) -> str:
        """The default for people, with its unit."""
        if self.default_text:
            return self.default_text
        if self.default in (None, "", ()):
            return "none" if self.repeatable else "not set"
        if self.kind is values.SWITCH:
            return "on" if self.default else "off"
        if self.off and self.default == 0:
            return "off"
        if self.kind is values.DURATION:
            return f"{self.default:g} s"
        shown = self.show(self.default)
        if isinstance(shown, list):
            return ",".join(map(str, shown))
        if self.unit and isinstance(shown, int):
            return f"{shown} {self.unit}"
        return str(shown)

    def _read_several(self, value: object, where: str) -> tuple[Any, ...]:
        if isinstance(value, str) and self.kind.separator:
            items: Any = [item for item in value.split(self.kind.separator) if item.strip()]
        elif isinstance(value, (list, tuple, set, frozenset)) and not isinstance(value, Address):
            # A flag that is given several times, each of which may name several.
            items = []
            for item in value:
                if isinstance(item, str) and self.kind.separator:
                    items += [part for part in item.split(self.kind.separator) if part.strip()]
                else:
                    items.append(item)
        else:
            items = [value]
        return tuple(self._read_one(item, where) for item in items)

    def _read_one(self, value: object, where: str) -> Any:
        try:
            result = self.kind.read(value)
        except ValueError as error:
            shown = "this" if self.secret else repr(value)
            problem = str(error) or f"expected {self.kind.expected}, not {shown}"
            raise ConfigError(f"{where}: {problem}") from None
        if self.choices and result not in self.choices:
            word = str(result).lower()
            if word not in self.choices:
                allowed = ", ".join(self.choices)
                raise ConfigError(f"{where}: {result!r} is not one of {allowed}{suggest(word, self.choices)}")
            result = word
        if result == "" and self.kind.metavar and self.default:
            raise ConfigError(f"{where}: expected {self.kind.expected}, not an empty one")
        if self.minimum is not None and result < self.minimum:
            raise ConfigError(f"{where}: {value} is too small; at least {self.minimum:g} {self.unit}".rstrip())
        if self.maximum is not None and result > self.maximum:
            raise ConfigError(f"{where}: {value} is too large; at most {self.maximum:g} {self.unit}".rstrip())
        return result


def table(group: str, *rows: Option) -> tuple[Option, ...]:
    """The options of one group."""
    return tuple(row._replace(group=group) for row in rows)


def limit(name: str, attribute: str, default: int, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for `Limits.<attribute>`, or for a limit that is kept elsewhere; a count unless `kind` says otherwise."""
    more.setdefault("kind", values.INTEGER)
    part = f"limits.{attribute}" if attribute else ""
    return Option(name, default=default, help=text, flags=flags, part=part, off=True, **more)


def size(name: str, attribute: str, default: int, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for `Limits.<attribute>` in bytes."""
    return limit(name, attribute, default, text, flags=flags, kind=values.SIZE, unit="bytes", **more)


def timeout(name: str, part: str, default: float, text: str, *, flags: tuple[str, ...] = (), **more: Any) -> Option:
    """A row for a wait in seconds."""
    more.setdefault("off", True)
    return Option(name, values.DURATION, default, text, flags=flags, part=part, unit="s", **more)
