"""``gateway migrate gunicorn.conf.py``: a gunicorn configuration as gateway.toml.

What comes out says the same as the file it is made from, and gives the same `Config`. What has no equivalent stands in
it as a comment, with the reason. Values that the file computes are written as they came out, with the expression.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from ..errors import ConfigError
from . import python, sources
from .gunicorn import HOOKS, Translation
from .options import GROUPS, OPTIONS, Option
from .sources import toml_value

# Characters of an expression that a comment shows.
MAX_EXPRESSION = 80


def migrate(name: str) -> str:
    """The text of a gateway.toml that says what the Python configuration `name` says.

    `name` is what --config takes. Raises ConfigError: it is no Python, can't be read, or is wrong.
    """
    if not sources.is_python(name):
        raise ConfigError(
            f"{name}: a configuration of gunicorn is Python, and called NAME.py, file:PATH or python:MODULE"
        )
    translation = sources.read_python(name, "migrate", "")
    sources.drop_tls(translation.given, translation)
    lines = [f"# What {translation.where} says, for gateway. Options are taken from here when the file is called"]
    lines += ["# gateway.toml and stands where gateway is started, or by --config.", ""]
    expressions = computed(python.read_source(translation.settings["__file__"], "migrate"))
    for group in GROUPS:
        given = [option for option in OPTIONS if option.group == group and option.name in translation.given]
        if given:
            lines.append(f"# {group}")
            for option in given:
                lines += option_lines(option, translation, expressions)
            lines.append("")
    lines += remarks(translation)
    return "\n".join(lines).rstrip("\n") + "\n"


def option_lines(option: Option, translation: Translation, expressions: dict[str, str]) -> Iterator[str]:
    """The line for one option, with the setting it comes from if that has another name or is computed."""
    value, source = translation.given[option.name]
    shown = show(option, option.read(value, source.text))
    setting = source.text.removeprefix(f"{translation.where}: ")
    if setting in expressions:
        yield f"# computed: {setting} = {expressions[setting]}"
    renamed = setting != option.name and setting not in expressions and not setting.startswith("gateway: ")
    yield f"{option.name} = {toml_value(shown)}" + (f"  # {setting}" if renamed else "")


def show(option: Option, value: Any) -> Any:
    """The value as TOML writes it, also one that is not to be shown elsewhere: the original has it too."""
    return option._replace(secret=False).show(value)


def remarks(translation: Translation) -> Iterator[str]:
    """Comments: what has no equivalent, what has another effect, and which functions stay behind."""
    hooks = [name for name in HOOKS if name in translation.hooks]
    left_out = {name: reason for name, reason in translation.left_out.items() if name not in hooks}
    if left_out:
        yield "# No equivalent"
        for name, reason in left_out.items():
            yield f"# {name} = {shorten(repr(translation.settings[name]))}"
            yield f"#   {reason}"
        yield ""
    partly = [text for text in translation.warnings if " has no effect: " not in text]
    if partly:
        yield from ("# Not quite the same", *(f"# {text}" for text in partly), "")
    if hooks:
        yield f"# Functions can't stand in TOML: {', '.join(hooks)}."
        yield f"# gateway finds them with --config {translation.where}."


def computed(source: bytes) -> dict[str, str]:
    """The expressions that Python `source` gives to names and that are no plain values, by name."""
    expressions: dict[str, str] = {}
    for node in ast.parse(source).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                pass
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                pass
            case _:
                continue
        try:
            ast.literal_eval(value)
            expressions.pop(name, None)
        except (TypeError, ValueError):
            expressions[name] = shorten(ast.unparse(value))
    return expressions


def shorten(text: str) -> str:
    """`text` as one line of bounded length, fit for a comment."""
    text = " ".join(text.split())
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= MAX_EXPRESSION else text[: MAX_EXPRESSION - 3] + "..."
