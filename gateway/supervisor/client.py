"""The other end of the control socket."""

from __future__ import annotations

import json
import socket
from types import TracebackType
from typing import Any

from gateway.errors import EXIT_ERROR, EXIT_USAGE, GatewayError

READ_SIZE = 65536


class ControlError(GatewayError):
    """There is no answer. The message is one line; `exit_code` is EXIT_USAGE where the path is at fault."""

    def __init__(self, message: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ControlClient:
    """Talks to the master at `path`. `timeout` is in seconds, for each answer; None waits for as long as it takes.

    Raises ControlError.
    """

    def __init__(self, path: str, timeout: float | None = None) -> None:
        self.path = path
        if not hasattr(socket, "AF_UNIX"):
            raise ControlError("this platform has no Unix sockets", EXIT_USAGE)
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(timeout)
        self._input = b""
        try:
            self._sock.connect(path)
        except (ConnectionRefusedError, TimeoutError, BlockingIOError):
            self._sock.close()
            raise ControlError(f"no server answers at {path}") from None
        except OSError as error:
            self._sock.close()
            reason = "the path is too long" if error.strerror is None else error.strerror
            raise ControlError(f"can't connect to {path}: {reason}", EXIT_USAGE) from None

    def ask(self, command: str, **parameters: Any) -> dict[str, Any]:
        """Give a command. Returns the answer. Raises ControlError: there is none."""
        try:
            self._sock.sendall(json.dumps({"command": command, **parameters}).encode("ascii") + b"\n")
            while b"\n" not in self._input:
                data = self._sock.recv(READ_SIZE)
                if not data:
                    raise ControlError(f"the server at {self.path} has closed the connection")
                self._input += data
        except TimeoutError:
            raise ControlError(f"the server at {self.path} did not answer in time") from None
        except OSError:
            raise ControlError(f"the server at {self.path} is gone") from None
        line, _, self._input = self._input.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or "ok" not in answer:
            raise ControlError(f"what answers at {self.path} is no gateway", EXIT_USAGE)
        return answer

    def wait_closed(self) -> None:
        """Wait until the server has closed the connection: it has ended. Raises ControlError: not in time."""
        try:
            while self._sock.recv(READ_SIZE):
                pass
        except TimeoutError:
            raise ControlError(f"the server at {self.path} did not stop in time") from None
        except OSError:
            pass

    def close(self) -> None:
        """Close the connection."""
        self._sock.close()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
