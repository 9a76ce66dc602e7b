"""Names of fields, as the applications get them.

Compiled, the names that most requests are made of stand in a table with everything that is made of a name, and a name
is looked up once, when its line is read.
"""

# RFC 3875 4.1.2, 4.1.3: these two are no HTTP_* variables.
_VARIABLES = {b"content-type": "CONTENT_TYPE", b"content-length": "CONTENT_LENGTH"}


def variable(name: bytes) -> str:
    """The CGI variable (RFC 3875 4.1.18) that has the field `name` (lower case)."""
    return _VARIABLES.get(name) or "HTTP_" + name.decode("ascii").upper().replace("-", "_")
