"""What a kernel and all that it started take, looked at from outside."""

import contextlib
import os
from collections.abc import Sequence
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


def usage(process: int) -> Usage:
    """Return what a process and its descendants take; nothing of a process that is gone."""
    memory = processes = 0
    with contextlib.suppress(psutil.Error):
        root = psutil.Process(process)
        for member in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):
                memory += own_memory(member.pid)
                processes += member.num_threads()
    return Usage(memory, processes)


def own_memory(process: int) -> int:
    """Return a process's resident bytes; what is shared between processes counts in part."""
    rolled = Path(f"/proc/{process}/smaps_rollup")
    if not rolled.exists():
        return int(psutil.Process(process).memory_info().rss)
    for line in rolled.read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def full_folder(places: Sequence[str]) -> str:
    """Return the first of the folders in memory that is full, or holds too many files, or ""."""
    for place in places:
        with contextlib.suppress(OSError):
            found = os.statvfs(place)
            is_full = found.f_blocks and found.f_bfree < found.f_blocks * (1 - FULL)
            if is_full or found.f_files - found.f_ffree > FILES:
                return place
    return ""


def excess(taken: Usage, limits: Limits, parent_before: int) -> tuple[str, str]:
    """Return the status and the words for a limit that is exceeded; empty ones if none is.

    Args:
        taken: by the kernel and what it started.
        limits: that it must keep.
        parent_before: the parent's resident bytes when the kernel began.
    """
    if taken.memory > limits.memory:
        return "memory", f"took more than {limits.memory / 2**20:,.0f} MB of memory"
    if taken.processes > limits.processes * 0.9:
        return "died", f"started more than {limits.processes * 0.9:.0f} processes and threads"
    if psutil.virtual_memory().available < FREE:
        return "memory", "was stopped because the machine had no memory left"
    if psutil.Process().memory_info().rss - parent_before > OWN_GROWTH:
        return "memory", "sent so much that the grader would have run out of memory"
    return "", ""
