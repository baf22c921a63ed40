"""The instructor's page: how the class did, what is odd, what is still to be done."""

import shlex
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from convnetlab import __version__
from convnetlab.grading.pages import embedded, headed, put, readable, refuse_unsafe, render
from convnetlab.grading.plots import Share, difficulty, distribution
from convnetlab.grading.records import Mark, Remark, Result
from convnetlab.grading.scores import Manual, given, maximum, percent, reached, total

LONGEST = 1_000  # characters of a remark


@dataclass(frozen=True)
class About:
    """What the page tells of the grading itself.

    Attributes:
        source: the stamp of the newest source.
        seconds: wall time of the command so far.
        workers: how many graded side by side.
        reused: notebooks whose result was taken from an earlier run.
        left_aside: a sentence for each thing that was not collected, and why.
        remarks: by student, beyond those in the results; "" for the whole class.
    """

    source: str = ""
    seconds: float = 0.0
    workers: int = 1
    reused: int = 0
    left_aside: Sequence[str] = ()
    remarks: Mapping[str, Sequence[Remark]] = field(default_factory=dict)


@dataclass(frozen=True)
class Scored:
    """A student's mark with the points that count; None if a person has yet to give them."""

    student: str
    mark: Mark
    points: float | None


def write(folder: Path, results: Sequence[Result], manual: Manual, about: About) -> Path:
    """Write `report.html` into `folder` and return its path.

    Args:
        folder: GRADES; the page links into it.
        results: a student each.
        manual: what was given by hand.
        about: the grading itself.

    Raises:
        LabError: it cannot be written.
    """
    for result in results:
        refuse_unsafe(result.submission.student)
    ordered = sorted(results, key=lambda result: result.submission.student)
    told = told_of(ordered, manual, about)
    place = shlex.quote(str(folder.resolve()))
    page = render("report.html.jinja", **headed(), **told, place=place, version=__version__)
    return put(folder / "report.html", page)


def told_of(results: Sequence[Result], manual: Manual, about: About) -> dict[str, Any]:
    """Return everything that the page tells, part by part."""
    scored = [
        Scored(result.submission.student, mark, points)
        for result in results
        for mark in result.marks
        for points in [reached(mark, given(manual, result.submission.student, mark))]
    ]
    remarks = together(list(all_remarks(results, about)))
    exercises = hardest(scored)
    shares = [row["share"] for row in exercises]
    title = "How hard the exercises were"
    return {
        **overview(results, manual),
        "exercises": exercises,
        "bars": embedded(difficulty(shares, title)) if shares else None,
        "groups": hardest_groups(scored),
        "students": [row_of(result, manual, remarks) for result in results],
        "suspicious": [remark for remark in remarks if remark["suspicious"]],
        "others": [remark for remark in remarks if not remark["suspicious"]],
        "about": about,
        "sources": sources(results),
        "waiting": waiting(results, manual),
        "time": time_taken(results),
    }


def overview(results: Sequence[Result], manual: Manual) -> dict[str, Any]:
    """Return the headline figures and the distribution of the totals."""
    totals = [total(result, manual) for result in results]
    most = max((maximum(result.marks) for result in results), default=0.0)
    if not totals:
        return {"count": 0, "maximum": most, "plot": None}
    unread = sum(row["count"] for row in waiting(results, manual))
    title = f"Points of the class{f', {unread} answers unread' if unread else ''}"
    return {
        "count": len(totals),
        "maximum": most,
        "mean": statistics.mean(totals),
        "median": statistics.median(totals),
        "lowest": min(totals),
        "highest": max(totals),
        "plot": embedded(distribution(totals, most, title)),
    }


def hardest(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return a row an exercise, those first of whose points the class reached the smallest share.

    Left out is what a person has yet to read an answer of.
    """
    by_exercise: defaultdict[tuple[str, str], list[Scored]] = defaultdict(list)
    for it in scored:
        by_exercise[it.mark.notebook, it.mark.check].append(it)
    rows = []
    for (notebook, _), found in by_exercise.items():
        if any(it.points is None for it in found):
            continue
        most = maximum(it.mark for it in found)
        lost = [it.mark for it in found if it.mark.state in ("unanswered", "missing")]
        name = found[0].mark.exercise
        got = sum(it.points or 0.0 for it in found) / most if most else 0.0
        states = Counter(it.mark.state for it in found)
        rows.append(
            {
                "notebook": notebook,
                "name": name,
                "title": found[0].mark.title.replace("`", "").replace("**", ""),
                "share": Share(name, got, maximum(lost) / most if most else 0.0),
                "unanswered": states["unanswered"] + states["missing"],
                "wrong": states["wrong"],
                "partly": states["partly"],
                "right": states["right"],
            }
        )
    return sorted(rows, key=lambda row: row["share"].reached)


def hardest_groups(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Return a row a group of hidden inputs in which somebody failed, the worst first."""
    asked: Counter[tuple[str, str, str]] = Counter()
    failed: Counter[tuple[str, str, str]] = Counter()
    for it in scored:
        for name, (right, of) in it.mark.groups.items():
            key = (it.mark.notebook, it.mark.exercise, name)
            asked[key] += 1
            failed[key] += right < of
    rows = [
        {"notebook": notebook, "exercise": exercise, "name": name, "failed": count, "asked": of}
        for (notebook, exercise, name), count in failed.items()
        for of in [asked[notebook, exercise, name]]
        if count
    ]
    return sorted(rows, key=lambda row: -row["failed"] / row["asked"])


def all_remarks(results: Sequence[Result], about: About) -> Iterator[dict[str, Any]]:
    """Yield every remark with whom and what it is about."""
    for remark in about.remarks.get("", ()):
        yield row_of_remark("", "", "", remark)
    for result in results:
        student, name = result.submission.student, result.submission.full_name
        for remark in (*result.submission.remarks, *about.remarks.get(student, ())):
            yield row_of_remark(student, name, "", remark)
        for notebook in result.notebooks:
            for remark in notebook.remarks:
                yield row_of_remark(student, name, notebook.name, remark)
    there = {result.submission.student for result in results} | {""}
    for student in about.remarks.keys() - there:
        for remark in about.remarks[student]:
            yield row_of_remark(student, "", "", remark)


def together(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the remarks, those as one that say the same of several of a student's notebooks.

    What is suspicious stays by itself.

    >>> lost = ["01: had lost cells: a, b.", "02: had lost cells: c."]
    >>> rows = [row_of_remark("ada", "", text[:2], Remark(text)) for text in lost]
    >>> [row["text"] for row in together(rows)]
    ['had lost cells: 01 (a, b); 02 (c).']
    """
    alike: defaultdict[object, list[dict[str, Any]]] = defaultdict(list)
    for number, row in enumerate(rows):
        is_alone = row["suspicious"] or not row["text"].startswith(row["notebook"] or "\0")
        alike[number if is_alone else (row["student"], said_of(row)[0])].append(row)
    return [found[0] if len(found) == 1 else as_one(found) for found in alike.values()]


def said_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return what a remark that begins with its notebook says of it, and of which cells."""
    text = row["text"].removeprefix(row["notebook"])
    kind, _, cells = text.removeprefix(": ").partition(": ")
    return (kind, cells.removesuffix(".")) if text.startswith(": ") else (f"each{text}", "")


def as_one(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return remarks of one kind, on several notebooks of a student, as one."""
    kind, cells = said_of(rows[0])
    names = list(dict.fromkeys(row["notebook"] for row in rows))
    if not cells:
        return rows[0] | {"notebook": ", ".join(names), "text": kind}
    each = "; ".join(f"{row['notebook']} ({said_of(row)[1]})" for row in rows)
    return rows[0] | {"notebook": "", "text": f"{kind}: {each}."}


def row_of_remark(student: str, name: str, notebook: str, remark: Remark) -> dict[str, Any]:
    """Return a remark as the page's tables have it."""
    return {
        "student": student,
        "name": name,
        "notebook": notebook,
        "text": readable(remark.text, LONGEST),
        "suspicious": remark.suspicious,
    }


def row_of(result: Result, manual: Manual, remarks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a student's row."""
    student = result.submission.student
    own = [remark for remark in remarks if remark["student"] == student]
    hands = [(mark, given(manual, student, mark)) for mark in result.marks]
    due = sum(reached(mark, hand) is None or hand.is_due for mark, hand in hands)
    points, most = total(result, manual), maximum(result.marks)
    folder = f"autograded/{quote(student)}/convnetlab"
    return {
        "student": student,
        "name": result.submission.full_name,
        "feedback": f"feedback/{quote(student)}.html",
        "notebooks": [(it.name, f"{folder}/{quote(it.name)}.ipynb") for it in result.notebooks],
        "points": points,
        "maximum": most,
        "percent": percent(points, most),
        "seconds": sum(notebook.seconds for notebook in result.notebooks),
        "memory": max((notebook.memory for notebook in result.notebooks), default=0) / 2**20,
        "suspicious": sum(remark["suspicious"] for remark in own),
        "remarks": sum(not remark["suspicious"] for remark in own),
        "due": due,
        "unanswered": sum(mark.state in ("unanswered", "missing") for mark in result.marks),
    }


def sources(results: Sequence[Result]) -> list[dict[str, Any]]:
    """Return how many students were graded against each version of the source, and who."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for result in results:
        for notebook in result.notebooks:
            found[notebook.source].add(result.submission.student)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [{"stamp": stamp, "students": sorted(students)} for stamp, students in ordered]


def waiting(results: Sequence[Result], manual: Manual) -> list[dict[str, Any]]:
    """Return how many answers of each question a person has yet to read, or to read again."""
    due: Counter[tuple[str, str]] = Counter()
    for result in results:
        for mark in result.marks:
            hand = given(manual, result.submission.student, mark)
            due[mark.notebook, mark.exercise] += reached(mark, hand) is None or hand.is_due
    return [
        {"notebook": notebook, "exercise": exercise, "count": count}
        for (notebook, exercise), count in due.items()
        if count
    ]


def time_taken(results: Sequence[Result]) -> dict[str, Any]:
    """Return what the executions took, in seconds: the median, the slowest, all together."""
    each = {
        result.submission.student: sum(notebook.seconds for notebook in result.notebooks)
        for result in results
    }
    if not each:
        return {}
    slowest = max(each, key=lambda student: each[student])
    return {
        "median": statistics.median(each.values()),
        "slowest": each[slowest],
        "who": slowest,
        "sum": sum(each.values()),
    }
