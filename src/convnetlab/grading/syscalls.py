"""Which system calls the sandbox refuses: those that take memory which nothing else counts.

Shared memory, message queues and files of System V and POSIX belong to no process, so that no
limit and no watching of processes sees them. The others here are of no use to a student, and
have a history of flaws. (Kernel documentation, "Seccomp BPF"; numbers from asm/unistd.h.)
"""

import errno
import platform
import struct
from typing import NamedTuple


class Machine(NamedTuple):
    """A kind of processor: how Linux names it, and its numbers of the refused calls."""

    architecture: int
    refused: tuple[int, ...]


# In turn: shmget, semget, msgget, mq_open, memfd_create, memfd_secret, io_uring_setup, bpf,
# perf_event_open, userfaultfd, add_key, request_key, keyctl.
MACHINES = {
    "x86_64": Machine(0xC000003E, (29, 64, 68, 240, 319, 447, 425, 321, 298, 323, 248, 249, 250)),
    "aarch64": Machine(
        0xC00000B7, (194, 190, 186, 180, 279, 447, 425, 280, 241, 282, 217, 218, 219)
    ),
}
LOAD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT = 0, 4  # bytes into struct seccomp_data
ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000 | errno.EPERM
X32 = 0x40000000  # numbers from here on are x86's second way to call the same


def filter_program() -> bytes:
    """Return the filter for this machine, as struct sock_filter one after another."""
    machine = MACHINES[platform.machine()]
    count = len(machine.refused)
    steps = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_IF_EQUAL, 1, 0, machine.architecture),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_IF_AT_LEAST, count + 1, 0, X32),
        *((JUMP_IF_EQUAL, count - i, 0, number) for i, number in enumerate(machine.refused)),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
    return b"".join(struct.pack("HBBI", *step) for step in steps)
