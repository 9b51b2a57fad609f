"""LPS and RAS meet in `medseg/volume/conventions.py` and nowhere else."""

from __future__ import annotations

import ast

import pytest

from architecture.house import LIBRARY, PACKAGES, nodes, place

DOOR = LIBRARY / "volume" / "conventions.py"


def turns_signs(node: ast.AST) -> bool:
    """Whether a piece of code negates world axes, in one of the ways people write it."""
    if isinstance(node, ast.List | ast.Tuple):  # [-1, -1, 1], (1.0, -1.0, -1.0, 1.0)
        return _two_of_three_negative(node.elts)
    if isinstance(node, ast.Call) and _last_name(node.func) == "diag":  # diag(-1, ...)
        return any(_number(inner) == -1 for inner in ast.walk(node))
    if isinstance(node, ast.AugAssign):  # affine[:2] *= -1
        return isinstance(node.op, ast.Mult | ast.Div) and _number(node.value) == -1
    if isinstance(node, ast.Assign):  # affine[:2] = -affine[:2]
        return any(_is_own_negative(target, node.value) for target in node.targets)
    return False


def _two_of_three_negative(elements: list[ast.expr]) -> bool:
    numbers = [_number(element) for element in elements]
    if len(numbers) not in (3, 4) or any(number not in (1, -1) for number in numbers):
        return False
    return numbers[:3].count(-1) == 2


def _number(node: ast.AST) -> float | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return node.value
    return None


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _is_own_negative(target: ast.expr, value: ast.expr) -> bool:
    if not (isinstance(target, ast.Subscript) and isinstance(value, ast.UnaryOp)):
        return False
    return isinstance(value.op, ast.USub) and ast.unparse(target) == ast.unparse(value.operand)


@pytest.mark.parametrize(
    "code",
    [
        "affine = np.diag([-1, -1, 1, 1]) @ affine",
        "point * [-1.0, -1.0, 1.0]",
        "np.array((-1, 1, -1))",
        "affine[:2] *= -1",
        "affine[:2, :] = -affine[:2, :]",
    ],
)
def test_the_rule_sees(code):
    assert any(turns_signs(node) for node in ast.walk(ast.parse(code)))


@pytest.mark.parametrize("code", ["x.reshape((-1, 1, 1))", "range(3, -1, -1)", "x[..., ::-1]"])
def test_the_rule_lets_pass(code):
    assert not any(turns_signs(node) for node in ast.walk(ast.parse(code)))


def test_the_door_turns_signs():
    assert any(turns_signs(node) for path, node in nodes(LIBRARY) if path == DOOR)


def test_nobody_else_turns_signs():
    found = [
        place(path, node) for path, node in nodes(*PACKAGES) if path != DOOR and turns_signs(node)
    ]
    assert not found, "call medseg.volume.conventions instead"
