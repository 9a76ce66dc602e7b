"""The working directory: --chdir, and where the program was started."""

from __future__ import annotations

import os

from ..errors import ConfigError
from .settings import Config


def start_folder() -> str:
    """The working directory, by the name that the shell calls it, where it has one: links may come to mean another."""
    here = os.getcwd()
    named = os.environ.get("PWD", "")
    try:
        return named if os.path.isabs(named) and os.path.samefile(named, here) else here
    except OSError:
        return here


def resolve(config: Config) -> Config:
    """`config` with an absolute path in `chdir`, links followed as they are now. Raises ConfigError: there is none."""
    if config.chdir is None:
        return config
    path = os.path.realpath(config.chdir)
    if not os.path.isdir(path):
        raise ConfigError(f"{config.source('chdir').text}: {config.chdir} is no directory")
    return config.replace(chdir=path)


def enter(config: Config) -> Config:
    """Change to the directory that `config` asks for. Returns what `resolve` does. Raises ConfigError."""
    config = resolve(config)
    if config.chdir is not None:
        try:
            os.chdir(config.chdir)
        except OSError as error:
            raise ConfigError(f"--chdir: can't change to {config.chdir}: {error.strerror}") from None
    return config
