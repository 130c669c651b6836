"""The architecture: rooms import downwards, one module imports MPI, public names say
what they are."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mpipgd"
# Each room may import from those below it, and from itself. The modules at the top of
# the package (errors, atomic_file, jit, …) are below all rooms.
ROOMS = (
    "cli",
    "studies",
    "cluster",
    "training",
    "stores",
    "transforms",
    "plan",
    "objectives",
    "data",
    "reporting",
    "comm",
    "config",
)
MODULES = sorted(PACKAGE.rglob("*.py"))


def label(path):
    """Return the dotted name of a module, as the id of a test."""
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def room(path):
    """Return the room that a module or package is in; None at the top."""
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else None


def imports(path):
    """Yield the rooms that a module imports from; None for the top of the package."""
    home = path.relative_to(PACKAGE).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*home[: len(home) + 1 - node.level]]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                target = [*base, alias.name]
                yield target[0] if (PACKAGE / target[0]).is_dir() else None


def test_every_folder_is_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if any(path.glob("*.py"))}
    assert folders == set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_go_downwards(path):
    here = room(path)
    if path.parent == PACKAGE and path.name in ("__init__.py", "__main__.py"):
        return
    for target in imports(path):
        if target is None or target == here:
            continue
        assert here is not None, f"{label(path)}, which all rooms use, imports {target}"
        assert ROOMS.index(target) > ROOMS.index(here), f"{here} imports {target}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_one_module_imports_mpi_and_asks_for_rank_zero(path):
    text, module = path.read_text(), label(path)
    if module != "mpipgd.comm.mpi":
        assert "import MPI" not in text and "mpi4py import" not in text
        assert ".COMM_WORLD" not in text
    if module not in ("mpipgd.comm.mpi", "mpipgd.__main__"):
        assert "rank == 0" not in text


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text())
    kinds = (ast.FunctionDef, ast.ClassDef)
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{label(path)}.{node.name}"


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_public_functions_are_annotated(path):
    """Parameters and results, in classes too; mypy checks that the types are right."""
    tree = ast.parse(path.read_text())
    scopes = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    for scope in scopes:
        for node in scope.body:
            if not isinstance(node, ast.FunctionDef):
                continue
            if node.name.startswith("_") and node.name != "__init__":
                continue
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            if scope is not tree:
                arguments = arguments[1:]  # self or cls
            missing = [a.arg for a in arguments if a.annotation is None]
            where = f"{label(path)}: {node.name}"
            assert not missing, f"{where} does not say what {missing} are"
            assert node.returns is not None, f"{where} does not say what it returns"
