"""The agent's command under the unit's filter of system calls, without systemd.

    python -m tests.edge_agent.health.confined_agent DENIED... -- WORDS...

What is denied ends with EPERM in this process and all threads and children of it, as
`SystemCallErrorNumber=EPERM` says. Numbers are those of x86-64.
"""

from __future__ import annotations

import ctypes
import errno
import struct
import sys

RESOURCES = {
    "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144, "setrlimit": 160,
    "sched_setaffinity": 203, "mbind": 237, "set_mempolicy": 238, "ioprio_set": 251,
    "migrate_pages": 256, "move_pages": 279, "sched_setattr": 314, "set_mempolicy_home_node": 450,
}  # fmt: skip
PRIVILEGED = {
    "chown": 92, "fchown": 93, "lchown": 94, "setuid": 105, "setreuid": 113, "setgroups": 116,
    "setresuid": 117, "setfsuid": 122, "capset": 126, "pivot_root": 155, "adjtimex": 159,
    "chroot": 161, "acct": 163, "settimeofday": 164, "swapon": 167, "reboot": 169,
    "sethostname": 170, "setdomainname": 171, "clock_settime": 227, "kexec_load": 246,
    "fchownat": 260, "fanotify_init": 300, "open_by_handle_at": 304, "clock_adjtime": 305,
    "bpf": 321,
}  # fmt: skip
NUMBERS = RESOURCES | PRIVILEGED

_NO_NEW_PRIVILEGES, _SECCOMP, _BY_FILTER = 38, 22, 2
_LOAD_WORD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def confine(denied: list[str]) -> None:
    """From now on these calls fail. Raises `OSError` where the kernel has no filters."""
    steps = [(_LOAD_WORD, 0, 0, 0)]  # the call's number
    for place, name in enumerate(denied):
        steps.append((_IF_EQUAL, len(denied) - place, 0, NUMBERS[name]))
    steps += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _FAIL | errno.EPERM)]
    program = b"".join(struct.pack("=HBBI", *step) for step in steps)
    libc = ctypes.CDLL(None, use_errno=True)
    for words in (
        (_NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (_SECCOMP, _BY_FILTER, ctypes.byref(_Program(len(steps), program)), 0, 0),
    ):
        if libc.prctl(*words) != 0:
            raise OSError(ctypes.get_errno(), "no filter of system calls")


if __name__ == "__main__":
    split = sys.argv.index("--")
    confine(sys.argv[1:split])
    from cli.main import main

    sys.argv = ["longtail", *sys.argv[split + 1 :]]
    main()
