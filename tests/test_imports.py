"""Who may import whom, over the syntax trees, and how large and how named a file may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import qrecipe

ROOT = Path(qrecipe.__file__).parent


FILES = sorted(ROOT.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))


GROUND = {"cache_folder", "code_age", "errors", "launched", "named_code", "placement", "plain_text", "processes"} | {
    *("calls", "out_of_memory", "suggestions", "termination", "user_line", "vocabulary"),
}
"""Modules at the top that import nothing of ours but errors: everybody may import them."""


# What each room or module at the top may import beside itself and the ground. An import that points back is a cycle.
ALLOWED: dict[str, set[str]] = {
    **{name: set[str]() for name in GROUND},
    "cache_folder": {"errors"},
    "out_of_memory": {"errors"},
    "processes": {"errors"},
    "recipe": set(),
    "graph": set(),
    "capture": {"graph"},
    "capture_cache": {"graph"},
    "structure": {"graph"},
    "detection": {"recipe"},
    "quantizers": {"recipe"},
    "distill": {"recipe", "detection"},
    "data": {"recipe"},
    "models": {"recipe", "graph", "detection", "data"},
    "planning": {"recipe", "graph", "structure"},
    "passes": {"graph", "structure", "quantizers", "distill", "planning"},
    "run": {"recipe"},
    "student": {
        "recipe",
        "graph",
        "capture",
        "capture_cache",
        "structure",
        "detection",
        "quantizers",
        "distill",
        "data",
        "models",
        "planning",
        "passes",
        "run",
    },
    "evaluation": {"detection", "data"},
    "evidence": {"recipe", "structure", "detection", "planning", "evaluation", "student"},
    "runtimes": set(),
    "deploy": {"runtimes", "recipe", "graph", "detection", "data", "models", "quantizers", "passes", "run", "student"},
    "sensitivity_analysis": {"recipe", "detection", "data", "quantizers", "planning", "student"},
    "latency": {"planning", "student", "runtimes", "deploy"},
    "bit_allocation": {"recipe", "structure", "planning"},
    "reconstruct": {"graph", "structure", "detection", "quantizers", "distill", "data", "passes", "student"},
    "train": {"recipe", "graph", "quantizers", "detection", "distill", "data", "planning", "run", "student"}
    | {"reconstruct"},
    "experiment": {
        "recipe",
        "detection",
        "data",
        "models",
        "planning",
        "run",
        "student",
        "reconstruct",
        "evaluation",
        "evidence",
        "sensitivity_analysis",
        "bit_allocation",
        "train",
        "runtimes",
        "deploy",
    },
    "study": {"recipe", "run", "student", "evaluation", "experiment"},
    "report": {"latency", "recipe", "data", "planning", "run", "evaluation", "train"}
    | {"sensitivity_analysis", "experiment", "study"},
    "commands": {
        "recipe",
        "data",
        "models",
        "planning",
        "run",
        "student",
        "evaluation",
        "sensitivity_analysis",
        "bit_allocation",
        "train",
        "report",
        "study",
        "experiment",
        "runtimes",
        "deploy",
        "latency",
    },
    "cli": {"recipe", "bit_allocation", "run", "report", "experiment", "commands", "__init__"},
    "__main__": {"cli"},
    # Looked up on first use; only a type checker sees these.
    "__init__": {"latency", "recipe", "data", "planning", "student", "train", "deploy", "commands"},
}


# Third-party packages and the only places that may import them, as paths below the package.
CONFINED: dict[str, tuple[str, ...]] = {
    "yaml": ("recipe/",),
    "jsonschema": ("recipe/",),
    "pycocotools": ("data/", "evaluation/"),
    "scipy": (
        "detection/matcher.py",
        "deploy/differences.py",
        "sensitivity_analysis/distance.py",
        "study/statistics.py",
        "bit_allocation/program.py",
    ),
    "transformers": ("models/",),
    "rich": ("cli/", "report/"),
    "jinja2": ("report/page/",),
    "accelerate": ("train/",),
    "psutil": ("code_age.py",),
    "sympy": ("graph/shapes.py", "capture_cache/expressions.py"),
    "safetensors": ("models/loading/weight_files.py", "run/checkpoint.py"),
    "onnx": ("runtimes/", "deploy/"),
    "onnxscript": ("deploy/",),
    "onnxruntime": ("runtimes/onnx_runtime.py", "latency/peers.py"),
    "openvino": ("runtimes/openvino_cpu.py", "latency/peers.py"),
    "nncf": ("latency/peers.py",),
    "torchvision": (),
    "timm": (),
}


LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 300, 60


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def own(file: Path) -> str:
    """The package or module at the top that a file belongs to."""
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


@cache
def imports(file: Path) -> tuple[tuple[str, ...], ...]:
    """The full path of everything that a file imports, anywhere in it, as parts; ``qrecipe`` first for our own."""
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[tuple[str, ...]]:
    here = ("qrecipe", *file.relative_to(ROOT).with_suffix("").parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: -node.level] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            yield from ((*base, alias.name) for alias in node.names)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_point_one_way(file: Path) -> None:
    room = own(file)
    below = {room} | ALLOWED[room] | (set() if room in GROUND else GROUND)
    for path in imports(file):
        if path[0] == "qrecipe":
            target = path[1] if path[1] in ALLOWED else "__init__"  # a name of the root package
            assert target in below, f"{name_of(file)} imports {'.'.join(path)}"


def test_the_table_names_every_package_and_has_no_cycle() -> None:
    assert {own(file) for file in FILES} == set(ALLOWED)
    # The root package looks its names up later, so it may be imported by those that it names.
    order = list(TopologicalSorter({name: above - {"__init__"} for name, above in ALLOWED.items()}).static_order())
    assert order.index("recipe") < order.index("planning") < order.index("student") < order.index("cli")


def test_the_page_of_the_architecture_names_every_room() -> None:
    page = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert not [name for name in ALLOWED if not name.startswith("__") and f"`{name}`" not in page]


def modules(files: list[Path]) -> dict[tuple[str, ...], Path]:
    """Every module by its path below the package, as parts; a package is its ``__init__``."""
    paths = {file: file.relative_to(ROOT).with_suffix("").parts for file in files}
    return {(parts[:-1] if parts[-1] == "__init__" else parts): file for file, parts in paths.items()}


def circle(files: list[Path]) -> list[str]:
    """Modules that import one another in a circle, also late, within functions; [] where there is none."""
    known = modules(files)
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for module, file in known.items():
        paths = [path[1:] for path in imports(file) if path[0] == "qrecipe"]
        found = [
            next(path[:end] for end in range(len(path), -1, -1) if path[:end] in known or not end) for path in paths
        ]
        graph[module] = {target for target in found if target not in ((), module)}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return [".".join(module) for module in error.args[1]]
    return []


def test_no_modules_import_one_another_in_a_circle() -> None:
    # The root package looks its names up on first use: what imports it is in the table above.
    assert circle([file for file in FILES if file != ROOT / "__init__.py"]) == []


def test_a_circle_within_a_room_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    room = tmp_path / "graph"
    room.mkdir()
    (room / "__init__.py").write_text("from .first import one\n")
    (room / "first.py").write_text("def one():\n    from .second import two\n")
    (room / "second.py").write_text("from . import third\n")
    (room / "third.py").write_text("from ..errors import QRecipeError\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    files = sorted(tmp_path.rglob("*.py"))
    assert circle(files) == []
    (room / "third.py").write_text("from .first import one\n")
    imports.cache_clear()
    assert set(circle(files)) == {"graph.first", "graph.second", "graph.third"}


def test_our_own_imports_are_relative() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert not any(alias.name.split(".")[0] == "qrecipe" for alias in node.names), name_of(file)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                assert (node.module or "").split(".")[0] != "qrecipe", name_of(file)


def test_tests_import_no_private_names() -> None:
    for file in TESTS:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("qrecipe"):
                assert not [
                    alias.name for alias in node.names if alias.name.startswith("_") and alias.name[1] != "_"
                ], file


@pytest.mark.parametrize("package", list(CONFINED))
def test_third_party_packages_keep_to_their_places(package: str) -> None:
    found = {name_of(file) for file in FILES if any(path[0] == package for path in imports(file))}
    assert not {name for name in found if not name.startswith(CONFINED[package] or ("nowhere",))}


def test_no_room_has_the_name_of_something_public() -> None:
    taken = set(qrecipe.__all__) & {own(file) for file in FILES}
    assert not taken, "importing the room would put its module in the place of the function: name the room otherwise"


def test_files_are_small_and_have_names_that_say_something() -> None:
    assert len(FILES) > 80
    assert len(TESTS) > 80
    files = FILES + TESTS
    assert not [file for file in files if file.stem in ("utils", "util", "helpers", "common", "misc")]
    long = {file: count for file in files if (count := len(file.read_text().splitlines())) > LINES_OF_A_FILE}
    assert not long, "split them"


def test_functions_are_short() -> None:
    long = {
        f"{name_of(file)}: {node.name}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno + 1 > LINES_OF_A_FUNCTION
    }
    assert not long


def test_an_import_that_points_back_would_be_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "graph" / "mine.py"
    file.parent.mkdir()
    file.write_text("def late():\n    from ..student import Student\n    from ..student.student import Student\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert imports(file) == (("qrecipe", "student", "Student"), ("qrecipe", "student", "student", "Student"))
    with pytest.raises(AssertionError, match=r"graph/mine\.py imports qrecipe\.student"):
        test_imports_point_one_way(file)
