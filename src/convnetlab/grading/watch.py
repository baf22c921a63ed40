"""What a kernel and all that it started take, looked at from outside."""

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from convnetlab.grading.records import Limits

FREE = 256 * 2**20  # bytes: the machine itself must keep so much
OWN_GROWTH = 2**30  # bytes: by how much the parent may grow over what a kernel sends
FILES = 20_000  # in one folder in memory: each takes some of the machine's
FULL = 0.98


@dataclass(frozen=True)
class Usage:
    """What a kernel takes at a moment.

    Attributes:
        memory: bytes resident, of all processes together.
        processes: and threads, together.
    """

    memory: int
    processes: int


def usage(process: int, enough: int) -> Usage:
    """Return what a process and its descendants take; nothing of a process that is gone.

    Pages that processes share are counted once each, and with care, which takes time, only if more
    than `enough` bytes come out.
    """
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process)
        family = [root, *root.children(recursive=True)]
        taken = total(family, resident)
        return taken if taken.memory <= enough else total(family, proportional)
    return Usage(0, 0)


def total(family: Sequence[psutil.Process], memory_of: Callable[[psutil.Process], int]) -> Usage:
    """Return the sum of what processes take, of those that are still there."""
    memory = processes = 0
    for member in family:
        with contextlib.suppress(psutil.Error, OSError, ValueError, StopIteration):
            memory += memory_of(member)
            processes += member.num_threads()
    return Usage(memory, processes)


def resident(process: psutil.Process) -> int:
    """Return a process's resident bytes."""
    return int(process.memory_info().rss)


def proportional(process: psutil.Process) -> int:
    """Return a process's resident bytes, of which what several share counts in part."""
    rolled = Path(f"/proc/{process.pid}/smaps_rollup")
    if not rolled.exists():
        return resident(process)
    lines = rolled.read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def full_folder(places: Sequence[str]) -> str:
    """Return the first of the folders in memory that is full, or holds too many files, or ""."""
    for place in places:
        with contextlib.suppress(OSError):
            found = os.statvfs(place)
            is_full = found.f_blocks and found.f_bfree < found.f_blocks * (1 - FULL)
            if is_full or found.f_files - found.f_ffree > FILES:
                return place
    return ""


@dataclass(frozen=True)
class Fault:
    """Why a cell is stopped.

    Attributes:
        status: as `records.CellRun` has it.
        words: what it did.
        suspicious: whether it is hardly a slip, as a loop without an end or too large an array are.
    """

    status: str
    words: str
    suspicious: bool = False


def excess(taken: Usage, limits: Limits, parent_before: int) -> Fault | None:
    """Return the limit that is exceeded, the most telling one first; None if none is.

    Args:
        taken: by the kernel and what it started.
        limits: that it must keep.
        parent_before: the parent's resident bytes when the kernel began.
    """
    if taken.processes > limits.processes * 0.9:
        words = f"started more than {limits.processes * 0.9:.0f} processes and threads"
        return Fault("died", words, suspicious=True)
    if taken.memory > limits.memory:
        return Fault("memory", f"took more than {limits.memory / 2**20:,.0f} MB of memory")
    if psutil.Process().memory_info().rss - parent_before > OWN_GROWTH:
        words = "sent so much that the grader would have run out of memory"
        return Fault("memory", words, suspicious=True)
    if psutil.virtual_memory().available < FREE:
        return Fault("memory", "was stopped because the machine had no memory left")
    return None
