"""The command line: thin, and quick to start; every command imports what it needs when it runs."""

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click

from convnetlab import __version__
from convnetlab.errors import LabError

# How an interrupted command is taken up again.
GO_ON = {
    "run": "What the finished stages made is kept and valid; go on with `convnetlab run --from "
    "STAGE`, with the same --run NAME and parameters. A training goes on after its last finished "
    "epoch.",
    "sweep": "The finished runs are kept; the same command goes on with the others.",
    "edge": "The files that were finished are whole; the same command makes them all again.",
    "grade": "Who has been graded is kept; the same command goes on with the others.",
}


class Commands(click.Group):
    """The commands, with errors told in plain sentences."""

    def invoke(self, context: click.Context) -> object:
        """Run a command; tell a `LabError` or an interruption, and leave with its exit code."""
        try:
            return super().invoke(context)
        except LabError as error:
            if context.params.get("debug"):
                raise
            click.echo(f"Error: {error}", err=True)
            context.exit(1)
        except ModuleNotFoundError as error:
            if context.params.get("debug") or not str(error.name).startswith("convnetlab."):
                raise
            told = "this copy of the lab is a student's, and grading is not part of it"
            click.echo(f"Error: {context.invoked_subcommand}: {told}.", err=True)
            context.exit(1)
        except KeyboardInterrupt:
            how = GO_ON.get(str(context.invoked_subcommand), "")
            click.echo(f"\nStopped. {how}".rstrip(), err=True)
            context.exit(130)


@contextlib.contextmanager
def for_instructors(what: str) -> Iterator[None]:
    """Import what a student's release does not have; a `LabError` there.

    Raises:
        LabError: the module is left out here.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("convnetlab."):
            raise
        raise LabError(
            f"`convnetlab {what}` is for instructors and not part of a student's release."
        ) from None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="convnetlab")
def main(debug: bool) -> None:
    """A teaching lab for image classification: four notebooks, by hand and headless."""
    warnings.formatwarning = lambda message, *_: f"Warning: {message}\n"


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=None, required=False)
@click.option("--update", is_flag=True, help="Bring new text into a copy; answers are kept.")
def start(folder: Path | None, update: bool) -> None:
    """Write the student's copy of the notebooks, without solutions, into FOLDER (work/)."""
    from convnetlab import paths, student

    made = student.start(folder or paths.root_folder() / "work", update)
    for path in made:
        click.echo(path)


@main.command()
@click.argument("folder", type=click.Path(path_type=Path), default=None, required=False)
def check(folder: Path | None) -> None:
    """Check the notebooks in FOLDER (work/) before they are handed in; nothing is changed.

    Each runs from top to bottom in a fresh kernel, in a temporary folder, on few pictures. Exit
    code 1: an answer is wrong, a cell breaks, or a notebook is missing or damaged. What is not
    answered yet is listed, with exit code 0.
    """
    from convnetlab import check, paths

    if not check.check(folder or paths.root_folder() / "work", say=click.echo):
        sys.exit(1)


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
def release(out: Path) -> None:
    """Write the lab as students get it, without answers, into OUT; keep what it was made from.

    OUT is new, empty, or a release in which nothing was changed. The graded notebooks and their
    hidden tests are kept in runs/releases/, so that submissions are graded against their own.
    """
    with for_instructors("release"):
        from convnetlab.grading import assignment
        from convnetlab.release import release
    from convnetlab.paths import notebooks_folder

    _ = assignment.load(notebooks_folder()).exercises  # broken hidden tests are refused now
    stamp = release(out)
    click.echo(f"{out}: release {stamp}, ready to be zipped.")


@main.command()
@click.option("--run", "name", default="lab", show_default=True, help="The run's name.")
@click.option(
    "-p",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a notebook's parameter, such as: -p dataset digits. May be repeated.",
)
@click.option("--smoke", is_flag=True, help="Use a small subset of the pictures.")
@click.option(
    "--from",
    "first",
    type=click.Choice(["1", "2", "3", "4", "further"]),
    default="1",
    metavar="STAGE",
    help="Begin at stage 1 to 4, or with the side trips alone (further). The earlier stages' "
    "results and parameters are those of the run; the parameters of the stages that are run again "
    "are their defaults, unless given. The side trips need a run whose four stages are done.",
)
@click.option("--further", is_flag=True, help="Execute the side trips (notebooks/further/) too.")
def run(
    name: str, parameters: tuple[tuple[str, str], ...], smoke: bool, first: str, further: bool
) -> None:
    """Execute the four notebooks and write the run's page.

    Everything goes to runs/NAME/: notebooks, model, measures, predictions, figures, report.html.
    """
    from convnetlab.handoff import PAGES
    from convnetlab.notebooks import run_lab
    from convnetlab.paths import FURTHER

    number = FURTHER if first == "further" else int(first)
    say = functools.partial(click.echo, err=True)
    page = run_lab(name, parameters, smoke, number, further, say=say)
    click.echo(f"The report is in {page}")
    for path in (page.with_name(name) for name in PAGES):
        if path.is_file():
            click.echo(f"A page with the network inside, for a telephone too, is {path}")


@main.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN RUN…")
@click.option(
    "--run", "name", default="comparison", show_default=True, help="The comparison's name."
)
def compare(runs: tuple[str, ...], name: str) -> None:
    """Compare finished runs on the same test pictures: measures, tests, where they differ.

    Everything goes to runs/NAME/: results.csv, pairs.csv, report.html. A run of a sweep is called
    SWEEP/KEY.
    """
    from convnetlab.compare import compare

    click.echo(f"The comparison is in {compare(runs, name)}")


@main.command()
@click.argument("run")
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(1), default=2, show_default=True, help="Classes shown.")
@click.option(
    "--csv",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write all probabilities as a table, a column a class.",
)
@click.option(
    "--explain",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Write a figure for each picture: what the model got, where Grad-CAM is warm, how sure.",
)
def predict(
    run: str, images: tuple[Path, ...], top: int, table: Path | None, explain: Path | None
) -> None:
    """Ask the model of the finished run RUN about pictures: files, or folders of files.

    They are read as the run's own pictures were. Each gets the name of a class, for a model has no
    word for "none of these". Files that cannot be read are named at the end, with exit code 1.
    """
    from convnetlab import prediction

    say = functools.partial(click.echo, err=True)
    answers = prediction.predict(run, images, table, explain, say)
    click.echo(prediction.as_text(answers, top))
    for what in (table, explain):
        if what:
            click.echo(f"Written: {what}")
    if failed := answers.unreadable:
        reasons = "\n".join(f"  {reason}" for reason in failed.values())
        raise LabError(f"{len(failed)} of {len(answers.files)} files could not be read:\n{reasons}")


@main.command()
@click.argument("run")
@click.option("--float32", is_flag=True, help="Put float32 into the page, not int8.")
@click.option("--quick", is_flag=True, help="Few repeats, so the times say little.")
def edge(run: str, float32: bool, quick: bool) -> None:
    """Make files for a telephone of the finished run RUN, measure them, and write its page.

    The page recognises what is drawn or photographed, without a network connection:
    runs/RUN/digit.html, or photo.html of a folder of pictures. Four LiteRT files, tables and
    figures go to runs/RUN/edge/. Exit code 1: something that was asked for is missing; which, and
    why, stands at the end.
    """
    from convnetlab import edge_study, prediction

    say = functools.partial(click.echo, err=True)
    found = edge_study.measure(prediction.open_run(run), float32_page=float32, quick=quick, say=say)
    click.echo(edge_study.as_text(found))
    click.echo(f"\nThe files, tables and figures are in {found.folder}")
    if page := found.deployed.page:
        click.echo(f"The page is {page}: open it by a double click, or send it to a telephone.")
    if refusal := found.deployed.refusal:
        raise LabError(refusal)


@main.command()
@click.option(
    "-g",
    "grid",
    nargs=2,
    multiple=True,
    required=True,
    metavar="NAME VALUES",
    help="Vary a notebook's parameter, such as: -g architecture reference,compact -g seed 0..2. "
    "May be repeated; each combination is a run.",
)
@click.option(
    "-p",
    "parameters",
    nargs=2,
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter for all runs. May be repeated.",
)
@click.option("--run", "name", default="sweep", show_default=True, help="The sweep's name.")
@click.option("--smoke", is_flag=True, help="Use a small subset of the pictures.")
@click.option("--workers", type=int, help="Processes here; by default what cores and memory allow.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Use a running Dask scheduler, tcp://HOST:PORT."
)
def sweep(
    grid: tuple[tuple[str, str], ...],
    parameters: tuple[tuple[str, str], ...],
    name: str,
    smoke: bool,
    workers: int | None,
    scheduler: str | None,
) -> None:
    """Do a run for every combination of some parameters' values, several at a time.

    Everything goes to runs/NAME/: results.csv, report.html, and a folder a run. The same command
    again does only what is not finished yet; values may be added.
    """
    from convnetlab.sweep import sweep

    say = functools.partial(click.echo, err=True)
    page, failed = sweep(name, grid, parameters, smoke, workers, scheduler, say)
    click.echo(f"The results are in {page}")
    if failed:
        raise LabError(f"Failed runs: {failed}. The table says why; the others are finished.")


@main.command()
@click.argument("submissions", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="GRADES",
    help="Where everything goes; graded into again, it does only what has changed.",
)
@click.option("--workers", type=int, help="Processes here; by default what cores and memory allow.")
@click.option(
    "--scheduler", metavar="ADDRESS", help="Use a running Dask scheduler, tcp://HOST:PORT."
)
@click.option(
    "--limit-seconds",
    "seconds",
    type=click.FloatRange(0, min_open=True),
    default=30.0,
    show_default=True,
    help="For each of a student's cells.",
)
@click.option(
    "--limit-memory",
    "megabytes",
    type=click.IntRange(256),
    default=2048,
    show_default=True,
    metavar="MB",
    help="For each of a student's notebooks.",
)
@click.option(
    "--source",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The notebooks with solutions, and hidden_tests.py; by default the lab's.",
)
@click.option(
    "--against",
    type=click.Choice(["own", "newest"]),
    default="own",
    show_default=True,
    help="Grade by the release that a notebook is of, or all by the newest.",
)
@click.option(
    "--only",
    default="",
    metavar="EXERCISE",
    help="Grade one exercise again, alone; who has no grades yet is graded whole.",
)
@click.option("--every-cell", is_flag=True, help="Execute also what no exercise needs.")
@click.option(
    "--no-sandbox", is_flag=True, help="For notebooks that you trust: they may do all you may."
)
def grade(
    submissions: Path,
    out: Path,
    workers: int | None,
    scheduler: str | None,
    seconds: float,
    megabytes: int,
    source: Path | None,
    against: str,
    only: str,
    every_cell: bool,
    no_sandbox: bool,
) -> None:
    """Grade a class: SUBMISSIONS is a folder or a zip, as a learning platform gives it.

    Each notebook is rebuilt from the source with the student's answers, executed in a sandbox and
    marked. Into GRADES go grades.csv, report.html, feedback/, and a gradebook for nbgrader's
    formgrader, where the questions are that are graded by hand.
    """
    with for_instructors("grade"):
        from convnetlab.grading.grade import Settings, grade
        from convnetlab.grading.records import Limits
    from convnetlab.paths import notebooks_folder

    limits = Limits(seconds=seconds, memory=megabytes * 2**20)
    settings = Settings(limits, not no_sandbox, against, only, every_cell)
    say = functools.partial(click.echo, err=True)
    folder = source or notebooks_folder()
    page = grade(submissions, out, folder, settings, workers, scheduler, say)
    click.echo(f"The grades are in {out / 'grades.csv'}, and what to look at in {page}")


@main.group()
def images() -> None:
    """Look over a folder of your own pictures, or make one to play with."""


@images.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["shapes", "digits"]),
    default="shapes",
    show_default=True,
    help="Drawn shapes in colour, in many sizes; or MNIST's digits, 28×28.",
)
@click.option("--images", "count", default=40, show_default=True, help="Pictures a class.")
@click.option("--seed", default=1, show_default=True, help="Another seed, other pictures.")
@click.option("--parts", is_flag=True, help="Divide them into train/ and test/.")
@click.option("--flawed", is_flag=True, help="Put in what goes wrong in collected pictures.")
def sample(folder: Path, kind: str, count: int, seed: int, parts: bool, flawed: bool) -> None:
    """Write a small labelled folder of pictures, FOLDER, which must be new or empty."""
    from convnetlab import samples

    counts = samples.write(folder, kind, count, seed, parts, flawed)
    click.echo(f"{folder}: {count} pictures in each of {len(counts)} classes: {', '.join(counts)}.")


@images.command("check")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--run", "name", default="audit", show_default=True, help="Where results go.")
def check_images(folder: Path, name: str) -> None:
    """Look over a folder of labelled pictures before a training; nothing in it is changed.

    The tables and a figure go to runs/NAME/. What would spoil a training or its score ends in exit
    code 1: nothing readable, one class, classes with too few pictures, a picture in two parts.
    """
    from convnetlab import audit, image_folders

    listing = image_folders.scan(folder)
    audit.writable(name, listing)
    with click.progressbar(length=len(listing.files), label="looking", file=sys.stderr) as bar:
        found = audit.audit(listing, tick=lambda: bar.update(1))
    click.echo(found.summary())
    click.echo(f"\nThe tables and the figure are in {audit.write(found, name)}")
    if found.spoiling:
        told = "; ".join(finding.what for finding in found.spoiling)
        raise LabError(f"This would spoil a training or its score: {told}. See ✗ above.")


@main.command()
def doctor() -> None:
    """Check Python, packages, data, kernel, memory and disk."""
    from convnetlab.doctor import examine

    answers = examine()
    for name, is_good, sentence in answers:
        click.echo(f"{'✓' if is_good else '✗'} {name}: {sentence}")
    if not all(is_good for _, is_good, _ in answers):
        sys.exit(1)


@main.command()
@click.option("--quick", is_flag=True, help="Few pictures, one run: tries the command only.")
@click.option("--repeats", type=click.IntRange(1), help="Runs of each; 3 unless told (kills: 10).")
@click.option(
    "--only",
    type=click.Choice(
        [
            "lab",
            "convolution",
            "prediction",
            "networks",
            "transfer",
            "curves",
            "determinism",
            "kills",
            "sweep",
            "images",
            "photos",
            "edge",
            "grading",
        ]
    ),
    help="Measure something else instead; see below.",
)
@click.option("--select", is_flag=True, help="Rank candidate recipes on validation pictures.")
def bench(quick: bool, repeats: int | None, only: str | None, select: bool) -> None:
    """Train all recipes and their rivals on MNIST, side by side, into runs/bench/.

    \b
    --only lab          the whole lab's run, its stages, and the command's start-up
    --only convolution  the lab's conv2d against Keras's, and against loops
    --only prediction   one pass over the test pictures against a call a picture
    --only networks     every architecture, trained once: networks.csv
    --only transfer     transfer against training from scratch: transfer.csv
    --only curves       five trainings, four of them gone wrong: learning_curves.csv
    --only determinism  what repeatable trainings cost
    --only kills        trainings killed at ten moments and resumed
    --only sweep        nine smoke runs side by side, and a worker killed half-way
    --only images       reading folders of pictures: speed beside Keras's reader, memory
    --only edge         a run on the edge beside Keras, its page in Chromium: edge.json
    --only grading      a class of 24, by `convnetlab grade` and by nbgrader (half an hour)
    --only photos       the whole lab on 200 photographs, with the recipe features: photos.json
    """
    from convnetlab import bench

    if select and only:
        raise LabError("--select does not go with --only. Leave out one of them.")
    say = functools.partial(click.echo, err=True)
    click.echo(bench.run("select" if select else only or "recipes", quick, repeats, say))
