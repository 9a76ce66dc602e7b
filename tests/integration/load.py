"""A client that counts: requests at a steady rate, on kept and on fresh connections, none of them ever tried again.

`Load` runs it in a process of its own (`python load.py HOST PORT ...`), so that what it measures is not its neighbour
in the same interpreter. Every request either gets a whole answer of status 200 or is a failure with a name:

- refused, reset: the connection could not be made, or broke;
- closed: it ended in the middle of an answer, or without one, although the request was on its way;
- late: no answer within LATE seconds;
- status NNN: any other answer.

A kept connection that the server closes between two requests is no failure, as long as no request crosses that.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Any

LATE = 20.0


class Connection:
    """One connection and the request that is on it."""

    def __init__(self, load: Generator, keep: bool) -> None:
        self.load = load
        self.keep = keep
        self.begin = 0.0
        self.busy = False
        self.answer = b""
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setblocking(False)
        self.connected = False
        load.selector.register(self.sock, selectors.EVENT_WRITE, self)

    def request(self, now: float) -> None:
        """Send a request, once the connection is there."""
        self.begin = now
        self.busy = True
        self.answer = b""
        if not self.connected:
            code = self.sock.connect_ex(self.load.address)
            if code not in (0, 115, 36):
                self.end(self.name_of(code))
            return
        self.send()

    def send(self) -> None:
        try:
            self.sock.sendall(self.load.kept if self.keep else self.load.fresh)
        except OSError as error:
            self.end(self.name_of(error.errno))

    def ready(self, events: int) -> None:
        if not self.connected:
            code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self.end(self.name_of(code))
                return
            self.connected = True
            self.load.selector.modify(self.sock, selectors.EVENT_READ, self)
            self.send()
            return
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(self.name_of(error.errno) if self.busy else "")
            return
        if not data:
            self.end("closed" if self.busy else "")
            return
        self.answer += data
        head, gap, body = self.answer.partition(b"\r\n\r\n")
        if not gap:
            return
        fields = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in fields if line.startswith(b"content-length:"))
        if len(body) < length:
            return
        status = head[9:12].decode()
        self.busy = False
        self.load.done(self, status, body)
        if b"connection: close" in fields or not self.keep:
            self.end("")
        else:
            self.load.idle.append(self)

    def end(self, failure: str) -> None:
        if failure:
            self.load.failed(failure)
        self.busy = False
        self.load.selector.unregister(self.sock)
        self.sock.close()
        self.load.forget(self)

    def name_of(self, code: int | None) -> str:
        return "refused" if code == 111 else "reset" if code in (104, 32) else os.strerror(code or 0)


class Generator:
    """Requests at `rate` per second; `share` of them on fresh connections, the others on `connections`."""

    def __init__(self, address: tuple[str, int], target: str, rate: float, connections: int, share: float) -> None:
        self.address = address
        self.rate = rate
        self.connections = connections
        self.share = share
        self.kept = f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        self.fresh = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        self.selector = selectors.DefaultSelector()
        self.open: set[Connection] = set()
        self.idle: collections.deque[Connection] = collections.deque()
        self.kept_open = 0
        self.times: list[float] = []
        self.failures: collections.Counter[str] = collections.Counter()
        self.bodies: collections.Counter[str] = collections.Counter()
        self.started = 0
        self.skipped = 0
        self.expired = 0.0
        self.moments: list[tuple[float, str]] = []

    def run(self, seconds: float) -> dict[str, Any]:
        """Until `seconds` are over or standard input ends, and everything is answered."""
        print("begun", flush=True)
        self.selector.register(sys.stdin, selectors.EVENT_READ, None)
        begin = time.monotonic()
        end = begin + seconds
        asked = False
        turn = 0.0
        while True:
            now = time.monotonic()
            if asked or now >= end:
                break
            due = int((now - begin) * self.rate)
            for _ in range(min(due - self.started - self.skipped, 200)):
                turn += self.share
                if turn >= 1.0:
                    turn -= 1.0
                    self.begin(Connection(self, keep=False), now)
                else:
                    self.begin_kept(now)
            asked = self.wait(1.0 / self.rate)
            self.expire(now)
        while any(connection.busy for connection in self.open):
            self.wait(0.1)
            self.expire(time.monotonic())
        self.times.sort()
        return {
            "requests": self.started,
            "failed": dict(self.failures),
            "skipped": self.skipped,
            "moments": self.moments[:20],
            "bodies": dict(self.bodies),
            "seconds": round(time.monotonic() - begin, 3),
            **{f"p{share}": self.percentile(share) for share in (50, 99, 99.9, 100)},
        }

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        if not self.times:
            return 0.0
        return round(self.times[min(len(self.times) - 1, int(len(self.times) * share / 100))] * 1000, 2)

    def begin(self, connection: Connection, now: float) -> None:
        self.open.add(connection)
        self.started += 1
        connection.request(now)

    def begin_kept(self, now: float) -> None:
        if self.kept_open < self.connections:
            self.kept_open += 1
            self.begin(Connection(self, keep=True), now)
        elif self.idle:
            # The one that was idle longest: all of them stay in use.
            connection = self.idle.popleft()
            self.started += 1
            connection.request(now)
        else:
            self.skipped += 1

    def wait(self, seconds: float) -> bool:
        asked = False
        for key, events in self.selector.select(seconds):
            if key.data is None:
                asked = True
                with contextlib.suppress(KeyError):
                    self.selector.unregister(sys.stdin)
            elif key.data in self.open:
                key.data.ready(events)
        return asked

    def expire(self, now: float) -> None:
        if now < self.expired + 1.0:
            return
        self.expired = now
        for connection in tuple(self.open):
            if connection.busy and now - connection.begin > LATE:
                connection.end("late")

    def done(self, connection: Connection, status: str, body: bytes) -> None:
        self.times.append(time.monotonic() - connection.begin)
        if status == "200":
            self.bodies[body.decode("latin-1")] += 1
        else:
            self.failed(f"status {status}")

    def failed(self, name: str) -> None:
        self.failures[name] += 1
        self.moments.append((round(time.monotonic(), 3), name))

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection.keep:
            self.kept_open -= 1
            with contextlib.suppress(ValueError):
                self.idle.remove(connection)


class Load:
    """The generator in a process of its own; `stop` gives what it counted."""

    def __init__(
        self,
        port: int,
        target: str = "/",
        *,
        rate: float = 1000,
        seconds: float = 60,
        connections: int = 32,
        share: float = 0.25,
    ) -> None:
        values = {"--rate": rate, "--seconds": seconds, "--connections": connections, "--share": share}
        options = [text for name, value in values.items() for text in (name, str(value))]
        self.process = subprocess.Popen(
            [sys.executable, __file__, "127.0.0.1", str(port), target, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # It runs by now.
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "begun\n"

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            with contextlib.suppress(OSError):
                stream.close()

    def stop(self) -> dict[str, Any]:
        """End it once all requests are answered. Returns its counts."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.wait()

    def wait(self) -> dict[str, Any]:
        """Let it come to its end. Returns its counts."""
        assert self.process.stdout is not None
        counts: dict[str, Any] = json.loads(self.process.stdout.readline())
        return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("target")
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--share", type=float, default=0.25)
    told = parser.parse_args()
    load = Generator((told.host, told.port), told.target, told.rate, told.connections, told.share)
    print(json.dumps(load.run(told.seconds)))


if __name__ == "__main__":
    main()
