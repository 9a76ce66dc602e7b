"""Every exception of gateway, and whose fault each one is.

::

    GatewayError
      ConfigError               the user's fault: one line, exit code 2
      AppLoadError              the application can't be imported, or its startup failed: exit code 4 or 3
      BindError                 an address can't be listened at; also an OSError; exit code 1
      ProtocolError             one of the two sides broke a rule of HTTP; carries the status that answers it
        RemoteProtocolError     the peer did: answer the status, then close
        LocalProtocolError      the application did: log it, answer 500, or close where the response had begun
      ClientDisconnected        the peer went away; also an OSError, as ASGI 2.4 wants of `send` and PEP 3333
                                applications expect of a truncated upload. Not an error for the log.

Exit codes of the program: 0 stopped as asked, 1 an error of ours, 2 wrong usage, option or configuration,
3 a worker failed to boot, 4 the application failed to load.
"""

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_BOOT = 3
EXIT_APP_LOAD = 4


class GatewayError(Exception):
    """Base of all errors that gateway raises on purpose."""


class ConfigError(GatewayError):
    """An option, a configuration file or an environment variable is wrong.

    The message is one line: where it stands, what is wrong, what to do.
    """


class AppLoadError(GatewayError):
    """The application could not be imported, is not callable, or failed to start.

    `exit_code` is EXIT_APP_LOAD (import) or EXIT_BOOT (startup). `show_traceback` tells whether the cause's own
    traceback helps the reader: it does when the application's code raised, not when the name was mistyped.
    """

    def __init__(self, message: str, *, exit_code: int = EXIT_APP_LOAD, show_traceback: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.show_traceback = show_traceback


class BindError(GatewayError, OSError):
    """An address can't be listened at. The message is one line: the address, the cause, what to do."""


class ProtocolError(GatewayError):
    """A rule of the protocol was broken. `status` answers it: an HTTP status code, or a WebSocket close code."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule: it gets `status`, and the connection closes.

    `fields` are (name, value) byte pairs that go with the status, where a rule asks for some.
    """

    def __init__(self, message: str, status: int = 400, fields: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message, status)
        self.fields = fields


class LocalProtocolError(ProtocolError):
    """The application broke a rule of WSGI, ASGI or HTTP."""

    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message, status)


class ClientDisconnected(GatewayError, OSError):
    """The client is gone: nothing more can be read from it or sent to it."""


def caused_by_disconnect(error: BaseException | None) -> bool:
    """Whether an exception is, or comes of, the client's leaving: nothing the log needs to know.

    Frameworks turn the OSError of a `send` into errors of their own, and task groups wrap them.
    """
    seen = 0
    while error is not None and seen < 20:
        if isinstance(error, ClientDisconnected):
            return True
        if isinstance(error, BaseExceptionGroup):
            return all(map(caused_by_disconnect, error.exceptions))
        error = error.__cause__ or error.__context__
        seen += 1
    return False
