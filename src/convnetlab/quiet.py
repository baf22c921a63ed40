"""Silence for libraries in C++ that write notes to the process's error stream."""

import contextlib
import os
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_error_stream() -> Iterator[None]:
    """Send what is written to file descriptor 2 nowhere, meanwhile."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
