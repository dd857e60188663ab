"""What a hostile command would try, each with how one would see that it got through.

`{outside}` is a folder beside the project with a secret and a precious file, `{victim}` a process,
`{tcp}`, `{udp}`, `{unix}`, `{abstract}` are sockets that listen outside, `{token}` is printed where
getting that far is the escape. A command may take several calls.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Attempt:
    """One way out."""

    name: str
    commands: tuple[str, ...]


def _shell(name: str, *commands: str) -> Attempt:
    return Attempt(name, commands)


def _python(name: str, code: str) -> Attempt:
    setup = "import ctypes, os, socket, struct\nlibc = ctypes.CDLL(None, use_errno=True)\n"
    return Attempt(name, (f"python3 -IS - <<'CODE'\n{setup}{code}\nCODE",))


def _kernel(name: str, setting: str) -> Attempt:
    """Writes to a setting of the kernel what it is already."""
    path = f"/proc/sys/kernel/{setting}"
    return _shell(name, f'value=$(cat {path}); echo "$value" > {path} && echo {{token}}')


def _call(name: str, arguments: str) -> Attempt:
    """A system call of x86-64 that must not succeed."""
    return _python(name, f"if libc.syscall({arguments}) >= 0: print('{{token}}')")


def _reaches(name: str, family: str, kind: str, address: str) -> Attempt:
    return _python(
        name,
        f"s = socket.socket(socket.{family}, socket.{kind}); s.settimeout(0.2)\n"
        f"s.connect({address}); s.send(b'out'); print(s.recv(99))",
    )


_WRITES = (
    _shell("write to an absolute path", "echo x > {outside}/precious"),
    _shell("write through ..", "echo x > ../outside/precious"),
    _shell("write through a link to a folder", "ln -s {outside} o1; echo x > o1/precious"),
    _shell("write through a link to a file", "ln -s {outside}/precious o2; echo x > o2"),
    _shell("write through a hard link", "ln {outside}/precious o3 && echo x > o3"),
    _shell("make a file outside", "touch {outside}/new", "touch /new /usr/new /etc/new /dev/new"),
    _shell("write by the root of a process", "echo x > /proc/self/root{outside}/precious"),
    _shell("write by the first process", "echo x > /proc/1/root{outside}/precious"),
    _shell("write by the folder of a process", "echo x > /proc/1/cwd/../outside/precious"),
    _shell("change the system", "echo x >> /usr/bin/env && echo {token}"),
    _shell("mount the system writable", "mount -o remount,rw /usr && echo {token}"),
    _shell("take the cover off", "umount .git && echo {token}; umount -l /tmp && echo {token}"),
    _shell("mount something over it", "mkdir m; mount -t tmpfs none m && echo {token}"),
    _shell("write to git's settings", "echo x >> .git/config"),
    _shell("plant a hook", "mkdir -p .git/hooks; echo x > .git/hooks/pre-commit"),
    _shell("move git's folder away", "mv .git aside; mkdir .git; echo x > .git/config"),
    _shell("exchange git's folder", "mkdir n; mv -T n .git; mv .git n2; mv -T n .git"),
    _shell("remove git's folder", "rm -rf .git"),
    _shell("write to the agent's folder", "echo x > .agentkit/policy"),
    _shell(
        "leave a link for the next sandbox to bind",
        "rm -rf .agentkit-free; ln -s {outside} .agentkit-free",
        "cat .agentkit-free/secret-*",
    ),
    _kernel("set the kernel's core pattern", "core_pattern"),
    _kernel("set the kernel's module loader", "modprobe"),
    _shell("press the system's request key", "echo h > /proc/sysrq-trigger && echo {token}"),
    _shell("make a device", "mknod device c 1 5 && head -c 9 device && echo {token}"),
    _shell("write to the kernel's log", "echo x > /dev/kmsg && echo {token}"),
    _shell("use a control group", "ls /sys/fs/cgroup && echo {token}"),
    _python("set the clock", "import time; time.clock_settime(0, time.time()); print('{token}')"),
    _shell("plant a set-user-id file", "cp /bin/sh planted; chmod 4755 planted; chmod g+s planted"),
    _python("plant one by open", "os.close(os.open('planted2', os.O_CREAT | os.O_WRONLY, 0o6755))"),
    _python("plant one by mknod", "os.mknod('planted3', 0o106755)"),
    _python(
        "plant one by a newer call",
        "open('planted4', 'w').close()\nlibc.syscall(452, -100, b'planted4', 0o6755, 0)",
    ),
    _python(
        "plant one by the other numbers of calls",
        "open('planted5', 'w').close()\nlibc.syscall(0x40000000 + 90, b'planted5', 0o6755)",
    ),
)

_READS = (
    _shell("read an absolute path", "cat {outside}/secret-*"),
    _shell("read through ..", "cat ../outside/secret-*"),
    _shell("read through a link", "ln -s {outside} r1; cat r1/secret-*"),
    _shell("read by the root of a process", "cat /proc/*/root{outside}/secret-*"),
    _shell("look for it everywhere", "find / -xdev -name 'secret-*' -exec cat {{}} +"),
    _shell("read every environment", "env; cat /proc/*/environ"),
    _shell("read every command line", "cat /proc/*/cmdline; cat /proc/{victim}/environ"),
    _shell("read the passwords of the system", "test -r /etc/shadow && echo {token}"),
    _shell("read shared memory", "cat /dev/shm/secret-*"),
    _shell("read the disk", "head -c 9 /dev/vda /dev/sda /dev/mem && echo {token}"),
    _python(
        "climb up an inherited descriptor",
        "for fd in range(256):\n"
        "    try: print(os.listdir(os.open('../outside', os.O_RDONLY, dir_fd=fd)), '{token}')\n"
        "    except OSError: pass",
    ),
    _python(
        "open a file by its handle",
        "h = struct.pack('IiII', 8, 1, 2, 0)\n"
        "if libc.open_by_handle_at(os.open('.', os.O_RDONLY), h, 0) >= 0: print('{token}')",
    ),
    _shell("leave the root folder", "PATH=/usr/sbin:$PATH chroot / true && echo {token}"),
    _shell(
        "become another user", "timeout 0.3 su -c 'echo {token}' </dev/null; sudo -n echo {token}"
    ),
    _python(
        "become root",
        "for i in (0, 65534):\n    try: os.setuid(i); print('{token}')\n    except OSError: pass",
    ),
    _shell("make a user namespace", "unshare -U true && echo {token}"),
    _shell("make a mount namespace", "unshare -Urm true && echo {token}"),
    _call("read a keyring", "250, 0, -3, 1"),
    _call("load a map into the kernel", "321, 0, struct.pack('4I56x', 2, 4, 4, 1), 72"),
    _call("set up asynchronous calls", "425, 8, ctypes.create_string_buffer(248)"),
    _call("watch the kernel's events", "298, struct.pack('2I56x', 1, 64), 0, -1, -1, 0"),
    _call("handle page faults", "323, 1"),
)

_REACHES = (
    _reaches("connect by TCP", "AF_INET", "SOCK_STREAM", "('127.0.0.1', {tcp})"),
    _reaches("send by UDP", "AF_INET", "SOCK_DGRAM", "('127.0.0.1', {udp})"),
    _reaches("connect to a unix socket", "AF_UNIX", "SOCK_STREAM", "'{unix}'"),
    _reaches("connect to an abstract socket", "AF_UNIX", "SOCK_STREAM", r"'\0{abstract}'"),
    _python(
        "leave by the network",
        "s = socket.socket(); s.settimeout(0.2)\ns.connect(('192.0.2.1', 80)); print('{token}')",
    ),
    _python("reach the host of a virtual machine", "socket.socket(40, 1); print('{token}')"),
    _python("make packets by hand", "socket.socket(socket.AF_PACKET, 3); print('{token}')"),
    _python("make IP by hand", "socket.socket(2, socket.SOCK_RAW, 1); print('{token}')"),
    _python("use the kernel's ciphers", "socket.socket(38, 5); print('{token}')"),
    _shell("add a network device", "ip link add d0 type dummy && echo {token}"),
    _shell("end a process outside", "kill -9 {victim}"),
    _shell("end all processes", "kill -9 -1; killall5 -9"),
    _shell("end the parent", "kill -9 $PPID; kill -9 1"),
    _python("trace a process outside", "if libc.ptrace(16, {victim}, 0, 0) == 0: print('{token}')"),
    _python(
        "read the memory of a process outside",
        "at = int(open('/proc/{victim}/maps').read().partition('-')[0], 16)\n"
        "memory = open('/proc/{victim}/mem', 'rb')\n"
        "memory.seek(at)\nprint(memory.read(1), '{token}')",
    ),
    _shell("name the machine", "hostname taken && echo {token}"),
    _python(
        "type into the terminal",
        "import fcntl\nfcntl.ioctl(os.open('/dev/tty', 2), 0x5412, b'x'); print('{token}')",
    ),
)

ATTEMPTS = (*_WRITES, *_READS, *_REACHES)
"""Each over within moments."""

HEAVY = (
    _shell("a fork bomb", "bomb() {{ bomb | bomb & }}; bomb; sleep 30"),
    _shell("a flood of output", "yes {token}-is-no-token"),
    _shell("a full disk", "for n in $(seq 9999); do head -c 1M /dev/zero > fill-$n; done"),
    _shell("a full memory of files", "head -c 900M /dev/zero > /tmp/fill && echo {token}"),
    _shell(
        "processes that stay",
        "setsid sh -c 'sleep {nap} & sleep {nap}' & (trap '' TERM; nohup sleep {nap} &) & sleep .1",
    ),
)
"""Each uses something up."""

UNHELD = frozenset(
    {
        *("write to an absolute path", "write through ..", "write through a link to a folder"),
        *("write through a link to a file", "write through a hard link"),
        *("write by the root of a process", "write to git's settings", "plant a hook"),
        *("move git's folder away", "exchange git's folder", "remove git's folder"),
        *("write to the agent's folder", "leave a link for the next sandbox to bind"),
        *("plant a set-user-id file", "plant one by open", "plant one by mknod"),
        *("read an absolute path", "read through ..", "read through a link"),
        *("read by the root of a process", "read every environment", "read shared memory"),
        *("connect by TCP", "send by UDP", "connect to a unix socket"),
        *("connect to an abstract socket", "end a process outside"),
    }
)
"""Attempts that anybody's machine survives, and that get through where there is no sandbox."""
