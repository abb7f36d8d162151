"""Buckets cover every quantizer once, and their maps lead there and back."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from spinlock.layout import CodebookLayout
from spinlock.ops.padding import padding_plan

CPU = torch.device("cpu")


@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 200), st.integers(1, 90)), min_size=1, max_size=12),
    st.sampled_from([1, 4, 16]),
)
def test_plan_is_a_bijection(pairs: list[tuple[int, int]], alignment: int) -> None:
    sizes, dims = zip(*pairs, strict=True)
    layout = CodebookLayout(sizes, dims, alignment)
    plan = padding_plan(layout, CPU)
    members = torch.cat([bucket.quantizers for bucket in plan.buckets])
    assert members.sort().values.tolist() == list(range(layout.num_quantizers))

    columns = torch.cat([bucket.columns for bucket in plan.buckets])
    assert columns[plan.dense_columns].tolist() == list(range(layout.input_width))
    assert (columns < layout.input_width).sum() == layout.input_width

    elements = torch.cat([bucket.elements for bucket in plan.buckets])
    real = plan.flat_elements < len(elements)
    positions = torch.arange(layout.weight_size)
    assert torch.equal(elements[plan.flat_elements[real]], positions[real])
    values = sum(k * d for k, d in pairs)
    assert int(real.sum()) == int((elements < layout.weight_size).sum()) == values

    for q in range(layout.num_quantizers):
        assert (plan.column_quantizer[slice(*layout.input_range(q, q + 1))] == q).all()
        assert (plan.code_quantizer[slice(*layout.code_range(q, q + 1))] == q).all()
        first, stride = layout.weight_offsets[q], layout.padded_dims[q]
        codes = plan.element_code[first : first + sizes[q] * stride].view(sizes[q], stride)
        assert (codes == layout.code_offsets[q] + torch.arange(sizes[q])[:, None]).all()


def test_sums_by_quantizer() -> None:
    plan = padding_plan(CodebookLayout((3, 1, 2), (1, 1, 1)), CPU)
    assert plan.sum_by_quantizer(torch.tensor([1, 2, 3, 4, 5, 6])).tolist() == [6, 4, 11]


def test_like_quantizers_share_a_bucket_and_giants_do_not() -> None:
    plan = padding_plan(CodebookLayout((16,) * 30 + (4096,), (8,) * 30 + (128,)), CPU)
    assert sorted(len(bucket.quantizers) for bucket in plan.buckets) == [1, 30]


def test_plans_are_remembered_by_value() -> None:
    first = padding_plan(CodebookLayout((5, 6), (7, 8)), CPU)
    assert padding_plan(CodebookLayout((5, 6), (7, 8)), CPU) is first
