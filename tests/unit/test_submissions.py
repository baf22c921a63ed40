"""Collecting: every layout that instructors get, and every trick in one."""

import hashlib
import io
import os
import re
import stat
import struct
import tarfile
import unicodedata
import zipfile
import zlib

import made_up_submissions
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_submissions import zipped
from nbformat import writes
from nbformat.v4 import new_code_cell, new_notebook

from convnetlab.errors import LabError
from convnetlab.grading import archives
from convnetlab.grading.submissions import cell_ids, collect, fit
from convnetlab.notebooks import read
from convnetlab.paths import STAGES, notebooks_folder

ONE, TWO = NAMES = STAGES[:2]
FILES = {ONE: b'{"one": 1}', TWO: b'{"two": 2}'}
STAMPED = b'{"convnetlab": {}, "number": %d}'
CLASS = {
    "Ada Lovelace": {ONE: b"ada 1", TWO: b"ada 2"},
    "José Ñandú": {ONE: b"jose 1", TWO: b"jose 2"},
    "王小明": {ONE: b"wang 1", TWO: b"wang 2"},
}


def put(folder, files):
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def found(folder, **arguments):
    collected, _ = collect(folder, NAMES, **arguments)
    return {each.student: each for each in collected}


def contents(folder, **arguments):
    return {name: dict(each.notebooks) for name, each in found(folder, **arguments).items()}


def said(submission, suspicious=None):
    return " ".join(r.text for r in submission.remarks if suspicious in (None, r.suspicious))


def hashed(name, original):
    """The name of a student whose folder's name had to be changed, or is there twice."""
    return f"{name}-{hashlib.sha256(original.encode()).hexdigest()[:4]}"


FOLDERS = [hashed("Ada_Lovelace", "Ada Lovelace"), hashed("José_Ñandú", "José Ñandú"), "王小明"]
STUDENTS = {
    **dict.fromkeys(("folders", "zips", "nbgrader"), FOLDERS),
    "moodle": ["Ada_Lovelace_1234567", "José_Ñandú_1234568", "王小明_1234569"],
    "canvas": ["adalovelace_1234567", "joséñandú_1234568", "王小明_1234569"],
}


@pytest.mark.parametrize("layout", made_up_submissions.LAYOUTS)
def test_every_layout_is_found(tmp_path, layout):
    made_up_submissions.write(tmp_path / "class", CLASS, layout)
    collected = found(tmp_path / "class")
    assert not any(each.remarks for each in collected.values())
    expected = dict(zip(STUDENTS[layout], CLASS.values(), strict=True))
    assert {name: dict(each.notebooks) for name, each in collected.items()} == expected
    numbers = ["1234567", "1234568", "1234569"]
    for system in ("moodle", "canvas"):
        given = [getattr(collected[name], system) for name in expected]
        assert given == (numbers if layout == system else ["", "", ""])
    if layout != "canvas":
        assert [collected[name].full_name for name in expected] == list(CLASS)


@pytest.mark.parametrize("wrapper", ["", "submissions/", "download/submissions/"])
@pytest.mark.parametrize("layout", made_up_submissions.LAYOUTS)
def test_every_layout_is_found_in_one_zip(tmp_path, layout, wrapper):
    folder = tmp_path / "class"
    made_up_submissions.write(folder, CLASS, layout)
    paths = [path for path in folder.rglob("*") if path.is_file()]
    files = {wrapper + path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    (tmp_path / "all.zip").write_bytes(zipped(files))
    assert contents(tmp_path / "all.zip") == contents(folder)


def test_layouts_are_mixed_in_one_folder(tmp_path):
    for layout, name in {
        "folders": "Fay",
        "zips": "Zoe",
        "moodle": "Mia",
        "canvas": "Cem",
        "nbgrader": "Nia",
    }.items():
        made_up_submissions.write(tmp_path, {name: {ONE: name.encode()}}, layout)
    download = {"Max_77_assignsubmission_file_/01_load_preprocess.ipynb": b"Max"}
    put(tmp_path, {"CS101-lab 3-998877.zip": zipped(download)})
    names = ("Fay", "Zoe", "Mia_1234567", "Nia", "Max_77", "Cem_1234567")
    expected = {name: {ONE: name.partition("_")[0].encode()} for name in names}
    assert contents(tmp_path) == {
        ("cem_1234567" if name == "Cem_1234567" else name): files
        for name, files in expected.items()
    }


@pytest.mark.parametrize(
    "path",
    [
        "work/",
        "convnet-lab-main/work/",
        "a/b/c/d/e/",
        "my homework (final)/",
        "Übung 1/",
    ],
)
def test_deeper_folders_are_searched(tmp_path, path):
    files = {f"{who}/{path}{ONE}.ipynb": who.encode() for who in ("ada", "bob")}
    assert contents(put(tmp_path, files)) == {"ada": {ONE: b"ada"}, "bob": {ONE: b"bob"}}


def test_a_folder_of_one_student_with_the_lab_in_it_is_one_student(tmp_path):
    put(tmp_path, {f"ada/work/{ONE}.ipynb": b"1", f"ada/notebooks/{TWO}.ipynb": b"2"})
    assert contents(tmp_path) == {"ada": {ONE: b"1", TWO: b"2"}}


def test_a_course_of_nbgrader_gives_what_was_submitted_only(tmp_path):
    put(tmp_path, {f"{kind}/lab/{ONE}.ipynb": b"no" for kind in ("source", "release")})
    put(tmp_path, {f"autograded/ada/lab/{ONE}.ipynb": b"no", "gradebook.db": b"x"})
    put(tmp_path, {f"submitted/ada/lab/{ONE}.ipynb": b"1", f"submitted/bob/lab/{ONE}.ipynb": b"2"})
    assert contents(tmp_path) == {"ada": {ONE: b"1"}, "bob": {ONE: b"2"}}


def test_a_course_in_a_folder_is_found(tmp_path):
    put(tmp_path / "a" / "course", {f"submitted/ada/lab/{ONE}.ipynb": b"1"})
    assert contents(tmp_path) == {"ada": {ONE: b"1"}}
    put(tmp_path / "a" / "course", {f"source/lab/{ONE}.ipynb": b"no", "gradebook.db": b"x"})
    assert contents(tmp_path) == {"ada": {ONE: b"1"}}


def test_one_students_zip_is_no_class(tmp_path):
    work = {f"a/{ONE}.ipynb": b"1", f"b/{TWO}.ipynb": b"2", "data_12_345_x.csv": b""}
    expected = {ONE: b"1", TWO: b"2"}
    assert contents(put(tmp_path, {"ada.zip": zipped(work)})) == {"ada": expected}
    work["Eve_5_assignsubmission_file_/note.txt"] = b"x"
    assert contents(put(tmp_path, {"ada.zip": zipped(work)})) == {"Eve_5": {}, "ada": expected}


def test_moodle_downloads_nested_flat_translated_and_written(tmp_path):
    work = zipped({f"{ONE}.ipynb": b"1", f"x/{TWO}.ipynb": b"2"})
    download = zipped(
        {
            "Ada Lovelace_11_assignsubmission_file_work.zip": work,
            "Ada Lovelace_11_assignsubmission_onlinetext_onlinetext.html": b"<p>",
            "Zoë Ångström_12_assignsubmission_file_/my/work.zip": work,
            "Bo Text_13_assignsubmission_onlinetext_/onlinetext.html": b"<p>",
            f"Group A-Cy_14_assignsubmission_file_{ONE}.ipynb": b"3",
        }
    )
    collected, aside = collect(put(tmp_path, {"all.zip": download}) / "all.zip", NAMES)
    assert {each.full_name: dict(each.notebooks) for each in collected} == {
        "Ada Lovelace": {ONE: b"1", TWO: b"2"},
        "Zoë Ångström": {ONE: b"1", TWO: b"2"},
        "Group A-Cy": {ONE: b"3"},
    }
    assert [each.moodle for each in collected] == ["11", "14", "12"]
    assert len(aside) == 2 and all("a text written in Moodle" in text for text in aside)


def test_canvas_files_belong_together_and_late_ones_are_said(tmp_path):
    put(
        tmp_path,
        {
            f"lovelaceada_LATE_45_678_{ONE}-2.ipynb": b"second",
            f"lovelaceada_LATE_45_678_{ONE}-1.ipynb": b"first",
            f"lovelaceada_45_679_{TWO}.ipynb": b"two",
            "hopper_46_700_work-1.zip": zipped({f"{ONE}.ipynb": b"new"}, day=1),
            "hopper_46_701_work.zip": zipped({f"{ONE}.ipynb": b"old"}, day=2),
        },
    )
    collected = found(tmp_path)
    assert collected["lovelaceada_45"].notebooks == {ONE: b"second", TWO: b"two"}
    assert "handed in late" in said(collected["lovelaceada_45"])
    assert collected["hopper_46"].notebooks == {ONE: b"new"}
    assert "late" not in said(collected["hopper_46"]).replace("the latest count", "")


def test_a_number_in_a_name_is_no_canvas_download(tmp_path):
    _, aside = collect(
        put(tmp_path, {f"ada_2024_{ONE}.ipynb": b"", f"bob/{ONE}.ipynb": b"1"}), NAMES
    )
    assert aside == [
        f"ada_2024_{ONE}.ipynb belongs to nobody. Put it into a folder named after its student."
    ]


def test_what_belongs_to_nobody_is_named(tmp_path):
    put(tmp_path, {f"{ONE}.ipynb": b"?", "roster.xlsx": b"?", f"ada/{ONE}.ipynb": b"1"})
    (tmp_path / "empty").mkdir()
    collected, aside = collect(tmp_path, NAMES)
    assert [each.student for each in collected] == ["ada"]
    assert sorted(text.split()[0] for text in aside) == [f"{ONE}.ipynb", "empty", "roster.xlsx"]


@pytest.mark.parametrize(
    "name",
    [
        "01_load_preprocess (1).ipynb",
        "01_load_preprocess-2.ipynb",
        "01_Load_Preprocess-Copy1.IPYNB",
        "01 load preprocess.ipynb",
        "ada_01_load_preprocess_final.ipynb",
        "01_load_preprocess.ipynb.txt",
        "01_load_preprocess.ipynb.json",
        "01_load_preprocess-checkpoint.ipynb",
    ],
)
def test_copies_are_recognised_by_their_names(tmp_path, name):
    put(tmp_path, {f"ada/{name}": b"1"})
    assert contents(tmp_path) == {"ada": {ONE: b"1"}}


SOURCES = {name: read(notebooks_folder() / f"{name}.ipynb") for name in STAGES}
IDS = {name: cell_ids(source) for name, source in SOURCES.items()}


def test_renamed_and_mixed_up_notebooks_are_recognised_by_their_cells(tmp_path):
    work = made_up_submissions.submission(notebooks_folder(), {})
    put(tmp_path, {"ada/Untitled.ipynb": work[ONE], "ada/final.ipynb": work[TWO]})
    put(tmp_path, {f"bob/{ONE}.ipynb": work[TWO], f"bob/{TWO}.ipynb": work[ONE]})
    collected = found(tmp_path, ids=IDS)
    for name in ("ada", "bob"):
        assert collected[name].notebooks == {ONE: work[ONE], TWO: work[TWO]}
    assert f"ada/Untitled.ipynb was taken for {ONE}" in said(collected["ada"])
    assert "ada" not in found(put(tmp_path, {f"bob/{TWO}.ipynb": work[TWO]}))["bob"].notebooks


def test_notebooks_of_ones_own_are_no_stage(tmp_path):
    work = made_up_submissions.submission(notebooks_folder(), {})
    side_trip = (notebooks_folder() / "further" / "networks.ipynb").read_bytes()
    own = writes(new_notebook(cells=[new_code_cell("1", id="title")])).encode()
    put(tmp_path, {f"ada/{ONE}.ipynb": work[ONE], "ada/further/networks.ipynb": side_trip})
    put(tmp_path, {"bob/networks.ipynb": side_trip, "bob/own.ipynb": own})
    collected = found(tmp_path, ids=IDS)
    assert collected["ada"].notebooks == {ONE: work[ONE]} and not collected["ada"].remarks
    assert not collected["bob"].notebooks
    assert "none of the lab's notebooks. Found instead: bob/networks" in said(collected["bob"])


def test_cells_that_several_notebooks_have_tell_nothing(tmp_path):
    ids = {ONE: {"title", "load", "one"}, TWO: {"title", "load", "two"}}
    own = new_notebook(cells=[new_code_cell("1", id=name) for name in ("title", "load")])
    put(tmp_path, {"ada/own.ipynb": writes(own).encode(), f"ada/{TWO}.ipynb": b"2"})
    assert contents(tmp_path, ids=ids) == {"ada": {TWO: b"2"}}


def test_a_student_without_a_notebook_is_a_submission_all_the_same(tmp_path):
    put(tmp_path, {"ada/report.docx": b"x", "bob.zip": b"no zip", f"cy/{ONE}.ipynb": b"1"})
    collected = found(tmp_path)
    assert contents(tmp_path) == {"ada": {}, "bob": {}, "cy": {ONE: b"1"}}
    assert "ada holds none of the lab's notebooks" in said(collected["ada"])
    assert "bob.zip cannot be read as an archive" in said(collected["bob"])


def test_an_export_is_taken_where_there_is_no_notebook(tmp_path):
    put(tmp_path, {f"ada/{ONE}.html": b"<html>", f"ada/{TWO}.py": b"x", "ada/other.html": b"x"})
    put(tmp_path, {f"bob/{ONE}.html": b"<html>", f"bob/{ONE}.ipynb": b"1"})
    assert contents(tmp_path) == {"ada": {ONE: b"<html>", TWO: b"x"}, "bob": {ONE: b"1"}}


def test_the_latest_of_two_counts_notebook_by_notebook(tmp_path):
    first = zipped({f"{ONE}.ipynb": b"old 1", f"{TWO}.ipynb": b"old 2"}, day=3)
    second = zipped({f"{ONE}.ipynb": b"new 1"}, day=4)
    put(tmp_path, {"ada.zip": second, "ada (1).zip": first, f"bob/{ONE}.ipynb": b"b"})
    collected = found(tmp_path)
    assert collected["ada"].notebooks == {ONE: b"new 1", TWO: b"old 2"}
    assert "more than one file would do" in said(collected["ada"], False)
    assert f"and not: ada (1).zip/{ONE}.ipynb." in said(collected["ada"])


def test_a_folder_and_a_zip_are_compared_by_time(tmp_path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"folder", "ada.zip": zipped({f"{ONE}.ipynb": b"zip"})})
    os.utime(tmp_path / "ada" / f"{ONE}.ipynb", (0, 0))
    assert contents(tmp_path)["ada"] == {ONE: b"zip"}
    os.utime(tmp_path / "ada" / f"{ONE}.ipynb", (2e9, 2e9))
    assert contents(tmp_path)["ada"] == {ONE: b"folder"}


def test_identical_copies_are_not_worth_a_word(tmp_path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"1", f"ada/{ONE} (1).ipynb": b"1"})
    assert not found(tmp_path)["ada"].remarks


def test_the_students_copy_comes_before_the_labs_own_notebook(tmp_path):
    put(
        tmp_path, {f"ada/lab/work/{ONE}.ipynb": STAMPED % 1, f"ada/lab/notebooks/{ONE}.ipynb": b"2"}
    )
    os.utime(tmp_path / "ada" / "lab" / "work" / f"{ONE}.ipynb", (0, 0))
    collected = found(tmp_path)["ada"]
    assert collected.notebooks == {ONE: STAMPED % 1} and not collected.remarks


def test_a_checkpoint_never_comes_before_its_notebook(tmp_path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"1", f"ada/{ONE}-checkpoint.ipynb": b"2"})
    os.utime(tmp_path / "ada" / f"{ONE}.ipynb", (0, 0))
    collected = found(tmp_path)["ada"]
    assert collected.notebooks == {ONE: b"1"} and not collected.remarks


def test_an_empty_file_never_comes_before_a_full_one(tmp_path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"1", f"ada/{ONE}-2.ipynb": b""})
    os.utime(tmp_path / "ada" / f"{ONE}.ipynb", (0, 0))
    assert contents(tmp_path) == {"ada": {ONE: b"1"}}


@pytest.mark.parametrize(
    "path", [".ipynb_checkpoints", "before-update-1", "__MACOSX", ".git", "work/.ipynb_checkpoints"]
)
def test_what_programs_leave_is_ignored(tmp_path, path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"1", f"ada/{path}/{TWO}.ipynb": b"2"})
    put(tmp_path, {f"ada/._{TWO}.ipynb": b"2", ".DS_Store": b"x", f"__MACOSX/{ONE}.ipynb": b"x"})
    collected, aside = collect(tmp_path, NAMES)
    assert [dict(each.notebooks) for each in collected] == [{ONE: b"1"}]
    assert not aside and not collected[0].remarks


# Names


def test_names_that_collapse_are_told_apart(tmp_path):
    twin = unicodedata.normalize("NFD", "José")
    put(
        tmp_path,
        {f"{name}/{ONE}.ipynb": name.encode() for name in ("Ada", "ada", "ADA", "José", twin)},
    )
    names = list(found(tmp_path))
    assert len(names) == 5
    assert len({unicodedata.normalize("NFC", name).casefold() for name in names}) == 5
    # Sorted, "ADA" is the first of its three, and the twin comes before "José".
    assert set(names) == {
        *("ADA", hashed("Ada", "Ada"), hashed("ada", "ada")),
        *("José", hashed("José", "José")),
    }


def test_a_student_has_the_same_name_whoever_else_is_in_the_download(tmp_path):
    names = ("a b", "a_b", "Ada L_8_assignsubmission_file_", "Ada L_9_assignsubmission_file_")
    alone = []
    for number, name in enumerate(names):
        alone += found(put(tmp_path / str(number), {f"{name}/{ONE}.ipynb": b"1"}))
    together = found(put(tmp_path / "all", {f"{name}/{ONE}.ipynb": b"1" for name in names}))
    assert len(set(alone)) == 4 and set(together) == set(alone)


def test_namesakes_in_moodle_get_their_numbers(tmp_path):
    for number in (8, 9):
        put(tmp_path, {f"Ada L_{number}_assignsubmission_file_/{ONE}.ipynb": b"%d" % number})
    assert contents(tmp_path) == {"Ada_L_8": {ONE: b"8"}, "Ada_L_9": {ONE: b"9"}}


@pytest.mark.parametrize("name", ["nul", "COM1", "aux.zip", "con", "a" * 250, "-rf", "=1+1", "a."])
def test_awkward_folder_names_become_fit(tmp_path, name):
    (student,) = found(put(tmp_path, {f"{name}/{ONE}.ipynb": b"1"}))
    assert_fit(student)


def assert_fit(student):
    assert student and student not in (".", "..")
    assert student[0] not in ".-@ " and student[-1] not in ". "
    assert not set(student) & set('/\\:*?"<>|[]{}\n\t\0')
    assert len(student.encode()) <= 140
    assert student == unicodedata.normalize("NFC", student)
    stem = student.split(".")[0].upper()
    assert stem not in {"CON", "PRN", "AUX", "NUL", *(f"COM{n}" for n in range(1, 10))}


@given(st.text(min_size=1) | st.sampled_from(["..", "con.a", "e\u0301" * 70, "\u202egnp.x", "a/b"]))
def test_any_name_becomes_fit(name):
    assert_fit(fit(name))
    assert fit(fit(name)) == fit(name)


@pytest.mark.parametrize("name", ["José", "王小明", "محمد", "नेहा", "Ωμέγα"])
def test_names_in_any_script_are_kept_in_folders_and_zips(tmp_path, name):
    put(tmp_path, {f"{unicodedata.normalize('NFD', name)}/{ONE}.ipynb": b"1"})
    (tmp_path / "all.zip").write_bytes(zipped({f"{name}/{ONE}.ipynb": b"1", "x/y.ipynb": b""}))
    expected = unicodedata.normalize("NFC", name)
    assert list(found(tmp_path / "all.zip")) == [expected, "x"] or name in found(
        tmp_path / "all.zip"
    )
    (tmp_path / "all.zip").unlink()
    assert list(found(tmp_path)) == [expected]


@pytest.mark.parametrize(("encoding", "flag"), [("utf-8", 0), ("cp437", 0), ("utf-8", 0x800)])
def test_names_in_zips_are_read_in_every_encoding(tmp_path, encoding, flag):
    raw = f"Jos/{ONE}.ipynb".encode().replace(b"Jos", "José".encode(encoding).ljust(5, b"_"))
    data = zipped({f"JosXX/{ONE}.ipynb": b"1", "y/z.ipynb": b""}).replace(
        f"JosXX/{ONE}.ipynb".encode(), raw
    )
    (tmp_path / "all.zip").write_bytes(with_flag(data, flag))
    assert any(name.startswith("José") for name in found(tmp_path / "all.zip"))


def with_flag(data, flag):
    """The archive with general purpose flags in every header."""
    data = bytearray(data)
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = data.find(signature)
        while place >= 0:
            data[place + offset : place + offset + 2] = struct.pack("<H", flag)
            place = data.find(signature, place + 4)
    return bytes(data)


def test_a_name_that_is_no_text_is_read(tmp_path):
    put(tmp_path, {f"{os.fsdecode(b'ad' + bytes([255, 254]) + b'a')}/{ONE}.ipynb": b"1"})
    (name,) = contents(tmp_path)
    assert re.fullmatch("ad--a-[0-9a-f]{4}", name)


# Nothing to be found


def test_a_missing_an_empty_and_a_wrong_folder_are_said(tmp_path):
    with pytest.raises(LabError, match=r"missing does not exist\. Expected the folder or zip"):
        collect(tmp_path / "missing", NAMES)
    with pytest.raises(
        LabError, match=r"No submission was found in .*: expected notebooks such as"
    ):
        collect(tmp_path, NAMES)
    put(tmp_path, {"ada/report.pdf": b"x"})
    with pytest.raises(LabError, match="For one: ada holds none of the lab's notebooks"):
        collect(tmp_path, NAMES)
    put(tmp_path, {"a.zip": b"no zip", "b.txt": b"x"})
    with pytest.raises(LabError, match="cannot be read as an archive"):
        collect(tmp_path / "a.zip", NAMES)
    with pytest.raises(LabError, match="is neither a folder nor a zip"):
        collect(tmp_path / "b.txt", NAMES)


# Attempts. In each, Bob is an honest student who must be found.


def with_bob(tmp_path, files):
    return found(put(tmp_path, {f"bob/{ONE}.ipynb": b"bob", **files}))


def assert_bob(collected):
    assert collected["bob"].notebooks == {ONE: b"bob"} and not collected["bob"].remarks


def test_links_are_not_followed(tmp_path):
    secret = put(tmp_path / "elsewhere", {f"{TWO}.ipynb": b"secret"})
    folder = tmp_path / "class"
    put(folder, {f"ada/{ONE}.ipynb": b"1", f"bob/{ONE}.ipynb": b"bob"})
    (folder / "ada" / f"{TWO}.ipynb").symlink_to(secret / f"{TWO}.ipynb")
    (folder / "ada" / "more").symlink_to(secret)
    (folder / "ada" / "loop").symlink_to(folder)
    (folder / "eve").symlink_to(folder / "bob")
    collected, aside = collect(folder, NAMES)
    collected = {each.student: each for each in collected}
    assert_bob(collected)
    assert list(collected) == ["ada", "bob"] and collected["ada"].notebooks == {ONE: b"1"}
    assert said(collected["ada"], True).count("is a link, and was not followed") == 3
    assert aside == ["eve is a link, and was not followed."]


def test_a_file_that_turns_into_a_link_is_not_followed(tmp_path):
    put(tmp_path, {"secret": b"secret", "file": b"1"})
    item = next(item for item in archives.folder_items(tmp_path) if item.name == "file")
    (tmp_path / "file").unlink()
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(archives.RefusedError, match="cannot be read"):
        item.read(100)


def test_pipes_and_sockets_are_not_opened(tmp_path):
    put(tmp_path, {f"ada/{ONE}.ipynb": b"1"})
    os.mkfifo(tmp_path / "ada" / f"{TWO}.ipynb")
    collected = with_bob(tmp_path, {})
    assert_bob(collected)
    assert f"ada/{TWO}.ipynb is no regular file" in said(collected["ada"], True)


def test_what_turns_into_a_pipe_is_not_waited_for(tmp_path):
    put(tmp_path, {"file": b"1"})
    (item,) = archives.folder_items(tmp_path)
    (tmp_path / "file").unlink()
    os.mkfifo(tmp_path / "file")
    with pytest.raises(archives.RefusedError, match="no regular file"):
        item.read(100)


def test_what_cannot_be_read_is_said(tmp_path, monkeypatch):
    real = os.scandir, os.open

    def refusing(which):
        def call(path, *arguments):
            if "locked" in str(path):
                raise PermissionError(13, "Permission denied")
            return real[which](path, *arguments)

        return call

    put(tmp_path, {f"ada/locked/{ONE}.ipynb": b"1", f"ada/{TWO}.ipynb": b"2"})
    put(tmp_path, {f"cy/locked-{ONE}.ipynb": b"1"})
    monkeypatch.setattr(os, "scandir", refusing(0))
    monkeypatch.setattr(os, "open", refusing(1))
    collected = with_bob(tmp_path, {})
    assert_bob(collected)
    assert collected["ada"].notebooks == {TWO: b"2"}
    assert "ada/locked cannot be read (Permission denied)" in said(collected["ada"])
    assert f"cy/locked-{ONE}.ipynb cannot be read" in said(collected["cy"])


def test_a_notebook_that_is_too_large_is_refused(tmp_path):
    with (put(tmp_path, {f"ada/{ONE}.ipynb": b""}) / "ada" / f"{ONE}.ipynb").open("wb") as file:
        file.truncate(archives.LARGEST_NOTEBOOK + 1)  # takes no room on the disk
    collected = with_bob(tmp_path, {})
    assert_bob(collected)
    assert not collected["ada"].notebooks
    assert "is too large (50 MB or more; 50 MB are read)" in said(collected["ada"])


@pytest.mark.parametrize(
    "path", [f"../bob/{ONE}.ipynb", f"/etc/{ONE}.ipynb", f"C:/{ONE}.ipynb", f"..\\{ONE}.ipynb"]
)
def test_paths_that_lead_out_are_refused(tmp_path, path):
    work = zipped({path: b"evil", f"{TWO}.ipynb": b"2"})
    before = {"ada.zip": work}
    collected = with_bob(tmp_path, before)
    assert_bob(collected)
    assert collected["ada"].notebooks == {TWO: b"2"}
    assert "leads out of the archive" in said(collected["ada"], True)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["ada.zip", "bob"], "something was extracted"


def test_paths_with_backslashes_from_windows_are_read(tmp_path):
    collected = with_bob(tmp_path, {"ada.zip": zipped({f"work\\{ONE}.ipynb": b"1"})})
    assert collected["ada"].notebooks == {ONE: b"1"}


@pytest.mark.parametrize(
    ("mode", "expected"), [(stat.S_IFLNK, "is a link"), (stat.S_IFIFO, "is no regular file")]
)
def test_links_and_pipes_in_zips_are_refused(tmp_path, mode, expected):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(f"{ONE}.ipynb")
        info.create_system, info.external_attr = 3, (mode | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    collected = with_bob(tmp_path, {"ada.zip": buffer.getvalue()})
    assert_bob(collected)
    assert not collected["ada"].notebooks and expected in said(collected["ada"], True)


def test_a_locked_member_is_said(tmp_path):
    locked = with_flag(zipped({f"{ONE}.ipynb": b"1"}), 1)
    collected = with_bob(tmp_path, {"ada.zip": locked})
    assert_bob(collected)
    assert f"ada.zip/{ONE}.ipynb is locked with a password" in said(collected["ada"], False)


def test_a_damaged_member_is_said_and_the_others_are_read(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{ONE}.ipynb", b"contents one")
        archive.writestr(f"{TWO}.ipynb", b"contents two")
    damaged = buffer.getvalue().replace(b"contents one", b"contents ONE")
    collected = with_bob(tmp_path, {"ada.zip": damaged})
    assert collected["ada"].notebooks == {TWO: b"contents two"}
    assert f"ada.zip/{ONE}.ipynb is damaged (Bad CRC-32" in said(collected["ada"])


def test_a_zip_cut_short_is_said(tmp_path):
    work = zipped({f"{ONE}.ipynb": os.urandom(5_000)})
    collected = with_bob(tmp_path, {"ada.zip": work[:3_000]})
    assert_bob(collected)
    assert "ada.zip cannot be read as an archive" in said(collected["ada"])


def test_a_bomb_is_not_unpacked(tmp_path):
    bomb = zipped({f"{ONE}.ipynb": b"0" * (20 * archives.MIB), f"{TWO}.ipynb": b"2"})
    collected = with_bob(tmp_path, {"ada.zip": bomb})
    assert_bob(collected)
    assert collected["ada"].notebooks == {TWO: b"2"}
    assert "would unpack to" in said(collected["ada"], True)


def test_a_size_that_lies_is_not_believed(tmp_path):
    """The header says 10 bytes; what is packed is 60 MB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(b"0" * (60 * archives.MIB)) + packer.flush()
    honest = zipped({f"{ONE}.ipynb": packed})
    info = zipfile.ZipFile(io.BytesIO(honest)).infolist()[0]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{ONE}.ipynb", packed)
    data = bytearray(buffer.getvalue())
    for signature, method, size in ((b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)):
        place = data.find(signature)
        data[place + method : place + method + 2] = struct.pack("<H", zipfile.ZIP_DEFLATED)
        data[place + size : place + size + 4] = struct.pack("<I", 10)
    assert info.filename == f"{ONE}.ipynb"
    collected = with_bob(tmp_path, {"ada.zip": bytes(data)})
    assert_bob(collected)
    assert not collected["ada"].notebooks and "is damaged" in said(collected["ada"])


def test_too_many_files_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.Budget, "__init__", small_budget)
    many = zipped({f"{n}.txt": b"" for n in range(50)})
    huge = zipped({f"{'x' * 300}{n}.txt": b"" for n in range(50)})
    collected = with_bob(tmp_path, {"ada/work.zip": many, "eve/work.zip": huge})
    assert_bob(collected)
    assert "more than 40 files" in said(collected["ada"], True)
    assert "says that it holds more than 40 files" in said(collected["eve"], True)


def test_files_are_counted_over_all_archives_of_a_student(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.Budget, "__init__", small_budget)
    some = {f"{n}.zip": zipped({f"{m}.txt": b"" for m in range(9)}) for n in range(9)}
    collected = with_bob(tmp_path, {"ada.zip": zipped({**some, f"z/{ONE}.ipynb": b"1"})})
    assert_bob(collected)
    assert "holds more than" in said(collected["ada"], True)


def test_all_that_is_read_of_a_student_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(archives.Budget, "__init__", poor_budget)
    collected = with_bob(tmp_path, {f"ada/{n}/{ONE}.ipynb": b"x" * 60 for n in range(9)})
    assert_bob(collected)
    assert said(collected["ada"]).count("is too large") == 8


def test_folders_in_folders_end(tmp_path):
    (tmp_path / "all.zip").write_bytes(
        zipped({f"ada/{'a/' * 5_000}{ONE}.ipynb": b"1", f"ada/{TWO}.ipynb": b"2"})
    )
    collected = found(tmp_path / "all.zip")
    assert collected["ada"].notebooks == {TWO: b"2"}
    assert "ada/a holds more than 50 folders in one another" in said(collected["ada"], True)
    (tmp_path / "all.zip").unlink()
    (tmp_path / "cy" / ("b/" * 60)).mkdir(parents=True)
    collected = with_bob(tmp_path, {})
    assert_bob(collected)
    assert "cy/b holds more than 50 folders" in said(collected["cy"], True)


def test_a_large_class_does_not_run_out_of_open_files(tmp_path):
    work = zipped({f"{ONE}.ipynb": b"1"})
    put(tmp_path, {f"s{number}.zip": work for number in range(60)})
    import resource

    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + 20, old[1]))
    try:
        assert len(found(tmp_path)) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


def test_archives_in_archives_end(tmp_path):
    inner = zipped({f"{ONE}.ipynb": b"1"})
    for level in range(2, 4):
        inner = zipped({f"{level}.zip": inner})
    deeper = zipped({"4.zip": inner})
    collected = with_bob(tmp_path, {"ada.zip": inner, "eve.zip": deeper})
    assert_bob(collected)
    assert collected["ada"].notebooks == {ONE: b"1"}
    assert "lies in 3 archives already" in said(collected["eve"], True)


def small_budget(self):
    self.content, self.files = archives.LARGEST_STUDENT, 40


def poor_budget(self):
    self.content, self.files = 100, 40


def tarred(files, links=()):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size, info.mtime = len(content), 10**9
            archive.addfile(info, io.BytesIO(content))
        for path, target, kind in links:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = kind, target
            archive.addfile(info)
    return buffer.getvalue()


def test_tars_are_read_with_the_same_care(tmp_path):
    links = [
        (f"{TWO}.ipynb", "/etc/passwd", tarfile.SYMTYPE),
        (f"a/{TWO}.ipynb", f"{ONE}.ipynb", tarfile.LNKTYPE),
        (f"b/{TWO}.ipynb", "", tarfile.CHRTYPE),
    ]
    files = {f"{ONE}.ipynb": b"1", f"../{TWO}.ipynb": b"evil", "data.bin": b"x" * 10**6}
    collected = with_bob(tmp_path, {"ada.tar.gz": tarred(files, links), "eve.tgz": b"\x1f\x8bno"})
    assert_bob(collected)
    assert collected["ada"].notebooks == {ONE: b"1"}
    assert said(collected["ada"], True).count(f"{TWO}.ipynb") == 4
    assert "eve.tgz cannot be read as an archive" in said(collected["eve"])


def test_a_tar_that_unpacks_to_too_much_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "LARGEST_ARCHIVE", 10**6)
    bomb = tarred({"zeros.bin": b"\0" * 2 * 10**6, f"{ONE}.ipynb": b"1"})
    collected = with_bob(tmp_path, {"ada.tar.gz": bomb})
    assert_bob(collected)
    assert "unpacks to too much" in said(collected["ada"], True)


@pytest.mark.parametrize("name", ["work.rar", "work.7z", "work.tar.xz"])
def test_other_archives_are_said(tmp_path, name):
    collected = with_bob(tmp_path, {f"ada/{name}": b"x"})
    assert f"ada/{name} is an archive of a kind that is not read" in said(collected["ada"])


@pytest.mark.parametrize("container", ["{}/", "{}.zip"])
def test_nobody_hands_in_under_anothers_name(tmp_path, container):
    forged = {f"Bob B_7_assignsubmission_file_/{ONE}.ipynb": b"forged"}
    put(tmp_path, {f"Bob B_7_assignsubmission_file_/{ONE}.ipynb": b"bob"})
    if container.endswith("zip"):
        put(tmp_path, {"ada.zip": zipped(forged, day=20)})
    else:
        put(tmp_path / "ada", forged)
    collected = found(tmp_path)
    assert collected["Bob_B_7"].notebooks == {ONE: b"bob"}
    assert "files under this student's name lie in ada" in said(collected["Bob_B_7"], True)


def test_a_moodle_folders_content_is_its_owners_whatever_it_is_called(tmp_path):
    path = f"Ada_6_assignsubmission_file_/Bob B_7_assignsubmission_file_/{ONE}.ipynb"
    put(tmp_path, {path: b"1"})
    assert contents(tmp_path) == {"Ada_6": {ONE: b"1"}}


def test_remarks_are_no_flood(tmp_path):
    work = zipped({f"../{n}/{ONE}.ipynb": b"x" for n in range(200)})
    collected = with_bob(tmp_path, {"ada.zip": work})
    assert len(collected["ada"].remarks) < 12
    assert "192 more remarks" in said(collected["ada"])


@given(st.binary(max_size=300), st.sampled_from(["zip", "tar", "tar.gz", "tgz"]))
def test_no_bytes_break_an_archive(tmp_path_factory, data, ending):
    folder = tmp_path_factory.mktemp("class")
    assert_bob(with_bob(folder, {f"ada.{ending}": data}))


@given(st.data())
def test_no_damage_breaks_a_zip(tmp_path_factory, data):
    good = bytearray(zipped({f"{ONE}.ipynb": b"1" * 50, f"a/{TWO}.ipynb": b"2" * 50}))
    for _ in range(data.draw(st.integers(1, 5))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    collected = with_bob(tmp_path_factory.mktemp("class"), {"ada.zip": bytes(good)})
    assert_bob(collected)
    assert set(collected["ada"].notebooks.values()) <= {b"1" * 50, b"2" * 50}


def test_nothing_in_the_folder_changes(tmp_path):
    made_up_submissions.write(tmp_path, CLASS, "zips")
    made_up_submissions.write(tmp_path, CLASS, "moodle")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    found(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
