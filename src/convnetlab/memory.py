"""How much memory a process has taken."""

from pathlib import Path

import psutil


def peak_memory(process: psutil.Process) -> int:
    """Return a process's largest resident memory so far, in bytes; off Linux, its present one."""
    status = Path(f"/proc/{process.pid}/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return int(process.memory_info().rss)
