"""StreamTransport: what a connection writes to, over an asyncio transport.

Files go out with our own sendfile(2): uvloop has no `loop.sendfile`, and asyncio's can't be told to stop. The loop
forbids watching a transport's own descriptor, so a duplicate of it is watched; and the transport's queue has to be
empty before, since what is in it comes first.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import functools
import os
from typing import Any

FILE_TURN = 1048576
"""Bytes of one file sent in one turn of the loop, so that other connections get theirs."""

READ_SIZE = 262144
"""Bytes of a file read at once where sendfile(2) can't be used."""

JOIN_SIZE = 65536
"""Bytes up to which parts are copied into one write: cheaper than one more call and one more segment."""

RETRY = 0.05
"""Seconds until another try when there was no descriptor left to watch the socket by."""

# Where the socket or the file is of a kind that sendfile(2) does not do.
NO_SENDFILE = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "ENOSYS", "ENOTSOCK", "ENOTSUP", "EOPNOTSUPP", "EOVERFLOW", "ESPIPE")
    if hasattr(errno, name)
)


@functools.cache
def transport_class(base: Any) -> Any:
    """The `StreamTransport` class for one build of the request path; `base` is its module `kernels.base`."""

    class StreamTransport(base.Transport):  # type: ignore[misc]
        """One connection's output, and the brake on its input.

        `high_water` is the number of queued bytes above which the connection is told to pause. `sendfile` lets the
        system send files. Made before the asyncio transport is there, which `attach` brings.
        """

        __slots__ = (
            "connection",
            "context",
            "ended",
            "file",
            "high_water",
            "loop",
            "paused",
            "protocol",
            "sendfile",
            "transport",
            "writing_paused",
        )

        def __init__(
            self,
            loop: asyncio.AbstractEventLoop,
            context: contextvars.Context,
            high_water: int,
            sendfile: bool = True,
        ) -> None:
            self.loop = loop
            self.context = context
            self.high_water = high_water
            self.sendfile = sendfile
            self.connection: Any = None
            self.transport: Any = None
            self.protocol: Any = None
            self.file: FileSender | None = None
            self.paused = False
            self.ended = False
            self.writing_paused = False

        def attach(self, transport: Any, protocol: Any) -> None:
            """The connection is made."""
            self.transport = transport
            self.protocol = protocol
            self.connection = protocol.connection
            transport.set_write_buffer_limits(self.high_water)

        def descriptor(self) -> int:
            """The socket's descriptor, below 0 once closed."""
            sock = self.transport.get_extra_info("socket")
            return -1 if sock is None else int(sock.fileno())

        def detach(self) -> None:
            """The connection is lost."""
            if self.file is not None:
                self.file.stop()
                self.file = None
            self.connection = None
            self.protocol = None

        def write(self, data: bytes) -> int:
            # After a reset, `lost` comes a turn later; asyncio would log every write until then.
            if not self.transport.is_closing():
                self.transport.write(data)
            return 0

        def write_parts(self, parts: list[bytes]) -> int:
            # Not `writelines`: on the stock loop of several versions it forgets to pause the writer (CVE-2024-12254).
            if sum(map(len, parts)) <= JOIN_SIZE:
                self.write(b"".join(parts))
            else:
                for part in parts:
                    self.write(part)
            return 0

        def buffered(self) -> int:
            return self.transport.get_write_buffer_size()  # type: ignore[no-any-return]

        def pause_reading(self) -> int:
            if not self.paused and not self.ended:
                self.paused = True
                self.transport.pause_reading()
            return 0

        def resume_reading(self) -> int:
            # After the end of input there is nothing to read but the same end, again.
            if self.paused and not self.ended:
                self.paused = False
                self.transport.resume_reading()
            return 0

        def shutdown_write(self) -> bool:
            transport = self.transport
            if transport.is_closing() or not transport.can_write_eof():
                return False
            try:
                transport.write_eof()
            except (OSError, RuntimeError):
                # The peer has reset the connection; `lost` is on its way.
                return False
            return True

        def close(self) -> int:
            self.transport.close()
            return 0

        def abort(self) -> int:
            if self.file is not None:
                # Kept until `detach`: how much of it was sent is still asked for.
                self.file.stop()
            self.transport.abort()
            return 0

        def send_file(self, descriptor: int, offset: int, count: int) -> int:
            try:
                self.file = FileSender(self, descriptor, offset, count)
            except OSError as error:
                self.loop.call_soon(self.connection.file_sent, error, context=self.context)
                return 0
            # In a later turn: a small file would be out at once, and `file_sent` must not come before this returns.
            # By then uvloop, which writes at the end of a turn, has most likely emptied its queue.
            self.loop.call_soon(self.file.run, context=self.context)
            return 0

        def file_progress(self) -> int:
            return self.file.sent if self.file is not None else 0

        def schedule(self, connection: Any) -> int:
            self.loop.call_soon(connection.resume, context=self.context)
            return 0

        def switch(self, connection: Any) -> int:
            self.connection = connection
            self.protocol.switch(connection)
            # uvloop's transport has kept the methods of the protocol.
            self.transport.set_protocol(self.protocol)
            return 0

    return StreamTransport


class FileSender:
    """One file on its way into one connection; `owner` is the StreamTransport.

    `sent` counts the bytes handed to the system, or to the transport where sendfile(2) can't be used.
    """

    __slots__ = (
        "copying",
        "file",
        "left",
        "offset",
        "owner",
        "reading",
        "sent",
        "socket",
        "stopped",
        "waiting",
        "watched",
    )

    def __init__(self, owner: Any, descriptor: int, offset: int, count: int) -> None:
        self.owner = owner
        # Ours alone: whatever becomes of the caller's, we never send what another file has under that number.
        self.file = os.dup(descriptor)
        self.offset = offset
        self.left = count
        self.sent = 0
        self.stopped = False
        # Whether the transport's queue has to shrink first.
        self.waiting = False
        # sendfile: the socket's descriptor, and its duplicate once that is watched.
        self.socket = -1
        self.watched = -1
        # Reading instead, and whether a read is under way in its thread.
        self.copying = True
        self.reading = False
        transport = owner.transport
        if owner.sendfile and hasattr(os, "sendfile") and transport.get_extra_info("sslcontext") is None:
            sock = transport.get_extra_info("socket")
            if sock is not None:
                self.copying = False
                self.socket = sock.fileno()

    def run(self) -> None:
        """Begin, or go on after the transport's queue has shrunk."""
        if self.stopped:
            return
        if self.copying:
            self.read()
        elif self.owner.buffered():
            # With a high-water mark of zero the writer is resumed when the queue is empty.
            self.waiting = True
            self.owner.transport.set_write_buffer_limits(0)
        else:
            self.send()

    def resumed(self) -> None:
        """The transport's queue is below its low-water mark."""
        if not self.waiting:
            return
        self.waiting = False
        if not self.copying:
            self.owner.transport.set_write_buffer_limits(self.owner.high_water)
        # Not from here, where the transport is in the middle of its own writing.
        self.owner.loop.call_soon(self.run, context=self.owner.context)

    def send(self) -> None:
        """Let the system send the next part."""
        if self.stopped:
            return
        try:
            count = os.sendfile(self.socket, self.file, self.offset, min(self.left, FILE_TURN))
        except (BlockingIOError, InterruptedError):
            self.watch()
            return
        except ConnectionError:
            self.owner.abort()
            return
        except OSError as error:
            if error.errno in NO_SENDFILE:
                self.unwatch()
                self.copying = True
                self.run()
            else:
                self.finish(error)
            return
        if count == 0:
            self.finish(too_short())
            return
        self.offset += count
        self.sent += count
        self.left -= count
        if self.left == 0:
            self.finish(None)
        else:
            self.watch()

    def watch(self) -> None:
        """Go on when the socket takes more, in a later turn."""
        if self.watched >= 0:
            return
        try:
            self.watched = os.dup(self.socket)
        except OSError:
            self.owner.loop.call_later(RETRY, self.send, context=self.owner.context)
            return
        self.socket = self.watched
        self.owner.loop.add_writer(self.watched, self.send)

    def unwatch(self) -> None:
        """Undo `watch`."""
        if self.watched >= 0:
            self.owner.loop.remove_writer(self.watched)
            os.close(self.watched)
            self.watched = -1

    def read(self) -> None:
        """Read the next part, in a thread: a file on a slow disk must not hold up the loop."""
        size = min(self.left, READ_SIZE)
        self.reading = True
        future = self.owner.loop.run_in_executor(None, read_at, self.file, size, self.offset)
        future.add_done_callback(self.have_read, context=self.owner.context)

    def have_read(self, future: asyncio.Future[bytes]) -> None:
        """A part was read."""
        self.reading = False
        if self.stopped or future.cancelled():
            # Marks an exception as seen: nobody wants this part any more.
            if not future.cancelled():
                future.exception()
            self.close_file()
            return
        try:
            data = future.result()
        except OSError as error:
            self.finish(error)
            return
        if not data:
            self.finish(too_short())
            return
        self.offset += len(data)
        self.sent += len(data)
        self.left -= len(data)
        self.owner.transport.write(data)
        if self.stopped:
            return
        if self.left == 0:
            self.finish(None)
        elif self.owner.writing_paused:
            self.waiting = True
        else:
            self.read()

    def close_file(self) -> None:
        """Close our descriptor of the file."""
        if self.file >= 0:
            os.close(self.file)
            self.file = -1

    def finish(self, error: Exception | None) -> None:
        """Tell the connection. Nothing is under way any more."""
        owner = self.owner
        self.stopped = True
        self.unwatch()
        self.close_file()
        owner.file = None
        owner.connection.file_sent(error)

    def stop(self) -> None:
        """Send no more of it; the connection is told by other means."""
        if self.stopped:
            return
        self.stopped = True
        self.unwatch()
        if not self.reading:
            self.close_file()


def too_short() -> OSError:
    return OSError(errno.EIO, "the file is shorter than was promised")


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Read from a duplicate that is ours alone."""
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, offset)
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, size)
