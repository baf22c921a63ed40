"""Rebuilding: whatever is handed in, the instructor's notebook comes out, with the answers."""

import copy
import json

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from convnetlab.grading import handed_in
from convnetlab.grading.handed_in import stamp_of
from convnetlab.grading.rebuild import rebuild
from convnetlab.student import solutions, student_copy

DOUBLE = '''def double(x):
    """Return twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION'''
TRIPLE = DOUBLE.replace("double", "triple").replace("2 * x", "3 * x")
NUMBER = "number = ...  # a whole number\n### BEGIN SOLUTION\nnumber = 44\n### END SOLUTION"
ESSAY = "### BEGIN SOLUTION\nIt is good.\n### END SOLUTION"


def graded(cell, name, **settings):
    cell.id = name
    defaults = {"grade": False, "solution": False, "locked": False, "task": False}
    cell.metadata["nbgrader"] = {
        "grade_id": name,
        "schema_version": 3,
        **defaults,
        **settings,
    }
    return cell


def check(name, source):
    return graded(new_code_cell(source), f"{name}-check", grade=True, locked=True, points=2)


def source_notebook():
    cells = [
        new_markdown_cell("# Title", id="title"),
        new_code_cell("import numpy as np", id="imports", metadata={"tags": ["imports"]}),
        new_code_cell("seed = 1", id="parameters", metadata={"tags": ["parameters"]}),
        new_markdown_cell("Write double.", id="double-text"),
        graded(new_code_cell(DOUBLE), "double", solution=True),
        check("double", 'assert double(2) == 4, "twice 2 is 4"'),
        graded(new_code_cell(TRIPLE), "triple", solution=True),
        check("triple", 'assert triple(2) == 6, "thrice 2 is 6"'),
        graded(new_code_cell(NUMBER), "number", solution=True),
        check("number", "assert number == 44"),
        new_markdown_cell("Conclude.", id="conclusion-text"),
        graded(new_markdown_cell(ESSAY), "conclusion", solution=True, grade=True, points=5),
        new_markdown_cell("The end.", id="summary"),
    ]
    return new_notebook(cells=cells, metadata={"language_info": {"name": "python"}})


SOURCE = source_notebook()
ANSWERS = solutions(SOURCE)
CHECKS = {cell.id: cell.source for cell in SOURCE.cells if cell.id.endswith("-check")}


def cell_of(notebook, name):
    return next(cell for cell in notebook.cells if cell.id == name)


def place_of(notebook, name):
    return [cell.id for cell in notebook.cells].index(name)


def copy_with(answers=None):
    notebook = student_copy(SOURCE, "stamp-1")
    for name, text in (ANSWERS if answers is None else answers).items():
        cell_of(notebook, name).source = text
    return notebook


def as_bytes(notebook):
    return json.dumps(notebook).encode()


def assert_is_the_instructors(rebuilt):
    """Only cells for answers and the student's own differ from the source."""
    ids = [cell.id for cell in rebuilt.notebook.cells]
    assert len(set(ids)) == len(ids)  # before `validate`, which gives new ids to twins
    nbformat.validate(rebuilt.notebook)
    own = [cell for cell in rebuilt.notebook.cells if "convnetlab" in cell.metadata]
    rest = [cell for cell in rebuilt.notebook.cells if "convnetlab" not in cell.metadata]
    assert all(cell.metadata in ADDED_OR_CHANGED for cell in own)
    assert [cell.id for cell in rest] == [cell.id for cell in SOURCE.cells]
    assert rebuilt.notebook.metadata == SOURCE.metadata
    for cell, original in zip(rest, SOURCE.cells, strict=True):
        assert cell.metadata == original.metadata
        assert cell.cell_type == original.cell_type
        if not original.metadata.get("nbgrader", {}).get("solution"):
            assert cell.source == original.source
        assert not cell.get("outputs")
    assert rebuilt.states.keys() == ANSWERS.keys()
    assert "raises-exception" not in str(rebuilt.notebook)
    nbformat.writes(rebuilt.notebook).encode()  # no half characters


ADDED_OR_CHANGED = [{"convnetlab": {"own": own}} for own in ("added", "changed")]


def rebuilt_from(notebook, **arguments):
    content = notebook if isinstance(notebook, bytes | None) else as_bytes(notebook)
    rebuilt = rebuild(SOURCE, content, "lab", **arguments)
    assert_is_the_instructors(rebuilt)
    return rebuilt


def own_cells(rebuilt):
    return {
        cell.source: cell.metadata["convnetlab"]["own"]
        for cell in rebuilt.notebook.cells
        if "convnetlab" in cell.metadata
    }


def said(rebuilt, suspicious=None):
    return " ".join(r.text for r in rebuilt.remarks if suspicious in (None, r.suspicious))


def test_an_honest_copy_comes_back_with_its_answers():
    rebuilt = rebuilt_from(copy_with())
    assert set(rebuilt.states.values()) == {"answered"}
    assert {n: cell_of(rebuilt.notebook, n).source for n in ANSWERS} == ANSWERS
    assert not rebuilt.remarks and not own_cells(rebuilt)


def test_a_blank_copy_is_unanswered_and_holds_no_solution():
    rebuilt = rebuilt_from(copy_with({}))
    assert set(rebuilt.states.values()) == {"unanswered"}
    assert "SOLUTION" not in str(rebuilt.notebook) and "2 * x" not in str(rebuilt.notebook)
    assert not rebuilt.remarks


def test_the_source_is_not_changed():
    before = copy.deepcopy(SOURCE)
    rebuilt = rebuilt_from(copy_with())
    rebuilt.notebook.cells[0].metadata["tags"] = ["mine"]
    rebuilt.notebook.cells[1].outputs.append("x")
    assert before == SOURCE


STUB = cell_of(student_copy(SOURCE), "double").source


@pytest.mark.parametrize(
    ("name", "text", "state"),
    [
        ("double", "", "unanswered"),
        ("double", "  \n", "unanswered"),
        ("double", STUB.replace("\n", "  \r\n") + "\n\n", "unanswered"),
        ("double", STUB.replace("twice", "two times") + "\n# I tried", "unanswered"),
        ("double", STUB + "\n    return 2", "answered"),
        ("double", "def double(x):\n    return 2 * x", "answered"),
        ("double", "def double(x:", "answered"),
        ("double", STUB + "\n\nhelper = 3", "answered"),
        ("number", "number = ...  # what?\n", "unanswered"),
        ("number", "number = 44", "answered"),
        ("number", "number = None", "answered"),
        ("conclusion", "YOUR ANSWER HERE\n", "unanswered"),
        ("conclusion", "YOUR ANSWER HERE\n\nGood.", "answered"),
    ],
)
def test_what_counts_as_an_answer(name, text, state):
    rebuilt = rebuilt_from(copy_with({name: text}))
    assert rebuilt.states[name] == state
    assert {s for n, s in rebuilt.states.items() if n != name} == {"unanswered"}


def test_a_deleted_answer_is_missing_and_a_deleted_check_is_back():
    notebook = copy_with()
    notebook.cells = [c for c in notebook.cells if c.id not in ("double", "triple-check")]
    rebuilt = rebuilt_from(notebook)
    assert rebuilt.states["double"] == "missing" and rebuilt.states["triple"] == "answered"
    assert cell_of(rebuilt.notebook, "double").source == STUB
    assert "lab: cells for answers are missing: double." in said(rebuilt, False)
    assert "lab: checks had been deleted and were restored: triple-check." in said(rebuilt, False)


def test_an_edited_check_is_restored_and_suspicious():
    notebook = copy_with()
    cell_of(notebook, "double-check").source = "assert True"
    rebuilt = rebuilt_from(notebook)
    assert "edited and were restored: double-check" in said(rebuilt, True)
    place = place_of(rebuilt.notebook, "double-check")
    kept = rebuilt.notebook.cells[place + 1]
    assert (kept.source, kept.metadata["convnetlab"]["own"]) == ("assert True", "changed")


def test_an_emptied_check_is_restored_and_suspicious():
    notebook = copy_with()
    cell_of(notebook, "double-check").source = ""
    assert "edited and were restored: double-check" in said(rebuilt_from(notebook), True)


def test_a_formatter_edits_no_check():
    notebook = copy_with()
    cell = cell_of(notebook, "double-check")
    cell.source = "assert (\n    double(2) == 4\n), 'twice 2 is 4'  # layout\n"
    rebuilt = rebuilt_from(notebook)
    assert not rebuilt.remarks and not own_cells(rebuilt)


def test_a_check_that_claims_to_be_as_given_is_believed_of_another_version_only():
    notebook = copy_with()
    cell = cell_of(notebook, "double-check")
    cell.source = "assert True"
    cell.metadata["convnetlab"]["given"] = handed_in_fingerprint("assert True")
    assert "edited" in said(rebuilt_from(notebook, stamp="stamp-1"), True)
    rebuilt = rebuilt_from(notebook, stamp="stamp-2")
    assert "of another version and were replaced: double-check" in said(rebuilt, False)
    assert not said(rebuilt, True)


def handed_in_fingerprint(text):
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()[:16]


def test_changed_points_are_suspicious_unless_another_version_gave_them():
    notebook = copy_with()
    cell_of(notebook, "double-check").metadata["nbgrader"]["points"] = 100
    cell_of(notebook, "number-check").metadata["nbgrader"].update(grade=False, solution=True)
    cell_of(notebook, "triple").metadata["nbgrader"]["locked"] = True
    rebuilt = rebuilt_from(notebook, stamp="stamp-1")
    assert "points changed; the instructor's count: double-check" in said(rebuilt, True)
    assert "solution changed; the instructor's count: number-check" in said(rebuilt, True)
    assert "locked changed; the instructor's count: triple" in said(rebuilt, False)
    assert set(rebuilt.states.values()) == {"answered"}
    assert not said(rebuilt_from(notebook, stamp="stamp-2"), True)


def test_answers_are_found_without_metadata():
    notebook = copy_with()
    for cell in notebook.cells:
        cell.metadata = {}
    rebuilt = rebuilt_from(notebook)
    assert set(rebuilt.states.values()) == {"answered"}
    assert "had lost nbgrader's metadata: double, double-check" in said(rebuilt, False)
    assert not own_cells(rebuilt) and not said(rebuilt, True)


def test_a_blank_copy_without_metadata_is_unanswered():
    notebook = copy_with({})
    for cell in notebook.cells:
        cell.metadata = {}
    assert set(rebuilt_from(notebook).states.values()) == {"unanswered"}


@pytest.mark.parametrize("ids", ["new", "none"])
def test_answers_are_found_by_what_they_define_where_all_ids_are_gone(ids):
    notebook = copy_with()
    for number, cell in enumerate(notebook.cells):
        cell.metadata = {}
        cell.id = f"renumbered-{number}"
        if ids == "none":
            del cell["id"]
    rebuilt = rebuilt_from(notebook)
    assert set(rebuilt.states.values()) == {"answered"}
    assert {n: cell_of(rebuilt.notebook, n).source for n in ANSWERS} == ANSWERS
    assert not own_cells(rebuilt), "our own cells were taken for the student's"


def test_an_answer_in_a_cell_below_the_stub_is_found():
    notebook = copy_with({})
    for after, cell in {
        "double": new_code_cell("def double(x):\n    return x + x"),
        "conclusion": new_markdown_cell("Below."),
    }.items():
        notebook.cells.insert(place_of(notebook, after) + 1, cell)
    rebuilt = rebuilt_from(notebook)
    assert rebuilt.states["double"] == rebuilt.states["conclusion"] == "answered"
    assert cell_of(rebuilt.notebook, "double").source.endswith("return x + x")
    assert cell_of(rebuilt.notebook, "conclusion").source == "Below."
    assert "answer to double stood in a cell of the student's own" in said(rebuilt, False)


def test_two_cells_that_define_the_name_are_not_guessed_between():
    notebook = copy_with({})
    place = place_of(notebook, "double")
    for number in (5, 7):
        text = f"def double(x):\n    return {number} * x"
        notebook.cells.insert(place + 1, new_code_cell(text))
    rebuilt = rebuilt_from(notebook)
    assert rebuilt.states["double"] == "unanswered"
    assert set(own_cells(rebuilt).values()) == {"added"} and len(own_cells(rebuilt)) == 2


def test_a_stub_beside_the_answer_leaves_no_doubt():
    notebook = copy_with({})
    place = place_of(notebook, "double")
    notebook.cells.insert(place, new_code_cell(STUB + "\n# a copy, to be safe"))
    notebook.cells.insert(place, new_code_cell("double = lambda x: 2 * x"))
    rebuilt = rebuilt_from(notebook)
    assert rebuilt.states["double"] == "answered"
    assert cell_of(rebuilt.notebook, "double").source == "double = lambda x: 2 * x"


def test_one_cell_with_two_answers_is_not_taken_for_either():
    notebook = copy_with({})
    text = f"{ANSWERS['double']}\n\n{ANSWERS['triple']}"
    notebook.cells.insert(place_of(notebook, "double"), new_code_cell(text))
    rebuilt = rebuilt_from(notebook)
    assert rebuilt.states["double"] == rebuilt.states["triple"] == "unanswered"
    assert own_cells(rebuilt) == {text: "added"}


def test_our_cells_that_say_the_same_are_told_apart_by_their_order():
    source = copy.deepcopy(SOURCE)
    for place in (12, 5, 1):
        source.cells.insert(place, new_code_cell("show()", id=f"show-{place}"))
    notebook = student_copy(source)
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"renumbered-{number}"
    rebuilt = rebuild(source, as_bytes(notebook))
    assert not own_cells(rebuilt) and "moved" not in said(rebuilt)


def twin_of(cell, text):
    twin = copy.deepcopy(cell)
    twin.id, twin.source = "pasted", text
    return twin


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("other", [STUB, "def double(x):\n    return 1"])
def test_of_copied_cells_the_first_answer_counts(offset, other):
    notebook = copy_with()
    twin = twin_of(cell_of(notebook, "double"), other)
    notebook.cells.insert(place_of(notebook, "double") + offset, twin)
    rebuilt = rebuilt_from(notebook)
    is_first = offset == 0 and other != STUB
    expected = other if is_first else ANSWERS["double"]
    assert cell_of(rebuilt.notebook, "double").source == expected
    assert "more than once (the first that holds an answer counts): double" in said(rebuilt)
    left = {ANSWERS["double"] if is_first else other: "changed"} if other != STUB else {}
    assert own_cells(rebuilt) == left


@pytest.mark.parametrize("offset", [0, 1])
def test_a_copied_stub_is_no_cell_of_the_students_own_where_metadata_was_stripped(offset):
    notebook = copy_with()
    twin = twin_of(cell_of(notebook, "double"), STUB)
    notebook.cells.insert(place_of(notebook, "double") + offset, twin)
    for cell in notebook.cells:
        del cell.metadata["convnetlab"]
    rebuilt = rebuilt_from(notebook)
    assert cell_of(rebuilt.notebook, "double").source == ANSWERS["double"]
    assert not own_cells(rebuilt)


def test_a_copied_check_is_there_once():
    notebook = copy_with()
    check = cell_of(notebook, "double-check")
    notebook.cells.insert(3, twin_of(check, check.source))
    rebuilt = rebuilt_from(notebook)
    assert not own_cells(rebuilt)
    assert "more than once" in said(rebuilt)


def test_re_ordered_cells_are_put_back_and_others_stay_with_their_neighbours():
    notebook = copy_with()
    notebook.cells.insert(place_of(notebook, "triple"), new_code_cell("factor = 3"))
    moved = notebook.cells.pop(place_of(notebook, "number"))
    notebook.cells.insert(0, moved)
    rebuilt = rebuilt_from(notebook)
    assert "moved and stand in the instructor's order: number." in said(rebuilt, False)
    ids = [cell.id for cell in rebuilt.notebook.cells]
    place = ids.index("triple")
    assert rebuilt.notebook.cells[place - 1].source == "factor = 3"
    assert set(rebuilt.states.values()) == {"answered"}


def test_what_follows_a_moved_or_a_copied_cell_stays_where_it_was():
    notebook = copy_with()
    notebook.cells.insert(0, notebook.cells.pop(place_of(notebook, "number")))
    notebook.cells.insert(1, new_code_cell("first = 1"))
    twin = twin_of(cell_of(notebook, "double"), STUB)
    place = place_of(notebook, "triple-check")
    notebook.cells[place:place] = [twin, new_code_cell("late = 1")]
    rebuilt = rebuilt_from(notebook)
    sources = [cell.source for cell in rebuilt.notebook.cells]
    assert sources[0] == "first = 1"
    assert sources[sources.index("late = 1") - 1] == ANSWERS["triple"]


def test_cells_of_the_students_own_stay_at_their_places():
    notebook = copy_with()
    notebook.cells.insert(0, new_code_cell("import math", metadata={"tags": ["parameters"]}))
    notebook.cells.insert(6, new_markdown_cell("my note"))
    notebook.cells.append(new_code_cell("last = 1", metadata={"tags": ["raises-exception"]}))
    rebuilt = rebuilt_from(notebook)
    assert own_cells(rebuilt) == {"import math": "added", "my note": "added", "last = 1": "added"}
    sources = [cell.source for cell in rebuilt.notebook.cells]
    assert (sources[0], sources[-1]) == ("import math", "last = 1")
    assert sources[sources.index("my note") - 1] == ANSWERS["double"]
    assert not rebuilt.remarks


def test_changes_of_the_instructors_cells_are_kept_behind_them():
    notebook = copy_with()
    cell_of(notebook, "imports").source += "\nimport math"
    cell_of(notebook, "parameters").source = "seed = 99"
    cell_of(notebook, "title").source = "# My title"
    rebuilt = rebuilt_from(notebook)
    assert own_cells(rebuilt) == {
        "import numpy as np\nimport math": "changed",
        "seed = 99": "changed",
        "# My title": "changed",
    }
    assert cell_of(rebuilt.notebook, "parameters").source == "seed = 1"
    place = place_of(rebuilt.notebook, "imports")
    assert rebuilt.notebook.cells[place + 1].source.endswith("import math")


def test_cells_of_an_older_version_do_not_turn_into_the_students_own():
    newer = copy.deepcopy(SOURCE)
    cell_of(newer, "title").source = "# A better title"
    cell_of(newer, "double-check").source = "assert double(3) == 6"
    cell_of(newer, "triple").source = TRIPLE.replace("### BEGIN", "# New hint.\n    ### BEGIN")
    newer.cells = [cell for cell in newer.cells if cell.id != "double-text"]
    notebook = copy_with({"double": ANSWERS["double"]})
    rebuilt = rebuild(newer, as_bytes(notebook), "lab", stamp="stamp-2")
    assert not own_cells(rebuilt) and not said(rebuilt, True)
    assert rebuilt.states["double"] == "answered" and rebuilt.states["triple"] == "unanswered"
    assert "# New hint." in cell_of(rebuilt.notebook, "triple").source


def test_what_was_given_before_the_exercise_changed_is_no_answer():
    newer = copy.deepcopy(SOURCE)
    cell_of(newer, "double").source = DOUBLE.replace("double", "twice")
    rebuilt = rebuild(newer, as_bytes(copy_with({})))
    assert rebuilt.states["double"] == "unanswered"


def test_the_instructors_own_notebook_is_recognised():
    assert "5 of the answers carry the marks" not in said(rebuilt_from(copy_with()))
    rebuilt = rebuilt_from(SOURCE)
    assert "4 of the answers carry the marks of the notebook with solutions" in said(rebuilt, True)


def test_a_cell_of_another_kind_is_still_the_answer():
    notebook = copy_with()
    old = cell_of(notebook, "double")
    notebook.cells[place_of(notebook, "double")] = {
        "cell_type": "markdown",
        "id": "double",
        "metadata": old.metadata,
        "source": old.source,
        "attachments": {"a.png": {"image/png": "aGVsbG8="}},
    }
    assert rebuilt_from(notebook).states["double"] == "answered"


def test_pictures_of_the_conclusion_stay_and_nothing_else_attached():
    notebook = copy_with()
    pictures = {"a.png": {"image/png": "aGVsbG8="}, "b.svg": {"image/svg+xml": "<svg/>"}, "c": 5}
    pictures["d.png"] = {"image/png": "é", "image/gif": ["x"]}
    cell_of(notebook, "conclusion")["attachments"] = pictures
    rebuilt = rebuilt_from(notebook)
    kept = cell_of(rebuilt.notebook, "conclusion")["attachments"]
    assert kept == {"a.png": {"image/png": "aGVsbG8="}}


def test_pictures_of_the_instructors_answer_are_not_in_the_students():
    source = copy.deepcopy(SOURCE)
    cell_of(source, "conclusion")["attachments"] = {"model.png": {"image/png": "aGVsbG8="}}
    rebuilt = rebuild(source, as_bytes(copy_with()))
    assert "attachments" not in cell_of(rebuilt.notebook, "conclusion")


def v3(notebook):
    cells = []
    for cell in notebook.cells:
        text = {"input" if cell.cell_type == "code" else "source": cell.source.splitlines(True)}
        kind = {"language": "python", "outputs": []} if cell.cell_type == "code" else {}
        cells.append({"cell_type": cell.cell_type, "metadata": cell.metadata, **text, **kind})
    return {"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": [{"cells": cells}]}


def test_a_heading_of_version_3_is_text():
    notebook = v3(copy_with())
    heading = {"cell_type": "heading", "level": 1, "source": "My part", "metadata": {}}
    notebook["worksheets"][0]["cells"].append(heading)
    rebuilt = rebuilt_from(as_bytes(notebook))
    assert rebuilt.notebook.cells[-1].cell_type == "markdown"
    assert own_cells(rebuilt) == {"My part": "added"}


def lines(notebook):
    for cell in notebook.cells:
        cell["source"] = cell.source.splitlines(keepends=True)
    return notebook


@pytest.mark.parametrize(
    "content",
    [
        as_bytes(v3(copy_with())),
        as_bytes(lines(copy_with())),
        as_bytes({**copy_with(), "nbformat_minor": 99, "new": {}}),
        as_bytes({k: v for k, v in copy_with().items() if k == "cells"}),
        b"\xef\xbb\xbf" + as_bytes(copy_with()),
        as_bytes(copy_with()).decode().encode("utf-16"),
        as_bytes(copy_with()).decode().encode("utf-32-le"),
        as_bytes(copy_with()).replace(b"\\n", b"\\r\\n"),
    ],
    ids=["v3", "lists", "future", "bare", "mark", "utf-16", "utf-32", "windows"],
)
def test_every_kind_of_notebook_is_read(content):
    rebuilt = rebuilt_from(content)
    assert set(rebuilt.states.values()) == {"answered"}
    assert not said(rebuilt, True)


def test_windows_encoding_is_read_and_said():
    content = json.dumps(copy_with({"conclusion": "Füße – gut"}), ensure_ascii=False)
    rebuilt = rebuilt_from(content.encode("cp1252"))
    assert cell_of(rebuilt.notebook, "conclusion").source == "Füße – gut"
    assert "not in UTF-8" in said(rebuilt)


def test_text_in_any_script_is_kept():
    text = "# 你好 مرحبا שלום Ωμέγα 👩🏽‍🔬\nnumber = '𝒏 ́ẞ'"
    rebuilt = rebuilt_from(copy_with({"number": text}))
    assert cell_of(rebuilt.notebook, "number").source == text


def test_half_characters_and_zeros_do_no_harm():
    notebook = copy_with({"number": "number = 'a\0b'", "conclusion": "\ud800 here \udfff"})
    rebuilt = rebuilt_from(notebook)
    assert cell_of(rebuilt.notebook, "number").source == "number = 'a\ufffdb'"
    assert cell_of(rebuilt.notebook, "conclusion").source == "\ufffd here \ufffd"


def deep(levels):
    return b'{"cells": ' + b"[" * levels + b"]" * levels + b"}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such notebook was handed in"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hello", "is not a notebook"),
        (b"\x00\xff\xfe\x00", "is not a notebook"),
        (as_bytes(copy_with())[:-30], "damaged or cut short"),
        (b"<!DOCTYPE html><html></html>", "is a web page, not a notebook"),
        (b"#!/usr/bin/env python\n", "Python script"),
        (b"import numpy\n", "Python script"),
        (b"%PDF-1.7 ...", "is a PDF"),
        (b"PK\x03\x04...", "is a zip archive"),
        (b"[1, 2]", "is JSON, but no notebook"),
        (b"null", "is JSON, but no notebook"),
        (b'{"cells": {}}', "is JSON, but no notebook"),
        (b'{"cells": []}', "is JSON, but no notebook"),
        (deep(100_000), "nested too deeply"),
        (b'{"cells": [' + b"[]," * 2_000_000 + b"[]]}", "millions of values"),
        (b'{"cells": [1, null, "x", []]}', "4 of its cells are no cells"),
        (as_bytes(new_notebook(cells=[new_code_cell("1")])), "none of the lab's cells"),
    ],
)
def test_what_is_no_notebook_is_said_and_all_is_missing(content, expected):
    rebuilt = rebuilt_from(content)
    assert set(rebuilt.states.values()) == {"missing"}
    assert expected in said(rebuilt, False)
    assert len(rebuilt.remarks) == 1


@pytest.mark.parametrize("field", ["source", "id", "cell_type", "metadata", "outputs"])
@pytest.mark.parametrize("value", [None, 5, [5], {"a": 1}, "x" * 200])
def test_cells_with_broken_fields_cost_nothing_but_themselves(field, value):
    notebook = copy_with()
    cell_of(notebook, "double")[field] = value
    rebuilt = rebuilt_from(notebook)
    assert {s for n, s in rebuilt.states.items() if n != "double"} == {"answered"}
    if field != "source":
        assert rebuilt.states["double"] == "answered"


def test_outputs_are_dropped_and_huge_cells_left_out():
    notebook = copy_with({"double": "x = 1 #" + "x" * handed_in.LARGEST_CELL})
    output = nbformat.v4.new_output("stream", text="x" * 10**7)
    cell_of(notebook, "imports").outputs = [output]
    rebuilt = rebuilt_from(notebook)
    assert "1 of its cells have more than 100000 characters" in said(rebuilt, True)
    assert "left out: double." in said(rebuilt, True)
    assert rebuilt.states["double"] == "unanswered"


def test_a_flood_of_cells_is_cut():
    notebook = copy_with()
    notebook.cells += [new_code_cell(f"x{n} = '{'y' * 900}'") for n in range(1_500)]
    rebuilt = rebuilt_from(notebook)
    assert "more than 1000 cells" in said(rebuilt, True)
    assert "were left out" in said(rebuilt, True)
    assert len(rebuilt.notebook.cells) < 600
    assert set(rebuilt.states.values()) == {"answered"}
    notebook.cells = [new_code_cell(f"x{n} = 1") for n in range(1_500)]
    assert len(rebuilt_from(notebook).notebook.cells) == 1_000 + len(SOURCE.cells)


def test_an_id_of_the_students_own_cells_is_never_one_of_ours():
    source = copy.deepcopy(SOURCE)
    source.cells.append(new_markdown_cell("ours", id="own-1"))
    notebook = copy_with()
    notebook.cells.insert(0, new_code_cell("mine = 1", id="own-2"))
    rebuilt = rebuild(source, as_bytes(notebook))
    ids = [cell.id for cell in rebuilt.notebook.cells]
    assert len(set(ids)) == len(ids)


def test_the_stamp_is_read_from_whatever_was_handed_in():
    assert stamp_of(as_bytes(copy_with())) == "stamp-1"
    assert stamp_of(as_bytes(SOURCE)) == stamp_of(None) == stamp_of(b"{") == ""
    for value in (["x"], "../../elsewhere", "a/b", "", "a" * 65, "\ud800", 5):
        odd = {**copy_with(), "metadata": {"convnetlab": {"source": value}}}
        assert stamp_of(as_bytes(odd)) == "", "it becomes a folder's name"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
IDS = st.sampled_from([*(cell.id for cell in SOURCE.cells), "other", "own-1", ""])
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "grade_id": IDS | VALUES,
        "points": VALUES,
        "grade": VALUES,
        "solution": VALUES,
        "schema_version": VALUES,
    },
)
SOURCES = (
    st.sampled_from([*(cell.source for cell in SOURCE.cells), *ANSWERS.values(), STUB])
    | st.text(st.characters(), max_size=30)
    | st.lists(st.text(max_size=10), max_size=3)
)
METADATA = st.fixed_dictionaries(
    {},
    optional={
        "nbgrader": SETTINGS | VALUES,
        "convnetlab": st.fixed_dictionaries({}, optional={"given": VALUES, "own": VALUES}) | VALUES,
        "tags": VALUES,
    },
)
CELLS = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw", "heading"]) | VALUES,
        "id": IDS | VALUES,
        "source": SOURCES | VALUES,
        "metadata": METADATA | VALUES,
        "outputs": VALUES,
        "attachments": st.dictionaries(
            st.text(max_size=5), st.dictionaries(st.sampled_from(["image/png", "x"]), VALUES)
        )
        | VALUES,
        "execution_count": VALUES,
    },
)
NOTEBOOKS = st.fixed_dictionaries(
    {"cells": st.lists(CELLS, max_size=12)},
    optional={"metadata": VALUES, "nbformat": VALUES, "nbformat_minor": VALUES},
)


@given(NOTEBOOKS)
@settings(max_examples=150)
def test_whatever_notebook_comes_in_the_instructors_comes_out(content):
    rebuilt = rebuild(SOURCE, json.dumps(content).encode(), "lab")
    assert_is_the_instructors(rebuilt)
    assert all(remark.text.startswith("lab: ") for remark in rebuilt.remarks)
    texts = {joined(cell.get("source", "")) for cell in content["cells"] if isinstance(cell, dict)}
    for cell in rebuilt.notebook.cells:
        if "convnetlab" in cell.metadata or rebuilt.states.get(cell.id) == "answered":
            assert cell.source in texts


def joined(source):
    parts = source if isinstance(source, list) else [source]
    text = "".join(part for part in parts if isinstance(part, str))
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")
    return "".join("\ufffd" if "\ud800" <= sign <= "\udfff" else sign for sign in text)


@given(st.binary(max_size=200) | st.text(max_size=60).map(str.encode) | VALUES.map(as_bytes))
def test_whatever_bytes_come_in_the_instructors_comes_out(content):
    assert_is_the_instructors(rebuild(SOURCE, content))


@given(st.permutations(range(len(SOURCE.cells))), st.sets(st.sampled_from(sorted(ANSWERS))))
def test_no_order_of_cells_loses_an_answer(order, answered):
    notebook = copy_with({name: ANSWERS[name] for name in answered})
    notebook.cells = [notebook.cells[number] for number in order]
    rebuilt = rebuild(SOURCE, as_bytes(notebook))
    assert_is_the_instructors(rebuilt)
    assert {name for name, state in rebuilt.states.items() if state == "answered"} == answered
