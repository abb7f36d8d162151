"""Tokens of elsewhere, outputs that cannot be, and wrong usage."""

import json

import numpy as np

from bad_inputs.registry import World, case, diagnose


@case("tokens: no token file", 1, "data.npz")
def _no_tokens(_: World) -> list[str]:
    return ["decode", "run", "data.npz", "-o", "d.npz"]


@case("tokens: truncated", 1, "tokens.npz")
def _short_tokens(world: World) -> list[str]:
    path = world.path("tokens.npz")
    path.write_bytes(path.read_bytes()[:-40])
    return ["decode", "run", "tokens.npz", "-o", "d.npz"]


@case("tokens: out of range", 1, "L0")
def _range(world: World) -> list[str]:
    with np.load(world.path("tokens.npz")) as file:
        arrays = dict(file)
    arrays["tokens"] = np.full_like(arrays["tokens"], 255)
    np.savez(world.path("tokens.npz"), **arrays)
    return ["decode", "run", "tokens.npz", "-o", "d.npz"]


@case("tokens: of another checkpoint", 1, "codebook")
def _another(world: World) -> list[str]:
    def change(text: str) -> str:
        contract = json.loads(text)
        digest = contract["codebook_hash"]
        contract["codebook_hash"] = digest[::-1]
        return json.dumps(contract)

    with np.load(world.path("tokens.npz")) as file:
        arrays = dict(file)
    arrays["contract"] = np.array(change(str(arrays["contract"])))
    np.savez(world.path("tokens.npz"), **arrays)
    return ["decode", "run", "tokens.npz", "-o", "d.npz"]


@case("output: there already", 2, "tokens.npz")
def _there(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "-o", "tokens.npz"]


@case("output: is the input", 2, "data.npz")
def _same(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "-o", "data.npz", "--overwrite"]


@case("output: below a file", 2, "secret.txt")
def _below(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "-o", "secret.txt/t.npz"]


@case("output: unknown ending", 2, ".npz")
def _ending(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "-o", "tokens.pickle"]


@case("output: checkpoints below a file", 1, "checkpoint_dir")
def _run_below(_: World) -> list[str]:
    return ["train-vqvae", "--config", "run.yaml", "--output", "secret.txt/run"]


@case("output: report over a foreign file", 2, "secret.txt")
def _report(world: World) -> list[str]:
    return [*diagnose(world), "--html", "secret.txt"]


@case("output: export below a file", 1, "secret.txt")
def _export(_: World) -> list[str]:
    return ["export", "run", "-o", "secret.txt/codebooks.npz"]


@case("usage: unknown flag", 2, "--nonsense")
def _flag(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "--nonsense"]


@case("usage: no such device", 2, "device")
def _no_device(_: World) -> list[str]:
    return ["encode", "run", "data.npz", "-o", "t.npz", "--device", "tpu"]
