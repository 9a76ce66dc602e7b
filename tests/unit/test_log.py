"""Error log and access log: where they go, how they look, and that they leave other loggers alone."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import select
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from gateway import log
from gateway.config import Config
from gateway.errors import ConfigError

LINE = re.compile(r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}\] \[(\d+)\] \[(\w+)\] (.*)")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Loggers are the process's: put them back."""
    root = list(logging.root.handlers)
    yield
    for name in (log.ERROR_LOGGER, log.ACCESS_LOGGER):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(logging.NOTSET)
        logger.propagate = True
    assert logging.root.handlers == root


def configure(**options) -> log.Loggers:
    return log.configure(Config(**options).log)


# -- Error log


def test_lines_on_stderr(capsys):
    loggers = configure()
    loggers.error.info("Listening at: %s", "http://127.0.0.1:8000")
    match = LINE.fullmatch(capsys.readouterr().err.rstrip("\n"))
    assert match is not None
    assert match.groups() == (str(os.getpid()), "INFO", "Listening at: http://127.0.0.1:8000")
    assert loggers.error.name == "gateway.error"


def test_a_traceback_follows_the_line(capsys):
    try:
        raise ValueError("x")
    except ValueError:
        configure().error.exception("Failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith("[ERROR] Failed")
    assert lines[-1] == "ValueError: x"


def test_what_stderr_is_now_counts(monkeypatch, capsys):
    loggers = configure()
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    loggers.error.error("here")
    assert "here" in stream.getvalue()
    monkeypatch.setattr(sys, "stderr", None)
    loggers.error.error("nowhere")


@pytest.mark.parametrize(
    ("level", "shown"),
    [("trace", 6), ("debug", 5), ("info", 4), ("warning", 3), ("error", 2), ("critical", 1)],
)
def test_levels(capsys, level, shown):
    loggers = configure(log_level=level)
    for number in (5, 10, 20, 30, 40, 50):
        loggers.error.log(number, "x")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == shown
    assert ("[TRACE]" in lines[0]) == (level == "trace")


def test_twice_does_not_double_lines(capsys):
    configure(log_level="debug")
    loggers = configure()
    loggers.error.info("once")
    loggers.error.debug("not now")
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_root_handlers_get_nothing(capsys, caplog):
    configure().error.error("x")
    assert caplog.records == []


def test_handlers_of_the_embedding_program_stay(capsys):
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    logger = logging.getLogger("gateway.error")
    handler = Collect()
    logger.addHandler(handler)
    loggers = configure()
    loggers.error.info("x")
    assert logger.handlers == [handler]
    assert [record.getMessage() for record in records] == ["x"]
    assert logger.propagate
    assert capsys.readouterr().err == ""
    loggers.close()
    assert logger.handlers == [handler]


def test_error_file(tmp_path):
    path = tmp_path / "error.log"
    path.write_text("before\n")
    loggers = configure(error_logfile=path)
    loggers.error.info("ü \udc80")
    loggers.close()
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "before"
    assert LINE.fullmatch(lines[1])[3] == "ü \\udc80"
    assert loggers.error.handlers == []


def test_error_file_that_can_not_be_opened(tmp_path, capsys):
    path = tmp_path / "no" / "error.log"
    with pytest.raises(ConfigError, match=rf"^--error-logfile: can't open {path}: No such file or directory$"):
        configure(error_logfile=path)


def test_reopen(tmp_path):
    error, access = tmp_path / "error.log", tmp_path / "access.log"
    loggers = configure(error_logfile=error, access_logfile=access)
    loggers.error.info("one")
    loggers.access(b"one\n")
    for path in (error, access):
        path.rename(path.with_suffix(".old"))
    loggers.error.info("two")
    loggers.access(b"two\n")
    loggers.reopen()
    loggers.error.info("three")
    loggers.access(b"three\n")
    for path in (error, access):
        assert path.with_suffix(".old").read_text().count("\n") == 2
        assert path.read_text().count("three\n") == 1
    loggers.close()


def test_nothing_stays_open(tmp_path):
    loggers = configure(error_logfile=tmp_path / "e", access_logfile=tmp_path / "a")
    before = set(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else set()
    loggers.reopen()
    loggers.reopen()
    if before:
        assert len(set(os.listdir("/proc/self/fd"))) == len(before)
    # Nor locked: another thread can still write.
    thread = threading.Thread(target=loggers.error.info, args=("x",), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    loggers.close()


@pytest.mark.skipif(sys.platform == "win32", reason="permission bits")
def test_others_may_read_but_not_write_an_access_log(tmp_path):
    mask = os.umask(0)
    try:
        configure(access_logfile=tmp_path / "a").close()
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_reopen_that_fails_keeps_the_files(tmp_path, monkeypatch):
    folder = tmp_path / "logs"
    folder.mkdir()
    loggers = configure(error_logfile=folder / "e", access_logfile=folder / "a")
    moved = tmp_path / "moved"
    folder.rename(moved)
    loggers.reopen()
    loggers.access(b"line\n")
    loggers.close()
    assert (moved / "a").read_text() == "line\n"
    text = (moved / "e").read_text()
    assert text.count("can't be opened anew: No such file or directory") == 2


# -- Access log


def test_no_access_log_by_default():
    assert configure().access is None


def test_access_file(tmp_path):
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    loggers = configure(access_logfile=path)
    loggers.access(b"one\n")
    # Each line is there at once.
    assert path.read_bytes() == b"before\none\n"
    loggers.access(b"two\n")
    assert path.read_bytes() == b"before\none\ntwo\n"
    loggers.close()


def test_access_file_that_can_not_be_opened(tmp_path):
    with pytest.raises(ConfigError, match=r"^--access-logfile: can't open .*: Is a directory$"):
        configure(access_logfile=tmp_path)


def test_access_log_on_stdout(capfd):
    loggers = configure(access_logfile="-")
    loggers.access(b"a line\n")
    loggers.reopen()
    loggers.access(b"another\n")
    loggers.close()
    assert capfd.readouterr().out == "a line\nanother\n"
    os.fstat(1)  # still open


def test_a_short_write_is_completed(tmp_path, monkeypatch):
    path = tmp_path / "access.log"
    loggers = configure(access_logfile=path)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    loggers.access(b"a long line\n")
    assert path.read_text() == "a long line\n"
    loggers.close()


class Reports(list):
    """What an access file reports; `now` is its clock."""

    now = 1000.0

    def file(self, path, interval=0.0) -> log.AccessFile:
        return log.AccessFile(str(path), self.append, interval)


@pytest.fixture
def reports(monkeypatch):
    found = Reports()
    monkeypatch.setattr(log, "monotonic", lambda: found.now)
    return found


def failing(error=28):
    def write(fd, data):
        raise OSError(error, os.strerror(error))

    return write


def test_lost_lines_are_counted_and_reported_now_and_then(tmp_path, monkeypatch, reports):
    path = tmp_path / "access.log"
    file = reports.file(path)
    real = os.write
    monkeypatch.setattr(os, "write", failing())
    file.write(b"lost\nlost\n")
    file.write(b"lost\n")
    message = f"Access log {path}: can't write: No space left on device; lines lost: "
    assert reports == [message + "2"]
    monkeypatch.setattr(os, "write", real)
    file.write(b"kept\n")
    assert len(reports) == 1
    reports.now += 60
    monkeypatch.setattr(os, "write", failing())
    file.write(b"lost\n")
    assert reports[1:] == [message + "2"]
    file.write(b"lost\n")
    monkeypatch.undo()
    file.close()
    assert reports[2:] == [message + "1"]
    assert file.lost == 5
    assert path.read_bytes() == b"kept\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_full_disk(reports):
    file = reports.file("/dev/full")
    for _ in range(3):
        assert file.write(b"a\nb\n") == 0
    assert not file.waiting
    file.close()
    assert file.lost == 6
    assert reports[0] == "Access log /dev/full: can't write: No space left on device; lines lost: 2"


def test_the_line_after_a_torn_one_is_whole(tmp_path, monkeypatch, reports):
    """The disk has had room for the beginning of a line only."""
    path = tmp_path / "access.log"
    file = reports.file(path)
    real = os.write
    room = [8]

    def write(fd, data):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(fd, data[: room[0]])
        room[0] -= written
        return written

    monkeypatch.setattr(os, "write", write)
    file.write(b"first\nsecond\nthird\n")
    file.write(b"fourth\n")
    room[0] = 1000
    file.write(b"fifth\n")
    file.write(b"sixth\n")
    file.close()
    assert path.read_bytes() == b"first\nse\nfifth\nsixth\n"
    assert file.lost == 3


@contextlib.contextmanager
def piped_stdout(monkeypatch):
    """Standard output is a pipe; both ends, unbuffered files."""
    read_end, write_end = os.pipe()
    with open(read_end, "rb", buffering=0) as reader, open(write_end, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdout", writer)
        yield reader, writer
        monkeypatch.undo()


def test_closed_pipe(monkeypatch, reports):
    with piped_stdout(monkeypatch) as (reader, _):
        file = log.AccessFile("-", reports.append)
        reader.close()
        file.write(b"a\n")
        file.write(b"b\n")
    assert file.lost == 2
    assert reports == ["Access log -: can't write: Broken pipe; lines lost: 1"]


def test_writes_to_a_pipe_are_not_torn(monkeypatch):
    """Another process's lines may come between two writes, and into one of more than PIPE_BUF bytes."""
    writes: list[bytes] = []
    lines = [b"x" * size + b"\n" for size in (10, 4000, 300, 4095, 0, 9000, 5, 4090, 1)]
    with piped_stdout(monkeypatch) as _:
        monkeypatch.setattr(os, "write", lambda fd, data: writes.append(bytes(data)) or len(data))
        log.AccessFile("-", print).write(b"".join(lines))
    assert b"".join(writes) == b"".join(lines)
    assert all(data.endswith(b"\n") for data in writes)
    assert all(len(data) <= select.PIPE_BUF or data.count(b"\n") == 1 for data in writes)
    assert len(writes) < len(lines)


def test_full_pipe(monkeypatch, reports):
    """A pipe that is not waited for: lines wait, up to a bound, and come whole and in order."""
    line = b"x" * 996 + b"\n"
    sent = b"".join(b"%03d" % number + line for number in range(500))
    with piped_stdout(monkeypatch) as (reader, writer):
        os.set_blocking(writer.fileno(), False)
        os.set_blocking(reader.fileno(), False)
        file = log.AccessFile("-", reports.append, 0.5)
        for at in range(0, len(sent), 5000):
            file.write(sent[at : at + 5000])
        assert file.waiting
        assert file.lost == 0
        received = b""
        while len(received) < len(sent):
            received += reader.read(1 << 20)
            file.flush()
        assert received == sent
        assert not file.waiting
        for _ in range(20):
            file.write(sent[:100_000])
        lost = file.lost
        assert 0 < lost < 2000
        assert len(reports) == 1
        file.close()
    assert file.lost - lost == log.WAITING // 1000
    assert sum(int(report.rpartition(" ")[2]) for report in reports) == file.lost
    assert reports[0].startswith("Access log -: can't write: the reader is too slow; lines lost: ")


@pytest.mark.skipif(sys.platform == "win32", reason="terminals of POSIX")
def test_lines_for_a_terminal_are_not_collected(tmp_path):
    import pty

    master, slave = pty.openpty()
    try:
        assert log.AccessFile(os.ttyname(slave), print, 0.5).limit == 0
    finally:
        os.close(master)
        os.close(slave)
    assert log.AccessFile(str(tmp_path / "a"), print, 0.5).limit == log.COLLECTED
    assert log.AccessFile(str(tmp_path / "a"), print, 0.0).limit == 0


def test_what_is_collected_is_written_before_reopening_and_closing(tmp_path, reports):
    path = tmp_path / "a"
    file = reports.file(path, 0.5)
    collected = [b"one\n"]
    file.attach(lambda: collected and file.write(collected.pop()))
    path.rename(tmp_path / "old")
    file.reopen()
    collected.append(b"two\n")
    file.close()
    assert (tmp_path / "old").read_bytes() == b"one\n"
    assert path.read_bytes() == b"two\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_collected_lines_are_written_once_whatever_ends(tmp_path):
    """At the end of the process, and not by a child that has them too."""
    path = tmp_path / "a"
    code = f"""
import os, sys
from gateway.log import AccessFile
file = AccessFile({str(path)!r}, print, 0.5)
collected = [b"line\\n"]
file.attach(lambda: collected and file.write(collected.pop()))
child = os.fork()
if child:
    os.waitpid(child, 0)
    assert not os.path.getsize({str(path)!r})
sys.exit(3)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=30).returncode == 3
    assert path.read_bytes() == b"line\n"


def test_lines_after_close_are_lost_quietly(tmp_path, capsys):
    loggers = configure(access_logfile=tmp_path / "a")
    loggers.close()
    loggers.access(b"x\n")
    assert loggers.access_file.lost == 1


def test_lines_for_an_embedding_program():
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger = logging.getLogger("gateway.access")
    logger.addHandler(Collect())
    logger.setLevel(logging.INFO)
    logger.propagate = False
    loggers = configure()
    loggers.access(b"100% %s\n")
    assert lines == ["100% %s"]


# -- Colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("option", "stream", "environ", "wanted"),
    [
        (None, Terminal(), {}, True),
        (None, io.StringIO(), {}, False),
        (None, None, {}, False),
        (None, Terminal(), {"NO_COLOR": "1"}, False),
        (None, Terminal(), {"NO_COLOR": ""}, True),
        (None, Terminal(), {"TERM": "dumb"}, False),
        (None, io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (None, Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (True, io.StringIO(), {"NO_COLOR": "1"}, True),
        (False, Terminal(), {"FORCE_COLOR": "1"}, False),
    ],
)
def test_colors_wanted(option, stream, environ, wanted):
    assert log.wants_colors(option, stream, environ) is wanted


def test_colors(capsys):
    loggers = configure(use_colors=True)
    loggers.error.warning("x")
    assert "[\033[33mWARNING\033[0m] x" in capsys.readouterr().err
    loggers = configure(use_colors=False)
    loggers.error.warning("x")
    assert "[WARNING] x" in capsys.readouterr().err


def test_colors_do_not_leak_into_other_handlers():
    record = logging.LogRecord("x", logging.INFO, "", 1, "m", None, None)
    assert "\033" in log.Formatter(colors=True).format(record)
    assert "\033" not in log.Formatter().format(record)


def test_a_file_has_colors_only_when_told(tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    loggers = configure(error_logfile=tmp_path / "e")
    loggers.error.info("x")
    loggers.close()
    assert "\033" not in (tmp_path / "e").read_text()


def test_importing_changes_no_logger():
    code = (
        "import logging; import gateway.log; "
        "assert not logging.root.handlers; assert not logging.getLogger('gateway.error').handlers"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
