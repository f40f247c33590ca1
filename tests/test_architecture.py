"""The house rules, held by a test: sizes, words, direction of imports, and who may acknowledge."""

from __future__ import annotations

import ast
import functools
import itertools
import pathlib
import re
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = pathlib.Path(__file__).parents[1]
PACKAGES: Final = ("schemas", "connectors", "streams", "sinks", "ops")
"""In the order of the data: each imports only from those before it."""

FUNCTION_LINES_MAX: Final = 60
MODULE_LINES_MAX: Final = 400
NESTING_MAX: Final = 4
TEST_LINES_MAX: Final = 30
"""The aim is 15; what goes on beyond twice that shows more than one thing."""

EMPTY_NAMES: Final = frozenset(
    "utils util common helpers helper misc base core manager handler processor service data info".split()  # noqa: SIM905
)
_NESTS: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
_BUILDERS: Final = frozenset({"sinks.stores.filesystem", "sinks.stores.memory"})
_MAY_BUILD: Final = ("ops/bootstrap.py",)
_MACHINE: Final = re.compile(r"/work/|/root/|/home/|issue #?\d|\bsession \d", re.IGNORECASE)

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*packages: str) -> list[pathlib.Path]:
    """Return the modules of packages."""
    return sorted(path for package in packages for path in (ROOT / package).rglob("*.py"))


@functools.cache
def parsed(path: pathlib.Path) -> ast.Module:
    """Return a module's tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: pathlib.Path) -> Iterator[Function]:
    """Yield all functions of a module, inner ones too."""
    return (node for node in ast.walk(parsed(path)) if isinstance(node, Function))


def where(path: pathlib.Path, node: Function | None = None) -> str:
    """Return a place a person can find."""
    name = path.relative_to(ROOT).as_posix()
    return name if node is None else f"{name}:{node.lineno} {node.name}"


def length(node: Function) -> int:
    """Return how many lines a function has."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def nesting(node: ast.AST, level: int = 0) -> int:
    """Return how deep a function nests; functions inside count for themselves."""
    level += isinstance(node, _NESTS)
    children = [
        child for child in ast.iter_child_nodes(node) if not isinstance(child, (*Function.__args__, ast.ClassDef))
    ]
    return max([level, *(nesting(child, level) for child in children)])


def imports(path: pathlib.Path) -> Iterator[str]:
    """Yield the modules a module imports, also lazily and for types."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_no_function_is_longer_than_a_page() -> None:
    """Nor nested deeper than one can follow."""
    found = [(path, node) for path in sources(*PACKAGES) for node in functions(path)]

    assert [where(path, node) for path, node in found if length(node) > FUNCTION_LINES_MAX] == []
    assert [where(path, node) for path, node in found if nesting(node) > NESTING_MAX] == []


def test_no_module_is_longer_than_one_can_keep_in_mind() -> None:
    """Each begins by saying its duty, and its name says something."""
    for path in sources(*PACKAGES):
        text = path.read_text(encoding="utf-8")
        assert text.count("\n") <= MODULE_LINES_MAX, where(path)
        assert ast.get_docstring(ast.parse(text)), where(path)
        assert path.stem not in EMPTY_NAMES, where(path)


def test_every_public_function_says_what_it_does_and_with_what() -> None:
    """One sentence, and types."""
    public = [
        (path, node)
        for path in sources(*PACKAGES)
        for node in functions(path)
        if not node.name.startswith("_") and node not in _inner(path)
    ]

    assert [where(path, node) for path, node in public if not ast.get_docstring(node)] == []
    assert [where(path, node) for path, node in public if node.returns is None] == []


@functools.cache
def _inner(path: pathlib.Path) -> set[ast.AST]:
    """Return functions inside functions, and methods of private classes: nobody else calls them."""
    private = [
        node
        for node in ast.walk(parsed(path))
        if isinstance(node, Function) or (isinstance(node, ast.ClassDef) and node.name.startswith("_"))
    ]
    return {child for node in private for child in ast.walk(node) if child is not node}


def test_imports_go_against_the_flow_of_the_data_only() -> None:
    """A module knows nothing of what comes after it."""
    for number, package in enumerate(PACKAGES):
        later = set(PACKAGES[number + 1 :])
        for path in sources(package):
            assert later.isdisjoint(name.split(".")[0] for name in imports(path)), where(path)


def test_nothing_imports_the_tests() -> None:
    """What runs for a user never needs them."""
    assert [where(path) for path in sources(*PACKAGES) if any(each.startswith("tests") for each in imports(path))] == []


def test_the_language_and_pure_modules_do_nothing_but_decide() -> None:
    """A module that calls itself pure has no coroutine, no clock and no network."""
    for path in sources(*PACKAGES):
        duty = (ast.get_docstring(parsed(path)) or "").splitlines()[0]
        if re.search(r"\bPure\b\.?", duty):
            assert not [node for node in functions(path) if isinstance(node, ast.AsyncFunctionDef)], where(path)
            assert {"asyncio", "time", "httpx", "confluent_kafka"}.isdisjoint(imports(path)), where(path)


def test_only_the_intake_commits_offsets_and_only_what_their_owner_says() -> None:
    """Kafka's group offsets mirror our watermarks; nobody else may move them."""
    commits = [path for path in sources("streams", "sinks", "ops") if "consumer.commit(" in path.read_text()]

    assert [where(path) for path in commits] == ["streams/intake.py"]
    assert [where(path) for path in sources(*PACKAGES) if "store_offsets(" in path.read_text()] == []


def test_only_the_window_s_receipt_moves_a_watermark() -> None:
    """One statement writes it, and one caller has the receipts to show."""
    callers = [path for path in sources(*PACKAGES) if ".commit_window(" in path.read_text()]

    assert [where(path) for path in callers] == ["sinks/catalog.py", "sinks/protect.py"]


def test_only_the_bootstrap_builds_adapters() -> None:
    """Everybody else speaks to the port."""
    found = [path for path in sources(*PACKAGES) if not _BUILDERS.isdisjoint(imports(path))]

    assert {where(path) for path in found} <= {*_MAY_BUILD, *(f"{name.replace('.', '/')}.py" for name in _BUILDERS)}


def test_no_error_class_is_made_in_passing() -> None:
    """All of them stand in `schemas.errors`, split by whose move it is next."""
    for path in sources(*PACKAGES):
        if path == ROOT / "schemas" / "errors.py":
            continue
        bases = [base for node in ast.walk(parsed(path)) if isinstance(node, ast.ClassDef) for base in node.bases]
        names = [base.id for base in bases if isinstance(base, ast.Name)]
        assert not [name for name in names if name.endswith(("Error", "Exception"))], where(path)


def test_nothing_speaks_of_the_machine_it_was_written_on() -> None:
    """Paths and papers of the workshop stay there."""
    texts = itertools.chain.from_iterable((ROOT / each).rglob("*") for each in (*PACKAGES, "tests"))
    for path in texts:
        if path.suffix in {".py", ".md", ".sql", ".avsc", ".json", ".toml"} and path != pathlib.Path(__file__):
            assert not _MACHINE.search(path.read_text(encoding="utf-8")), where(path)


@pytest.mark.parametrize("path", sources("tests"), ids=where)
def test_each_test_says_in_one_sentence_what_it_shows(path: pathlib.Path) -> None:
    """And shows one thing."""
    tests = [node for node in functions(path) if node.name.startswith("test_")]

    assert [where(path, node) for node in tests if not ast.get_docstring(node)] == []
    assert [where(path, node) for node in tests if length(node) > TEST_LINES_MAX] == []
    assert {"unittest.mock", "time.sleep"}.isdisjoint(imports(path)), where(path)
