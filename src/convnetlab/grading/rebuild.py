"""The instructor's notebook with a student's answers in it."""

import ast
import builtins
import copy
import functools
import itertools
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from nbformat import NotebookNode

from convnetlab.grading.handed_in import GRADING, HandedIn, read_handed_in
from convnetlab.grading.records import Rebuilt, Remark
from convnetlab.student import in_order, is_answer, is_own, pair, weave, without_solution

MOST_OWN_TEXT = 500_000  # characters of all cells that a student added or changed
MARK = "BEGIN SOLUTION"

Matches = list[int | None]


def rebuild(
    source: NotebookNode, handed_in: bytes | None, name: str = "", stamp: str = ""
) -> Rebuilt:
    """Return the instructor's notebook with the answers that a student handed in.

    Text, order, checks, points and metadata are the instructor's. An answer is found by
    nbgrader's id, by its cell's id, by the text that was given, or by the name that it defines, in
    this order; of several with one id the first that holds an answer counts. What else the student
    wrote stands at its place as a cell of its own (see `Rebuilt`).

    Args:
        source: the notebook with solutions; not changed.
        handed_in: the file's content, whatever it is; None if there was no such file.
        name: of the notebook, for the remarks.
        stamp: of the source. A hand-in with another stamp may differ in checks and points.
    """
    handed = read_handed_in(handed_in)
    notebook = as_given(source)
    matches = match(notebook.cells, handed.cells)
    remarks = [*handed.remarks, *compare(notebook.cells, handed, matches, stamp)]
    remarks += rescue(notebook.cells, handed.cells, matches)
    keep = functools.partial(own_cell, given={cell.id: text_of(cell) for cell in notebook.cells})
    answers = weave(notebook, handed.cells, matches, holds_answer, keep)
    remarks += [*borrowed(handed.cells, answers), *number_own_cells(notebook)]
    states = {}
    for number, cell in enumerate(source.cells):
        if is_answer(cell):
            is_there = number in matches
            states[cell.id] = (
                "answered" if number in answers else "unanswered" if is_there else "missing"
            )
    start = f"{name}: " if name else ""
    return Rebuilt(
        notebook, states, tuple(Remark(start + found.text, found.suspicious) for found in remarks)
    )


def as_given(source: NotebookNode) -> NotebookNode:
    """Return a copy without solutions and outputs, with the metadata of the source."""
    notebook = NotebookNode(source)
    notebook.metadata = copy.deepcopy(source.metadata)
    notebook.cells = [NotebookNode(cell) for cell in source.cells]
    for cell in notebook.cells:
        cell.metadata = copy.deepcopy(cell.metadata)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        if is_answer(cell):
            cell.source = without_solution(cell.cell_type, cell.source)
            cell.pop("attachments", None)  # pictures of the answer
    return notebook


def match(ours: Sequence[NotebookNode], theirs: Sequence[NotebookNode]) -> Matches:
    """Return for each of the student's cells the number of ours that it is a version of.

    Where ids are gone, as in a new notebook into which everything was copied, the text decides.
    """
    matches = pair(ours, theirs)
    free: dict[str, list[int]] = defaultdict(list)
    for number in sorted(set(range(len(ours))) - set(matches), reverse=True):
        free[text_of(ours[number])].append(number)
    for position, cell in enumerate(theirs):
        if matches[position] is None and (same := free.get(text_of(cell))):
            matches[position] = same.pop()
    return matches


def rescue(
    ours: Sequence[NotebookNode], theirs: Sequence[NotebookNode], matches: Matches
) -> list[Remark]:
    """Match answers that stand in cells of the student's own; `matches` is changed in place.

    An exercise without an answer takes the one cell that defines its name and no other's; a
    written answer is the text that stands right behind its question.
    """
    answered = {
        number
        for cell, number in zip(theirs, matches, strict=True)
        if number is not None and is_answer(ours[number]) and holds_answer(cell, ours[number])
    }
    open_questions = [n for n, cell in enumerate(ours) if is_answer(cell) and n not in answered]
    found = {**by_name(ours, theirs, matches, open_questions)}
    found |= by_place(ours, theirs, matches, open_questions)
    for position, number in found.items():
        matches[position] = number
    return [
        Remark(f"the answer to {ours[number].id} stood in a cell of the student's own.")
        for number in found.values()
    ]


def by_name(
    ours: Sequence[NotebookNode],
    theirs: Sequence[NotebookNode],
    matches: Matches,
    open_questions: list[int],
) -> dict[int, int]:
    """Return positions of the student's cells that alone define the name of an exercise."""
    wanted = {
        name: number
        for number in open_questions
        if ours[number].cell_type == "code"
        for name in defined(ours[number].source)
    }
    claims: dict[int, set[int]] = {}
    for position, cell in enumerate(theirs):
        if wanted and matches[position] is None and cell.cell_type == "code" and is_own(cell):
            names = set() if is_blank(cell.source) else defined(cell.source)
            claims[position] = {wanted[name] for name in names & wanted.keys()}
    times = Counter(number for numbers in claims.values() for number in numbers)
    return {
        position: number
        for position, numbers in claims.items()
        if len(numbers) == 1
        for number in numbers
        if times[number] == 1
    }


def by_place(
    ours: Sequence[NotebookNode],
    theirs: Sequence[NotebookNode],
    matches: Matches,
    open_questions: list[int],
) -> dict[int, int]:
    """Return positions of texts of the student's that stand behind a question to be written on."""
    written = {number for number in open_questions if ours[number].cell_type == "markdown"}
    found: dict[int, int] = {}
    for position in range(1, len(theirs)):
        before, cell = matches[position - 1], theirs[position]
        is_text = matches[position] is None and cell.cell_type == "markdown" and is_own(cell)
        for number in sorted(written - set(found.values())):
            if is_text and before in (number - 1, number):
                found[position] = number
    return found


def own_cell(
    cell: NotebookNode, ours: NotebookNode | None, given: Mapping[str, str]
) -> NotebookNode | None:
    """Return what a cell becomes that is no answer that counts; None if the student wrote nothing.

    Args:
        cell: the student's.
        ours: the cell that it is a version of, with its answer, if there is one.
        given: the text of each of our cells without answers, by its id.
    """
    is_changed = ours is not None or "convnetlab" in cell.metadata
    if not is_own(cell):
        return None
    if ours is not None and (is_same(cell, ours) or text_of(cell) == given[ours.id]):
        return None
    kept = NotebookNode(
        cell_type=cell.cell_type,
        id="",
        source=cell.source,
        metadata={"convnetlab": {"own": "changed" if is_changed else "added"}},
    )
    if cell.cell_type == "code":
        kept.update(outputs=[], execution_count=None)
    if "attachments" in cell:
        kept["attachments"] = cell.attachments
    return kept


def number_own_cells(notebook: NotebookNode) -> list[Remark]:
    """Give the student's own cells ids; leave out what exceeds all bounds."""
    taken = {cell.id for cell in notebook.cells}
    fresh = (name for n in itertools.count(1) if (name := f"own-{n}") not in taken)
    kept, length = [], 0
    for cell in notebook.cells:
        if not cell.id:
            length += len(cell.source)
            cell.id = next(fresh)
            if length > MOST_OWN_TEXT:
                continue
        kept.append(cell)
    count = len(notebook.cells) - len(kept)
    notebook.cells = kept
    text = f"the student's own cells hold {length} characters; {count} of them were left out."
    return [Remark(text, suspicious=True)] if count else []


def borrowed(theirs: Sequence[NotebookNode], answers: dict[int, int]) -> list[Remark]:
    """Return a remark if answers carry the marks of the source with solutions."""
    count = sum(MARK in theirs[position].source for position in answers.values())
    text = f"{count} of the answers carry the marks of the notebook with solutions."
    return [Remark(text, suspicious=True)] if count else []


def compare(
    ours: Sequence[NotebookNode], handed: HandedIn, matches: Matches, stamp: str
) -> list[Remark]:
    """Return what differs from the notebook that was given, as remarks."""
    if not handed.cells:
        return []
    if not any(number is not None for number in matches):
        return [Remark("the file is a notebook, but none of the lab's cells is in it.")]
    pairs = [
        (cell, ours[n]) for cell, n in zip(handed.cells, matches, strict=True) if n is not None
    ]
    is_other = bool(handed.stamp and stamp and handed.stamp != stamp)
    return [
        *compare_cells(ours, pairs),
        *compare_checks(pairs, is_certain=bool(stamp) and handed.stamp == stamp),
        *compare_grading(pairs, is_other),
        *compare_order(ours, handed.cells, matches),
    ]


def compare_cells(
    ours: Sequence[NotebookNode], pairs: list[tuple[NotebookNode, NotebookNode]]
) -> list[Remark]:
    """Return remarks on graded cells that are missing, or there more than once."""
    times = Counter(cell.id for _, cell in pairs)
    graded = [cell for cell in ours if "nbgrader" in cell.metadata]
    missing = [cell.id for cell in graded if is_answer(cell) and not times[cell.id]]
    deleted = [cell.id for cell in graded if not is_answer(cell) and not times[cell.id]]
    copied = [cell.id for cell in graded if times[cell.id] > 1]
    return [
        *listed("cells for answers are missing", missing),
        *listed("checks had been deleted and were restored", deleted),
        *listed("cells are there more than once (the first that holds an answer counts)", copied),
    ]


def compare_checks(
    pairs: list[tuple[NotebookNode, NotebookNode]], is_certain: bool
) -> list[Remark]:
    """Return remarks on checks that differ from ours.

    Where it is not certain that the student was given this version, a cell that says itself that
    it is as it was given counts as one of another version.
    """
    edited: list[str] = []
    other: list[str] = []
    for cell, check in pairs:
        if is_check(check) and not is_same(cell, check):
            is_another = bool(cell.source.strip()) and not is_own(cell) and not is_certain
            (other if is_another else edited).append(check.id)
    return [
        *listed("checks had been edited and were restored", edited, suspicious=True),
        *listed("checks are of another version and were replaced", other),
    ]


def compare_grading(pairs: list[tuple[NotebookNode, NotebookNode]], is_other: bool) -> list[Remark]:
    """Return remarks on nbgrader's metadata: stripped, or changed."""
    stripped, changed = [], defaultdict(list)
    for cell, our_cell in pairs:
        ours, theirs = our_cell.metadata.get("nbgrader"), cell.metadata.get("nbgrader")
        if ours and not theirs:
            stripped.append(our_cell.id)
        for field in GRADING[1:] if ours and theirs else ():
            if field in theirs and theirs[field] != ours.get(field, 0):
                changed[field].append(our_cell.id)
    remarks = listed("cells had lost nbgrader's metadata", stripped)
    for field, names in changed.items():
        is_odd = field != "locked" and not is_other
        text = f"cells had their {field} changed; the instructor's count"
        remarks += listed(text, names, suspicious=is_odd)
    return remarks


def compare_order(
    ours: Sequence[NotebookNode], theirs: Sequence[NotebookNode], matches: Matches
) -> list[Remark]:
    """Return a remark if cells of code were moved."""
    anchors = in_order(matches)
    settled = {matches[position] for position in anchors}
    moved = {
        number: ours[number].id
        for number in matches
        if number is not None and number not in settled and ours[number].cell_type == "code"
    }
    return listed("cells had been moved and stand in the instructor's order", list(moved.values()))


def listed(what: str, names: Sequence[str], suspicious: bool = False) -> list[Remark]:
    """Return a remark that names the cells that something is to be said of, if there are any."""
    shown = ", ".join(dict.fromkeys(names))
    return [Remark(f"{what}: {shown}.", suspicious)] if names else []


def is_check(cell: NotebookNode) -> bool:
    """Whether the cell is a check."""
    return bool(cell.metadata.get("nbgrader", {}).get("grade")) and not is_answer(cell)


def holds_answer(cell: NotebookNode, given: NotebookNode) -> bool:
    """Whether the student wrote something into a cell for an answer."""
    if not is_own(cell) or text_of(cell) == text_of(given):
        return False
    return given.cell_type != "code" or not is_blank(cell.source)


def is_blank(source: str) -> bool:
    """Whether code says nothing beyond what a student is given.

    >>> is_blank('def f(x):\\n    "Return."\\n    # Hm.\\n    raise NotImplementedError("Write")')
    True
    >>> is_blank("answer = ...  # a number"), is_blank("answer = ...\\nanswer = 3")
    (True, False)
    """
    tree = parsed(source)
    return tree is not None and all(is_blank_statement(node) for node in tree.body)


def is_blank_statement(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, a `name = ...`, or a function that is still to write."""
    match node:
        case ast.Expr(ast.Constant(str())) | ast.Assign(value=ast.Constant(builtins.Ellipsis)):
            return True
        case ast.Raise(ast.Call(ast.Name("NotImplementedError")) | ast.Name("NotImplementedError")):
            return True
        case ast.FunctionDef(body=body):
            return all(is_blank_statement(inner) for inner in body)
    return False


def defined(source: str) -> set[str]:
    """Return the names that a cell's functions, classes and assignments define at its top level."""
    tree = parsed(source)
    names = set()
    for node in tree.body if tree is not None else ():
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


@functools.lru_cache(maxsize=512)
def parsed(source: str) -> ast.Module | None:
    """Return the tree of some code, or None if it is none."""
    try:
        with warnings.catch_warnings():  # of a student's "\d", on the instructor's terminal
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def is_same(cell: NotebookNode, ours: NotebookNode) -> bool:
    """Whether a cell says what ours says; layout and comments of code do not matter."""
    if text_of(cell) == text_of(ours):
        return True
    theirs, own = (parsed(each.source) for each in (cell, ours))
    if ours.cell_type != "code" or theirs is None or own is None:
        return False
    try:
        return ast.dump(theirs) == ast.dump(own)
    except RecursionError:
        return False


def text_of(cell: NotebookNode) -> str:
    """Return a cell's text without what an editor may change of itself: blanks at the ends."""
    return "\n".join(line.rstrip() for line in cell.source.strip().splitlines())
