"""Many jobs at once, through `dask.distributed`: on this machine, or where a scheduler is.

A worker that dies loses its job to another worker; a job that keeps killing its workers is
reported, and the rest is finished.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psutil

from convnetlab import __version__
from convnetlab.errors import LabError

MEMORY = 2 * 2**30  # bytes that a job may need: a training, with room
PATIENCE = 10  # seconds to wait for a scheduler, and for its first worker
ATTEMPTS = 3  # a job that has lost so many workers is at fault itself


@dataclass(frozen=True)
class Outcome:
    """What became of a job: its function's `value`, or an `error` in words."""

    value: Any = None
    error: str | None = None


@contextlib.contextmanager
def connected(workers: int | None, scheduler: str | None, jobs: int) -> Iterator[Any]:
    """Yield a `distributed.Client` with workers, and leave nothing running afterwards.

    Args:
        workers: processes on this machine; None means as many as cores and memory allow.
        scheduler: the address of a scheduler that is running, `tcp://HOST:PORT`, in their place.
        jobs: how many there are to do; more workers are not started.

    Raises:
        LabError: see `check`; or the scheduler cannot be reached, has no workers, or has some with
            another version of the lab.
    """
    check(workers, scheduler)
    with remote(scheduler) if scheduler else local(min(workers or room(), jobs)) as client:
        yield client


def check(workers: int | None, scheduler: str | None) -> None:
    """Check what a user said of where jobs are done.

    Raises:
        LabError: both are given, or `workers` is less than 1.
    """
    if scheduler and workers is not None:
        raise LabError(
            "--workers starts processes on this machine, and --scheduler uses those of others. "
            "Leave out one of them."
        )
    if workers is not None and workers < 1:
        raise LabError(f"--workers is {workers}; it must be 1 or more.")


def room() -> int:
    """Return how many jobs this machine has cores and free memory for, at least 1."""
    from dask.system import CPU_COUNT  # as this process may use them

    return max(1, min(CPU_COUNT, psutil.virtual_memory().available // MEMORY))


@contextlib.contextmanager
def local(workers: int) -> Iterator[Any]:
    """Yield a client of worker processes that are started here, on loopback, and stopped."""
    import dask
    from distributed import Client, LocalCluster

    with dask.config.set({"distributed.scheduler.allowed-failures": ATTEMPTS - 1}):
        with interruptions_ignored_by_children():
            cluster = LocalCluster(
                n_workers=workers,
                processes=True,
                threads_per_worker=1,
                memory_limit=None,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client


@contextlib.contextmanager
def interruptions_ignored_by_children() -> Iterator[None]:
    """Let Ctrl-C reach this process alone: it ends the workers, which need no traceback each."""
    # Processes that are started now inherit what is ignored; here it is as before right after.
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def remote(address: str) -> Iterator[Any]:
    """Yield a client of a scheduler that is running.

    Raises:
        LabError: it cannot be reached, has no workers, or workers with another lab.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise LabError(
            f"No scheduler answers at {address!r} ({reason}). Start one with `dask scheduler`, and "
            "give the address that it prints, such as tcp://127.0.0.1:8786."
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise LabError(
                f"The scheduler at {address} has no workers. Start some where the lab is "
                f"installed: dask worker {address} --nthreads 1"
            ) from None
        check_versions(client)
        yield client


def version() -> str:
    """Return the lab's version, where this is called."""
    return __version__


def check_versions(client: Any) -> None:
    """Refuse workers without the lab, or with another version of it than here."""
    answers = client.run(version, on_error="return")
    for worker, answer in answers.items():
        if answer != __version__:
            found = answer if isinstance(answer, str) else f"none ({answer})"
            raise LabError(
                f"The worker {worker} has convnetlab {found}, and here it is {__version__}. "
                "Install the same version there."
            )


def carry_out(
    client: Any, function: Callable[..., Any], jobs: Mapping[str, tuple[Any, ...]]
) -> Iterator[tuple[str, Outcome]]:
    """Do all jobs, and yield each one's name and outcome, once, as it is done.

    No more jobs are handed out than there are workers, so that a worker that dies is held against
    the one job that it was doing. A job whose worker died is begun again by another one, so it
    must not mind what its first attempt left behind.

    Args:
        client: as `connected` yields it.
        function: what a job does; it and its arguments can be pickled.
        jobs: its arguments, by the job's name.
    """
    from distributed import as_completed

    waiting = iter(jobs.items())
    names: dict[Any, str] = {}
    running = as_completed()

    def hand_out() -> None:
        """Hand out jobs while there are workers without one; one at least must be under way."""
        idle = max(1, len(client.nthreads())) - len(names)
        for name, arguments in islice(waiting, max(0, idle)):
            future = client.submit(function, *arguments, pure=False)
            names[future] = name
            running.add(future)

    hand_out()
    try:
        for future in running:
            name, found = names.pop(future), outcome(future)
            future.release()  # else it would be done again if its worker died later
            hand_out()
            yield name, found
    finally:
        client.cancel(list(names))


def outcome(future: Any) -> Outcome:
    """Return what became of a future that is done."""
    from distributed.scheduler import KilledWorker

    if future.status == "finished":
        return Outcome(future.result())
    if future.status != "error":
        return Outcome(error=f"It was given up ({future.status}): the scheduler is gone.")
    error = future.exception()
    if isinstance(error, KilledWorker):
        return Outcome(
            error="Each worker process that tried it died. Usually the machine ran out of memory; "
            "use fewer workers."
        )
    if isinstance(error, LabError):
        return Outcome(error=str(error))
    return Outcome(error=f"{type(error).__name__}: {error}")
