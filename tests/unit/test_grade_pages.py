"""Tables, feedback and the instructor's page, from made-up results in several scripts."""

import csv
import hashlib
import html
import io
import re
from base64 import b64encode
from dataclasses import replace
from html.parser import HTMLParser

import made_up_class as made_up
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from convnetlab.grading import feedback, hidden, marking, plots, report, scores, store, tables
from convnetlab.grading.assignment import Question
from convnetlab.grading.hidden import Exercise
from convnetlab.grading.records import CellRun, Execution, Remark
from convnetlab.grading.scores import ByHand

CONCLUSION = ("02_second", "conclusion")


@pytest.fixture(scope="module")
def class_():
    return made_up.of_class()


@pytest.fixture(scope="module")
def manual(class_):
    """Half of the class has points and a comment for the conclusion, one with extra credit."""
    done = [it.submission.student for it in class_][::2]
    given_to = {(name, *CONCLUSION): ByHand(4.0, 0.0, f"Ein Satz für {name}.") for name in done}
    given_to["student-02", *CONCLUSION] = ByHand(5.0, 1.5, "Mehr, als gefragt war: <b>gut</b>")
    return given_to


def read(path):
    """Return a table's rows, as csv reads them."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def expected(result, manual):
    """A total by hand: what a person gave counts in the place of what was computed."""
    points = 0.0
    for mark in result.marks:
        hand = manual.get((result.submission.student, mark.notebook, mark.check))
        points += hand.points + hand.extra if hand else mark.points
    return round(points, 3)


def test_every_student_has_a_row_with_the_total(tmp_path, class_, manual):
    paths = tables.write(tmp_path, class_[::-1], manual)
    assert [it.name for it in paths] == ["grades.csv", "moodle.csv", "canvas.csv"]
    rows = read(tmp_path / "grades.csv")
    assert [it["Student"] for it in rows] == [f"student-{n:02}" for n in range(40)]
    for row, result in zip(rows, class_, strict=True):
        assert float(row["Total"]) == expected(result, manual)
        assert float(row["Maximum"]) == 11
        assert abs(float(row["Percent"]) - 100 * expected(result, manual) / 11) <= 0.05
        of_crop = next(mark for mark in result.marks if mark.exercise == "crop")
        assert float(row["01_first crop"]) == of_crop.points
    assert rows[0]["By hand"] == "4" and rows[1]["By hand"] == rows[1]["02_second conclusion"] == ""
    assert rows[2]["By hand"] == "6.5"


def test_pandas_reads_what_csv_reads(tmp_path, class_, manual):
    for path in tables.write(tmp_path, class_, manual):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert frame.to_dict("records") == read(path) and len(frame) >= 20
        text = path.read_bytes().decode("utf-8")
        assert all(field[0] == field[-1] == '"' for field in text.split("\r\n")[0].split(","))


def test_names_in_any_script_come_back_and_none_is_a_formula(tmp_path, class_, manual):
    tables.write(tmp_path, class_, manual)
    names = [it["Full name"] for it in read(tmp_path / "grades.csv")]
    assert {"李 小龙", "محمد علي", "नीरज शर्मा", "Łukasz Żółć", "O'Brien, Pat"} <= set(names)
    assert names[5].startswith("'=HYPERLINK")


@given(st.text(max_size=20))
def test_no_text_is_a_formula_and_none_is_lost(text):
    found = tables.safe(text)
    assert found.removeprefix("'") == text.removeprefix("'")
    assert found[:1] not in {"=", "+", "-", "@", "\t", "\r", "\n"}


@given(st.lists(st.lists(st.text(max_size=8), min_size=2, max_size=2), min_size=1, max_size=4))
def test_csv_comes_back_whatever_is_in_it(rows):
    text = tables.as_csv([[field.replace("\0", "") for field in row] for row in rows])
    stream = io.StringIO(text, newline="")
    assert list(csv.reader(stream)) == [[field.replace("\0", "") for field in row] for row in rows]


def test_moodle_gets_its_worksheet(tmp_path, class_, manual):
    tables.write(tmp_path, class_, manual)
    rows = read(tmp_path / "moodle.csv")
    # Moodle looks for these three (mod/assign/feedback/offline/importgradeslib.php).
    assert {"Identifier", "Grade", "Last modified (grade)"} <= rows[0].keys()
    found = [it["Identifier"] for it in rows]
    assert found == [f"Participant {10**6 + n}" for n in range(0, 40, 2)]
    assert all(0 <= float(it["Grade"]) <= float(it["Maximum grade"]) for it in rows)


def test_moodle_is_spared_more_than_the_maximum(tmp_path):
    result = made_up.result(moodle="7", full_name="Ada")
    tables.write(tmp_path, [result], {("ada", *CONCLUSION): ByHand(5.0, 2.0)})
    assert read(tmp_path / "moodle.csv")[0]["Grade"] == "11"
    assert read(tmp_path / "grades.csv")[0]["Total"] == "13"


def test_canvas_gets_the_points_possible(tmp_path, class_, manual):
    tables.write(tmp_path, class_, manual)
    first, *rows = read(tmp_path / "canvas.csv")
    assert list(first)[:5] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section"]
    assert "Points Possible" in first["Student"] and first["convnetlab"] == "11"
    assert [it["ID"] for it in rows] == [str(5000 + n) for n in range(1, 40, 2)]
    assert float(rows[0]["convnetlab"]) == expected(class_[1], manual)


def test_a_table_of_nobody_goes(tmp_path, class_, manual):
    tables.write(tmp_path, class_, manual)
    tables.write(tmp_path, [made_up.result()], {})
    assert [it.name for it in tmp_path.iterdir()] == ["grades.csv"]


def test_an_exercise_of_another_release_leaves_a_gap(tmp_path):
    other = made_up.result("bo")
    first = replace(other.notebooks[0], marks=other.notebooks[0].marks[:1])
    tables.write(tmp_path, [replace(other, notebooks=(first,)), made_up.result()], {})
    ada, bo = read(tmp_path / "grades.csv")
    assert (bo["01_first crop"], bo["01_first scale"], bo["Maximum"]) == ("2", "", "2")
    assert (ada["01_first scale"], ada["Maximum"]) == ("1", "11")


class Shown(HTMLParser):
    """What a browser makes of a page: its elements, attributes and texts."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.attributes, self.text, self.path = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        self.path.append(tag)
        if tag in ("td", "th", "li", "p", "h1", "h2", "h3", "span"):
            self.text.append(" ")

    def handle_endtag(self, tag):
        while self.path and self.path.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.path:
            self.text.append(data)

    @property
    def words(self):
        return " ".join("".join(self.text).split())


ALLOWED = {
    *("html", "head", "meta", "title", "style", "body", "section", "article", "header", "footer"),
    *("h1", "h2", "h3", "p", "ul", "li", "strong", "span", "b", "i", "bdi", "code", "pre"),
    *("blockquote", "div", "table", "tr", "th", "td", "figure", "img", "a"),
}


def shown(path):
    """Read a page, and check what every page must keep to."""
    page = path.read_text("utf-8")
    found = Shown(page)
    assert set(found.tags) <= ALLOWED
    for tag, name, value in found.attributes:
        assert not name.startswith("on") and name != "style"
        if name == "src":
            assert tag == "img" and value.startswith("data:image/png;base64,")
        if name == "href":
            assert re.match(r"(feedback|autograded)/student-\d\d", value)
    policy = next(value for _, name, value in found.attributes if value and "default-src" in value)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'") and f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy and "script-src" not in policy
    return found


@pytest.fixture(scope="module")
def pages(tmp_path_factory, class_, manual):
    folder = tmp_path_factory.mktemp("pages")
    paths = feedback.write(folder, class_, manual)
    return {path.stem: shown(path) for path in paths}


def test_each_student_has_a_page_of_text_only(pages, class_):
    assert len(pages) == 40
    assert made_up.HOSTILE in pages["student-08"].words
    assert "Feedback for Bobby <script>" in pages["student-08"].words


def test_feedback_tells_points_groups_and_the_answer(tmp_path, class_, manual):
    result = class_[2]
    words = shown(feedback.write(tmp_path, [result], manual)[0]).words
    points = expected(result, manual)
    assert f"{points:g} points of 11" in words and "so far" not in words
    for mark in result.marks:
        for name, (right, asked) in mark.groups.items():
            assert f"{name}: {right} of {asked} right" in words
        assert mark.said in words or not mark.said
    assert "def crop(x): return x + 2" in words
    assert "Mehr, als gefragt war: <b>gut</b>" in words
    assert "1.5 of them beyond the exercise" in words


def test_feedback_says_what_waits(tmp_path, class_, manual):
    waiting = next(it for it in class_[1::2] if it.marks[-1].state == "by hand")
    words = shown(feedback.write(tmp_path, [waiting], manual)[0]).words
    assert "so far" in words and "1 of your answers is still to be read" in words
    assert "waits for your instructor: – of 5" in words


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"state": "unanswered", "points": 0.0, "said": "x"}, "not answered: 0 of 2"),
        ({"state": "missing", "points": 0.0}, "Do not delete or rename cells"),
        ({"state": "wrong", "points": 0.0, "said": "Expected 2, got 3."}, "Expected 2, got 3."),
        ({"state": "partly", "points": 0.3, "groups": {"corners": (3, 4)}}, "Look at: corners."),
        ({"state": "partly", "points": 0.1 + 0.2}, "partly right: 0.3 of 2"),
        ({"state": "right"}, "The check in the notebook passed."),
        ({"said": "y" * 10_050, "state": "wrong"}, "(50 more characters)"),
    ],
)
def test_feedback_in_each_state(tmp_path, changes, told):
    result = made_up.result()
    first = result.notebooks[0]
    marks = (made_up.replaced(first.marks[0], **changes), *first.marks[1:])
    result = replace(result, notebooks=(replace(first, marks=marks),))
    assert told in shown(feedback.write(tmp_path, [result], {})[0]).words


INPUTS = "Your answer was also asked for inputs that are not in the notebook"


@pytest.mark.parametrize(
    ("exercise", "answer", "asked", "advice"),
    [
        (Exercise("crop", 28), 27, False, "Work it out on paper again"),
        (Exercise("crop", (2, 3), parts={"the side": 0, "the rest": 1}), (2, 4), False, "the rest"),
        (Exercise("crop", abs, {"few": lambda rng: (-3,)}, draws=1), 2, True, "such inputs"),
    ],
)
def test_only_a_function_is_said_to_have_inputs(tmp_path, exercise, answer, asked, advice):
    result = made_up.result()
    first = result.notebooks[0]
    blank = replace(first.marks[0], state="answered")
    ran = CellRun("ok")
    executed = Execution(None, {blank.check: ran}, {blank.check: [answer]}, 1.0, 1)
    question = Question(blank.exercise, blank.check, blank.title, blank.maximum, False)
    drawn = hidden.draw(exercise, "seed", "ada", "crop")
    mark = marking.mark_answer(blank, question, exercise, drawn, executed)
    assert mark.state in ("wrong", "partly")
    result = replace(result, notebooks=(replace(first, marks=(mark,)),))
    store.save(tmp_path, store.Kept(result, {}))
    kept = store.load(tmp_path, "ada").result
    words = shown(feedback.write(tmp_path, [kept], {})[0]).words
    assert (INPUTS in words, "compared with what is right" in words) == (asked, not asked)
    assert ("Try such inputs by hand" in words) == asked and advice in words


def test_feedback_knows_nothing_of_others(pages, class_):
    for result in class_:
        own = result.submission.student
        words = pages[own].words
        assert not any(f"student-{n:02}" in words for n in range(40) if f"student-{n:02}" != own)
        assert "suspicious" not in words


def test_only_changed_pages_are_written(tmp_path, class_, manual):
    paths = feedback.write(tmp_path, class_, manual)
    before = {path: path.stat().st_mtime_ns for path in paths}
    changed = {**manual, ("student-03", *CONCLUSION): ByHand(1.0)}
    feedback.write(tmp_path, class_, changed)
    assert [it.stem for it in paths if it.stat().st_mtime_ns != before[it]] == ["student-03"]


@pytest.mark.parametrize("text", ["lone \ud800 surrogate", "nul \0 and \x1b[31mcolour", "‮reversed"])
def test_odd_characters_break_no_page(tmp_path, text):
    mark = made_up.replaced(made_up.result().marks[0], said=text, state="wrong", points=0.0)
    result = made_up.result(full_name=text)
    first = replace(result.notebooks[0], marks=(mark,), remarks=(Remark(text, True),))
    result = replace(result, notebooks=(first,))
    feedback.write(tmp_path, [result], {("ada", "01_first", "crop"): ByHand(comment=text)})
    page = (tmp_path / "feedback" / "ada.html").read_text("utf-8")
    assert page.endswith("</html>") and "01_first" in page
    report.write(tmp_path, [result], {}, report.About())
    tables.write(tmp_path, [result], {})
    assert read(tmp_path / "grades.csv")[0]["Total"] == "0"


@pytest.fixture(scope="module")
def instructors(tmp_path_factory, class_, manual):
    folder = tmp_path_factory.mktemp("GRADES", numbered=False) / "of a class"
    extra = {"student-00": [Remark("02_second, conclusion: look again.")], "": [Remark("A class.")]}
    about = report.About("abc123", 61.0, 2, 3, ["notes.txt <b>is no notebook</b>."], extra)
    return shown(report.write(folder, class_[::-1], manual, about))


def test_the_report_begins_with_what_matters(instructors, class_, manual):
    words = instructors.words
    totals = [expected(it, manual) for it in class_]
    assert "Grades of 40 submissions" in words
    assert f"{np.median(totals):.3f}".rstrip("0").rstrip(".") + " points of 11" in words
    waiting = sum(it.marks[-1].state == "by hand" for it in class_[1::2])
    assert f"Still to be graded by hand: {waiting} × conclusion (02_second)" in words
    assert "of a class' && jupyter lab" in words, "the folder's name is quoted"
    places = [words.index(it) for it in ("Suspicious", "How the class did", "Other remarks")]
    assert places == sorted(places)
    assert words.index(made_up.HOSTILE) < places[1]


def test_the_report_has_every_student_and_remark(instructors):
    words = instructors.words
    links = [value for tag, name, value in instructors.attributes if name == "href"]
    assert [it for it in links if it.startswith("feedback/")] == [
        f"feedback/student-{n:02}.html" for n in range(40)
    ]
    assert "autograded/student-39/convnetlab/02_second.ipynb" in links
    for told in (
        "the check of crop had been edited",
        "One file lay in a folder of its own",
        "the whole class: A class.",
        "conclusion: look again.",
        "notes.txt <b>is no notebook</b>.",
        "version abc123 (the newest): 39 students",
        "version 0ld000: 1 student: student-05",
        "the slowest (student-13)",
        "⚠ 2 suspicious",
        "2 workers 61 s",
        "earlier run 3",
    ):
        assert told in words, told


def test_the_report_says_the_same_of_several_notebooks_once(tmp_path):
    said = {
        "01_first": ["01_first is of an earlier release, and was graded by it.", "01_first: odd."],
        "02_second": ["02_second is of an earlier release, and was graded by it."],
    }
    told = {"01_first": "crop, scale", "02_second": "blur"}
    class_ = []
    for name in ("student-01", "student-02"):
        result = made_up.result(name)
        notebooks = []
        for it in result.notebooks:
            lost = Remark(f"{it.name}: cells had lost their metadata: {told[it.name]}.")
            edited = Remark(f"{it.name}: checks had been edited: {told[it.name]}.", True)
            remarks = (*map(Remark, said[it.name]), lost, edited)
            notebooks.append(replace(it, remarks=remarks))
        class_.append(replace(result, notebooks=tuple(notebooks)))
    again = report.About(remarks={"student-01": [Remark("01_first, crop: look."), Remark("So.")]})
    words = shown(report.write(tmp_path, class_, {}, again)).words
    for name in ("student-01", "student-02"):
        both = f"{name}, 01_first, 02_second: each is of an earlier release, and was graded by it."
        lost = f"{name}: cells had lost their metadata: 01_first (crop, scale); 02_second (blur)."
        assert words.count(both) == words.count(lost) == 1
        assert f"{name}: 01_first: odd." in words
        assert f"{name}: 01_first: checks had been edited: crop, scale." in words
        assert f"{name}: 02_second: checks had been edited: blur." in words
    assert words.count("is of an earlier release") == words.count("had lost their") == 2
    assert "student-01: 01_first, crop: look." in words
    assert "student-01: So." in words
    assert "2 suspicious; 5 remarks" in words and "2 suspicious; 3 remarks" in words


def test_the_report_ranks_exercises_and_groups(class_, manual, instructors):
    """Recomputed with pandas from the marks alone."""
    marks = pd.DataFrame([mark.__dict__ for result in class_ for mark in result.marks])
    marks = marks[marks["exercise"] != "conclusion"]  # some wait for a person
    share = marks.groupby("exercise")["points"].sum() / marks.groupby("exercise")["maximum"].sum()
    order = share.sort_values().index.to_list()
    words = instructors.words
    table = words[words.index("points reached") :]
    places = [table.index(f"{name}: Exercise") for name in order]
    assert places == sorted(places)
    for name in order:
        assert f"things 0{2 if name == 'blur' else 1}_" in table
        assert f"{100 * share[name]:.0f} %" in table
    failed = {
        (mark.exercise, name): [0, 0] for it in class_ for mark in it.marks for name in mark.groups
    }
    for mark in (mark for it in class_ for mark in it.marks):
        for name, (right, asked) in mark.groups.items():
            failed[mark.exercise, name][0] += right < asked
            failed[mark.exercise, name][1] += 1
    (exercise, name), (count, of) = max(failed.items(), key=lambda it: it[1][0] / it[1][1])
    assert re.search(rf"failed {name} {exercise} \S+ {count} of {of} ", table)


def test_figures_say_what_they_show(instructors):
    alts = [value for tag, name, value in instructors.attributes if name == "alt"]
    assert len(alts) == 2 and "40 students" in alts[0] and "hardest first: blur" in alts[1]


def test_a_report_of_nobody_and_of_one(tmp_path):
    words = shown(report.write(tmp_path, [], {}, report.About())).words
    assert "Grades of 0 submissions" in words and "Nothing was found." in words
    one = replace(made_up.result(share=0.0), submission=made_up.of_class(1)[0].submission)
    assert (
        "Grades of 1 submission " in shown(report.write(tmp_path, [one], {}, report.About())).words
    )


def inside(figure):
    """Whether the figure is white all around: what is clipped would reach the border."""
    pixels = np.asarray(Image.open(io.BytesIO(figure.png)).convert("L"))
    return (np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]) == 255).all()


@pytest.mark.parametrize(
    "totals", [[0.0], [13.0, 2.5], [0.0, 0.0, 11.0], list(np.linspace(0, 11, 300))]
)
def test_the_distribution_counts_everybody(totals):
    figure = plots.distribution(totals, 11.0, "Points")
    axes = figure.axes[0]
    assert sum(bar.get_height() for bar in axes.patches) == len(totals)
    assert f"{len(totals)} student" in figure.alt and inside(figure)


def test_the_bars_add_up_to_the_whole():
    shares = [plots.Share(f"a-long-name-of-exercise-{n}$x", n / 40, 0.2) for n in range(20)]
    figure = plots.difficulty(shares, "Hard")
    widths = np.array([bar.get_width() for bar in figure.axes[0].patches]).reshape(3, -1)
    assert widths.shape[1] == plots.SHOWN and np.allclose(widths.sum(axis=0), 1)
    assert inside(figure)


@given(st.floats(0, 1e6))
def test_points_are_told_without_binary_noise(points):
    told = scores.told(points)
    assert re.fullmatch(r"\d+(\.\d{0,2}[1-9])?", told)
    assert abs(float(told) - points) <= 0.0005 + 1e-9


def test_text_is_escaped_once_only(tmp_path):
    page = feedback.write(tmp_path, [made_up.result(full_name="A & B <c>")], {})[0].read_text()
    assert html.escape("A & B <c>") in page and "&amp;amp;" not in page
