"""The states of an HTTP/1.1 connection, and which may follow which.

Rule 1: a connection's state changes only through `HTTP1Connection.enter`, which holds every change against
TRANSITIONS; a change that is not in the table is an error of ours and closes the connection.
Rule 2: after the first error of the peer the only way leads to LINGER or CLOSED: nothing that follows a request we
did not understand is ever read as another request.

::

    IDLE ----> HEAD ----> EXCHANGE ----> DRAIN ----> IDLE (keep-alive)
      |          |            |  |          |
      |          |            |  +----------|------> IDLE
      |          |            |  +----------|------> SWITCHED
      +----------+------------+-------------+------> LINGER ----> CLOSED
"""

# Nothing received since the last exchange, or at all.
IDLE = 0
# A part of a request head has arrived.
HEAD = 1
# A request was accepted; its content or its response, or both, are incomplete.
EXCHANGE = 2
# The response is complete; content that the application left unread is discarded.
DRAIN = 3
# Our last byte is queued and our half closed; input is discarded until the peer closes its half (RFC 9112 9.6).
LINGER = 4
# The transport is gone, or going.
CLOSED = 5
# The transport is another protocol's (RFC 9110 15.2.2).
SWITCHED = 6

NAMES = ("IDLE", "HEAD", "EXCHANGE", "DRAIN", "LINGER", "CLOSED", "SWITCHED")

# A bit for each state that may follow.
TRANSITIONS = (
    1 << HEAD | 1 << EXCHANGE | 1 << LINGER | 1 << CLOSED,
    1 << EXCHANGE | 1 << LINGER | 1 << CLOSED,
    1 << IDLE | 1 << DRAIN | 1 << LINGER | 1 << CLOSED | 1 << SWITCHED,
    1 << IDLE | 1 << LINGER | 1 << CLOSED,
    1 << CLOSED,
    0,
    0,
)
# The same in one number, a byte for each state.
PACKED = sum(row << 8 * state for state, row in enumerate(TRANSITIONS))


def allowed(old: int, new: int) -> bool:
    """Whether a connection may go from state `old` to state `new`."""
    return bool(PACKED >> (8 * old + new) & 1)
