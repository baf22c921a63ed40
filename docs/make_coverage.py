"""Write docs/coverage.md: which cell explains, shows and practises which concept.

`make coverage` runs it. It reads the tags of the cells, and which concepts there are, in what
stage, from tests/notebooks/concepts.csv.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS = ROOT / "tests" / "notebooks" / "concepts.csv"
PAGE = ROOT / "docs" / "coverage.md"
KINDS = {
    "explains": "explained",
    "shows": "shown",
    "interacts": "interactive",
    "practises": "practised",
}
HEAD = """# What the notebooks cover

Made by `make coverage` from the tags of the notebooks' cells; do not edit it. A row a concept, by
stage. Each entry is a notebook and the ids of its cells: in JupyterLab an id stands under *Cell
Metadata* (right sidebar, gears). The notebooks 01 to 04 are the lab, those in `further/` side
trips. "–" is what the concept does not need; what it needs, a test insists on.
"""


def tagged_cells(folder: Path) -> dict[str, dict[str, list[str]]]:
    """Return the ids of the cells with each tag, by tag and notebook ("further/transfer")."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for path in sorted(folder.glob("*.ipynb")) + sorted(folder.glob("further/*.ipynb")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        for cell in nbformat.read(path, as_version=4).cells:
            for tag in cell.metadata.get("tags", []):
                found[tag][name].append(cell.id)
    return found


def entry(cells: Mapping[str, list[str]]) -> str:
    """Return the cells of each notebook in a line of a table's field."""
    lines = (f"{name}: {', '.join(f'`{cell}`' for cell in ids)}" for name, ids in cells.items())
    return "<br>".join(lines) or "–"


def coverage(concepts: Iterable[Mapping[str, str]], folder: Path) -> str:
    """Return the page: a row a concept, a column a kind of tag.

    Args:
        concepts: rows with `stage` and `slug`.
        folder: where the notebooks lie, and `further/` in it.
    """
    cells = tagged_cells(folder)
    lines = [
        f"| stage | concept | {' | '.join(KINDS.values())} |",
        f"|---|---|{'---|' * len(KINDS)}",
    ]
    for row in concepts:
        entries = [entry(cells[f"{kind}:{row['slug']}"]) for kind in KINDS]
        lines.append(f"| {row['stage']} | {row['slug']} | {' | '.join(entries)} |")
    return f"{HEAD}\n" + "\n".join(lines) + "\n"


def page() -> str:
    """Return the page of this repository's notebooks."""
    with CONCEPTS.open(encoding="utf-8") as stream:
        return coverage(csv.DictReader(stream), ROOT / "notebooks")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
