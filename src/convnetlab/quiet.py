"""Silence for libraries whose notes would only worry a student."""

import contextlib
import logging
import os
import warnings
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


@contextlib.contextmanager
def quiet_warnings(logger: str) -> Iterator[None]:
    """Drop Python's warnings, and what a library says by its logger, meanwhile."""
    told = logging.getLogger(logger)
    before = told.disabled
    told.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        told.disabled = before
