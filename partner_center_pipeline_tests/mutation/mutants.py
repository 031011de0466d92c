"""The mutants of a module: its source with one small change, and where the change is.

Not here: which tests run against a mutant, and how (`trials`).
"""

import ast
import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

_OPERATORS: Final = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in (
        "Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
        "Is_IsNot", "IsNot_Is",
    )),
    *(f"ReplaceBinaryOperator_{pair}" for pair in (
        "Add_Sub", "Sub_Add", "Mul_FloorDiv", "FloorDiv_Mul", "Mod_FloorDiv", "BitAnd_BitOr", "BitOr_BitAnd",
    )),
    "AddNot", "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_Delete_USub", "ReplaceAndWithOr",
    "ReplaceOrWithAnd", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "NumberReplacer", "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak", "ZeroIterationForLoop", "ExceptionReplacer", "RemoveDecorator",
)  # fmt: skip
"""Of Cosmic Ray's operators one opposite and one neighbour each: more would be killed by the same tests."""

_SPEED_ONLY: Final = re.compile(r"@(functools\.)?(lru_)?cache\b|slots=True|gc\.(collect|freeze)|^_log\.")
"""What changes how fast the code is, or what only the log says: no promise that a test could hold."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A changed module: `path` from the project's root, the line (from 1) and its text before and after."""

    path: str
    line: int
    before: str
    after: str
    source: str

    @property
    def name(self) -> tuple[str, str, str]:
        """What a list of known survivors names it by; a line's number changes too often for that."""
        return self.path, self.before, self.after

    def __str__(self) -> str:
        return f"{self.path}:{self.line}\n    - {self.before}\n    + {self.after}"


class RemoveCall(Operator):  # type: ignore[misc]  # Cosmic Ray has no types
    """Removes a statement that is nothing but a call."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        """Yield where such a statement is."""
        if self._is_call(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Return a statement that does nothing."""
        nothing = parso.parse("...").children[0]
        nothing.prefix = node.get_first_leaf().prefix
        return nothing

    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        """Return none."""
        return ()

    @staticmethod
    def _is_call(node: Any) -> bool:
        return (
            node.type in ("atom_expr", "power")
            and node.parent.type == "simple_stmt"
            and node.children[-1].type == "trailer"
            and node.children[-1].children[0].value == "("
        )


@dataclass(frozen=True, slots=True)
class Site:
    """A place where an operator can change a module."""

    path: str
    operator: Any
    occurrence: int

    def mutant(self, source: str) -> Mutant | None:
        """Return the module with the change; None for a change that no test can be asked to notice."""
        try:
            changed = mutate_code(source, self.operator, self.occurrence)
        except AttributeError:  # Cosmic Ray 8.7 fails at a dotted name in `except (a.B, C)`
            return None
        if changed is None or changed == source:
            return None
        line, before, after = _difference(source, changed)
        return None if _SPEED_ONLY.search(before) else Mutant(self.path, line, before, after, changed)


def sites_of(path: str, source: str) -> list[Site]:
    """Return where a module's source can be changed: not in annotations, nor the constants that somebody chose."""
    tree = get_ast(source)
    ignored = [*_annotations(source), *_chosen_numbers(source)]
    sites = []
    for operator in (*(get_operator(f"core/{name}")() for name in _OPERATORS), RemoveCall()):
        positions = [start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node)]
        sites += [
            Site(path, operator, occurrence)
            for occurrence, start in enumerate(positions)
            if not any(low <= start < high for low, high in ignored)
        ]
    return sites


def _difference(source: str, changed: str) -> tuple[int, str, str]:
    old, new = source.splitlines(), changed.splitlines()
    for tag, low, high, new_low, new_high in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            before = " ".join(line.strip() for line in old[low:high])
            return low + 1, before, " ".join(line.strip() for line in new[new_low:new_high])
    raise AssertionError("the mutant is the source")


Span = tuple[tuple[int, int], tuple[int, int]]


def _annotations(source: str) -> Iterator[Span]:
    for node in ast.walk(ast.parse(source)):
        for name in ("annotation", "returns"):
            if (found := getattr(node, name, None)) is not None:
                yield _span(found)


def _chosen_numbers(source: str) -> Iterator[Span]:
    """Constants of a module: numbers that somebody chose. A test of their value would only repeat them."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None and ast.unparse(node.annotation) == "Final":
            yield _span(node.value)


def _span(node: ast.expr) -> Span:
    return (node.lineno, node.col_offset), (node.end_lineno or node.lineno, node.end_col_offset or 0)


def lines_of_statement(source: str, line: int) -> range:
    """Return the lines of the innermost statement at a line; of a compound one, those of its head."""
    best = range(line, line + 1)
    size = None
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else node.end_lineno or node.lineno
            found = range(node.lineno, max(last, node.lineno) + 1)
            if line in found and (size is None or len(found) < size):
                best, size = found, len(found)
    return best
