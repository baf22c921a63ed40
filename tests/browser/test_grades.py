"""What comes out of grading, in use: nbgrader's formgrader on a real server, pages in Chromium."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import made_up_class as made_up
import pytest
from opening import open_page
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from convnetlab.grading import feedback, gradebook, report, scores, tables

in_a_browser = pytest.mark.browser
TOKEN = "only-for-this-test"


@pytest.fixture(scope="module")
def class_():
    return made_up.of_class(12)


def write(folder, class_):
    """What the command does when all results are there."""
    submissions = [result.submission for result in class_]
    remarks = gradebook.write(folder, made_up.source(), class_, submissions)
    manual = gradebook.manual_scores(folder)
    tables.write(folder, class_, manual)
    feedback.write(folder, class_, manual)
    report.write(folder, class_, manual, report.About("abc123", remarks=remarks))
    return manual


@pytest.fixture(scope="module")
def grades(tmp_path_factory, class_):
    folder = tmp_path_factory.mktemp("GRADES")
    write(folder, class_)
    return folder


class Server:
    """A Jupyter server with nbgrader's formgrader, started in the folder of the grades."""

    def __init__(self, folder, place):
        names = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
        own = {f"JUPYTER_{name}": str(place / name.lower()) for name in names}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        command = [sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"]
        command += ["--ServerApp.port_retries=200", f"--IdentityProvider.token={TOKEN}"]
        extensions = "{'nbgrader.server_extensions.formgrader': True}"
        command += [f"--ServerApp.jpserver_extensions={extensions}"]
        self.log = (place / "log").open("w")
        self.process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **own, "PATH": path},
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.url = self.wait_for(place / "runtime_dir") + "formgrader"

    def wait_for(self, runtime):
        """Return the address that the server writes down once it listens."""
        for _ in range(600):
            for path in runtime.glob("jpserver-*.json"):
                if path.stat().st_size:
                    return json.loads(path.read_text())["url"]
            assert self.process.poll() is None, Path(self.log.name).read_text()
            time.sleep(0.1)
        raise AssertionError(Path(self.log.name).read_text())

    def call(self, path, method="GET", body=None):
        """Return what the server answers."""
        headers = {"Authorization": f"token {TOKEN}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def get(self, path):
        """Return the JSON value that the server answers with."""
        return json.loads(self.call(path))

    def stop(self):
        """Stop this server, and nothing else."""
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.log.close()


@pytest.fixture(scope="module")
def server(grades, tmp_path_factory):
    server = Server(grades, tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


def handed_in(server, student, notebook="02_second"):
    """Return the formgrader's id of a student's notebook."""
    found = server.get(f"/api/submitted_notebooks/convnetlab/{notebook}")
    return next(it["id"] for it in found if it["student"] == student)


def grade_of(server, student, cell="conclusion"):
    """Return what the formgrader knows of an exercise."""
    found = server.get(f"/api/grades?submission_id={handed_in(server, student)}")
    return next(it for it in found if it["name"] == cell)


def reader(class_):
    """Return the first student whose conclusion waits to be read."""
    return next(it for it in class_ if it.marks[-1].state == "by hand").submission.student


def test_the_formgrader_opens_on_the_grades(server, class_):
    (assignment,) = server.get("/api/assignments")
    assert (assignment["name"], assignment["max_score"]) == ("convnetlab", 11)
    assert assignment["num_submissions"] == len(class_)
    totals = {it["student"]: it["score"] for it in server.get("/api/submissions/convnetlab")}
    for result in class_:
        assert totals[result.submission.student] == sum(mark.points for mark in result.marks)
    assert [it["name"] for it in server.get("/api/notebooks/convnetlab")] == list(made_up.source())
    for page in ("manage_assignments", "manage_submissions/convnetlab", "manage_students"):
        assert "Formgrader" in server.call(f"/{page}") or "formgrader" in server.call(f"/{page}")
    for notebook in made_up.source():
        page = server.call(f"/submissions/{handed_in(server, 'student-08', notebook)}/")
        assert 'class="nbgrader-label"' in page and "<script>document.title" not in page
        assert "<img" not in page


def test_points_given_there_come_back_and_survive(server, grades, class_):
    student = reader(class_)
    grade = grade_of(server, student)
    assert grade["needs_manual_grade"] and grade["auto_score"] is None
    server.call(f"/api/grade/{grade['id']}", "PUT", {"manual_score": 3.5, "extra_credit": 1})
    (comment,) = (
        it
        for it in server.get(f"/api/comments?submission_id={handed_in(server, student)}")
        if it["name"] == "conclusion"
    )
    said = "Say <b>how</b> you know, in Ελληνικά too."
    server.call(f"/api/comment/{comment['id']}", "PUT", {"manual_comment": said})
    result = next(it for it in class_ if it.submission.student == student)
    for _ in range(2):
        manual = write(grades, class_)
        hand = scores.given(manual, student, result.marks[-1])
        assert hand == scores.ByHand(3.5, 1.0, said, is_due=False)
        again = grade_of(server, student)
        assert (again["id"], again["manual_score"]) == (grade["id"], 3.5)
        assert not again["needs_manual_grade"]
    page = (grades / "feedback" / f"{student}.html").read_text("utf-8")
    assert "Say &lt;b&gt;how&lt;/b&gt; you know, in Ελληνικά too." in page


def test_its_own_autograder_stays_away_from_the_students(server, grades, class_):
    student = class_[0].submission.student
    folder = grades / "autograded" / student / "convnetlab"
    before = {path: path.read_bytes() for path in folder.iterdir()}, grade_of(server, student)
    server.call(f"/api/submission/convnetlab/{student}/autograde", "POST", {})
    assert (
        {path: path.read_bytes() for path in folder.iterdir()},
        grade_of(server, student),
    ) == before


@in_a_browser
def test_the_conclusion_can_be_graded_by_hand(browser, server, grades, class_):
    """Everybody's text is hostile; the page that shows it may do what the instructor may."""
    student = reader(class_[::-1])
    browser.get_log("performance")
    here = server.url.removesuffix("formgrader")
    browser.get(f"{here}login?next=%2Fapi%2Fstatus&token={TOKEN}")
    browser.get(f"{server.url}/submissions/{handed_in(server, student)}/")
    field = WebDriverWait(browser, 30).until(lambda it: it.find_element(By.ID, "conclusion"))
    text = browser.find_element(By.TAG_NAME, "body").text
    assert "filters do." in text and made_up.HOSTILE[:20] in text
    assert browser.title == "02_second"
    field.send_keys("2\t")
    WebDriverWait(browser, 30).until(lambda _: grade_of(server, student)["manual_score"] == 2)
    assert gradebook.manual_scores(grades)[student, "02_second", "conclusion"].points == 2
    messages = [json.loads(it["message"])["message"] for it in browser.get_log("performance")]
    asked = [
        it["params"]["request"]["url"]
        for it in messages
        if it["method"] == "Network.requestWillBeSent"
    ]
    assert asked and all(it.startswith((here, "data:", "chrome:")) for it in asked)
    assert not [it for it in browser.get_log("browser") if it["level"] == "SEVERE"]


@in_a_browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("page", ["report", "feedback/student-08", "feedback/student-03"])
def test_a_page_asks_for_nothing_runs_nothing_and_fits(browser, grades, page, width):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    path = grades / f"{page}.html"
    assert open_page(browser, path) == {path.as_uri()}
    assert browser.title != "taken"
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    body = browser.find_element(By.TAG_NAME, "body")
    assert body.value_of_css_property("font-size") == "16px", "the style is let in by its hash"
    for picture in browser.find_elements(By.TAG_NAME, "img"):
        assert browser.execute_script("return arguments[0].naturalWidth", picture) > 300
    if page == "feedback/student-08":
        assert made_up.HOSTILE in " ".join(body.text.split())


@in_a_browser
def test_the_report_s_links_lead_somewhere(browser, grades):
    open_page(browser, grades / "report.html")
    links = [it.get_attribute("href") for it in browser.find_elements(By.TAG_NAME, "a")]
    assert len(links) == 12 * 3
    for link in links:
        assert Path(urllib.request.url2pathname(link.removeprefix("file://"))).is_file(), link
