"""The example scripts under docs/examples run, and do what they say."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NAMES = sorted(path.stem for path in EXAMPLES.glob("*.py"))


def script(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_script_is_listed_and_tried() -> None:
    page = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert NAMES == ["audio_codec", "changed_import", "image_vqvae", "semantic_ids"]
    assert all(f"[{name}.py]({name}.py)" in page for name in NAMES)


def test_image_vqvae(tmp_path: Path) -> None:
    lost = script("image_vqvae").main(["--quick", "--output", str(tmp_path / "grid.png")])
    assert 0.05 < lost < 1.0
    assert (tmp_path / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_audio_codec() -> None:
    ratios = script("audio_codec").main(["--quick"])
    assert len(ratios) == 6
    assert ratios[-1] > 0


def test_semantic_ids() -> None:
    results = script("semantic_ids").main(["--quick"])
    assert all(0 <= rate < 0.2 for rate in results.values())


def test_changed_import_trains_as_before() -> None:
    pytest.importorskip("vector_quantize_pytorch", reason="pip install vector-quantize-pytorch")
    example = script("changed_import")
    mine, theirs = example.main(["--quick"]), example.main(["--quick", "--original"])
    assert mine == pytest.approx(theirs, rel=1e-3)
    assert mine[-1] < 0.9 * mine[0]
