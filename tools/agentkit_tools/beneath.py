"""Two ways to open a path beneath a directory: by one call, or one component at a time.

Neither follows a symbolic link, and neither leaves the directory; see openat2(2), since Linux 5.6.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from functools import cache

_OPENAT2 = 437  # one of the newer calls, which have the same number everywhere
_RESOLVE = 0x02 | 0x04 | 0x08  # NO_MAGICLINKS, NO_SYMLINKS, BENEATH, of <linux/openat2.h>
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


class _How(ctypes.Structure):
    """`struct open_how` of <linux/openat2.h>."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


def openat2(root: int, relative: str, flags: int) -> int:
    """Opens a path by one system call.

    Args:
        root: Descriptor of the directory.
        relative: The path beneath it.
        flags: As for `os.open`.

    Raises:
        OSError: The error of the kernel; `EXDEV` for a path that leads out, `ELOOP` for a link.
    """
    how = _How(flags | os.O_CLOEXEC, 0, _RESOLVE)
    name = os.fsencode(relative)
    while True:
        opened: int = _libc().syscall(
            ctypes.c_long(_OPENAT2),
            ctypes.c_int(root),
            ctypes.c_char_p(name),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        if opened >= 0:
            return opened
        code = ctypes.get_errno()
        if code not in (errno.EINTR, errno.EAGAIN):  # EAGAIN: something was renamed meanwhile
            raise OSError(code, os.strerror(code), relative)


def walked(root: int, relative: str, flags: int) -> int:
    """Opens one component after the other, for kernels without the call; see `openat2`."""
    descriptor = os.dup(root)
    *folders, name = relative.split("/")
    try:
        for part in folders:
            deeper = os.open(part, _DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
        opened = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
    finally:
        os.close(descriptor)
    if stat.S_ISLNK(os.fstat(opened).st_mode):  # with O_PATH, a link itself is opened
        os.close(opened)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), relative)
    return opened


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def has_openat2(root: int) -> bool:
    """Whether the kernel knows the call and lets this process make it (a container may not)."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        os.close(openat2(root, ".", _DIRECTORY))
    except OSError:
        return False
    return True
