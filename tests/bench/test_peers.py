"""Contenders that are installed do what they are timed for; the others say what to install."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import gate
from bench.errors import BenchError, Unavailable
from bench.peers.codebook_loop import needs_memory
from bench.peers.contender import Contender
from bench.peers.cuvs_brute_force import CuvsBruteForce
from bench.peers.faiss_flat import FaissFlat
from bench.peers.flash_kmeans import FlashKmeans
from bench.peers.numkong_dots import NumKongDots
from bench.peers.registry import contenders, peer_versions
from bench.peers.sklearn_argmin import SklearnArgmin
from bench.peers.vector_quantize import VectorQuantizeLoop
from bench.problems import KINDS, Problem, make_problem, thread_count
from bench.workloads import Workload
from spinlock.ops._backend import BACKENDS

ROOT = Path(__file__).parents[2]
VERBS = ("lookup", "train_step", "backward")
WORKLOADS = (
    Workload("ragged", "custom", (6, 33, 2, 17), (4, 9, 3, 20), 70),
    Workload("one row", "custom", (5, 40), (8, 4), 1),
    Workload("blocks of rows", "custom", (1500,), (6,), 400),
)
# What a machine with nothing but torch, its dependencies and numpy has not.
OPTIONAL = (
    *("pydantic", "yaml", "scipy", "sklearn", "threadpoolctl", "faiss", "numkong", "cuvs"),
    *("vector_quantize_pytorch", "flash_kmeans", "matplotlib", "rich", "h5py", "pandas"),
)

# Other packages' own affairs; warnings of our own still fail a test.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def installed(device: str, *, compiled: bool = False) -> list[Contender]:
    found = []
    for contender in contenders(None):
        try:
            contender.check_available(device)
        except Unavailable:
            continue
        if contender.compiles == compiled:
            found.append(contender)
    return found


def test_our_own_are_measured_on_every_processor() -> None:
    """One that could not run would be missing from the tests below without a word."""
    ready = {contender.name for contender in installed("cpu") if contender.ours}
    assert ready >= {"spinlock torch", "spinlock cpp"}


def cases(device: str) -> list[Any]:
    """Contender and verb, for all that it offers."""
    return [
        pytest.param(contender, verb, id=f"{contender.name}-{verb}")
        for contender in installed(device)
        for verb in VERBS
        if getattr(type(contender), verb) is not getattr(Contender, verb)
    ]


def judged(contender: Contender, verb: str, problem: Problem) -> gate.Verdict:
    return gate.check(contender, verb, problem, getattr(contender, verb)(problem))


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize(("contender", "verb"), cases("cpu"))
def test_results_pass_the_gate(contender: Contender, verb: str, workload: Workload) -> None:
    problem = make_problem(workload, past_bytes=1, seed=3)
    before = [codes.clone() for codes in problem.codebooks]
    rows = [batch.clone() for batch in problem.batches]
    verdict = judged(contender, verb, problem)
    assert verdict.passed, verdict.note
    assert verdict.checked_rows == (1 if contender.slow else 2) * workload.num_rows
    assert all(map(torch.equal, problem.codebooks, before)), "the next contender starts from them"
    assert all(map(torch.equal, problem.batches, rows)), "the next contender gets them as well"


@pytest.mark.parametrize("contender", installed("cpu", compiled=True), ids=lambda c: c.name)
@pytest.mark.parametrize("verb", VERBS[1:])
def test_a_compiled_train_step_passes_the_gate(contender: Contender, verb: str) -> None:
    workload = Workload("small", "custom", (6, 33), (4, 9), 70)
    verdict = judged(contender, verb, make_problem(workload, past_bytes=1))
    assert verdict.passed, verdict.note


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "contender", [c for c in installed("cpu") if c.ours], ids=lambda contender: contender.name
)
def test_our_indices_are_the_truth_on_every_kind_of_data(contender: Contender, kind: str) -> None:
    assert gate.wrong_rates(contender, WORKLOADS[0], [kind], "cpu") == {kind: 0.0}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload.name)
@pytest.mark.parametrize(("contender", "verb"), cases("cuda") if torch.cuda.is_available() else [])
def test_results_on_cuda_pass_the_gate(contender: Contender, verb: str, workload: Workload) -> None:
    verdict = judged(contender, verb, make_problem(workload, "cuda", past_bytes=1, seed=3))
    assert verdict.passed, verdict.note


@pytest.mark.parametrize("contender", installed("cpu"), ids=lambda contender: contender.name)
def test_a_call_takes_the_batch_that_it_is_told(contender: Contender) -> None:
    problem = make_problem(WORKLOADS[0], past_bytes=1)
    assert len(problem.batches) == 2
    call = contender.lookup(problem)
    found = [call.outcome(call.run(i)).indices for i in range(3)]
    assert (found[0] == found[2]).all()
    assert (found[0] != found[1]).any()


def test_spinlock_enters_with_every_backend_first() -> None:
    entered = contenders(None)
    names = [contender.name for contender in entered]
    own = [contender.name for contender in entered if contender.ours]
    assert names[: len(own)] == own
    assert own[: len(BACKENDS)] == [f"spinlock {backend}" for backend in BACKENDS]
    assert len(set(names)) == len(names)
    assert all(contender.contract.exact == contender.ours for contender in entered)


def test_peers_are_selected_by_their_names_or_the_beginning_of_them() -> None:
    def peers(names: list[str]) -> list[str]:
        return [contender.name for contender in contenders(names) if not contender.ours]

    assert peers([]) == peers(["none"]) == []
    assert peers(["SKLEARN", "numkong dots,"]) == ["sklearn argmin", "NumKong dots, bf16"]
    assert peers(["torch lo"])[:2] == ["torch loop", "torch loop, compiled"]
    assert peers(["Torch loop"]) == ["torch loop"]
    assert all(contender.ours for contender in contenders(["none"]))
    only = [contender.name for contender in contenders(["spinlock torch", "sklearn"])]
    assert only == ["spinlock torch", "sklearn argmin"]


def test_an_unknown_peer_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(BenchError, match=r"torch loop, .*faiss IndexFlatL2.* got 'abacus'"):
        contenders(["faiss", "abacus"])


@pytest.mark.parametrize(
    ("contender", "module", "package"),
    [
        (VectorQuantizeLoop(), "vector_quantize_pytorch", "vector-quantize-pytorch"),
        (FaissFlat(), "faiss", "faiss-cpu"),
        (SklearnArgmin(), "sklearn.metrics", "scikit-learn"),
        (NumKongDots(), "numkong", "numkong"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_package_is_named(
    monkeypatch: pytest.MonkeyPatch, contender: Contender, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=f"not installed.*pip install {package}"):
        contender.check_available("cpu")


@pytest.mark.parametrize("contender", [FlashKmeans(), CuvsBruteForce()], ids=lambda c: c.name)
def test_peers_of_a_gpu_say_so(contender: Contender) -> None:
    with pytest.raises(Unavailable, match="runs on cuda only"):
        contender.check_available("cpu")


@pytest.mark.parametrize(
    ("contender", "module"),
    [(FlashKmeans(), "flash_kmeans"), (CuvsBruteForce(), "cuvs")],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_missing_package_for_a_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, contender: Contender, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unavailable, match=r"not installed.*pip install"):
        contender.check_available("cuda")


def test_peers_of_a_cpu_say_so() -> None:
    for contender in (FaissFlat(), SklearnArgmin(), NumKongDots()):
        with pytest.raises(Unavailable, match="runs on cpu only"):
            contender.check_available("cuda:0")


def test_a_call_that_would_not_fit_into_memory_is_refused() -> None:
    problem = make_problem(WORKLOADS[0])
    needs_memory("it", problem, 1000)
    with pytest.raises(Unavailable, match="it needs about 1000000 GB"):
        needs_memory("it", problem, 10**15)


def test_versions_of_packages_that_are_missing_are_none() -> None:
    versions = peer_versions()
    assert "faiss" in versions
    assert all(version is None or version[0].isdigit() for version in versions.values())


def test_contenders_and_gate_run_where_only_torch_is_installed() -> None:
    script = f"""
import sys
for name in {OPTIONAL!r}:
    sys.modules[name] = None
from bench import gate
from bench.errors import Unavailable
from bench.peers.registry import contenders, peer_versions
from bench.problems import make_problem, thread_count
from bench.workloads import Workload
peer_versions()
problem = make_problem(Workload("w", "custom", (6, 33), (4, 9), 70))
ran = []
for contender in contenders(None):
    if contender.compiles:
        continue
    try:
        contender.check_available("cpu")
    except Unavailable:
        continue
    with thread_count(1):
        for verb in {VERBS!r}:
            try:
                call = getattr(contender, verb)(problem)
            except Unavailable:
                continue
            verdict = gate.check(contender, verb, problem, call)
            assert verdict.passed, verdict.note
    ran.append(contender.name)
assert ran[-1] == "torch loop", ran
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_threads_are_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with thread_count(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
