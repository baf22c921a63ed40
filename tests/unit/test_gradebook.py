"""The nbgrader course: read back by nbgrader's own functions; the results are made up."""

import contextlib
import json
import math
import os
import random
import shutil
import sqlite3
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import made_up_class as made_up
import nbformat
import pytest
import sqlalchemy as sql
from hypothesis import given
from hypothesis import strategies as st
from nbconvert.filters.markdown_mistune import markdown2html_mistune
from nbgrader.api import Assignment, Grade, Gradebook
from nbgrader.apps import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from nbgrader.nbgraderformat import MetadataValidator
from traitlets.config import Config

from convnetlab.errors import LabError
from convnetlab.grading import gradebook, ledger, scores, shown

NAME = gradebook.ASSIGNMENT
PLACE = ("conclusion", "02_second", NAME)  # as nbgrader's functions want it


def write(folder, results, notebooks=None):
    notebooks = notebooks or made_up.source()
    return gradebook.write(folder, notebooks, results, [it.submission for it in results])


class Opened(Gradebook):
    """nbgrader's own view of a course."""

    def __init__(self, folder):
        super().__init__(f"sqlite:///{folder / 'gradebook.db'}", gradebook.COURSE)

    def grade(self, student="ada", cell="conclusion", notebook="02_second"):
        return self.find_grade(cell, notebook, NAME, student)

    def comment(self, student="ada", cell="conclusion", notebook="02_second"):
        return self.find_comment(cell, notebook, NAME, student)


def by_hand(folder, score=None, extra=None, comment=None, cell="conclusion", notebook="02_second"):
    """Do what the formgrader does when an instructor gives points."""
    with Opened(folder) as book:
        grade = book.grade(cell=cell, notebook=notebook)
        grade.manual_score, grade.extra_credit = score, extra
        grade.needs_manual_grade = score is None and grade.auto_score is None
        answer = cell.removesuffix("-check")
        book.comment(cell=answer, notebook=notebook).manual_comment = comment
        book.db.commit()


def texts(remarks, student="ada"):
    return " ".join(remark.text for remark in remarks.get(student, ()))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A course with one student; tests get a copy, since making one calls alembic."""
    folder = tmp_path_factory.mktemp("fresh")
    before, os.environ["PATH"] = os.environ["PATH"], "/usr/bin:/bin"  # no alembic on it
    assert write(folder, [made_up.result()]) == {}
    assert os.environ["PATH"] == "/usr/bin:/bin"
    os.environ["PATH"] = before
    return folder


@pytest.fixture
def course(fresh, tmp_path):
    return Path(shutil.copytree(fresh, tmp_path / "GRADES"))


def test_nbgrader_reads_the_scores(course):
    class_ = [made_up.result("bo", 0.5), made_up.result("cy", states={"crop": "missing"})]
    assert write(course, class_) == {}
    with Opened(course) as book:
        assert [it.name for it in book.find_assignment(NAME).notebooks] == ["01_first", "02_second"]
        assert book.find_assignment(NAME).max_score == 2 + 1 + 3 + 5
        assert book.find_submission(NAME, "ada").score == 6
        assert book.find_submission(NAME, "bo").score == 3
        assert book.find_submission(NAME, "cy").score == 4
        assert book.grade("bo", "crop-check", "01_first").auto_score == 1
        assert book.comment("cy", "crop", "01_first").auto_comment == "No response."
        assert {it["needs_manual_grade"] for it in book.submission_dicts(NAME)} == {True}
        assert [it.id for it in book.students] == ["ada", "bo", "cy"]


def test_nbgrader_would_have_made_the_same_cells(course, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    place = tmp_path / "theirs" / "source" / NAME
    place.mkdir(parents=True)
    for name, notebook in made_up.source().items():
        nbformat.write(notebook, place / f"{name}.ipynb")
    config = Config()
    config.CourseDirectory.root = str(tmp_path / "theirs")
    config.CourseDirectory.course_id = gradebook.COURSE
    api = NbGraderAPI(CourseDirectory(config=config), config=config)
    assert api.generate_assignment(NAME)["success"]

    def cells(folder):
        with Opened(folder) as book:
            found = {}
            for notebook in book.find_assignment(NAME).notebooks:
                for cell in notebook.grade_cells:
                    found[notebook.name, cell.name, "grade"] = (cell.max_score, cell.cell_type)
                for cell in notebook.solution_cells:
                    found[notebook.name, cell.name, "solution"] = True
                for cell in notebook.source_cells:
                    # The place-holder of code is another one, and with it text and checksum.
                    text = (cell.source, cell.checksum) if "def" not in cell.source else ()
                    found[notebook.name, cell.name, "source"] = (cell.cell_type, cell.locked, text)
                found[notebook.name] = json.loads(notebook.kernelspec)["name"]
            return found

    assert cells(course) == cells(tmp_path / "theirs") and len(cells(course)) == 2 + 4 + 4 + 7


@pytest.mark.parametrize("state", ["unanswered", "missing"])
def test_only_an_answer_waits_for_a_person(course, state):
    """As nbgrader itself has it: nobody need open what holds no answer."""
    write(course, [made_up.result("bo", states={"conclusion": state})])
    with Opened(course) as book:
        assert (book.grade().auto_score, book.grade().needs_manual_grade) == (None, True)
        assert (book.grade("bo").auto_score, book.grade("bo").needs_manual_grade) == (0, False)
        assert book.comment("bo").auto_comment == "No response."
        assert book.comment().auto_comment is None


def test_what_was_given_by_hand_survives_and_is_read_back(course):
    by_hand(course, 4, 0.5, "Well argued.")
    by_hand(course, 1.5, comment="The check was unfair.", cell="crop-check", notebook="01_first")
    for share in (1.0, 0.5):  # the automatic points change, the answers do not
        assert write(course, [made_up.result(share=share)]) == {}
        with Opened(course) as book:
            assert book.grade().score == 4.5 and not book.grade().needs_manual_grade
            assert book.comment().comment == "Well argued."
            crop = book.grade(cell="crop-check", notebook="01_first")
            assert (crop.auto_score, crop.score) == (2 * share, 1.5)
    manual = gradebook.manual_scores(course)
    crop, *_, last = made_up.result().marks
    found = scores.given(manual, "ada", last)
    assert found == scores.ByHand(4.0, 0.5, "Well argued.", is_due=False)
    assert scores.given(manual, "ada", crop).comment == "The check was unfair."
    assert scores.total(made_up.result(share=0.5), manual) == 1.5 + 0.5 + 1.5 + 4.5


def test_no_gradebook_means_nothing_by_hand(tmp_path):
    assert gradebook.manual_scores(tmp_path) == {} and not list(tmp_path.iterdir())


def test_another_answer_asks_for_a_second_look_until_it_is_given(course):
    by_hand(course, 4)
    other = made_up.result(key="2", answers={"conclusion": "Networks see corners."})
    for _ in range(2):
        told = texts(write(course, [other]))
        assert "02_second, conclusion: 4 points given by hand" in told
        with Opened(course) as book:
            assert (book.grade().manual_score, book.grade().needs_manual_grade) == (4, True)
    assert gradebook.manual_scores(course)["ada", "02_second", "conclusion"].is_due
    by_hand(course, 3)
    assert write(course, [other]) == {}
    with Opened(course) as book:
        assert (book.grade().manual_score, book.grade().needs_manual_grade) == (3, False)


def test_other_points_leave_what_was_given_and_are_told(course):
    by_hand(course, 4, comment="Good.")
    notebooks = made_up.source()
    notebooks["02_second"].cells[-1] = made_up.conclusion(points=3)
    told = texts(write(course, [made_up.result(notebooks=notebooks, key="2")], notebooks))
    assert "its points were 5 and are 3" in told and "4 points" in told
    with Opened(course) as book:
        assert book.grade().manual_score == 4 and book.grade().needs_manual_grade
        assert book.comment().comment == "Good."
        assert book.find_assignment(NAME).max_score == 2 + 1 + 3 + 3
    by_hand(course, 4)
    told = texts(write(course, [made_up.result(notebooks=notebooks, key="2")], notebooks))
    assert "it has 3 points" in told, "more than there is, knowingly: still told"


def test_a_corrected_check_asks_for_a_second_look(course):
    by_hand(course, 1.5, cell="crop-check", notebook="01_first")
    notebooks = made_up.source()
    notebooks["01_first"].cells[2].source = "assert crop(1) == 2, 'Got something else.'"
    told = texts(write(course, [made_up.result(notebooks=notebooks, key="2")], notebooks))
    assert "01_first, crop-check: 1.5 points given by hand, and its check has changed" in told


def without(notebooks, name):
    """The notebooks without an exercise."""
    for notebook in notebooks.values():
        notebook.cells = [it for it in notebook.cells if not it.id.startswith(name)]
    return notebooks


def test_an_exercise_that_is_gone_takes_its_grades_along_and_brings_them_back(course):
    write(course, [made_up.result("bo")])
    by_hand(course, 4, 1, "Good.")
    by_hand(course, 0.5, cell="scale-check", notebook="01_first")
    fewer = without(without(made_up.source(), "conclusion"), "scale")
    class_ = [made_up.result(name, notebooks=fewer, key="2") for name in ("ada", "bo")]
    told = write(course, class_, fewer)
    assert "4 points, 1 extra given by hand" in texts(told) and "“Good.”" in texts(told)
    assert "0.5 points" in texts(told) and "bo" not in told
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 5 and not consistency(book)
        assert [it.name for it in book.find_notebook("01_first", NAME).source_cells] == [
            "crop",
            "crop-check",
        ]
        assert not any(it["needs_manual_grade"] for it in book.submission_dicts(NAME))
    assert write(course, class_, fewer) == {}
    told = texts(write(course, [made_up.result(key="3")]))
    assert told.count("what had been given by hand is back") == 2, told
    with Opened(course) as book:
        grade = book.grade()
        assert (grade.manual_score, grade.extra_credit, grade.needs_manual_grade) == (4, 1, True)
        assert book.comment().comment == "Good." and not consistency(book)
        assert book.grade(cell="scale-check", notebook="01_first").manual_score == 0.5


def consistency(book):
    """Return the rows that point at nothing."""
    connection = book.engine.raw_connection()
    try:
        return connection.execute("PRAGMA foreign_key_check").fetchall()
    finally:
        connection.close()


def test_a_notebook_that_is_gone_goes(course):
    notebooks = made_up.source()
    del notebooks["01_first"]
    write(course, [made_up.result(notebooks=notebooks, key="2")], notebooks)
    with Opened(course) as book:
        assert [it.name for it in book.find_assignment(NAME).notebooks] == ["02_second"]
        assert book.find_submission(NAME, "ada").score == 3 and not consistency(book)


def test_each_student_counts_by_the_release_that_was_graded(course):
    """Ada handed in an earlier release: scale was worth 1 and is worth 2, blur is gone."""
    newer = without(made_up.source(), "blur")
    newer["01_first"].cells[5].metadata.nbgrader.points = 2
    class_ = [made_up.result(), made_up.result("bo", notebooks=newer)]
    assert write(course, class_, newer) == {}
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 2 + 1 + 3
        assert book.find_submission(NAME, "bo").score == 2 + 2
        assert book.grade("ada", "scale-check", "01_first").auto_score == 1
        assert book.grade("ada", "blur-check", "02_second").auto_score == 3
        most = {it["student"]: it["max_score"] for it in book.submission_dicts(NAME)}
        assert most["bo"] == 2 + 2 + 5, "no exercise counts that bo never saw"
        assert not consistency(book)


def test_a_resubmission_leaves_nothing_of_the_one_before(course):
    again = made_up.result(share=0.0, key="2", states={"conclusion": "unanswered"})
    del again.submission.notebooks["01_first"]
    write(course, [again])
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 0
        assert not book.grade().needs_manual_grade
    handed_in = course / "submitted" / "ada" / NAME
    assert [it.name for it in handed_in.iterdir()] == ["02_second.ipynb"]


def test_students_of_earlier_gradings_stay(course):
    by_hand(course, 4)
    write(course, [made_up.result("bo")])
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 6 + 4
        assert book.find_submission(NAME, "bo").score == 6


def test_who_moves_to_a_newer_release_leaves_the_older_exercises(course):
    newer = without(made_up.source(), "blur")
    stays = made_up.result("bo")
    write(course, [made_up.result(), stays], newer)
    by_hand(course, 2.5, cell="blur-check")
    told = write(course, [made_up.result(notebooks=newer, key="2"), stays], newer)
    assert "blur-check: 2.5 points given by hand, and the exercise is gone" in texts(told)
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 2 + 1
        assert book.find_submission(NAME, "bo").score == 6 and not consistency(book)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_score_lies_between_nothing_and_the_maximum(points):
    mark = replace(made_up.result().marks[0], points=points)
    found = ledger.auto_score(mark)
    assert found is not None and 0 <= found <= mark.maximum
    if math.isfinite(points) and 0 <= points <= mark.maximum:
        assert found == points


def test_names_are_split_and_an_instructor_s_own_stay(course):
    class_ = [
        made_up.result("bo", full_name="Bo Van Dyk", moodle="12"),
        made_up.result("cy", full_name="O'Brien, Cy", canvas="34"),
        made_up.result("di", full_name="Di <script>alert(1)</script>"),
    ]
    write(course, class_)
    with Opened(course) as book:
        names = {it.id: (it.first_name, it.last_name, it.lms_user_id) for it in book.students}
        assert names["ada"] == (None, None, None)
        assert names["bo"] == ("Bo Van", "Dyk", "12")
        assert names["cy"] == ("Cy", "O'Brien", "34")
        assert "<" not in "".join(filter(None, names["di"]))
        book.update_or_create_student("bo", last_name="van Dijk")
    write(course, class_)
    with Opened(course) as book:
        assert book.find_student("bo").last_name == "van Dijk"


def test_a_new_gradebook_has_what_was_given_by_hand(course):
    by_hand(course, 4, 0.5, "Well argued.")
    by_hand(course, 1.5, comment="Unfair check.", cell="crop-check", notebook="01_first")
    write(course, [made_up.result()], without(made_up.source(), "scale"))
    before = gradebook.manual_scores(course)
    written = (course / "by_hand.json").stat().st_mtime_ns
    gradebook.manual_scores(course)
    assert (course / "by_hand.json").stat().st_mtime_ns == written, "only what is new is written"
    (course / "gradebook.db").unlink()
    assert gradebook.manual_scores(course) == {}
    remarks = write(course, [made_up.result()])
    assert "gradebook.db was not there" in texts(remarks, "") and "by_hand" in texts(remarks, "")
    assert texts(remarks).count("given by hand is back. Look at it again") == 3
    after = gradebook.manual_scores(course)
    assert before.keys() == after.keys()
    for key, was in before.items():
        assert after[key] == replace(was, is_due=was.points is not None)
    with Opened(course) as book:
        assert (book.grade().score, book.comment().comment) == (4.5, "Well argued.")
        assert not consistency(book)
    assert write(course, [made_up.result()]).keys() == {"ada"}, "told once for the class"


def test_what_was_set_aside_survives_a_lost_gradebook_too(course):
    by_hand(course, 4, 0.5, "Well argued.")
    fewer = without(made_up.source(), "conclusion")
    write(course, [made_up.result(notebooks=fewer, key="2")], fewer)
    gradebook.manual_scores(course)
    for _ in range(2):  # a second loss, before the exercise is back
        (course / "gradebook.db").unlink()
        write(course, [made_up.result(notebooks=fewer, key="2")], fewer)
        gradebook.manual_scores(course)
    write(course, [made_up.result(key="3")])
    with Opened(course) as book:
        assert (book.grade().score, book.comment().comment) == (4.5, "Well argued.")


def test_a_lost_gradebook_without_a_copy_is_told(course):
    (course / "gradebook.db").unlink()
    assert "What was given by hand is not known" in texts(write(course, [made_up.result()]), "")


@pytest.mark.parametrize("text", ["", "[]", '{"given": 3}', '{"given": [{"student": "ada"}]}'])
def test_a_damaged_copy_is_named_and_stops_the_gradebook(course, text):
    (course / "gradebook.db").unlink()
    (course / "by_hand.json").write_text(text)
    with pytest.raises(LabError, match=r"by_hand\.json holds what was given by hand"):
        write(course, [made_up.result()])
    assert not (course / "gradebook.db").exists()


def test_other_assignments_in_the_gradebook_are_left_alone(course):
    with Opened(course) as book:
        book.add_assignment("other")
        book.add_notebook("01_first", "other")
        book.add_grade_cell("crop-check", "01_first", "other", max_score=9, cell_type="code")
        book.add_submission("other", "ada")
        book.find_grade("crop-check", "01_first", "other", "ada").auto_score = 7
        book.db.commit()
    write(course, [made_up.result(share=0.5)])
    with Opened(course) as book:
        assert book.find_submission("other", "ada").score == 7
        assert book.find_assignment("other").max_score == 9
        assert book.db.query(Assignment).count() == 2


def test_nothing_changes_in_the_second_run(course):
    def state():
        files = [path for path in course.rglob("*") if path.suffix in (".ipynb", ".py")]
        with Opened(course) as book:
            rows = [(it.id, it.auto_score, it.needs_manual_grade) for it in book.db.query(Grade)]
        return {path: path.stat().st_mtime_ns for path in files}, sorted(rows)

    before = state()
    assert len(before[0]) == 1 + 3 * 2 and len(before[1]) == 4
    write(course, [made_up.result()])
    assert state() == before


def test_a_failure_in_the_middle_leaves_the_scores_as_they_were(course, monkeypatch):
    def fail(*_):
        raise LabError("The disk is full.")

    monkeypatch.setattr("convnetlab.grading.ledger.Ledger.keep_comments", fail)
    with pytest.raises(LabError, match="disk is full"):
        write(course, [made_up.result(share=0.0), made_up.result("bo")])
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 6
        assert [it.id for it in book.students] == ["ada"]


@pytest.mark.parametrize("student", ["../eve", "", ".hidden", "a<b", 'a"b', "a\nb", "a/b"])
def test_a_name_that_could_leave_its_place_is_refused(tmp_path, student):
    with pytest.raises(LabError, match="Rename the submission"):
        write(tmp_path, [made_up.result(student)])
    assert not list(tmp_path.iterdir())


def test_a_damaged_gradebook_is_named(course):
    (course / "gradebook.db").write_bytes(b"no database, and longer than a page of one" * 100)
    with pytest.raises(LabError, match=r"gradebook\.db could not be read"):
        write(course, [made_up.result()])
    with pytest.raises(LabError, match="move it away"):
        gradebook.manual_scores(course)


has_limits = pytest.mark.skipif(sys.platform == "win32", reason="no limits of files there")


@contextlib.contextmanager
def files_of_at_most(size):
    """Make every file end at a size, as a full disk would."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@has_limits
@pytest.mark.parametrize("size", [8_192, 40_960])
def test_a_full_disk_is_told_and_leaves_no_half_of_a_gradebook(tmp_path, size):
    with files_of_at_most(size), pytest.raises(LabError, match=r"gradebook\.db could not") as told:
        gradebook.write(tmp_path, {}, [], [])
    assert "free space" in str(told.value) and len(str(told.value)) < 400
    assert not list(tmp_path.glob("*gradebook*")) and not list(tmp_path.glob(".*db*"))
    assert gradebook.write(tmp_path, {}, [], []) == {}, "the next run is not in the way of this one"


@has_limits
def test_a_gradebook_that_grows_beyond_the_disk_is_as_before(course):
    size = (course / "gradebook.db").stat().st_size
    class_ = [made_up.result(f"student-{n}", full_name="x" * 4000) for n in range(9)]
    with files_of_at_most(size), pytest.raises(LabError, match=r"gradebook\.db could not"):
        write(course, class_)
    with Opened(course) as book:
        assert [it.id for it in book.students] == ["ada"] and book.grade().needs_manual_grade


def test_a_gradebook_that_is_written_to_elsewhere_is_told(course, monkeypatch):
    plain = sql.create_engine
    impatient = {"connect_args": {"timeout": 0}}
    monkeypatch.setattr(ledger.sql, "create_engine", lambda address: plain(address, **impatient))
    with contextlib.closing(sqlite3.connect(course / "gradebook.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LabError, match=r"gradebook\.db could not.*locked.*close a formgrader"):
            write(course, [made_up.result("bo")])


def test_an_empty_gradebook_is_none(course):
    (course / "gradebook.db").write_bytes(b"")
    write(course, [made_up.result()])
    with Opened(course) as book:
        assert book.find_submission(NAME, "ada").score == 6


def test_the_configuration_is_the_instructor_s_once_it_is_there(course):
    text = (course / "nbgrader_config.py").read_text()
    (course / "nbgrader_config.py").write_text(text + "c.Exchange.root = '/srv/exchange'\n")
    write(course, [made_up.result()])
    assert "/srv/exchange" in (course / "nbgrader_config.py").read_text()


def test_the_formgrader_s_notebooks_are_valid_and_carry_nothing_that_runs(course):
    notebooks = made_up.source()
    student = made_up.student_of(3, random.Random(5), notebooks)
    hostile = json.loads(student.notebooks[1].executed)
    page = {"text/html": made_up.HOSTILE, "application/javascript": "alert(1)", "text/plain": "7"}
    outputs = [
        {
            "output_type": "display_data",
            "data": page,
            "metadata": {"text/html": {"isolated": True}},
        },
        {"output_type": "display_data", "data": {"image/svg+xml": "<svg onload='x()'/>"}},
        {"output_type": "display_data", "data": {"image/png": '"onerror="x()'}},
        {"output_type": "execute_result", "data": {"image/png": "iVBORw0KGgo="}},
        {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["<b>t</b>"]},
        {"output_type": made_up.HOSTILE},
    ]
    own = {"convnetlab": {"own": "added"}, "nbgrader": {"grade_id": "blur", "grade": True}}
    hostile["cells"][1]["outputs"] = outputs
    hostile["cells"][1]["execution_count"] = made_up.HOSTILE
    hostile["cells"].insert(
        0,
        {
            "cell_type": "markdown",
            "id": '"><script>',
            "metadata": own | {"tags": [made_up.HOSTILE]},
            "attachments": {"x": {"text/html": made_up.HOSTILE}},
            "source": ["[x](javascript:alert(1)) ", "![y](http://evil.invalid/y.png) <b>&amp;"],
        },
    )
    hostile["cells"].append(dict(hostile["cells"][1]))  # a copy, with the same ids
    hostile["metadata"] = {"kernelspec": {"name": made_up.HOSTILE}, "widgets": made_up.HOSTILE}
    second = replace(student.notebooks[1], executed=json.dumps(hostile), key="hostile")
    write(course, [replace(student, notebooks=(student.notebooks[0], second))], notebooks)
    path = course / "autograded" / student.submission.student / NAME / "02_second.ipynb"
    made = nbformat.read(path, 4)
    nbformat.validate(made)
    MetadataValidator().validate_nb(made)
    assert made.metadata.kernelspec.name == "python3" and "widgets" not in made.metadata
    kinds = {
        kind
        for cell in made.cells
        for out in cell.get("outputs", [])
        for kind in out.get("data", {})
    }
    assert kinds == {"text/plain", "image/png"}
    markdown = made.cells[0]
    assert markdown.cell_type == "markdown" and rendered(markdown.source) == [
        ("pre", ""),
        ("code", ""),
    ]
    assert "nbgrader" not in markdown.metadata and "attachments" not in markdown
    conclusion = next(cell for cell in made.cells if cell.id == "conclusion")
    assert rendered(conclusion.source) == [("pre", ""), ("code", "")]
    assert "filters do" in conclusion.source
    given_id = [c.metadata.nbgrader.grade_id for c in made.cells if "nbgrader" in c.metadata]
    assert given_id == ["blur", "blur-check", "conclusion"]


ATTACKS = (
    "[click](javascript:alert(1))",
    "[click](JaVaScRiPt:alert(1))",
    "[click](java&#115;cript:alert(1))",
    "[click](java&Tab;script:alert(1))",
    "[click](java\nscript:alert(1))",
    "[click](<java\tscript:alert(1)>)",
    "[click](\x01javascript:alert(1))",
    "[click](javascript&colon;alert(1))",
    "[click](java\\script:alert(1) 'title')",
    "[click]( javascript:alert(1))",
    "[click](data:text/html;base64,PHNjcmlwdD4=)",
    "[click](vbscript:x) [click](file:///etc/passwd) [click](//evil.invalid)",
    "[click][a]\n\n[a]: javascript:alert(1)",
    "[a]\n\n[a]: <javascript:alert(1)>\n  'title'",
    "<javascript:alert(1)> <http://evil.invalid>",
    "![x](http://evil.invalid/x.png) ![x][a]\n\n[a]: javascript:alert(1)",
    "[![x](attachment:x.svg)](javascript:alert(1))",
    "<script>alert(1)</script><svg/onload=alert(1)>",
    "$\\href{javascript:alert(1)}{x}$ $$<b onclick=alert(1)>$$",
    "$$\n```\n$$\n[click](javascript:alert(1))",
    "\\begin{x}\n```\n\\end{x} <b>",
    "```\n[click](javascript:alert(1))",
    "x\n`````\n[click](javascript:alert(1))\n~~~~~~\n<b>",
    "\r```\r[click](javascript:alert(1))\u2028```\n\x85```\x0b```\x0c<b>",
    "</code></pre><script>alert(1)</script>",
    "&lt;/code&gt;&#60;script>",
    "- [click](javascript:alert(1))\n\n> [b](javascript:x)\n\n# [c](javascript:x)",
    "|a|\n|-|\n|[click](javascript:alert(1))|",
    "x[^1]\n\n[^1]: [click](javascript:alert(1))",
)


class Tags(HTMLParser):
    """The tags of a page, each with its `href` or `src`."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, *sorted(f"{k}={v}" for k, v in attrs)) if attrs else (tag, ""))

    def handle_data(self, data):
        self.text += data


def rendered(source):
    """The tags that nbconvert's Markdown, which the formgrader uses, makes of a text."""
    return Tags(markdown2html_mistune(source)).found


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_is_text(attack):
    assert rendered(shown.as_typed(attack)) == [("pre", ""), ("code", "")]


@given(
    st.lists(st.sampled_from([*ATTACKS, "`", "```", "~~~", "$$", "\n", "\r", "    "]) | st.text())
)
def test_no_text_leaves_its_block(parts):
    assert rendered(shown.as_typed("".join(parts))) == [("pre", ""), ("code", "")]


def formgraders_page(folder, path):
    """The page that the formgrader makes of a notebook."""
    import nbgrader.server_extensions.formgrader.handlers as handlers
    from nbconvert.exporters import HTMLExporter

    config = Config()
    config.HTMLExporter.template_name = "formgrade"
    places = [str(folder / "templates"), handlers.template_path]
    config.HTMLExporter.extra_template_basedirs = places
    about = dict.fromkeys(("assignment_id", "submission_id", "last_name", "first_name"), "x")
    about |= {"notebook_id": "02_second", "base_url": "", "student": "ada", "notebook_path": "x"}
    page, _ = HTMLExporter(config=config).from_filename(
        str(path), resources=about | {"index": 0, "total": 1}
    )
    return page


@pytest.mark.parametrize("kind", ["markdown", "raw"])
def test_the_formgrader_s_page_has_no_link_of_a_student_s(course, kind):
    def page_of(answer, texts):
        result = made_up.result(key=answer, answers={"conclusion": answer})
        notebook = json.loads(result.notebooks[1].executed)
        own = {"convnetlab": {"own": "changed"}, "raw_mimetype": "text/html"}
        notebook["cells"][1:1] = [
            {"cell_type": kind, "id": f"own-{n}", "metadata": own, "source": text}
            for n, text in enumerate(texts)
        ]
        second = replace(result.notebooks[1], executed=json.dumps(notebook))
        write(course, [replace(result, notebooks=(result.notebooks[0], second))])
        path = course / "autograded" / "ada" / NAME / "02_second.ipynb"
        return Tags(formgraders_page(course, path))

    hostile, harmless = (
        page_of("\n\n".join(ATTACKS), ATTACKS),
        page_of("So.", ["So."] * len(ATTACKS)),
    )
    assert hostile.found == harmless.found
    assert ("textarea", "class=comment tabbable", "id=conclusion-comment") in hostile.found
    assert any(tag == "input" and "id=conclusion" in more for tag, *more in hostile.found)
    assert ".text_cell_render pre {white-space: pre-wrap" in hostile.text, "long lines are wrapped"
    assert hostile.text.count("vbscript:x") == 2, "the answer and the cell of the student's own"


def test_a_checksum_tells_an_answer_from_what_was_given(course):
    from nbgrader.utils import compute_checksum

    made = nbformat.read(course / "autograded" / "ada" / NAME / "02_second.ipynb", 4)
    conclusion = made.cells[-1]
    assert conclusion.metadata.nbgrader.checksum != compute_checksum(conclusion)
    conclusion.source = "### Your conclusion\nYOUR ANSWER HERE"
    assert conclusion.metadata.nbgrader.checksum == compute_checksum(conclusion)
    blank = {"conclusion": "### Your conclusion\nYOUR ANSWER HERE"}
    write(course, [made_up.result(key="2", answers=blank)])
    made = nbformat.read(course / "autograded" / "ada" / NAME / "02_second.ipynb", 4)
    assert made.cells[-1].source == blank["conclusion"], "what nobody answered is as it was given"
    check = made.cells[2]
    assert check.metadata.nbgrader.checksum == compute_checksum(check)
