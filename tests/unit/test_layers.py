"""Imports go one way: xdit_api <- xdit_operator, xdit_api <- xdit_runtime; the two never meet."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = {"torch", "diffusers", "transformers", "xfuser", "kopf", "kubernetes"}
ALLOWED = {
    "crds/xdit_api": {"xdit_api"},
    "operator/xdit_operator": {"xdit_api", "xdit_operator"},
    "runtime/xdit_runtime": {"xdit_api", "xdit_runtime"},
}


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_a_package_imports_only_what_is_below_it(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        ours = {name for name in imports(path) if name.startswith("xdit_")}
        assert ours <= ALLOWED[package], path


def test_the_contract_needs_neither_a_cluster_nor_a_gpu() -> None:
    for path in (ROOT / "crds/xdit_api").rglob("*.py"):
        assert not imports(path) & HEAVY, path


def test_only_engine_worker_and_model_maker_need_torch() -> None:
    package = ROOT / "runtime/xdit_runtime"
    users = {p.relative_to(package).parts[0] for p in package.rglob("*.py") if imports(p) & HEAVY}
    assert users <= {"engine", "worker.py", "tiny_models"}
