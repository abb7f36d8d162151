"""The layer rule: who may import whom, downwards only (docs/architecture.md)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "python" / "spinlock"

ALLOWED: dict[str, set[str]] = {
    "__main__": {"cli"},
    "cli": {
        *("comparison", "tokens", "training", "report", "distributed", "engine"),
        *("data", "analysis", "config"),
    },
    "estimator": {"tokens", "training", "report", "data", "analysis", "config"},
    "comparison": {"report", "training", "vqvae", "modules", "data", "analysis", "config"},
    "tokens": {"training", "vqvae", "data", "engine", "analysis", "config"},
    "training": {"vqvae", "modules", "distributed", "data", "engine", "analysis", "config"},
    "report": {"tokens", "training", "vqvae", "data", "analysis"},
    "vqvae": {"modules", "ops", "layout", "analysis"},
    "compat": {"modules"},
    "integrations": {"modules", "layout"},
    "modules": {"ops", "layout", "distributed"},
    "distributed": set(),
    "ops": {"layout", "_C", "kernels"},
    "config": {"analysis"},
    "data": {"engine", "analysis"},
    "engine": set(),
    "latent_dim_defaults": {"analysis"},
    "analysis": {"_C"},
    "layout": {"_C"},
    "kernels": set(),
    "errors": set(),
}
EVERYWHERE = {"errors"}

# Third-party packages that a room must do without.
FORBIDDEN: dict[str, set[str]] = {
    "analysis": {"torch", "pydantic", "yaml", "h5py", "typer", "rich"},
    "data": {"torch", "pydantic", "yaml", "typer", "rich"},
    "engine": {"torch", "pydantic", "yaml", "h5py", "sklearn", "typer", "rich"},
    "config": {"torch", "sklearn", "h5py", "typer", "rich"},
    "layout": {"torch", "pydantic"},
    "ops": {"pydantic", "yaml", "h5py", "typer", "rich", "sklearn"},
    "modules": {"pydantic", "yaml", "h5py", "typer", "rich", "sklearn"},
    "vqvae": {"pydantic", "yaml", "h5py", "typer", "rich", "sklearn"},
    "distributed": {"pydantic", "yaml", "h5py", "typer", "rich", "sklearn"},
    "errors": {"torch", "numpy", "pydantic"},
}


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_modules(path: Path) -> set[str]:
    """Absolute dotted names that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import; write the full name"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def sources() -> list[Path]:
    return [p for p in sorted(SOURCE.rglob("*.py")) if p != SOURCE / "__init__.py"]


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(SOURCE)))
def test_imports_go_downwards_only(path: Path) -> None:
    room = room_of(path)
    assert room in ALLOWED, f"{room} is no room of the architecture"
    allowed = ALLOWED[room] | EVERYWHERE | {room}
    for name in imported_modules(path):
        parts = name.split(".")
        if parts[0] == "spinlock":
            target = parts[1]
            if target == "__version__":
                continue
            assert target in allowed, f"{room} must not import spinlock.{target}"
        assert parts[0] not in FORBIDDEN.get(room, set()), f"{room} must not import {parts[0]}"


def test_the_rule_has_no_cycle() -> None:
    order: list[str] = []
    left = dict(ALLOWED)
    while left:
        free = [room for room, uses in left.items() if not (uses - EVERYWHERE) & left.keys()]
        assert free, f"cycle among {sorted(left)}"
        order += free
        for room in free:
            del left[room]
    assert order.index("analysis") < order.index("training") < order.index("cli")


def test_the_quantizer_needs_neither_pydantic_nor_readers() -> None:
    """What runs on a bare accelerator machine imports torch, numpy and nothing from config up."""
    code = (
        "import sys, spinlock.modules, spinlock.ops, spinlock.layout;"
        "bad = {'pydantic', 'yaml', 'h5py', 'typer', 'rich', 'sklearn'} & sys.modules.keys();"
        "sys.exit(f'imported: {sorted(bad)}' if bad else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_the_package_itself_imports_without_torch() -> None:
    code = "import sys, spinlock; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
