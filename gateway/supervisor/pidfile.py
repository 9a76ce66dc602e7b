"""The file with the master's process number."""

from __future__ import annotations

import os
import tempfile

from gateway.errors import ConfigError


class PidFile:
    """The file at `path`: written at the start, removed at the end if it is still ours."""

    def __init__(self, path: str) -> None:
        # Absolute: the working directory may change.
        self.path = os.path.abspath(path)

    def write(self, *, force: bool = False) -> None:
        """Write this process's number. Raises ConfigError: it can't be written, or another process has it.

        `force`: that process hands it over.
        """
        other = self._read()
        if not force and other and other != os.getpid() and alive(other):
            raise ConfigError(f"--pid: {self.path} belongs to process {other}, which runs; stop it, or name another")
        folder = os.path.dirname(self.path)
        try:
            # Whole or not at all: who reads it meanwhile sees the old one.
            number, path = tempfile.mkstemp(dir=folder, prefix=".gateway-")
            try:
                with open(number, "w", encoding="ascii") as file:
                    file.write(f"{os.getpid()}\n")
                os.chmod(path, 0o644)
                os.rename(path, self.path)
            except BaseException:
                os.unlink(path)
                raise
        except OSError as error:
            raise ConfigError(f"--pid: can't write {self.path}: {error.strerror}") from None

    def remove(self) -> None:
        """Remove the file, unless another process has written it since."""
        if self._read() == os.getpid():
            try:
                os.unlink(self.path)
            except OSError:
                pass

    def _read(self) -> int:
        """The number in the file, 0 for none."""
        try:
            with open(self.path, encoding="ascii") as file:
                return int(file.read(32))
        except (OSError, ValueError):
            return 0


def alive(pid: int) -> bool:
    """Whether there is such a process."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # Somebody else's.
        return True
    return True
