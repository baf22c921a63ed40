"""What of a notebook must be executed to mark it: the statements that the checks need.

A notebook shows much that no exercise uses, training above all. So solutions and checks are
executed whole, and of all other cells only the statements that bind a name which something
needed uses. This is liveness analysis, backwards from the last cell (Aho, Lam, Sethi and
Ullman, Compilers, section 9.2.5); where Python leaves open what happens, more is kept, not less.
"""

import ast
import builtins
import functools
import symtable
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode

# Cell magics whose body is the cell's own code.
TRANSPARENT = ("%%time", "%%timeit", "%%capture", "%%prun")
ALWAYS_THERE = frozenset(dir(builtins)) | {"get_ipython", "display", "In", "Out", "__name__"}
STAR = "*"


@dataclass(frozen=True)
class Facts:
    """What a statement does with global names.

    Attributes:
        binds: names that it may bind, or whose object it may change.
        kills: names that it binds whatever happens, so that their older values are gone.
        uses: names whose older values it may need.
        later: names that functions in it use when they are called.
        changes: global names that functions in it bind when they are called.
    """

    binds: frozenset[str] = frozenset()
    kills: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    changes: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Piece:
    """A statement of a cell."""

    cell: str
    statement: ast.stmt
    facts: Facts
    is_whole: bool  # its cell is executed as it stands


def needed(notebook: NotebookNode, every_cell: bool = False) -> dict[str, str]:
    """Return what is to be executed, in order: the source by the cell's id.

    Solutions and checks are there whole. Of cells that the student added
    (`metadata.convnetlab.own == "added"`) and of the instructor's own, statements that bind what is
    needed; of the student's version of an instructor's cell (`"changed"`) only what binds a
    name that the instructor does not bind. A solution that does not parse is there nevertheless.

    Args:
        notebook: instructor's cells and student's.
        every_cell: take all of the instructor's cells whole.
    """
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    whole = {cell.id for cell in cells if is_exercise(cell) or (every_cell and not owner(cell))}
    pieces = [piece for cell in cells for piece in pieces_of(cell, cell.id in whole)]
    ours = {cell.id for cell in cells if not owner(cell)}
    known = {name for piece in pieces if piece.cell in ours for name in piece.facts.binds}
    changed = {cell.id for cell in cells if owner(cell) == "changed"}
    pieces = [p for p in pieces if p.cell not in changed or not p.facts.binds & known]
    kept = live(pieces)
    sources = {}
    for cell in cells:
        statements = [piece.statement for piece in kept if piece.cell == cell.id]
        if cell.id in whole:
            sources[cell.id] = cell.source
        elif statements:
            sources[cell.id] = "\n".join(ast.unparse(statement) for statement in statements)
    return sources


def is_exercise(cell: NotebookNode) -> bool:
    """Whether a cell is a solution or a check."""
    settings = cell.metadata.get("nbgrader", {})
    return bool(settings.get("solution") or settings.get("grade"))


def owner(cell: NotebookNode) -> str:
    """Return "added" or "changed" for a student's own cell, "" for the instructor's."""
    return str(cell.metadata.get("convnetlab", {}).get("own", ""))


def pieces_of(cell: NotebookNode, is_whole: bool) -> list[Piece]:
    """Return a cell's statements, an import alias by alias; none if it does not parse."""
    try:
        tree = ast.parse(as_python(cell.source))
        statements = [part for statement in tree.body for part in aliases(statement)]
        found = [(statement, facts(statement)) for statement in statements]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    if owner(cell) == "added" and not is_whole:
        found = [(each, with_changes(each, known)) for each, known in found]
    return [Piece(cell.id, statement, known, is_whole) for statement, known in found]


def as_python(source: str) -> str:
    """Return a cell's source with IPython's magics turned into Python."""
    if source.lstrip().startswith("%%"):
        first, _, rest = source.lstrip().partition("\n")
        return as_python(rest) if first.split()[0] in TRANSPARENT else ""
    transformed: str = TransformerManager().transform_cell(source)
    return transformed


def aliases(statement: ast.stmt) -> list[ast.stmt]:
    """Return an import as one statement a name; any other statement as it is."""
    match statement:
        case ast.Import():
            return [ast.Import([alias]) for alias in statement.names]
        case ast.ImportFrom():
            module, level = statement.module, statement.level
            return [ast.ImportFrom(module, [alias], level) for alias in statement.names]
    return [statement]


def facts(statement: ast.stmt) -> Facts:
    """Return what a statement does with global names."""
    match statement:
        case ast.ImportFrom(module="__future__"):
            return Facts(binds=frozenset({"__future__"}))
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            return Facts(binds=frozenset({STAR}))
        case ast.Import() | ast.ImportFrom():
            alias = statement.names[0]
            return Facts(binds=frozenset({alias.asname or alias.name.partition(".")[0]}))
        case ast.If():
            return either(leaf(ast.Expr(statement.test)), statement.body, statement.orelse)
        case ast.For():
            head = leaf(ast.Assign([statement.target], statement.iter, lineno=1))
            body = block(statement.body)
            return weak(in_turn([head, in_turn([body, block(statement.orelse)])]))
        case ast.With():
            parts = [leaf(ast.With([item], [ast.Pass()])) for item in statement.items]
            return in_turn([*parts, block(statement.body)])
        case ast.While():
            return either(leaf(ast.Expr(statement.test)), statement.body, statement.orelse)
    return leaf(statement)


def either(test: Facts, *branches: Sequence[ast.stmt]) -> Facts:
    """Return the facts of a test that is followed by one of some blocks."""
    found = [block(branch) for branch in branches]
    after = Facts(
        binds=union(each.binds for each in found),
        kills=frozenset.intersection(*(each.kills for each in found)),
        uses=union(each.uses for each in found),
        later=union(each.later for each in found),
        changes=union(each.changes for each in found),
    )
    return in_turn([test, after])


def block(statements: Sequence[ast.stmt]) -> Facts:
    """Return the facts of statements one after another."""
    return in_turn([facts(part) for each in statements for part in aliases(each)])


def in_turn(parts: Sequence[Facts]) -> Facts:
    """Return the facts of several parts one after another."""
    kills: frozenset[str] = frozenset()
    uses: frozenset[str] = frozenset()
    for part in parts:
        uses |= part.uses - kills
        kills |= part.kills
    binds, later = union(part.binds for part in parts), union(part.later for part in parts)
    return Facts(binds, kills, uses, later, union(part.changes for part in parts))


def weak(known: Facts) -> Facts:
    """Return the facts of what may not happen at all."""
    return replace(known, kills=frozenset())


def union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    """Return the union of sets."""
    return frozenset[str]().union(*sets)


def leaf(statement: ast.stmt) -> Facts:
    """Return the facts of a statement whose parts are not looked at one by one."""
    source = ast.unparse(ast.fix_missing_locations(ast.Module([statement], [])))
    table = symtable.symtable(source, "cell", "exec")
    assigned = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    read = {s.get_name() for s in table.get_symbols() if s.is_referenced()}
    read |= {root(node.target) for node in ast.walk(statement) if isinstance(node, ast.AugAssign)}
    inner = [symbol for child in table.get_children() for symbol in symbols(child)]
    later = {s.get_name() for s in inner if s.is_global() and s.is_referenced()}
    from_within = {s.get_name() for s in inner if s.is_declared_global() and s.is_assigned()}
    stored = {root(node) for node in ast.walk(statement) if is_store_into(node)} - {""}
    return Facts(
        binds=frozenset(assigned | from_within | stored),
        kills=frozenset(assigned) if is_certain(statement) else frozenset(),
        uses=frozenset(read - {""} | later),
        later=frozenset(later),
        changes=frozenset(from_within),
    )


def symbols(table: symtable.SymbolTable) -> list[symtable.Symbol]:
    """Return all symbols of a function's or class's table and of those within it."""
    within = [symbol for child in table.get_children() for symbol in symbols(child)]
    return [*table.get_symbols(), *within]


def is_certain(statement: ast.stmt) -> bool:
    """Whether a statement, once it has run, has bound all names that it assigns."""
    match statement:
        case ast.AnnAssign():
            return statement.value is not None
        case ast.Assign() | ast.AugAssign():
            walrus = (isinstance(node, ast.NamedExpr) for node in ast.walk(statement))
            return not any(walrus)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.With():
            return True
    return False


def is_store_into(node: ast.AST) -> bool:
    """Whether a node is `x[...]` or `x.name` that is assigned to."""
    is_place = isinstance(node, (ast.Subscript, ast.Attribute))
    return is_place and isinstance(node.ctx, (ast.Store, ast.Del))  # type: ignore[attr-defined]


def root(node: ast.AST) -> str:
    """Return the name that `x[0].a.b()` begins with, "" if it begins with none."""
    while isinstance(node, (ast.Subscript, ast.Attribute, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def with_changes(statement: ast.stmt, known: Facts) -> Facts:
    """Add what a call may change: the object of a method, and its arguments."""
    if not isinstance(statement, ast.Expr) or not isinstance(statement.value, ast.Call):
        return known
    call = statement.value
    touched = {root(call.func)} if isinstance(call.func, ast.Attribute) else set()
    touched |= {argument.id for argument in call.args if isinstance(argument, ast.Name)}
    return replace(known, binds=known.binds | touched - {""})


def live(pieces: Sequence[Piece]) -> list[Piece]:
    """Return the pieces that are needed, in their order."""
    bound = union(piece.facts.binds for piece in pieces)
    uses_when_called = when_called(pieces, lambda known: known.later)
    changes_when_called = when_called(pieces, lambda known: known.changes)
    wanted: frozenset[str] = frozenset()
    kept: list[Piece] = []
    for piece in reversed(pieces):
        known = piece.facts
        called = union(uses_when_called(name) for name in known.uses)
        binds = known.binds | union(changes_when_called(name) for name in known.uses)
        is_star = STAR in known.binds and bool(wanted - bound - ALWAYS_THERE)
        if piece.is_whole or is_star or binds & (wanted | {"__future__"}):
            kept.append(piece)
            wanted = (wanted - known.kills) | known.uses | called
    return kept[::-1]


def when_called(
    pieces: Sequence[Piece], touched: Callable[[Facts], frozenset[str]]
) -> Callable[[str], frozenset[str]]:
    """Return what tells of a name which others may be touched when what it holds is called.

    A function touches them not where it is defined but where it is called, under whatever name
    it has got by then.

    Args:
        pieces: all statements.
        touched: what functions in a statement touch by themselves.
    """
    reached: Mapping[str, set[str]] = {n: set() for piece in pieces for n in piece.facts.binds}
    size = -1
    while size != (size := sum(map(len, reached.values()))):
        for piece in pieces:
            own = touched(piece.facts)
            more = own.union(*(reached.get(name, ()) for name in piece.facts.uses))
            for name in piece.facts.binds:
                reached[name].update(more)
    return functools.cache(lambda name: frozenset(reached.get(name, ())))
