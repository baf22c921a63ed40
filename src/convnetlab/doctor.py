"""`convnetlab doctor`: whether this machine can run the lab, a line a question."""

import shutil
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, requires, version

import psutil

from convnetlab.datasets import load
from convnetlab.errors import LabError
from convnetlab.paths import runs_folder

MEMORY_GB, DISK_GB = 2.0, 1.0


def examine() -> list[tuple[str, bool, str]]:
    """Return name, verdict and a sentence for each check; none of them changes anything."""
    checks = {
        "Python": check_python,
        "packages": check_packages,
        "data": check_data,
        "kernel": check_kernel,
        "memory": check_memory,
        "disk": check_disk,
    }
    return [(name, *verdict(check)) for name, check in checks.items()]


def verdict(check: Callable[[], str]) -> tuple[bool, str]:
    """Run a check; a `LabError` is its bad answer."""
    try:
        return True, check()
    except LabError as error:
        return False, str(error)


def check_python() -> str:
    """Whether the interpreter is one that TensorFlow has packages for."""
    found = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info[:2] <= (3, 13):
        raise LabError(f"Python is {found}; the lab needs 3.11, 3.12 or 3.13.")
    return found


def check_packages() -> str:
    """Whether every package that the lab needs is there, in a version that it accepts."""
    from packaging.requirements import Requirement

    wanted = [Requirement(line) for line in requires("convnetlab") or [] if "extra ==" not in line]
    wrong = []
    for requirement in wanted:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            wrong.append(f"{requirement.name} is missing")
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement.name} is {found}, expected {requirement.specifier}")
    if wrong:
        raise LabError("; ".join(wrong) + ". Install again: pip install -c constraints.txt -e .")
    return f"{len(wanted)} packages, TensorFlow {version('tensorflow')}"


def check_data() -> str:
    """Whether MNIST's four files have their published checksums."""
    dataset = load("mnist")
    return (
        f"MNIST, {len(dataset.train_labels):,} + {len(dataset.test_labels):,} pictures, "
        "checksums as published"
    )


def check_kernel() -> str:
    """Whether a notebook's kernel starts, with this Python and this package."""
    from jupyter_client.manager import start_new_kernel

    try:
        manager, client = start_new_kernel(
            kernel_name="python3", extra_arguments=["--IPKernelApp.log_level=CRITICAL"]
        )
    except Exception as error:  # whatever keeps a kernel from starting
        raise LabError(f"The Jupyter kernel 'python3' does not start: {error}.") from None
    try:
        output: list[str] = []
        client.execute_interactive(
            "import sys, convnetlab; print(sys.prefix)",
            timeout=60,
            output_hook=lambda message: output.append(message["content"].get("text", "")),
        )
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    prefix = "".join(output).strip()
    if prefix != sys.prefix:
        raise LabError(
            f"The Jupyter kernel 'python3' runs in {prefix or 'an environment without convnetlab'}"
            f", expected {sys.prefix}. Start JupyterLab from the lab's own environment."
        )
    return "python3 starts, in this environment"


def check_memory() -> str:
    """Whether there is memory for one stage."""
    free = psutil.virtual_memory().available / 2**30
    if free < MEMORY_GB:
        raise LabError(
            f"{free:.1f} GiB of memory are free, and a stage needs up to {MEMORY_GB:.0f}. "
            "Close other programs or notebooks."
        )
    return f"{free:.1f} GiB free"


def check_disk() -> str:
    """Whether there is room for runs."""
    folder = runs_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 2**30
    if free < DISK_GB:
        raise LabError(f"{free:.1f} GiB are free at {folder}, and runs need {DISK_GB:.0f}.")
    return f"{free:.0f} GiB free for {runs_folder()}"
