"""The house: imports go downwards, modules and functions stay small."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mpipgd"
FLOORS = [
    "errors tree weights loop atomic clock shared jit tables doctor",
    "launch field folders submit network",
    "waiting launcher mpi options transforms schedules data.rows",
    "pieces",
    "slices",
    "grid config progress watch facts sums models.* data.plan data.layout data.check",
    "exchange settings status",
    "stores.* checkpoint journal console data.*",
    "strategies scores requeue",
    "march",
    "hooks assemble model curves lbfgs",
    "html",
    "finish trace",
    "optimum",
    "report",
    "outcome",
    "course",
    "ranking",
    "page run",
    "scaling.*",
    "compare",
    "cli.*",
    "__main__",
]
MODULES = sorted(PACKAGE.rglob("*.py"))


def name(path):
    """Return the dotted name of a module inside the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def label(path):
    """Return the name of a test's module, which must not look like a marker."""
    return f"mpipgd.{name(path)}"


def floor(module):
    """Return the number of a module's floor: an exact name counts before a folder."""
    folder = module.split(".")[0] + ".*"
    for wanted in (module, folder):
        for number, names in enumerate(FLOORS):
            if wanted in names.split():
                return number
    raise AssertionError(f"{module} stands on no floor")


def imports(path):
    """Yield the dotted names inside the package that a module imports."""
    home = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = list(home[: len(home) + 1 - node.level])
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                full = PACKAGE.joinpath(*base, alias.name)
                module = full.with_suffix(".py").exists()
                yield ".".join([*base, alias.name] if module else base)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_go_downwards_or_stay_in_their_folder(path):
    module = name(path)
    if module == "__init__":
        return
    for other in imports(path):
        if other and other not in ("cli", "__init__"):
            target = (
                other
                if not PACKAGE.joinpath(*other.split(".")).is_dir()
                else other + ".*"
            )
            same_folder = "." in module and other.split(".")[0] == module.split(".")[0]
            lower = floor(target) < floor(module.removesuffix(".__init__"))
            level = floor(target) <= floor(module.removesuffix(".__init__"))
            assert lower or (same_folder and level), f"{module} imports {other}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_one_module_knows_mpi_and_who_is_first(path):
    text = path.read_text()
    if name(path) != "mpi":
        assert "import MPI" not in text and "mpi4py import" not in text
        assert ".COMM_WORLD" not in text
    if name(path) not in ("mpi", "__main__"):
        assert "rank == 0" not in text


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_modules_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 250
    assert max(map(len, text.splitlines())) <= 88
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = node.end_lineno - node.lineno + 1
            assert lines <= 35, f"{node.name}: {lines} lines"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name(path)}.{node.name}"
