"""From a student's notebook to its marks: prepared and marked here, executed elsewhere.

Three steps. `prepare` rebuilds the notebook and draws the hidden inputs; `carry_out` executes it,
in a worker and there in the sandbox; `mark` compares what came back with what is right. What is
right never leaves the process that calls `prepare` and `mark`.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import nbformat

import convnetlab
from convnetlab.grading import execution, hidden, slices, wire
from convnetlab.grading.assignment import Assignment, Question
from convnetlab.grading.rebuild import rebuild
from convnetlab.grading.records import Execution, Limits, Mark, Probe, Rebuilt, Remark
from convnetlab.handoff import versions

FORMAT = 2  # of what is kept from one grading to the next; another number grades all anew


@dataclass(frozen=True)
class Task:
    """What a worker gets: nothing else of the source, and nothing of other students.

    Attributes:
        notebook: the rebuilt notebook, as JSON text.
        sources: what is executed, in order, by the cell's id; empty if nothing was answered.
        probes: what is asked of the student's names.
        first: code of ours that each kernel runs before all else, or "".
    """

    notebook: str
    sources: Mapping[str, str]
    probes: tuple[Probe, ...]
    first: str = ""

    @property
    def key(self) -> str:
        """A hash of all that the execution depends on but limits and versions."""
        probes = [(probe.check, probe.name, wire.encode(probe.inputs)) for probe in self.probes]
        told = json.dumps([list(self.sources.items()), probes])
        return hashlib.sha256(told.encode(errors="surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Prepared:
    """A student's notebook, ready to be executed and marked."""

    rebuilt: Rebuilt
    task: Task
    inputs: Mapping[str, hidden.Inputs]  # by the id of the solution cell


def prepare(
    assignment: Assignment,
    name: str,
    handed_in: bytes | None,
    seed: str,
    student: str,
    every_cell: bool = False,
) -> Prepared:
    """Rebuild a student's notebook, and draw the hidden inputs for what was answered.

    Args:
        assignment: what is graded.
        name: the notebook's.
        handed_in: the file's bytes; None if there is no such file.
        seed: the instructor's, private.
        student: the student's name. Another one gets other inputs, and so does another answer:
            who has got hold of an answer's inputs has none of the next one's.
        every_cell: execute all of the instructor's cells, not only what the exercises need.
    """
    rebuilt = rebuild(assignment.notebooks[name], handed_in, name, assignment.stamp)
    asked = [question for question in assignment.questions[name] if not question.by_hand]
    answered = [it for it in asked if rebuilt.states.get(it.exercise) == "answered"]
    left_out = {
        cell
        for question in asked
        if question not in answered
        for cell in (question.exercise, question.check)
    }
    sources: Mapping[str, str] = {}
    if answered or every_cell:
        needed = slices.needed(rebuilt.notebook, every_cell)
        sources = {cell: source for cell, source in needed.items() if cell not in left_out}
    inputs, probes = {}, []
    code = hashlib.sha256(json.dumps(list(sources.items())).encode(errors="surrogatepass"))
    whose = f"{student} {code.hexdigest()}"
    for question in answered:
        exercise = assignment.exercises.get(question.exercise)
        if exercise:
            drawn = hidden.draw(exercise, seed, whose, question.exercise)
            inputs[question.exercise] = drawn
            calls = hidden.calls(exercise, drawn)
            probes.append(Probe(question.check, exercise.name, calls))
    task = Task(nbformat.writes(rebuilt.notebook), sources, tuple(probes))
    return Prepared(rebuilt, task, inputs)


def carry_out(tasks: Mapping[str, Task], limits: Limits, sandbox: bool) -> dict[str, Execution]:
    """Execute a student's notebooks, one after the other; a worker does this.

    Args:
        tasks: by the notebook's name.
        limits: what each may take.
        sandbox: whether the kernels are shut in.
    """
    return {
        name: execution.execute(
            nbformat.reads(task.notebook, as_version=4),
            task.sources,
            task.probes,
            limits,
            sandbox,
            task.first,
        )
        for name, task in tasks.items()
    }


def again(task: Task, executed: Execution) -> Execution:
    """Return an execution for a notebook in which nothing that was executed has changed.

    What was written in its text cells may have.
    """
    notebook = nbformat.reads(task.notebook, as_version=4)
    before = {cell.id: cell for cell in executed.notebook.cells if cell.cell_type == "code"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.id in before:
            cell.outputs = before[cell.id].outputs
            cell.execution_count = before[cell.id].execution_count
    return replace(executed, notebook=notebook)


def idle(task: Task) -> Execution:
    """Return what the execution of nothing gives."""
    return Execution(nbformat.reads(task.notebook, as_version=4), {}, {}, 0.0, 0)


def mark(
    assignment: Assignment, name: str, prepared: Prepared, executed: Execution
) -> tuple[tuple[Mark, ...], tuple[Remark, ...]]:
    """Return the marks of one notebook, and what is to be said of how they came about."""
    marks: list[Mark] = []
    remarks: list[Remark] = []
    for question in assignment.questions[name]:
        state = prepared.rebuilt.states.get(question.exercise, "missing")
        blank = Mark(
            exercise=question.exercise,
            check=question.check,
            notebook=name,
            title=question.title,
            points=0.0,
            maximum=question.maximum,
            state=state,
        )
        if state != "answered":
            marks.append(blank)
        elif question.by_hand:
            marks.append(replace(blank, state="by hand"))
        else:
            exercise = assignment.exercises.get(question.exercise)
            drawn = prepared.inputs.get(question.exercise)
            marked = mark_answer(blank, question, exercise, drawn, executed)
            marks.append(marked)
            solution = cell_source(prepared.rebuilt, question.exercise)
            remarks += doubts(marked, exercise, solution, executed)
    return tuple(marks), tuple(remarks)


def mark_answer(
    blank: Mark,
    question: Question,
    exercise: hidden.Exercise | None,
    drawn: hidden.Inputs | None,
    executed: Execution,
) -> Mark:
    """Return the mark of an exercise that was answered.

    With hidden tests their groups decide, and the check in the notebook is only told of; without,
    the check decides.
    """
    ran = executed.cells.get(question.check)
    passed = ran is not None and ran.status == "ok"
    said = "" if passed else (ran.message if ran and ran.message else why(executed, question))
    if exercise is None or drawn is None:
        share, groups = float(passed), {}
    else:
        groups = dict(hidden.score(exercise, drawn, executed.answers.get(question.check)))
        whole = [right == asked for right, asked in groups.values()]
        share = sum(whole) / len(whole)
    points = min(max(round(question.maximum * share, 2), 0.0), question.maximum)
    state = "right" if share == 1 else "partly" if share > 0 else "wrong"
    is_literal = bool(groups) and exercise is not None and not callable(exercise.answer)
    result = replace(blank, points=points, state=state, said=said, groups=groups)
    return replace(result, is_literal=is_literal)


def why(executed: Execution, question: Question) -> str:
    """Return in words why a check did not end well, where it has no message of its own."""
    for cell in (question.exercise, question.check):
        ran = executed.cells.get(cell)
        if ran is not None and ran.status not in ("ok", "not run"):
            return ran.message or f"The cell {cell} ended with: {ran.status}."
    return "The check was not run."


def doubts(
    mark: Mark, exercise: hidden.Exercise | None, solution: str, executed: Execution
) -> list[Remark]:
    """Return what an instructor should look at, though the marks stand."""
    found = []
    where = f"{mark.notebook}, {mark.exercise}"
    ran = executed.cells.get(mark.check)
    if exercise is None or ran is None:
        return []
    if named := hidden.forbidden_in(exercise, solution):
        told = f"the answer calls convnetlab's own {named}, which does what the exercise asks for"
        found.append(Remark(f"{where}: {told}.", True))
    if ran.status == "ok" and mark.state == "wrong":
        told = "the check in the notebook passed, and every group of hidden inputs came out wrong"
        found.append(Remark(f"{where}: {told}. The answer may be made for the check.", True))
    if ran.status == "error" and mark.state == "right":
        told = "the check in the notebook failed, although all hidden inputs came out right"
        found.append(Remark(f"{where}: {told} ({mark.said})."))
    return found


def cell_source(rebuilt: Rebuilt, exercise: str) -> str:
    """Return what the student wrote in the cell of an exercise."""
    for cell in rebuilt.notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == exercise:
            return str(cell.source)
    return ""


def circumstances(limits: Limits, sandbox: bool) -> str:
    """Return a hash of all else that an execution depends on: limits, sandbox, versions, package.

    The package is what answers are compared with, and what they may use.
    """
    told = json.dumps([FORMAT, asdict(limits), sandbox, versions()], sort_keys=True)
    digest = hashlib.sha256(told.encode())
    for path in sorted(Path(convnetlab.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
