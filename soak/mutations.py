"""The small faults that can be planted in a module: its syntax tree with one node changed."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True)
class Mutant:
    """A module with one change.

    Attributes:
        number: Among all mutants of the module.
        line: Where the change is.
        what: The change in words.
        source: The whole module.
    """

    number: int
    line: int
    what: str
    source: str


# --- the changes -------------------------------------------------------------------------------

_Change: TypeAlias = tuple[str, Callable[[], None], Callable[[], None]]
"""What is changed, how, and how it is taken back."""

_COMPARISONS: Final[dict[type[ast.cmpop], type[ast.cmpop]]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_OPERATORS: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module's source, in order; the same for the same source."""
    tree = ast.parse(source)
    found: list[Mutant] = []
    for node in _code(tree):
        for what, change, undo in _changes(node):
            change()
            made = ast.unparse(tree)
            undo()
            found.append(Mutant(len(found), getattr(node, "lineno", 0), what, made))
    return found


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run: no annotations, docstrings, exports, messages of errors."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        if isinstance(node, ast.Raise):
            yield node
        return
    if _is_told_only(node):
        return
    yield node
    for name, child in ast.iter_fields(node):
        if name in ("annotation", "returns", "type_comment", "type_params", "bases"):
            continue
        for inner in child if isinstance(child, list) else [child]:
            if isinstance(inner, ast.AST):
                yield from _code(inner)


def _is_told_only(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.AnnAssign):
        return "TypeAlias" in ast.unparse(node.annotation)
    if isinstance(node, ast.Assign):
        return ast.unparse(node.targets[0]) in ("__all__", "__slots__")
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("TypeVar", "ParamSpec", "cast")


def _changes(node: ast.AST) -> Iterator[_Change]:
    match node:
        case ast.Compare(ops=[operator]) if other := _COMPARISONS.get(type(operator)):
            yield _replaced(node, "ops", [other()])
        case ast.BoolOp(op=ast.And()):
            yield _replaced(node, "op", ast.Or())
        case ast.BoolOp(op=ast.Or()):
            yield _replaced(node, "op", ast.And())
        case ast.BinOp() | ast.AugAssign() if swap := _OPERATORS.get(type(node.op)):
            yield _replaced(node, "op", swap())
        case ast.Constant(value=bool(value) | int(value) | str(value)):
            yield _replaced(node, "value", _other(value))
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            _, change, undo = _replaced(node, "test", ast.UnaryOp(ast.Not(), test))
            yield f"if {_shown(test)} → if not", change, undo
        case ast.comprehension(ifs=[test]):
            yield _replaced(node, "ifs", [])
        case ast.Return(value=value) if value and ast.unparse(value) != "None":
            yield _replaced(node, "value", ast.Constant(None))
        case _:
            pass
    yield from _missing(node)


def _other(value: bool | int | str) -> bool | int | str:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}?"


def _missing(node: ast.AST) -> Iterator[_Change]:
    """A statement gone from each block."""
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        for at, statement in enumerate(block):
            if isinstance(statement, ast.AugAssign | ast.Raise | ast.Delete) or (
                isinstance(statement, ast.Expr) and not isinstance(statement.value, ast.Constant)
            ):
                yield _in_place(block, at, statement)
            elif isinstance(statement, ast.Continue):
                yield _in_place(block, at, statement, ast.Break())
            elif isinstance(statement, ast.Break):
                yield _in_place(block, at, statement, ast.Continue())


def _replaced(node: ast.AST, name: str, new: object) -> _Change:
    old = getattr(node, name)
    before = _shown(node)
    changed = copy.copy(node)
    setattr(changed, name, new)
    what = f"{before} → {_shown(changed)}"
    return what, lambda: setattr(node, name, new), lambda: setattr(node, name, old)


def _in_place(
    block: list[ast.stmt], at: int, old: ast.stmt, new: ast.stmt | None = None
) -> _Change:
    made = new or ast.Pass()

    def put(statement: ast.stmt) -> None:
        block[at] = statement

    return f"{_shown(old)} → {_shown(made)}", lambda: put(made), lambda: put(old)


def _shown(node: ast.AST) -> str:
    ast.fix_missing_locations(node)
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 80 else text[:79] + "…"
