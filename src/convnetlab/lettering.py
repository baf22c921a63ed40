"""Names of classes as figures can show them: short, distinct, and in letters that can be drawn.

A folder may be called anything, in any script. Matplotlib draws with the fonts that it finds, and
puts an empty box where none of them has a letter; it knows nothing of scripts that run from right
to left or join their letters. Rather than a row of boxes, or letters in the wrong order, a figure
then shows the class's number.
"""

import functools
import unicodedata
import warnings
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

LONGEST = 12  # characters over a picture
HEAD = 5  # of them, the first ones that stay where names differ at their ends only


def short_names(classes: Sequence[str], longest: int = LONGEST) -> list[str]:
    """Return what figures call the classes: short names, each another one, in drawable letters.

    A long name loses its end, or its middle where the beginnings are the same; where even that
    does not tell two apart, their numbers (0, 1, …) do. `drawable` says what happens to letters
    that no font has.

    Args:
        classes: the classes' names.
        longest: characters a name.

    >>> short_names(["cat", "golden retriever, old", "golden retriever, young"])
    ['cat', 'golde…r, old', 'golde… young']
    """
    names = drawable(tuple(classes))
    cut = [ended(name, longest) for name in names]
    cut = [
        halved(name, longest) if cut.count(short) > 1 else short
        for name, short in zip(names, cut, strict=True)
    ]
    return [
        escaped(f"{number}: {ended(name, longest - 4)}" if cut.count(name) > 1 else name)
        for number, name in enumerate(cut)
    ]


def ended(name: str, longest: int) -> str:
    """Return a name without its end, if it is long."""
    return name if len(name) <= longest else name[: longest - 1].rstrip() + "…"


def halved(name: str, longest: int) -> str:
    """Return a name without its middle, if it is long."""
    return name if len(name) <= longest else name[:HEAD] + "…" + name[HEAD + 1 - longest :]


def escaped(text: str) -> str:
    """Return text in which Matplotlib finds no formula."""
    return text.replace("$", r"\$")


@functools.lru_cache(maxsize=16)
def drawable(classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the classes' names, and "class 3" for a name that cannot be drawn.

    Fonts that have missing letters are looked for among those installed, and used from then on.
    What cannot be drawn even so is told once, in a warning, with the numbers that stand for it.
    """
    names = [tidied(name) for name in classes]
    shown = [name if can_draw(name) else f"class {number}" for number, name in enumerate(names)]
    pairs = zip(shown, names, strict=True)
    told = [f"{short} is “{name}”" for short, name in pairs if short != name]
    if told:
        warnings.warn(
            f"Figures cannot show the letters of every class name: {', '.join(told)}. (A font that "
            "has them may help, such as Noto Sans CJK. Scripts from right to left are not drawn.)",
            stacklevel=2,
        )
    return tuple(shown)


def file_name(name: str, longest: int = 40) -> str:
    """Return a file's name for a figure's title, or "a picture" where it cannot be drawn."""
    name = tidied(name)
    return escaped(ended(name, longest)) if can_draw(name) else "a picture"


def tidied(name: str) -> str:
    """Return a name on one line, in composed letters."""
    return " ".join(unicodedata.normalize("NFC", name).split())


def can_draw(name: str) -> bool:
    """Tell whether a name can be drawn, with the fonts in use or, from now on, others."""
    missing = set(name) - letters()
    if missing:
        use_fonts_for(missing)
    return set(name) <= letters() and all(map(is_plain, name))


def is_plain(letter: str) -> bool:
    """Tell whether a letter may be drawn by itself, after the one before it, to its right."""
    is_joined = unicodedata.category(letter).startswith("M")
    return unicodedata.bidirectional(letter) not in ("R", "AL", "AN") and not is_joined


def letters() -> set[str]:
    """Return every letter that the fonts in use have."""
    found = (
        font_manager.findfont(font_manager.FontProperties(family=[family]))
        for family in families_in_use()
    )
    return set().union(*(letters_of(path) for path in found))


def families_in_use() -> list[str]:
    """Return the names of the fonts that Matplotlib looks for letters in, in its order."""
    families = mpl.rcParams["font.family"]
    return [families] if isinstance(families, str) else list(families)


@functools.cache
def letters_of(path: str) -> frozenset[str]:
    """Return every letter of a font file; none where Matplotlib cannot draw with it."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except (OSError, RuntimeError):  # coloured emoji are pictures, not outlines
        return frozenset()


def use_fonts_for(missing: set[str]) -> None:
    """Add installed fonts that have missing letters to those that Matplotlib falls back on."""
    families = families_in_use()
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: font.name):
        found = missing & letters_of(font.fname)
        # The “last resort” has a box with a code for every letter there is.
        if found and "Last Resort" not in font.name and font.name not in families:
            families.append(font.name)
            missing = missing - found
    mpl.rcParams["font.family"] = families
