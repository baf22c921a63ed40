"""Many jobs at once: with a real scheduler and workers in processes of their own, and with deaths.

The jobs are cheap: made-up runs, and functions inside tests, which are sent by value.
"""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import cloudpickle
import made_up
import pandas as pd
import pytest
from distributed import Client, LocalCluster

from convnetlab import cluster, sweep
from convnetlab.errors import LabError

cloudpickle.register_pickle_by_value(made_up)  # the workers do not have the tests


@pytest.fixture
def inside():
    """A cluster without processes or workers, for what needs none."""
    with LocalCluster(
        n_workers=0, processes=False, threads_per_worker=1, dashboard_address="127.0.0.1:0"
    ) as found:
        yield found


@pytest.fixture
def machines(tmp_path):
    """A scheduler and two workers, each a process, on loopback: the address, the workers."""
    place = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(place), "--no-dashboard"]
    scheduler = ["dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    worker = ["dask_worker", "--host", "127.0.0.1", "--no-nanny", "--nthreads", "1"]
    worker += ["--local-directory", str(tmp_path)]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:], *common],
            stderr=subprocess.DEVNULL,
        )
        for command in (scheduler, worker, worker)
    ]
    while not place.is_file() or not place.read_text().strip().endswith("}"):
        assert started[0].poll() is None, "the scheduler did not start"
        time.sleep(0.05)
    address = json.loads(place.read_text())["address"]
    with Client(address) as client:
        client.wait_for_workers(2, timeout=60)
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


def test_nothing_is_lost_and_nothing_is_twice_when_a_worker_is_killed(machines, runs, tmp_path):
    address, workers = machines
    begun = tmp_path / "begun.txt"

    def slow_run(name, given, smoke, say):
        with begun.open("a") as stream:
            stream.write(f"{os.getpid()} {name}\n")
        made_up.run(name, given, smoke)
        time.sleep(0.5)

    lines = []

    def say(line):
        lines.append(line)
        if line.startswith("4 of 9"):  # both workers have a new job now
            deadline = time.monotonic() + 20
            while len(begun.read_text().splitlines()) < 6 and time.monotonic() < deadline:
                time.sleep(0.01)
            workers[0].kill()

    page, failed = sweep.sweep(
        "grid",
        [("epochs", "1,2,3"), ("seed", "0..2")],
        [("dataset", "digits")],
        scheduler=address,
        say=say,
        run=slow_run,
    )
    assert failed == 0
    workers[0].wait(20)
    attempts = [line.split() for line in begun.read_text().splitlines()]
    assert len(attempts) == 10, "nine runs, and the one whose worker was killed again"
    assert {pid for pid, _ in attempts} == {str(worker.pid) for worker in workers}
    names = [line.split(": ")[1] for line in lines[1:]]
    assert len(names) == len(set(names)) == 9, "each is reported once"
    results = pd.read_csv(page.parent / "results.csv")
    assert len(results) == results["run"].nunique() == 9
    assert (results["status"] == "finished").all() and results["accuracy"].notna().all()
    assert set(results["run"]) == {name for _, name in attempts}
    folders = {path.name for path in page.parent.iterdir() if path.is_dir()}
    assert folders == {name.partition("/")[2] for name in results["run"]}, "no half run is left"
    for _, row in results.iterrows():
        record = json.loads((runs / row["run"] / "model.keras.meta.json").read_text())
        assert record["parameters"]["epochs"] == row["epochs"] and record["seed"] == row["seed"]


def test_a_job_that_kills_its_workers_is_reported_and_the_rest_is_done(tmp_path):
    def job(name):
        with (tmp_path / name).open("a") as stream:
            stream.write("begun\n")
        if name == "deadly":
            os._exit(1)
        if name == "wrong":
            raise ValueError("no such thing")
        return name.upper()

    names = ["a", "deadly", "wrong", "b"]
    with cluster.connected(1, None, len(names)) as client:
        found = list(cluster.carry_out(client, job, {name: (name,) for name in names}))
    outcomes = dict(found)
    assert sorted(outcomes) == sorted(name for name, _ in found) == sorted(names)
    assert outcomes["a"] == cluster.Outcome("A") and outcomes["b"] == cluster.Outcome("B")
    assert "ValueError: no such thing" in outcomes["wrong"].error
    assert "ran out of memory" in outcomes["deadly"].error
    assert (tmp_path / "deadly").read_text().count("begun") == cluster.ATTEMPTS
    for name in ("a", "b", "wrong"):
        assert (tmp_path / name).read_text() == "begun\n"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "tcp://"])
def test_a_scheduler_that_does_not_answer_is_told_plainly(address, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.5)
    with (
        pytest.raises(LabError, match=r"No scheduler answers at .* `dask scheduler`"),
        cluster.connected(None, address, 3),
    ):
        pass


def test_a_scheduler_without_workers_or_with_another_lab_is_refused(inside, monkeypatch):
    monkeypatch.setattr(cluster, "PATIENCE", 0.3)
    address = inside.scheduler_address
    with pytest.raises(LabError, match="has no workers"), cluster.connected(None, address, 1):
        pass
    inside.scale(1)
    monkeypatch.setattr(cluster, "PATIENCE", 10)
    with cluster.connected(None, address, 1) as client:
        assert dict(cluster.carry_out(client, abs, {"a": (-3,)})) == {"a": cluster.Outcome(3)}
        assert dict(cluster.carry_out(client, abs, {})) == {}
    monkeypatch.setattr(cluster, "version", lambda: "0.0.9")
    with (
        pytest.raises(LabError, match=r"has convnetlab 0\.0\.9, and here it is"),
        cluster.connected(None, address, 1),
    ):
        pass


@pytest.mark.parametrize(
    ("workers", "scheduler", "message"),
    [(0, None, "--workers is 0"), (-2, None, "1 or more"), (2, "tcp://x:1", "Leave out one")],
)
def test_workers_that_cannot_be_are_refused(workers, scheduler, message):
    with pytest.raises(LabError, match=message), cluster.connected(workers, scheduler, 3):
        pass


def test_there_are_as_many_workers_as_cores_and_memory_allow(monkeypatch):
    monkeypatch.setattr("dask.system.CPU_COUNT", 8)
    for available, expected in ((100, 8), (6.5, 3), (0.5, 1)):
        memory = SimpleNamespace(available=int(available * 2**30))
        monkeypatch.setattr("psutil.virtual_memory", lambda found=memory: found)
        assert cluster.room() == expected
