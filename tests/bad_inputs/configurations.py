"""Configurations: YAML that is hostile, broken or something else."""

from bad_inputs.registry import World, case


def _yaml(name: str, content: bytes, word: str = "bad.yaml") -> None:
    @case(f"configuration: {name}", 2, word)
    def make(world: World) -> list[str]:
        world.path("bad.yaml").write_bytes(content)
        return ["train-vqvae", "--config", "bad.yaml"]


_ALIASES = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
_yaml("alias bomb", f"a0: &a0 lol\n{_ALIASES}".encode())
_yaml("tag", b"dataset_path: !!python/object/apply:os.system ['touch code-was-run']", "tag")
_yaml("duplicate key", b"dataset_path: a\ndataset_path: b", "twice")
_yaml("nested too deeply", b"[" * 5000)
_yaml("huge number", b"dataset_path: x\nmax_samples: 1" + b"0" * 4000, "64 bits")
_yaml("binary", bytes(range(256)))
_yaml("UTF-16", "dataset_path: x".encode("utf-16"), "UTF-8")
_yaml("empty", b"", "empty")
_yaml("a list", b"- a\n- b", "expected keys")
_yaml("zero bytes", b"dataset_path: x\0y")
_yaml("too large", b"# " + b"x" * (5 << 20), "MiB")
_yaml("unknown key", b"dataset_path: x\nmodle: {}", "did you mean model")
_yaml("unclosed quote", b'dataset_path: "x', "quotes")


@case("configuration that is a folder", 2, "folder")
def _config_folder(world: World) -> list[str]:
    world.path("folder").mkdir()
    return ["train-vqvae", "--config", "folder"]


@case("no configuration", 2, "no configuration file")
def _config_none(_: World) -> list[str]:
    return ["train-vqvae", "--config", "none.yaml"]
