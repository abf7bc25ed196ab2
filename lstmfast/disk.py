"""Regular files: read as they stand, replaced as a whole.

Nothing here waits or hangs: a FIFO, a socket, a device or a folder is refused before it is opened.
Files are read and never mapped, as a mapped file that another process cuts short ends this one.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from contextlib import suppress
from io import FileIO
from typing import Any, BinaryIO

import numpy as np

from .arguments import Array

__all__ = ["Source", "StrPath", "remove", "replace"]

StrPath = str | os.PathLike[str]

KINDS = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"),
         (stat.S_ISCHR, "a character device"), (stat.S_ISBLK, "a block device"))  # fmt: skip
READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
PART = re.compile(r"\.lstmfast-([0-9a-f]{8})-[0-9a-f]{16}\.part")
DAY = 24 * 3600


def check_regular(found: os.stat_result) -> None:
    """Raise ValueError for what is no regular file."""
    if not stat.S_ISREG(found.st_mode):
        what = next((what for is_kind, what in KINDS if is_kind(found.st_mode)), "another")
        raise ValueError(f"expected a regular file, got {what}")


# ---------------------------------------------------------------- reading


class Source:
    """A regular file, open for reading until the `with` block ends.

    Parameters
    ----------
    path : str or path-like
    follow : bool
        Whether the path may be a symbolic link.

    Raises
    ------
    ValueError
        When it is no regular file.
    OSError
        When there is none, or it cannot be opened.

    Attributes
    ----------
    size : int
        In bytes, when it was opened.
    """

    def __init__(self, path: StrPath, follow: bool = True):
        path, flags = os.fspath(path), READ if follow else READ | os.O_NOFOLLOW
        check_regular(os.stat(path, follow_symlinks=follow))
        self._file = FileIO(path, opener=lambda name, _: os.open(name, flags))
        self._found = os.fstat(self._file.fileno())
        self.size = self._found.st_size
        try:
            check_regular(self._found)
        except ValueError:
            self._file.close()
            raise

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()

    def content(self, most: int) -> bytes:
        """Return the whole file; ValueError if it is larger than `most` bytes, or changes."""
        if self.size > most:
            raise ValueError(f"expected a file of at most {most} bytes, got {self.size}")
        found = b""
        while len(found) < self.size:  # once, up to 2 GB
            more = os.pread(self._file.fileno(), self.size - len(found), len(found))
            if not more:
                raise ValueError("expected a file that stays as it is, got one cut short")
            found = found + more if found else more
        self.check_same()
        return found

    def read(self, start: int, length: int) -> Array:
        """Return bytes (length,) uint8, a new array; ValueError if they are not there any more."""
        found = np.empty(length, np.uint8)
        left = memoryview(found)  # type: ignore[arg-type]
        while left:
            count = os.preadv(self._file.fileno(), [left[: 2**30]], start)
            if not count:
                raise ValueError("expected a file that stays as it is, got one cut short")
            left, start = left[count:], start + count
        return found

    def check_same(self) -> None:
        """Raise ValueError if somebody wrote to the file since it was opened."""
        now = os.fstat(self._file.fileno())
        if (now.st_size, now.st_mtime_ns) != (self._found.st_size, self._found.st_mtime_ns):
            raise ValueError("expected a file that stays as it is, got one that was written to")


# ---------------------------------------------------------------- writing


def replace(path: StrPath, content: bytes) -> None:
    """Write a file; an earlier one of that name stays whole until the new one is on the disk.

    A symbolic link stays, and leads to the new file. Permissions, owner and extended attributes of
    an earlier file stay, as far as this process may set them. What processes that were killed left
    in the folder is removed.

    Raises
    ------
    ValueError
        When there is something of that name that is no regular file.
    OSError
        When the folder or the disk does not take it, or an earlier file may not be written to.
    """
    if not os.path.basename(os.fsdecode(path)):
        raise ValueError(f"{os.fsdecode(path)}: expected a regular file, got a folder")
    target = os.path.realpath(os.fsdecode(path))
    folder, before = os.path.dirname(target), _earlier(target)
    _remove_leftovers(folder)
    with _new_part(target, 0o666 if before is None else 0o600) as part:
        try:
            part.write(content)
            part.flush()
            if before is not None:
                _take_over(part.fileno(), target, before)
            os.fsync(part.fileno())
            os.replace(part.name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(part.name)
            raise
    _sync(folder)


def _earlier(target: str) -> os.stat_result | None:
    """Return what is known of the file that is to be replaced."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        os.stat(os.path.dirname(target))  # raises, naming the folder, where that is what lacks
        return None
    try:
        check_regular(found)
    except ValueError as error:
        raise ValueError(f"{target}: {error}") from None
    if not os.access(target, os.W_OK, effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
    return found


def _new_part(target: str, mode: int) -> BinaryIO:
    """Return a new file beside the target, locked until it is closed.

    The lock says that its process lives. Who sees the file before it is locked may take it for a
    leftover and remove it: then there is another.
    """
    while True:
        name = f".lstmfast-{_machine()}-{os.urandom(8).hex()}.part"
        path = os.path.join(os.path.dirname(target), name)
        try:
            part = open(  # noqa: SIM115
                path, "xb", opener=lambda name, flags: os.open(name, flags, mode)
            )
        except OSError as error:
            raise OSError(error.errno, error.strerror, target) from error
        with suppress(OSError):  # a file system without locks
            fcntl.flock(part, fcntl.LOCK_EX)
        if os.fstat(part.fileno()).st_nlink:
            return part
        part.close()


def _machine() -> str:
    """Return eight letters for the running kernel, within which a lock is seen by everybody."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read(8)
    except OSError:
        return "0" * 8


def _take_over(part: int, target: str, before: os.stat_result) -> None:
    """Give the new file owner, attributes and permissions of the earlier one."""
    mode = stat.S_IMODE(before.st_mode) & 0o777
    now = os.fstat(part)
    if now.st_uid != before.st_uid:
        with suppress(OSError):
            os.fchown(part, before.st_uid, -1)
    if now.st_gid != before.st_gid:
        try:
            os.fchown(part, -1, before.st_gid)
        except OSError:  # another group: no more than all others may
            mode &= 0o707 | (mode & 0o007) << 3
    with suppress(OSError):
        for name in os.listxattr(target):
            with suppress(OSError):
                os.setxattr(part, name, os.getxattr(target, name))
    os.fchmod(part, mode)


def _sync(folder: str) -> None:
    """Let the folder's new entry survive a power failure."""
    try:
        opened = os.open(folder, READ | os.O_DIRECTORY)
    except PermissionError:  # one may write into a folder that one may not list
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # which some file systems say
            raise
    finally:
        os.close(opened)


def _remove_leftovers(folder: str) -> None:
    """Remove what processes that were killed in `replace` left in a folder."""
    names: list[str] = []
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if PART.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):
            _remove_if_left(os.path.join(folder, name))


def _remove_if_left(path: str) -> None:
    """Remove one, unless a process that lives may be writing it.

    Of this machine's, since it was started: a process that lives holds a lock. Of others, whose
    locks may not be seen here: what nobody has written to for a day.
    """
    part = os.open(path, READ | os.O_NOFOLLOW)
    try:
        found, match = os.fstat(part), PART.fullmatch(os.path.basename(path))
        old = time.time() - found.st_mtime > DAY
        ours = match is not None and match[1] == _machine() != "0" * 8
        if not stat.S_ISREG(found.st_mode) or not (ours or old):
            return
        try:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        except OSError:  # a file system without locks
            if not old:
                return
        os.unlink(path)
    finally:
        os.close(part)


def remove(path: StrPath) -> None:
    """Remove a file, if there is one, and what killed processes left beside it."""
    target = os.path.abspath(os.fsdecode(path))
    with suppress(FileNotFoundError):
        os.unlink(target)
    _remove_leftovers(os.path.dirname(target))
