"""The C++ lookup against the float64 truth: every instruction set, every form of memory."""

from collections.abc import Iterator

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from cases import FROZEN, MAKERS, RaggedCase, make_case, ragged_cases
from spinlock.errors import InputError, LayoutError
from spinlock.layout import CodebookLayout
from spinlock.ops import _cpp, _reference
from spinlock.ops.usable import usable_rows

ISAS = _cpp.instruction_sets()
isas = pytest.mark.parametrize("isa", ISAS)


@pytest.fixture(autouse=True)
def _poisoned_outputs() -> Iterator[None]:
    """Memory that torch.empty hands out is NaN, or the largest integer, beforehand."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def truth(latents: Tensor, weight: Tensor, layout: CodebookLayout) -> Tensor:
    return _reference.nearest_codes(latents, weight, layout, usable_rows(latents, layout))


def tensors(case: RaggedCase) -> tuple[Tensor, Tensor, CodebookLayout]:
    return torch.from_numpy(case.latents), torch.from_numpy(case.weight), case.layout


def assert_true(case: RaggedCase, isa: str) -> None:
    arguments = tensors(case)
    expected = truth(*arguments)
    for threads in (1, 2):
        assert torch.equal(_cpp.nearest_codes(*arguments, threads=threads, isa=isa), expected)


@isas
@pytest.mark.parametrize("case", FROZEN, ids=lambda case: case.name)
def test_frozen_cases(case: RaggedCase, isa: str) -> None:
    assert_true(case, isa)


@settings(max_examples=150)
@given(ragged_cases(), st.sampled_from(ISAS))
def test_fresh_cases(case: RaggedCase, isa: str) -> None:
    assert_true(case, isa)


@settings(max_examples=40)
@given(
    sizes=st.lists(st.sampled_from([(16384, 8), (1024, 64), (300, 512), (4099, 3), (700, 33)]),
                   min_size=1, max_size=2),
    rows=st.sampled_from([1, 3, 17, 33, 63, 64, 130, 200, 600]),
    makers=st.lists(st.sampled_from(list(MAKERS)), min_size=1, max_size=2),
    seed=st.integers(0, 2**31),
    offset=st.sampled_from([0.0, 10.0, 1000.0]),
    scale=st.sampled_from([1.0, 1e-12, 1e12]),
    damaged=st.sampled_from([0, 5]),
    isa=st.sampled_from(ISAS),
)  # fmt: skip
def test_large_codebooks(
    sizes: list[tuple[int, int]],
    rows: int,
    makers: list[str],
    seed: int,
    offset: float,
    scale: float,
    damaged: int,
    isa: str,
) -> None:
    """Up to 16,384 codes and 512 dims, full tiles and cut ones, near ties of every kind."""
    case = make_case(
        "large", sizes, rows, makers=makers, seed=seed, offset=offset, scale=scale, damaged=damaged
    )
    assert_true(case, isa)


@isas
@pytest.mark.parametrize(("codes", "copies"), [(700, 1), (3, 2), (2, 1500)])
@pytest.mark.parametrize("rows", [1, 4, 30, 90])
def test_few_rows_beside_what_is_not_finite(rows: int, codes: int, copies: int, isa: str) -> None:
    """Codes read as they lie: NaN hides none of them, and copies leave every row undecided."""
    generator = torch.Generator().manual_seed(rows)
    size = codes * copies + 2
    layout = CodebookLayout((size, size), (70, 3))
    x = torch.randn(rows, 73, generator=generator)
    books = torch.randn(codes, 73, generator=generator).repeat(copies, 1)
    books = torch.cat([books[:1], torch.full((1, 73), torch.nan), books[1:], books[:1]])
    x[: rows // 2 + 1] = books[0]
    x[rows // 2, 5 if rows > 1 else 72] = torch.nan
    books[-1, -1] = torch.inf
    weight = torch.from_numpy(layout.pack_codebooks([books[:, :70].numpy(), books[:, 70:].numpy()]))
    assert torch.equal(_cpp.nearest_codes(x, weight, layout, isa=isa), truth(x, weight, layout))


@isas
@pytest.mark.parametrize("nearest", ["first", "last"])
@pytest.mark.parametrize("codes", [31, 32, 33])
def test_positions_within_scores(codes: int, nearest: str, isa: str) -> None:
    """The other of two codes is farther by so little that only its score's last bits say so."""
    gaps = torch.arange(1, 90) * 2.0**-23
    layout = CodebookLayout((codes,) * len(gaps), (1,) * len(gaps))
    between = torch.linspace(-0.5, 0.5, codes - 4)
    books = torch.tensor([[1 + g, -1 - g, *between, -1.0, 1.0] for g in gaps.tolist()])
    books = books if nearest == "first" else books.flip(1)
    weight = torch.from_numpy(layout.pack_codebooks([book[:, None].numpy() for book in books]))
    # few of them in a tile, or it would be compared in the direct form at once
    close = torch.cat([torch.linspace(1.35, 1.8, 500)[:, None], between[:15].expand(500, -1)], 1)
    rows = close.reshape(-1, 1).repeat(1, len(gaps))
    expected = truth(rows, weight, layout)
    assert expected[::16].unique().tolist() == [0 if nearest == "first" else codes - 1]
    assert torch.equal(_cpp.nearest_codes(rows, weight, layout, isa=isa), expected)


@isas
def test_gap_of_a_hundred_and_of_a_thousand(isa: str) -> None:
    """Clusters at +-gap, to which the expanded form gives way."""
    generator = torch.Generator().manual_seed(3)
    layout = CodebookLayout((512, 64), (16, 5))
    for gap in (100.0, 1000.0):
        x = torch.randn(700, 21, generator=generator)
        x += gap * (2.0 * torch.randint(2, (700, 1), generator=generator) - 1.0)
        codes = [x[torch.randint(700, (k,), generator=generator)] + 0.3 for k in (512, 64)]
        parts = [codes[0][:, :16].numpy(), codes[1][:, 16:].numpy()]
        weight = torch.from_numpy(layout.pack_codebooks(parts))
        assert torch.equal(_cpp.nearest_codes(x, weight, layout, isa=isa), truth(x, weight, layout))


@isas
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e-25, 1e12, 1e19])
@pytest.mark.parametrize(("clusters", "dims"), [(2, None), (5, 1), (12, 1)])
def test_codes_in_clusters_far_apart(
    clusters: int, dims: int | None, scale: float, isa: str
) -> None:
    """Rows near a cluster, between two, far outside, equal to codes, and not finite."""
    generator = torch.Generator().manual_seed(clusters)
    layout = CodebookLayout((700, 1500), (40, 9))
    draws = {"generator": generator}

    def shifted(count: int) -> Tensor:
        rows = torch.randn(count, 49, **draws)
        rows[:, slice(dims)] += 300.0 * torch.randint(clusters, (count, 1), **draws)
        rows[:, 40 : None if dims is None else 40 + dims] -= 90.0 * torch.randint(
            clusters, (count, 1), **draws
        )
        return rows

    codes = shifted(1500)
    codes[40:60] = codes[60:80]
    x = shifted(2100)
    x[:300] = 0.5 * (codes[:300] + codes[300:600])
    x[300:500] = codes[500:700]
    x[500:520] *= 1e6
    x[520, 3] = torch.nan
    x[521, 45] = torch.inf
    x, codes = x * scale, codes * scale
    weight = torch.from_numpy(
        layout.pack_codebooks([codes[:700, :40].numpy(), codes[:, 40:].numpy()])
    )
    expected = truth(x, weight, layout)
    for threads in (1, 2):
        assert torch.equal(
            _cpp.nearest_codes(x, weight, layout, threads=threads, isa=isa), expected
        )


@isas
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-20, 1e18, 1e25, 3e37])
def test_ends_of_the_range_of_float32(scale: float, isa: str) -> None:
    """Denormal squares below, infinite squares above, and rows far outside the codes."""
    generator = torch.Generator().manual_seed(1)
    layout = CodebookLayout((40, 40), (9, 4))
    x = torch.randn(200, 13, generator=generator) * scale
    x[::5] *= 1e-4
    x[::7] *= 8.0
    codes = [torch.randn(40, d, generator=generator).mul_(scale).numpy() for d in (9, 4)]
    weight = torch.from_numpy(layout.pack_codebooks(codes))
    assert torch.equal(_cpp.nearest_codes(x, weight, layout, isa=isa), truth(x, weight, layout))


@isas
def test_codes_that_are_not_finite_are_never_nearest(isa: str) -> None:
    nan, inf = float("nan"), float("inf")
    for codes in ([nan, 0.0, 1.0, 5.0], [inf, 3.0, nan, 2.0], [nan] * 4, [-inf, inf, nan, 1.0]):
        layout = CodebookLayout((4,), (1,), alignment=1)
        weight = torch.zeros(layout.weight_size)
        weight[:4] = torch.tensor(codes)
        for rows in (3, 100):
            x = torch.linspace(-1.0, 6.0, rows)[:, None]
            found = _cpp.nearest_codes(x, weight, layout, isa=isa)
            assert torch.equal(found, truth(x, weight, layout))


@isas
def test_any_memory_layout(isa: str) -> None:
    case = FROZEN[0]
    x, weight, layout = tensors(case)
    expected = truth(x, weight, layout)
    room = torch.full((len(x) * (layout.input_width + 3) + 1,), torch.nan)
    odd = room[1:].view(len(x), -1)[:, : layout.input_width]  # 4 bytes off any alignment
    odd.copy_(x)
    off = torch.full((layout.weight_size + 1,), torch.nan)[1:].copy_(weight)
    for rows in (odd, x.t().contiguous().t(), x.repeat_interleave(2, dim=1)[:, ::2]):
        assert torch.equal(_cpp.nearest_codes(rows, off, layout, isa=isa), expected)
    again = x[3:4].expand(70, -1)
    assert torch.equal(
        _cpp.nearest_codes(again, off, layout, isa=isa), expected[3:4].expand(70, -1)
    )


@isas
@pytest.mark.parametrize("gap", [0, 16, 17, 5000])
def test_rows_with_gaps_between_them(gap: int, isa: str) -> None:
    """Of a small bank, which one thread takes in step, and of a codebook alone."""
    for sizes in ([(16, 8), (20, 30), (6, 46)], [(30, 84)]):
        case = make_case("gaps", sizes, 150, makers=["plain"], seed=6, damaged=3)
        x, weight, layout = tensors(case)
        rows = torch.full((150, 84 + gap), torch.nan)[:, :84]
        rows.copy_(x)
        expected = truth(x, weight, layout)
        assert torch.equal(_cpp.nearest_codes(rows, weight, layout, isa=isa), expected)
        one, two = _cpp.quantize(x, weight, layout), _cpp.quantize(rows, weight, layout)
        assert all(torch.equal(*pair) for pair in zip(one, two, strict=True))


@pytest.mark.parametrize("stride", [0, 1, 2**40, 2**60])
def test_the_stride_of_a_single_row_may_be_anything(stride: int) -> None:
    case = make_case("one", [(16, 8), (20, 30), (6, 46)], 1, makers=["plain"], seed=6)
    x, weight, layout = tensors(case)
    row = torch.as_strided(x, (1, 84), (stride, 1))
    step, expected = (_cpp.quantize(each, weight, layout) for each in (row, x))
    assert all(torch.equal(*pair) for pair in zip(step, expected, strict=True))
    given = expected.quantized, expected.counts, None, torch.ones(3)
    grads = [_cpp.backward(each, *given, layout) for each in (row, x)]
    assert torch.equal(*grads)


@isas
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_types_are_widened_exactly(dtype: torch.dtype, isa: str) -> None:
    x, weight, layout = tensors(FROZEN[0])
    x, weight = x.to(dtype), weight.to(dtype)
    assert torch.equal(_cpp.nearest_codes(x, weight, layout, isa=isa), truth(x, weight, layout))


def test_flushed_denormals_change_nothing() -> None:
    x, weight, layout = tensors(make_case("tiny", [(50, 6)], 100, makers=["plain"], seed=4,
                                          scale=1e-42))  # fmt: skip
    expected = truth(x, weight, layout)
    torch.set_flush_denormal(True)
    try:
        found = _cpp.nearest_codes(x, weight, layout)
    finally:
        torch.set_flush_denormal(False)
    assert torch.equal(found, expected)


def test_what_does_not_fit_is_refused() -> None:
    x, weight, layout = tensors(FROZEN[0])
    with pytest.raises(LayoutError, match=r"latents: expected \[rows, \d+\], got \[60, 3\]"):
        _cpp.nearest_codes(x[:, :3], weight, layout)
    with pytest.raises(LayoutError, match=r"weight: expected .* elements, got 16"):
        _cpp.nearest_codes(x, weight[:16], layout)
    with pytest.raises(LayoutError, match=r"isa: expected .* got 'abacus'"):
        _cpp.nearest_codes(x, weight, layout, isa="abacus")
    with pytest.raises(InputError, match=r"latents: expected float32.* got torch.float64"):
        _cpp.nearest_codes(x.double(), weight, layout)
    outside = torch.full((60, layout.num_quantizers), 1000)
    with pytest.raises(LayoutError, match=r"indices\[:, \d\]: expected values in 0\.\."):
        _cpp.accumulate_codes(x, outside, layout)


def test_no_matrix_of_distances() -> None:
    """4,096 rows and 16,384 codes: a matrix would take 256 MiB, the call may not take 32."""
    import resource

    layout = CodebookLayout((16384,), (4,))
    x, weight = torch.randn(4096, 4), torch.randn(layout.weight_size)
    _cpp.nearest_codes(x[:70], weight, layout)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    indices = _cpp.nearest_codes(x, weight, layout)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10
    assert np.array_equal(indices[:50].numpy(), truth(x[:50], weight, layout).numpy())
