"""A filter of system calls for what namespaces leave open; see seccomp(2) and <linux/filter.h>.

It denies set-user-id and set-group-id bits on files (a command run by root could plant such a file
in the project, for others to run), sockets of families that no network namespace isolates
(AF_VSOCK reaches the host of a virtual machine), kernel keyrings, and calls whose arguments a
filter cannot read (`openat2`, io_uring), which would be a way around the rest.
"""

from __future__ import annotations

import errno
import platform
import socket
import stat
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of one architecture, from <asm/unistd.h> and <linux/audit.h>."""

    audit: int
    modes: tuple[tuple[int, int], ...]
    """Calls that set a mode, each with the position of that argument."""
    opens: tuple[tuple[int, int, int], ...]
    """Calls that may create a file, with the positions of flags and mode."""
    sockets: tuple[int, ...]
    absent: tuple[int, ...]
    x32: bool = False
    """Whether a second set of numbers (the x32 ABI) reaches the same calls."""


_NEWER = (425, 426, 427, 437, 452)
"""io_uring_setup, _enter, _register, openat2, fchmodat2: one number on all architectures."""

MACHINES: Final = {
    "x86_64": _Machine(
        audit=0xC000003E,
        # chmod, fchmod, fchmodat, creat, mknod, mknodat
        modes=((90, 1), (91, 1), (268, 2), (85, 1), (133, 1), (259, 2)),
        opens=((2, 1, 2), (257, 2, 3)),  # open, openat
        sockets=(41, 53),  # socket, socketpair
        # add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd
        absent=(248, 249, 250, 298, 321, 323, *_NEWER),
        x32=True,
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        modes=((52, 1), (53, 2), (33, 2)),  # fchmod, fchmodat, mknodat
        opens=((56, 2, 3),),  # openat
        sockets=(198, 199),
        absent=(217, 218, 219, 241, 280, 282, *_NEWER),
    ),
}
"""The architectures that have a filter, by the names of `platform.machine()`."""

_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 16)  # 16 is AF_NETLINK
_SET_ID = stat.S_ISUID | stat.S_ISGID
_CREATES = 0o100 | 0o20000000  # O_CREAT | __O_TMPFILE, the same on both

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000


def filter_program(machine: str | None = None) -> bytes:
    """The filter as `bwrap --seccomp` reads it: an array of struct sock_filter.

    Args:
        machine: An architecture by the name of `platform.machine()`; by default this one.

    Raises:
        KeyError: It is not in `MACHINES`.
    """
    its = MACHINES[machine or platform.machine()]
    program = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_EQUAL, its.audit, then=1),
        _refuse(errno.ENOSYS),
        _op(_LOAD, _NUMBER),
    ]
    if its.x32:
        program += _if(_AT_LEAST, _X32, [_refuse(errno.ENOSYS)])
    for number in its.absent:
        program += _if(_EQUAL, number, [_refuse(errno.ENOSYS)])
    for number, mode in its.modes:
        program += _call(number, _no_set_id(mode))
    for number, flags, mode in its.opens:
        program += _call(number, [_argument(flags), *_if(_ANY_BIT, _CREATES, _no_set_id(mode))])
    for number in its.sockets:
        program += _call(number, _only_families())
    return b"".join([*program, _op(_RETURN, _ALLOW)])


def _no_set_id(position: int) -> list[bytes]:
    return [_argument(position), *_if(_ANY_BIT, _SET_ID, [_refuse(errno.EPERM)])]


def _only_families() -> list[bytes]:
    tests = [_op(_EQUAL, family, then=len(_FAMILIES) - n) for n, family in enumerate(_FAMILIES)]
    return [_argument(0), *tests, _refuse(errno.EAFNOSUPPORT)]


def _call(number: int, body: Iterable[bytes]) -> list[bytes]:
    """Instructions for one system call; its number is loaded again for the next test."""
    return _if(_EQUAL, number, [*body, _op(_LOAD, _NUMBER)])


def _if(test: int, value: int, body: list[bytes]) -> list[bytes]:
    return [_op(test, value, otherwise=len(body)), *body]


def _argument(position: int) -> bytes:
    """Loads the lower 32 bits of an argument: a mode, flags or a family have no more."""
    return _op(_LOAD, _ARGUMENTS + 8 * position)


def _refuse(code: int) -> bytes:
    return _op(_RETURN, _ERRNO | code)


def _op(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
