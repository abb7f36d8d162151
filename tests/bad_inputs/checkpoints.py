"""Checkpoints: missing, truncated, foreign, and resealed around senseless contents."""

import hashlib
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bad_inputs.registry import Bomb, World, case, diagnose


def reseal(folder: Path) -> None:
    """Makes the manifest agree with what the files hold now."""
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in manifest["sha256"]:
        manifest["sha256"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def change_json(path: Path, change: Callable[[Any], None]) -> None:
    tree = json.loads(path.read_text())
    change(tree)
    path.write_text(json.dumps(tree))


def header_of(shape: list[int], offsets: list[int], name: str = "x") -> bytes:
    header = json.dumps({name: {"dtype": "F32", "shape": shape, "data_offsets": offsets}}).encode()
    return struct.pack("<Q", len(header)) + header


FILES = (
    "manifest.json", "model.safetensors", "config.yaml", "preprocessing.json",
    "preprocessing.safetensors", "metrics.json", "tokens.json",
)  # fmt: skip


def _checkpoint_file(name: str) -> None:
    @case(f"checkpoint without {name}", 1, name)
    def missing(world: World) -> list[str]:
        (world.checkpoint / name).unlink()
        return diagnose(world)

    @case(f"checkpoint with truncated {name}", 1, "epoch_0001")
    def truncated(world: World) -> list[str]:
        path = world.checkpoint / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return diagnose(world)

    @case(f"checkpoint with a folder as {name}", 1, "epoch_0001")
    def folder(world: World) -> list[str]:
        (world.checkpoint / name).unlink()
        (world.checkpoint / name).mkdir()
        return diagnose(world)


for _name in FILES:
    _checkpoint_file(_name)


def _sealed(name: str, file: str, content: bytes, word: str = "epoch_0001") -> None:
    @case(f"resealed checkpoint: {name}", 1, word)
    def make(world: World) -> list[str]:
        (world.checkpoint / file).write_bytes(content)
        reseal(world.checkpoint)
        return diagnose(world)


_sealed("no safetensors", "model.safetensors", b"PK\x03\x04 something else")
_sealed("empty weights", "model.safetensors", b"")
_sealed("header of 2^60 bytes", "model.safetensors", struct.pack("<Q", 1 << 60) + b"{}")
_sealed("absurd shape", "model.safetensors", header_of([1 << 40, 1 << 40], [0, 8]) + b"0" * 8)
_sealed("negative offsets", "model.safetensors", header_of([2], [-8, 0]) + b"0" * 8)
_sealed("offsets beyond the file", "model.safetensors", header_of([2], [0, 800]) + b"0" * 8)
_sealed("foreign tensors", "model.safetensors", header_of([2], [0, 8]) + b"\0" * 8)
_sealed("pickle as weights", "model.safetensors", pickle.dumps(Bomb()))
_sealed("deep JSON", "preprocessing.json", b"[" * 200_000)
_sealed("JSON of another kind", "preprocessing.json", b'"text"')
_sealed("huge number", "metrics.json", b"1" + b"0" * 5000)
_sealed("YAML tag", "config.yaml", b"!!python/object/apply:os.system ['touch code-was-run']")
_sealed("other configuration", "config.yaml", b"dataset_path: x.npz")


@case("resealed checkpoint: weights that are not finite", 1, "infinities or NaN")
def _nan_weights(world: World) -> list[str]:
    from safetensors.numpy import load_file, save_file

    path = world.checkpoint / "model.safetensors"
    tensors = load_file(path)
    save_file({name: np.full_like(t, np.nan) if t.dtype.kind == "f" else t
               for name, t in tensors.items()}, path)  # fmt: skip
    reseal(world.checkpoint)
    return diagnose(world)


@case("resealed checkpoint: a plan of terabytes", 1, "epoch_0001")
def _huge_plan(world: World) -> list[str]:
    def grow(tree: Any) -> None:
        for category in tree["plan"]["categories"]:
            for level in category.get("levels", []):
                level["num_tokens"] = 1 << 40
                level["latent_dim"] = 1 << 20

    change_json(world.checkpoint / "preprocessing.json", grow)
    reseal(world.checkpoint)
    return diagnose(world)


@case("checkpoint of a newer format", 1, "version 99")
def _newer(world: World) -> list[str]:
    def change(tree: Any) -> None:
        tree["format_version"] = 99

    change_json(world.checkpoint / "manifest.json", change)
    return diagnose(world)


@case("manifest that names files elsewhere", 1, "epoch_0001")
def _elsewhere(world: World) -> list[str]:
    def change(tree: Any) -> None:
        files = tree["sha256"]
        files["../../secret.txt"] = next(iter(files.values()))
        del files["model.safetensors"]

    change_json(world.checkpoint / "manifest.json", change)
    return diagnose(world)


@case("latest that points elsewhere", 1, "latest")
def _latest(world: World) -> list[str]:
    (world.root / "run" / "latest").write_text("../../secret.txt\n")
    return ["diagnose", str(world.root / "run"), str(world.path("data.npz"))]


@case("no checkpoint", 1, "holds no checkpoint")
def _none(world: World) -> list[str]:
    (world.root / "empty").mkdir()
    return ["diagnose", "empty", "data.npz"]


@case("checkpoint that is a file", 1, "data.npz")
def _file(_: World) -> list[str]:
    return ["diagnose", "data.npz", "data.npz"]


@case("resume from a damaged checkpoint", 1, "training_state")
def _resume(world: World) -> list[str]:
    path = world.checkpoint / "training_state.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    return ["train-vqvae", "--config", "run.yaml", "--resume"]


@case("resume with another configuration", 2, "learning_rate")
def _resume_other(_: World) -> list[str]:
    return ["train-vqvae", "--config", "run.yaml", "--learning-rate", "0.5", "--resume"]
