"""Which functions of the package a cell's source uses, found without running it.

A name counts for what the cell's imports make of it. `metrics.confusion_matrix` of scikit-learn is
another function than `evaluation.confusion_matrix`, and `tf.nn.conv2d` than `convolution.conv2d`.
"""

import ast
from collections.abc import Iterator, Sequence

from IPython.core.inputtransformer2 import TransformerManager

PACKAGE = "convnetlab"


def used(source: str, functions: Sequence[str]) -> list[str]:
    """Return which functions of the package a cell's source uses.

    Args:
        source: of the cell, magics and all; what cannot be parsed uses nothing.
        functions: such as "convolution.convolve2d". The notebook has imported their modules
            under their own names.

    >>> used("y = convolution.conv2d(x, k)", ["convolution.conv2d", "convolution.relu"])
    ['convolution.conv2d']
    >>> used("import tensorflow as tf; y = tf.nn.conv2d(x, k)", ["convolution.conv2d"])
    []
    """
    try:
        nodes = [node for tree in trees(source) for node in ast.walk(tree)]
        names = Names(functions)
        for _ in range(2):  # one name may be for another that stands further down
            for node in nodes:
                names.bind(node)
        found = names.imported.union(*map(names.meant, nodes))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return [name for name in functions if f"{PACKAGE}.{name}" in found]


def trees(source: str) -> Iterator[ast.Module]:
    """Parse a cell, and what its magics run: `%%time` and the like make a text of it."""
    tree = ast.parse(TransformerManager().transform_cell(source))
    yield tree
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="run_cell_magic" | "run_line_magic"),
                args=[*_, ast.Constant(value=str(text))],
            ):
                yield from trees(text)


class Names:
    """What the names of a cell may stand for, as far as the package is concerned.

    Attributes:
        given: by the notebook's own cells, and by `import *`.
        own: by the cell itself, wherever in it; a name that it uses for other things has none.
        imported: what the cell imports by name.
    """

    def __init__(self, functions: Sequence[str]) -> None:
        """Begin with the modules that the notebook has imported."""
        self.functions = functions
        modules = {name.partition(".")[0] for name in functions}
        self.given = {module: {f"{PACKAGE}.{module}"} for module in modules}
        self.given[PACKAGE] = {PACKAGE}
        self.wanted = {place for places in self.given.values() for place in places}
        self.wanted |= {f"{PACKAGE}.{name}" for name in functions}
        self.own: dict[str, set[str]] = {}
        self.imported: set[str] = set()

    def bind(self, node: ast.AST) -> None:
        """Keep what a node makes names stand for."""
        match node:
            case ast.Import():
                self.bind_modules(node)
            case ast.ImportFrom(level=0, module=str(module)):
                self.bind_members(module, node)
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self.bind_target(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self.bind_target(target, value)
            case ast.NamedExpr(target=target, value=value):
                self.bind_target(target, value)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()):
                self.stands_for(name, set())
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                self.stands_for(name, set())

    def bind_modules(self, node: ast.Import) -> None:
        """Keep the names of an `import a.b` or `import a.b as c`."""
        for alias in node.names:
            place = alias.name if alias.asname else alias.name.partition(".")[0]
            self.stands_for(alias.asname or place, {place})

    def bind_members(self, module: str, node: ast.ImportFrom) -> None:
        """Keep the names of a `from a.b import c`."""
        for alias in node.names:
            if alias.name != "*":
                self.stands_for(alias.asname or alias.name, {f"{module}.{alias.name}"})
                self.imported.add(f"{module}.{alias.name}")
                continue
            for place in self.wanted:
                if place.startswith(f"{module}."):
                    self.given[place.removeprefix(f"{module}.")] = {place}

    def bind_target(self, target: ast.expr, value: ast.expr) -> None:
        """Keep what a name is assigned, or several are."""
        match target, value:
            case ast.Name(id=name), _:
                self.stands_for(name, self.meant(value))
            case (
                (ast.Tuple(elts=names) | ast.List(elts=names)),
                (ast.Tuple(elts=values) | ast.List(elts=values)),
            ):
                for each, its in zip(names, values, strict=False):
                    self.bind_target(each, its)

    def stands_for(self, name: str, places: set[str]) -> None:
        """Keep that a name may stand for places in the package, or for something else."""
        self.own[name] = self.own.get(name, set()) | (places & self.wanted)

    def meant(self, node: ast.AST) -> set[str]:
        """Return the places in the package that a node may mean."""
        match node:
            case ast.Name(id=name, ctx=ast.Load()):
                return self.own.get(name, self.given.get(name, set()))
            case ast.Attribute(value=value, attr=name):
                return self.members(value, name)
            case ast.Call(
                func=ast.Name(id="getattr"), args=[value, ast.Constant(value=str(name)), *_]
            ):
                return self.members(value, name)
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(place)), *_],
            ):
                return {place} & self.wanted
            case ast.NamedExpr(value=value):
                return self.meant(value)
        return set()

    def members(self, value: ast.AST, name: str) -> set[str]:
        """Return the places that a name behind a dot may mean."""
        return {f"{place}.{name}" for place in self.meant(value)} & self.wanted
