"""What every response is given."""

from .. import values
from .option import Option, table

OPTIONS = table(
    "Responses",
    Option("server_header", values.SWITCH, True, "send a Server field"),
    Option("date_header", values.SWITCH, True, "send a Date field"),
    Option(
        "header",
        values.HEADERS,
        (),
        "a field for every response",
        flags=("--add-header",),
        names=("headers",),
        repeatable=True,
    ),
)
