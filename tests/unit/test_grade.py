"""A class graded from end to end: honest, hapless and hostile submissions, side by side."""

import csv
import json
import re
import shutil
import subprocess
import sys

import pytest
from small_class import SOLUTIONS, hand_in, write_source

from convnetlab.errors import LabError
from convnetlab.grading import grade as grading
from convnetlab.grading import race, store
from convnetlab.grading.grade import Settings, grade
from convnetlab.grading.records import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Linux")
QUICK = Limits(seconds=3)


def run(submissions, grades, source, workers=2, scheduler=None, **settings):
    """Grade, and return the lines of progress."""
    told = []
    chosen = Settings(**{"limits": QUICK, **settings})
    grade(submissions, grades, source, chosen, workers, scheduler, say=told.append)
    return told


def points(grades):
    """The points of each student's exercises, by student and exercise."""
    return {
        name: {mark.exercise: mark.points for mark in store.load(grades, name).result.marks}
        for name in store.students(grades)
    }


def rows(grades):
    """The rows of grades.csv, by student."""
    with (grades / "grades.csv").open(newline="", encoding="utf-8") as file:
        return {row["Student"]: row for row in csv.DictReader(file)}


def remarks(grades, student):
    """What is remarked on a student, as one text."""
    return "\n".join(remark.text for remark in store.load(grades, student).result.remarks)


@pytest.fixture(scope="module")
def scheduler():
    """The address of a Dask scheduler with two workers, threads of this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        host="127.0.0.1",
        protocol="tcp",
        dashboard_address="127.0.0.1:0",
    ) as cluster:
        yield cluster.scheduler_address


FULL = {"double": 2, "answer": 1, "is_even": 2, "triple": 2, "why": 0}
NOTHING = dict.fromkeys(FULL, 0)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return write_source(tmp_path_factory.mktemp("source") / "source")


@pytest.fixture(scope="module")
def graded(source, tmp_path_factory):
    """A small class, graded once."""
    place = tmp_path_factory.mktemp("class")
    submissions = place / "submissions"
    hand_in(source, submissions / "ada", **SOLUTIONS)
    hand_in(source, submissions / "blank")
    hand_in(
        source,
        submissions / "half",
        **SOLUTIONS
        | {
            "double": "def double(x):\n    return 2 * abs(x)",
            "is_even": "is_even = bool",
        },
    )
    hand_in(
        source,
        submissions / "wrong",
        **{
            "double": "def double(x):\n    return 4 if x == 2 else 0",
            "answer": "answer = 41",
            "is_even": "def is_even(x):\n    return 1 / 0",
            "triple": "def triple(x):\n    return x",
        },
    )
    hand_in(source, submissions / "Ζωή_学生", **SOLUTIONS)
    told = run(submissions, place / "grades", source)
    return place, told


def test_full_marks_nothing_and_exact_partial_credit(graded):
    place, told = graded
    found = points(place / "grades")
    assert found["ada"] == FULL == found["Ζωή_学生"]
    assert found["blank"] == NOTHING
    assert found["half"] == FULL | {"double": 1, "is_even": 0}
    assert found["wrong"] == NOTHING
    assert "5 submissions, 1 of them need no execution" in told[0]
    assert any(re.match(r"4 of 4: ", line) for line in told)


def test_what_comes_out(graded):
    place, _ = graded
    grades = place / "grades"
    assert rows(grades).keys() == {"ada", "blank", "half", "wrong", "Ζωή_学生"}
    for student in rows(grades):
        assert (grades / "feedback" / f"{student}.html").is_file()
        executed = grades / "autograded" / student / "convnetlab" / "01_numbers.ipynb"
        assert "Right." in executed.read_text() or student in ("blank", "wrong")
    assert (grades / "seed.txt").stat().st_mode & 0o077 == 0
    feedback = (grades / "feedback" / "half.html").read_text()
    assert "negative numbers" in feedback and "Four is even" not in feedback
    assert "Three is odd" in feedback


def inputs_of(source, submissions, student, seed):
    """The hidden inputs of `double` that a submission gets, by group."""
    handed_in = (submissions / student / "01_numbers.ipynb").read_bytes()
    prepared = grading.marking.prepare(grading.load(source), "01_numbers", handed_in, seed, student)
    return prepared.inputs["double"]


def test_another_answer_gets_other_inputs_and_the_same_gets_the_same(source, tmp_path):
    hand_in(source, tmp_path / "ada", **SOLUTIONS)
    first = inputs_of(source, tmp_path, "ada", "seed")
    assert inputs_of(source, tmp_path, "ada", "seed") == first
    assert inputs_of(source, tmp_path, "ada", "other seed") != first
    hand_in(source, tmp_path / "bob", **SOLUTIONS)
    assert inputs_of(source, tmp_path, "bob", "seed") != first
    knows = f"def double(x):\n    return {{{first['positive numbers'][0][0]}: 4}}[x]"
    hand_in(source, tmp_path / "again" / "ada", **SOLUTIONS | {"double": knows})
    assert inputs_of(source, tmp_path / "again", "ada", "seed") != first


def test_hidden_inputs_are_given_away_nowhere(graded, source):
    place, _ = graded
    grades = place / "grades"
    seed = (grades / "seed.txt").read_text().strip()
    drawn = inputs_of(source, place / "submissions", "half", seed)
    numbers = {abs(call[0]) for group in drawn.values() for call in group if abs(call[0]) > 99}
    assert numbers
    shown = (grades / "feedback" / "half.html").read_text() + json.dumps(
        store.load(grades, "half").result.notebooks[0].executed
    )
    assert not [number for number in numbers if re.search(rf"\b{number}\b", shown)]
    assert seed not in shown


def test_an_answer_made_for_the_check_is_remarked_on(graded):
    assert "made for the check" in remarks(graded[0] / "grades", "wrong")


def files(folder):
    """Each file's time of change, in nanoseconds."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_second_grading_executes_and_writes_nothing(graded, source):
    place, _ = graded
    grades = place / "grades"
    before = files(grades)
    told = run(place / "submissions", grades, source)
    assert "5 of them need no execution" in told[0] and len(told) == 1
    changed = {name for name, when in files(grades).items() if before.get(name) != when}
    assert changed <= {"report.html", ".lock", "gradebook.db", "grades.csv"}


@pytest.fixture
def two(scheduler, tmp_path):
    """Two students, graded, and a copy of the source that may be changed."""
    mine = write_source(tmp_path / "source")
    submissions = tmp_path / "submissions"
    hand_in(mine, submissions / "ada", **SOLUTIONS)
    hand_in(mine, submissions / "bob", **SOLUTIONS | {"triple": "triple = lambda x: x + x"})
    run(submissions, tmp_path / "grades", mine, None, scheduler)
    return mine, submissions, tmp_path / "grades"


def test_changed_hidden_tests_execute_only_what_they_change(two, scheduler, monkeypatch):
    mine, submissions, grades = two
    assert points(grades)["bob"]["triple"] == 0
    hidden = mine / "hidden_tests.py"
    hidden.write_text(hidden.read_text().replace("3 * x", "2 * x"))
    executed = []
    carry_out = grading.cluster.carry_out

    def watched(client, function, jobs):
        executed.extend((student, sorted(tasks)) for student, (tasks, *_) in jobs.items())
        yield from carry_out(client, function, jobs)

    monkeypatch.setattr(grading.cluster, "carry_out", watched)
    # Another oracle, the same inputs: what was answered is there already.
    run(submissions, grades, mine, None, scheduler, against="newest")
    assert executed == []
    assert points(grades)["bob"]["triple"] == 2 and points(grades)["ada"]["triple"] == 0
    # Other inputs: one notebook must be asked again, the other must not.
    hidden.write_text(hidden.read_text().replace("rng.random(4)", "rng.random(5)"))
    run(submissions, grades, mine, None, scheduler, against="newest")
    assert executed == [("ada", ["02_words"]), ("bob", ["02_words"])]


def test_another_package_grades_anew(tmp_path, monkeypatch):
    (tmp_path / "__init__.py").write_text("")
    monkeypatch.setattr(grading.marking.convnetlab, "__file__", str(tmp_path / "__init__.py"))
    before = grading.marking.circumstances(QUICK, True)
    assert grading.marking.circumstances(QUICK, True) == before
    assert grading.marking.circumstances(QUICK, False) != before
    (tmp_path / "evaluation.py").write_text("def accuracy(): return 1")
    assert grading.marking.circumstances(QUICK, True) != before


def test_one_exercise_is_graded_again_alone(two, scheduler):
    mine, submissions, grades = two
    hidden = mine / "hidden_tests.py"
    changed = hidden.read_text().replace("3 * x", "2 * x").replace("answer=6 * 7", "answer=43")
    hidden.write_text(changed)
    told = run(submissions, grades, mine, None, scheduler, only="triple", against="newest")
    assert "0 of them need no execution" in told[0]
    assert points(grades)["bob"] == FULL
    run(submissions, grades, mine, None, scheduler, against="newest")
    assert points(grades)["bob"] == FULL | {"answer": 0}
    with pytest.raises(LabError, match=r"no exercise 'tripel'.*triple"):
        run(submissions, grades, mine, None, scheduler, only="tripel")


def test_each_is_graded_by_its_own_release_or_all_by_the_newest(
    source, scheduler, tmp_path, monkeypatch
):
    old, new = write_source(tmp_path / "old"), write_source(tmp_path / "new")
    notebook = new / "01_numbers.ipynb"
    notebook.write_text(notebook.read_text().replace("answer == 42", "answer == 43"))
    hidden = new / "hidden_tests.py"
    hidden.write_text(hidden.read_text().replace("6 * 7", "43"))
    submissions = tmp_path / "submissions"
    hand_in(old, submissions / "early", **SOLUTIONS)
    hand_in(new, submissions / "late", **SOLUTIONS | {"answer": "answer = 43"})
    hand_in(source, submissions / "same", **SOLUTIONS)
    stamp = grading.load(old).stamp
    monkeypatch.setattr(
        grading.release, "archived", lambda wanted: old if wanted == stamp else None
    )
    run(submissions, tmp_path / "own", new, None, scheduler)
    assert points(tmp_path / "own") == {"early": FULL, "late": FULL, "same": FULL}
    assert "earlier release" in remarks(tmp_path / "own", "early")
    run(submissions, tmp_path / "newest", new, None, scheduler, against="newest")
    assert points(tmp_path / "newest")["early"] == FULL | {"answer": 0}


def test_one_of_two_workers_is_killed_half_way(source, tmp_path):
    for number in range(6):
        hand_in(source, tmp_path / "submissions" / f"student-{number}", **SOLUTIONS)
    command = [sys.executable, "-m", "convnetlab", "grade", "submissions", "--out", "grades"]
    command += ["--source", str(source), "--workers", "2"]
    told = []
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr:
            told.append(line)
            if line.startswith("2 of 6"):
                race.kill_worker(process.pid)
    assert process.returncode == 0, told
    graded = [line.split(": ")[1] for line in told if " points" in line]
    assert sorted(graded) == sorted(rows(tmp_path / "grades")) and len(graded) == 6
    assert all(found == FULL for found in points(tmp_path / "grades").values())


def test_who_was_graded_before_an_interruption_is_not_graded_again(source, scheduler, tmp_path):
    for number in range(3):
        hand_in(source, tmp_path / "submissions" / f"student-{number}", **SOLUTIONS)
    told = []

    def stop(line):
        told.append(line)
        if line.startswith("1 of 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grade(
            tmp_path / "submissions",
            tmp_path / "grades",
            source,
            Settings(QUICK),
            scheduler=scheduler,
            say=stop,
        )
    first = told[-1].split(": ")[1]
    again = run(tmp_path / "submissions", tmp_path / "grades", source, None, scheduler)
    assert "1 of them need no execution" in again[0]
    assert len(again) == 3 and not any(first in line for line in again)
    assert all(found == FULL for found in points(tmp_path / "grades").values())


def test_a_conclusion_that_alone_has_changed_is_taken_over(two, scheduler, tmp_path):
    mine, _, grades = two
    hand_in(mine, tmp_path / "again" / "ada", **SOLUTIONS | {"why": "For another reason."})
    told = run(tmp_path / "again", grades, mine, None, scheduler)
    assert "1 of them need no execution" in told[0]
    executed = (grades / "autograded" / "ada" / "convnetlab" / "02_words.ipynb").read_text()
    for shown in (executed, (grades / "feedback" / "ada.html").read_text()):
        assert "For another reason." in shown and "Because it is so." not in shown
    result = store.load(grades, "ada").result.notebooks
    assert (
        '"name": "stdout"' in result[0].executed.replace("'", '"') and points(grades)["ada"] == FULL
    )


def test_who_has_left_is_said_and_stays_in_the_tables(two, scheduler):
    mine, submissions, grades = two
    shutil.rmtree(submissions / "bob")
    told = run(submissions, grades, mine, None, scheduler)
    assert "not among these submissions, and still in the tables: bob" in told[-1]
    assert rows(grades).keys() == {"ada", "bob"}
    assert "still in the tables: bob" in (grades / "report.html").read_text()


def test_a_source_without_hidden_tests_is_said(two, scheduler, tmp_path):
    mine, submissions, _ = two
    (mine / "hidden_tests.py").unlink()
    told = run(submissions, tmp_path / "other", mine, None, scheduler)
    assert any("no hidden_tests.py" in line for line in told)


def test_the_grades_of_other_notebooks_are_not_touched(two, tmp_path):
    mine, submissions, grades = two
    (mine / "02_words.ipynb").rename(mine / "02_text.ipynb")
    before = files(grades)
    with pytest.raises(LabError, match="grades of other notebooks"):
        run(submissions, grades, mine)
    assert files(grades) == before


def test_a_late_submission_and_a_second_attempt_are_added(two, scheduler, tmp_path):
    mine, _, grades = two
    later = tmp_path / "later"
    hand_in(mine, later / "bob", **SOLUTIONS)
    hand_in(mine, later / "zoe")
    run(later, grades, mine, None, scheduler)
    assert points(grades) == {"ada": FULL, "bob": FULL, "zoe": NOTHING}
    assert rows(grades).keys() == {"ada", "bob", "zoe"}


def test_what_is_refused_before_anything_is_written(source, tmp_path):
    submissions = tmp_path / "submissions"
    hand_in(source, submissions / "ada", **SOLUTIONS)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    broken = write_source(tmp_path / "broken")
    (broken / "hidden_tests.py").write_text("EXERCISES = 1 / 0")
    lost = write_source(tmp_path / "lost")
    (lost / "hidden_tests.py").write_text(
        (lost / "hidden_tests.py").read_text().replace('"triple": Exercise', '"tripel": Exercise')
    )
    out = tmp_path / "out"
    for arguments, words in {
        (submissions, foreign, source): "foreign",
        (submissions, out, tmp_path / "empty"): "holds no notebooks",
        (submissions, out, submissions / "ada"): "student's copy",
        (submissions, out, broken): "hidden_tests.py.*ZeroDivisionError",
        (submissions, out, lost): "tests 'tripel'",
        (tmp_path / "nowhere", out, source): "nowhere",
        (tmp_path / "empty", out, source): "empty",
        (submissions, submissions / "grades", source): "lies in",
        (submissions, submissions, source): "lies in",
    }.items():
        with pytest.raises(LabError, match=words):
            grade(*arguments, Settings(QUICK))
        assert not out.exists()
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    with pytest.raises(LabError, match="--workers is 0"):
        grade(submissions, out, source, Settings(QUICK), workers=0)
    assert not out.exists() and [path.name for path in submissions.iterdir()] == ["ada"]


def test_two_gradings_into_one_folder_keep_out_of_each_others_way(two):
    mine, submissions, grades = two
    with grading.alone(grades), pytest.raises(LabError, match="under way"):
        run(submissions, grades, mine)


def test_without_the_sandbox(source, scheduler, tmp_path):
    hand_in(source, tmp_path / "submissions" / "ada", **SOLUTIONS)
    told = run(
        tmp_path / "submissions", tmp_path / "out", source, None, scheduler, is_shut_in=False
    )
    assert "no sandbox" in told[0]
    assert points(tmp_path / "out") == {"ada": FULL}
