"""Submissions that nobody handed in, written in the layouts that instructors get."""

import io
import zipfile

import nbformat

from convnetlab.notebooks import read
from convnetlab.student import answer, solutions, student_copy

FIRST_NUMBER = 1_234_567


def source_notebooks(folder):
    """The source notebooks in a folder, by name."""
    return {path.stem: read(path) for path in sorted(folder.glob("*.ipynb"))}


def submission(source_folder, answers="all", added=(), stamp=""):
    """A student's notebooks as bytes, by name.

    `answers` is "all" for the instructor's own, or the answer by cell id ({} for a blank one);
    `added` are cells of the student's own: (id of the cell that it follows, source).
    """
    files = {}
    for name, source in source_notebooks(source_folder).items():
        chosen = solutions(source) if answers == "all" else answers
        notebook = answer(student_copy(source, stamp), chosen)
        for after, text in added:
            places = [n for n, cell in enumerate(notebook.cells) if cell.id == after]
            for place in places:
                notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(text))
        files[name] = nbformat.writes(notebook).encode()
    return files


def partial(source_folder, names):
    """The notebooks of a student who answered only the named exercises, and those right."""
    known = {}
    for source in source_notebooks(source_folder).values():
        known |= solutions(source)
    return submission(source_folder, {name: known[name] for name in names})


def write(folder, students, layout="folders"):
    """Write each student's files ({student: {notebook's name: bytes}}) as a download has them."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, (student, files) in enumerate(students.items(), start=FIRST_NUMBER):
        for path, content in LAYOUTS[layout](student, number, files).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)


def in_folders(student, number, files):
    return {f"{student}/{name}.ipynb": content for name, content in files.items()}


def in_zips(student, number, files):
    return {f"{student}.zip": zipped({f"{name}.ipynb": data for name, data in files.items()})}


def from_moodle(student, number, files):
    start = f"{student}_{number}_assignsubmission_file_"
    return {f"{start}/{name}.ipynb": content for name, content in files.items()}


def from_canvas(student, number, files):
    start = "".join(sign for sign in student.lower() if sign.isalnum())
    return {
        f"{start}_{number}_{9 * number + place}_{name}.ipynb": content
        for place, (name, content) in enumerate(files.items())
    }


def in_course(student, number, files):
    return {f"submitted/{student}/lab/{name}.ipynb": content for name, content in files.items()}


LAYOUTS = {
    "folders": in_folders,
    "zips": in_zips,
    "moodle": from_moodle,
    "canvas": from_canvas,
    "nbgrader": in_course,
}


def zipped(files, day=1):
    """A zip with these files ({path: bytes}), all changed on one day of May 2026."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path, (2026, 5, day, 12, 0, 0))
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
