"""How hypothesis draws layouts here: `st.from_type(CodebookLayout)`, small enough to be packed."""

import hypothesis.strategies as st

from spinlock.layout import CodebookLayout


@st.composite
def layouts(draw: st.DrawFn) -> CodebookLayout:
    size = st.integers(1, 40)
    pairs = draw(st.lists(st.tuples(size, size), min_size=1, max_size=6))
    alignment = 2 ** draw(st.integers(0, 6))
    codebook_sizes, dims = zip(*pairs, strict=True)
    return CodebookLayout(codebook_sizes, dims, alignment)


st.register_type_strategy(CodebookLayout, layouts())
