"""Exported programs give the codec's results, without spinlock, and say what they are."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from spinlock.errors import CheckpointError, ConfigError
from spinlock.estimator import FeatureTokenizer
from spinlock.tokens import export, export_files
from spinlock.tokens.codec import Codec
from spinlock.tokens.programs import TokenEncoder, nearest_code
from spinlock.training.saved import SavedModel
from spinlock.vqvae import plain_products

# Runs where spinlock cannot be imported; prints what it had to load.
PLAIN = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "spinlock":
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Blocked())
import numpy, torch
folder = sys.argv[1]
encode = torch.export.load(folder + "/encoder.pt2").module()
decode = torch.export.load(folder + "/decoder.pt2").module()
rows = torch.from_numpy(numpy.load(folder + "/rows.npy"))
tokens = encode(rows)
assert tokens.dtype == torch.int64
assert torch.equal(encode(rows[:1]), tokens[:1]) and encode(rows[:0]).shape == tokens[:0].shape
decoded = decode(tokens)
assert decoded.dtype == torch.float32
assert not any(name.split(".")[0] == "spinlock" for name in sys.modules)
numpy.savez(folder + "/results.npz", tokens=tokens.numpy(), decoded=decoded.numpy())
"""


def fitted(**parameters: Any) -> SavedModel:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 3)) @ rng.normal(size=(3, 9))
    rows[:, 3] = 2.5
    rows[:, 4] = 3 * rows[:, 1] + 1
    rows[rng.random(rows.shape) < 0.05] = np.nan
    rows[:, 0] *= 1e4
    narrow = {"group_embedding_dim": 8, "group_hidden_dim": 8, "decoder_hidden_dim": 8}
    model = {"model": narrow | parameters.pop("model", {})}
    tokenizer = FeatureTokenizer(num_epochs=2, num_categories=2, config=model, **parameters)
    return tokenizer.fit(rows).saved_


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def saved() -> SavedModel:
    return fitted()


@pytest.mark.parametrize(
    "parameters",
    [
        {"hierarchy": "residual", "missing_indicators": True},
        {"hierarchy": "independent", "normalization_method": "mad"},
        {"model": {"encoder_inputs": "all", "linear_decoder": "all"}},
    ],
    ids=["residual", "independent", "all"],
)
def test_programs_without_spinlock(parameters: dict[str, Any], tmp_path: Path) -> None:
    saved = fitted(**dict(parameters))
    written = export_files.write_export(saved, tmp_path)
    assert [path.name for path in written] == [
        "encoder.pt2", "decoder.pt2", "codebooks.safetensors", "contract.json",
    ]  # fmt: skip
    rows = export.random_rows(saved, 300, seed=5)
    rows[0], rows[1], rows[2], rows[3] = np.nan, np.inf, -np.inf, 3e38
    rows[4] = 0.0
    np.save(tmp_path / "rows.npy", rows)
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PLAIN, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    codec = Codec(saved)
    with np.load(tmp_path / "results.npz") as results:
        tokens, decoded = results["tokens"], results["decoded"]
    with plain_products():
        np.testing.assert_array_equal(tokens, codec.encode(rows))
        np.testing.assert_allclose(decoded, codec.decode(tokens), rtol=1e-5, atol=1e-6)
    # The core adds up in another order: float32 rounding of each column's scale.
    assert (tokens == codec.encode(rows)).mean() > 0.999, "more than rounding"
    expected = codec.decode(tokens)
    scale = np.nanmax(np.abs(expected), axis=0)
    np.testing.assert_allclose(decoded / scale, expected / scale, rtol=0, atol=1e-5)
    contract = json.loads((tmp_path / "contract.json").read_bytes())
    assert contract["contract"] == saved.contract.to_dict()
    assert contract["columns"] == list(saved.preprocessing.names)
    inside = {"contract.json": ""}
    torch.export.load(tmp_path / "encoder.pt2", extra_files=inside)
    assert json.loads(inside["contract.json"]) == contract
    assert str(Path(export.__file__).parent).encode() not in written[0].read_bytes()


def test_nearest_code_is_the_lowest_of_equals() -> None:
    generator = torch.Generator().manual_seed(0)
    codes = torch.randint(-2, 3, (40, 37), generator=generator).float()
    codes[7] = codes[30]
    rows = torch.cat([codes, (codes + codes.roll(1, 0)) / 2])
    differences = rows.double()[:, None] - codes.double()[None]
    expected = differences.square().sum(2).argmin(1)
    assert torch.equal(nearest_code(rows, codes), expected)
    assert nearest_code(codes[30:31], codes).item() == 7
    assert nearest_code(torch.full((1, 37), torch.nan), codes).item() == 0


def test_a_program_that_differs_is_refused(
    saved: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = TokenEncoder.forward
    monkeypatch.setattr(TokenEncoder, "forward", lambda self, x: right(self, x).flip(1))
    (tmp_path / "x.pt2").write_text("what was there")
    with pytest.raises(CheckpointError, match="other tokens than the codec"):
        export_files.write_export(saved, tmp_path / "x.pt2", "encoder", overwrite=True)
    assert (tmp_path / "x.pt2").read_text() == "what was there"


def test_the_model_stays_as_it_was(saved: SavedModel, tmp_path: Path) -> None:
    before = {name: tensor.clone() for name, tensor in saved.model.state_dict().items()}
    trainable = [p.requires_grad for p in saved.model.parameters()]
    export_files.write_export(saved, tmp_path / "x.pt2", "decoder")
    assert [p.requires_grad for p in saved.model.parameters()] == trainable
    after = saved.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_codebooks(saved: SavedModel, tmp_path: Path) -> None:
    export_files.write_export(saved, tmp_path / "x.npz")
    export_files.write_export(saved, tmp_path / "x.safetensors")
    with np.load(tmp_path / "x.npz") as arrays:
        found = {name: arrays[name] for name in saved.contract.quantizers}
        assert json.loads(str(arrays["contract"])) == saved.contract.to_dict()
    assert [len(codes) for codes in found.values()] == list(saved.contract.codebook_sizes)
    with safe_open(tmp_path / "x.safetensors", "np") as file:
        assert json.loads(file.metadata()["contract"]) == saved.contract.to_dict()
        for name, codes in found.items():
            np.testing.assert_array_equal(file.get_tensor(name), codes)


@pytest.mark.parametrize(
    ("name", "part", "says"),
    [
        ("x.pt2", None, "--part"),
        ("x.pt2", "codebooks", "got 'codebooks'"),
        ("x.npz", "encoder", "leave it out"),
        ("folder", "encoder", "leave it out"),
        ("x.onnx", None, ".pt2, .safetensors, .npz"),
        ("file", None, "is no folder"),
        ("there.npz", None, "'{folder}/there.npz' is there already"),
        ("", None, "'{folder}/contract.json' is there already"),
    ],
)
def test_outputs_that_are_none(
    name: str, part: str | None, says: str, saved: SavedModel, tmp_path: Path
) -> None:
    before = ["contract.json", "file", "there.npz"]
    for there in before:
        (tmp_path / there).write_text("x")
    with pytest.raises(ConfigError) as caught:
        export_files.write_export(saved, tmp_path / name, part)
    assert says.format(folder=tmp_path) in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_full_disk_leaves_the_old_file(
    saved: SavedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.npz"
    target.write_text("old")

    def full(path: Path, _: bytes) -> int:
        path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        export_files.write_export(saved, target, overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]
    assert target.read_text() == "old"


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_values_near_the_end_of_float32_are_tried_as_well() -> None:
    rows = np.random.default_rng(0).normal(size=(120, 6))
    rows[:, 0] *= 1e37
    tokenizer = FeatureTokenizer(num_epochs=1, num_categories=1)
    saved = tokenizer.fit(rows).saved_
    tried = export.random_rows(saved, 512)
    assert np.isfinite(tried[:, 0]).mean() > 0.9
    assert len(export.export_encoder(saved)) > 0
