"""The shapes are those that the analysis gives, frozen, and files of shapes are checked."""

import hashlib
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.problems import KINDS, make_problem, thread_count
from bench.workloads import SEED_FEATURES, SEED_RATIOS, find_workloads, load_workloads
from spinlock.analysis.dims import codes_for_features, latent_dims


def test_the_seed_bank_is_what_the_published_rules_give() -> None:
    (small, large) = find_workloads("seed", "cpu")
    expected_dims: list[int] = []
    expected_sizes: list[int] = []
    for features in SEED_FEATURES:
        expected_dims += latent_dims(features, SEED_RATIOS)
        expected_sizes += codes_for_features(features, len(SEED_RATIOS), 10_000)
    assert list(small.dims) == expected_dims
    assert list(small.codebook_sizes) == expected_sizes
    assert (small.num_rows, large.num_rows) == (512, 4096)


def test_the_ragged_shape_never_changes() -> None:
    (ragged,) = find_workloads("ragged", "cpu")
    shape = repr((ragged.codebook_sizes, ragged.dims, ragged.num_rows))
    assert hashlib.sha256(shape.encode()).hexdigest()[:16] == "d979cca16415e106"
    assert 16 <= min(ragged.codebook_sizes) < max(ragged.codebook_sizes) <= 1024
    assert {dim % 4 for dim in ragged.dims} == {0}
    assert 4 <= min(ragged.dims) < max(ragged.dims) <= 128
    (on_gpu,) = find_workloads("ragged", "cuda")
    assert all(size & (size - 1) == 0 for size in (*on_gpu.codebook_sizes, *on_gpu.dims))


def test_shapes_of_your_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("- {name: mine, codebook_sizes: [8, 4], dims: [3, 5], num_rows: 10}\n")
    (mine,) = load_workloads(file)
    assert (mine.input_width, mine.code_elements, mine.lookup_flops) == (8, 44, 880.0)
    assert mine.text == "B 10, Q 2, K 4..8, D 3..5"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[}", "expected YAML"),
        ("{}", "expected a list of workloads"),
        ("[]", "expected a list of workloads"),
        ("- {name: a, dims: [1]}", "expected the keys"),
        ("- {name: a, codebook_sizes: [2, 0], dims: [1, 1], num_rows: 1}", "positive integers"),
        ("- {name: a, codebook_sizes: [2, 2], dims: [1], num_rows: 1}", "as many codebook_sizes"),
        ("- {name: a, codebook_sizes: [true], dims: [1], num_rows: 1}", "positive integers"),
    ],
)
def test_bad_files_of_shapes_are_named(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(BenchError, match=complaint) as raised:
        load_workloads(file)
    assert str(file) in str(raised.value)


def test_a_missing_file_and_an_unknown_group_are_named(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="No such file"):
        load_workloads(tmp_path / "none.yaml")
    with pytest.raises(BenchError, match="expected one of seed, ragged, single, all"):
        find_workloads("sead", "cpu")


@pytest.mark.parametrize("kind", KINDS)
def test_data_of_every_kind(kind: str) -> None:
    workload = find_workloads("seed", "cpu")[0]
    problem = make_problem(workload, kind=kind, past_bytes=3 * 4 * 512 * workload.input_width)
    assert len(problem.batches) == 4
    assert problem.batches[0].shape == (512, workload.input_width)
    assert not problem.batches[0].equal(problem.batches[1])
    assert [p.shape[1] for p in problem.parts[0]] == list(workload.dims)
    name, _, value = kind.partition(" ")
    if name == "mean":
        assert abs(problem.batches[0].mean().item() - float(value)) < 0.05
    elif name == "bimodal":
        assert abs(problem.batches[0].abs().mean().item() - float(value)) < 1.0
    else:
        assert len(problem.codebooks[0].unique(dim=0)) <= workload.codebook_sizes[0] // 3


def test_the_thread_count_is_put_back() -> None:
    import torch

    before = torch.get_num_threads()
    with thread_count(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
