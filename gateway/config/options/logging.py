"""The error log and the access log."""

from .. import values
from .option import Option, table, timeout

OPTIONS = table(
    "Logging",
    Option(
        "log_level",
        values.TEXT,
        "info",
        "least severe messages in the error log",
        names=("loglevel",),
        choices=("critical", "error", "warning", "info", "debug", "trace"),
    ),
    Option(
        "error_logfile",
        values.PATH,
        "-",
        "error log; - is stderr",
        flags=("--log-file",),
        names=("errorlog",),
        default_text="stderr",
    ),
    Option(
        "access_logfile",
        values.PATH,
        None,
        "access log; - is stdout",
        names=("accesslog",),
        default_text="off",
    ),
    Option(
        "access_log_format",
        values.TEXT,
        "combined",
        "combined, common, short (uvicorn's), json, or a format of gunicorn's atoms such as '%%(h)s %%(s)s %%(M)s'",
        flags=("--access-logformat", "--access-log-fmt"),
        placeholder="FORMAT",
    ),
    timeout(
        "access_log_flush",
        "",
        0.5,
        "most time for which access lines are collected, to be written together; 0: each at once, as on a terminal",
        off=False,
    ),
    Option(
        "use_colors",
        values.AUTO_SWITCH,
        None,
        "colours in the error log; auto: on a terminal, unless NO_COLOR is set",
        default_text="auto",
    ),
)
