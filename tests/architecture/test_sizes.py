"""Nothing grows beyond what one reads at a sitting."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "services").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE = 450
LONGEST_FUNCTION = 50

Function = ast.FunctionDef | ast.AsyncFunctionDef


def code_lines(function: Function) -> int:
    """Lines from the signature to the end, without the docstring."""
    assert function.end_lineno is not None
    docstring = function.body[0] if ast.get_docstring(function, clean=False) is not None else None
    described = (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - described


def test_a_file_stays_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in SOURCES + TESTS}
    assert not {name: count for name, count in lines.items() if count > LONGEST_FILE}


def test_a_function_stays_short():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Function) and (lines := code_lines(node)) > LONGEST_FUNCTION:
                long[f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"] = lines
    assert not long
