"""The buffers of Q codebooks: their types, their views, how they load and move."""

from collections.abc import Callable
from typing import Any, Self, cast

import torch
from torch import Tensor, nn

from spinlock.errors import ConfigError, InputError
from spinlock.layout import CodebookLayout
from spinlock.modules._options import CodebookInit, check_choice, check_decay, check_positive
from spinlock.modules.codebook_views import CodebookViews, codebook_view, slice_layout
from spinlock.modules.initialisation import default_device, uniform_codes
from spinlock.modules.outputs import UsageSummary, summarise_usage
from spinlock.ops._averages import normalize_codes
from spinlock.ops._backend import check_backend
from spinlock.ops._validate import check_tensor

__all__ = ["CodebookState"]


class CodebookState(nn.Module):
    """Base of :class:`CodebookBank`, which says what each attribute and argument is."""

    weight: Tensor
    ema_counts: Tensor
    ema_sums: Tensor | None
    epoch_counts: Tensor
    epoch_skipped: Tensor
    initialized_codebooks: Tensor
    codebook_shapes: Tensor

    def __init__(
        self,
        layout: CodebookLayout,
        *,
        use_ema: bool = True,
        decay: float = 0.99,
        epsilon: float = 1e-5,
        init: CodebookInit = "kmeans",
        unit_codes: bool = False,
        backend: str | None = None,
        seed: int = 0,
        learnable: bool | None = None,
    ) -> None:
        super().__init__()
        check_decay(decay)
        check_positive("epsilon", epsilon, usual=1e-5)
        check_choice("init", init, CodebookInit)
        check_backend(backend)
        if unit_codes and not use_ema:
            raise ConfigError(
                "unit_codes: expected codes that follow moving averages, got use_ema=False; set "
                "use_ema=True, or normalise the latents yourself (spinlock.ops.unit_rows)"
            )
        self.layout = layout
        self.use_ema, self.decay, self.epsilon = use_ema, decay, epsilon
        self.init, self.backend, self.seed = init, backend, seed
        self.unit_codes, self.frozen = unit_codes, False
        self.gathered: tuple[Tensor, Tensor] | None = None
        self.synchronize: bool | None = False
        self.may_wait = init != "uniform"
        # Drawn on the CPU, so that every device starts with the same codes.
        device = default_device()
        weight = uniform_codes(layout, torch.Generator().manual_seed(seed)).to(device)
        if unit_codes and not weight.is_meta:
            normalize_codes(weight, layout)
        if learnable or (learnable is None and not use_ema):
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
        self.register_buffer("ema_counts", torch.ones(layout.total_codes, dtype=torch.float32))
        # One row per code: sums = weight * counts holds from the first step on.
        self.register_buffer("ema_sums", weight.clone() if use_ema else None)
        count = layout.num_quantizers
        self.register_buffer("epoch_counts", torch.zeros(layout.total_codes, dtype=torch.int64))
        self.register_buffer("epoch_skipped", torch.zeros(count, dtype=torch.int64))
        self.register_buffer("initialized_codebooks", torch.full((count,), init == "uniform"))
        # Flat buffers say nothing of shapes: without this, another layout of their size would load.
        shapes = [layout.codebook_sizes, layout.dims]
        self.register_buffer("codebook_shapes", torch.tensor(shapes, dtype=torch.int64))

    @property
    def initialized(self) -> bool:
        """Whether no codebook waits for data."""
        return bool(self.initialized_codebooks.all())

    def codebook(self, q: int) -> Tensor:
        """The view [K_q, D_q] of codebook q, 0 <= q < Q.

        Raises:
            InputError: another q.
        """
        count = self.layout.num_quantizers
        if not 0 <= q < count:
            raise InputError(f"q: expected a codebook in 0..{count - 1}, got {q}; count from 0")
        return codebook_view(self.weight, self.layout, q)

    @torch.no_grad()
    def set_codebook(self, q: int, codes: Tensor, count: float = 1.0) -> None:
        """Makes codes of your own codebook q: nothing initialises it, its averages start from them.

        Args:
            q: 0 <= q < Q.
            codes: [K_q, D_q], any floating dtype; scaled to length 1 where codes are.
            count: average rows per step that each starts with, > 0: more hold it back for longer.

        Raises:
            InputError: another q, shape or type, codes that are not finite, or no count > 0.
        """
        own = self.codebook(q)
        check_tensor("codes", codes)
        if codes.shape != own.shape or not (codes.is_floating_point() and codes.isfinite().all()):
            raise InputError(
                f"codes: expected finite floating point {list(own.shape)} for codebook {q}, got "
                f"{codes.dtype} {list(codes.shape)}; give one row per code, and look for NaN"
            )
        if not 0 < count < torch.inf:
            raise InputError(f"count: expected a finite number > 0, got {count}; 1 is usual")
        rows = codes.to(self.ema_counts)
        rows = torch.nn.functional.normalize(rows, dim=-1) if self.unit_codes else rows
        every = torch.arange(len(rows), device=rows.device)
        self._views(0, None).place_codes(q, every, rows, rows.new_tensor(count))
        self.initialized_codebooks[q] = True
        self.note_initialized()

    def note_initialized(self) -> None:
        """Remembers whether a codebook still waits: every step asks, and must not read tensors."""
        self.may_wait = not self.initialized

    def usage(self) -> UsageSummary:
        """Utilization, perplexity and dead codes of the training rows since the last reset."""
        return summarise_usage(self.epoch_counts, self.epoch_skipped.clone(), self.layout)

    def reset_usage(self) -> None:
        """Starts a new epoch of the usage counters."""
        self.epoch_counts.zero_()
        self.epoch_skipped.zero_()

    def extra_repr(self) -> str:
        """The line that ``print(bank)`` shows."""
        return (
            f"{self.layout.num_quantizers} codebooks, {self.layout.total_codes} codes, "
            f"use_ema={self.use_ema}, decay={self.decay}, init={self.init!r}"
        )

    def _views(self, start: int, stop: int | None) -> CodebookViews:
        if start == 0 and stop is None:
            return self._part(0, None)
        stop = self.layout.num_quantizers if stop is None else stop
        return self._part(start, slice_layout(self.layout, start, stop))

    def _part(self, start: int, layout: CodebookLayout | None) -> CodebookViews:
        """The codebooks of a slice of the layout from ``start`` on; None: of all of it."""
        # Attributes of modules are found by a search in Python; this runs in every step.
        of: dict[str, Any] = self._buffers
        # A parameter may have been moved: parametrizations and replicas keep it elsewhere.
        codes: Any = of.get("weight")
        codes = self.weight if codes is None else codes
        state = CodebookViews(
            self.layout,
            codes,
            of["ema_counts"],
            of["ema_sums"],
            of["epoch_counts"],
            of["epoch_skipped"],
            of["initialized_codebooks"],
        )
        return state if layout is None else self._slice(state, start, layout)

    def _slice(self, state: CodebookViews, start: int, layout: CodebookLayout) -> CodebookViews:
        weight = self.layout.weight_offsets[start], layout.weight_size
        codes = self.layout.code_offsets[start], layout.total_codes
        count = layout.num_quantizers
        return CodebookViews(
            layout=layout,
            weight=state.weight.narrow(0, *weight),
            counts=state.counts.narrow(0, *codes),
            sums=None if state.sums is None else state.sums.narrow(0, *weight),
            epoch_counts=state.epoch_counts.narrow(0, *codes),
            epoch_skipped=state.epoch_skipped.narrow(0, start, count),
            initialized=state.initialized.narrow(0, start, count),
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        key, (_, _, missing_keys, _, error_msgs) = f"{prefix}codebook_shapes", rest
        if problem := self._other_shapes(key, state_dict.get(key)):
            error_msgs.append(problem)
            return
        super()._load_from_state_dict(state_dict, prefix, *rest)
        if key in missing_keys:  # written before shapes were kept
            missing_keys.remove(key)
        self.may_wait = self.initialized_codebooks.is_meta or not self.initialized

    def _other_shapes(self, key: str, given: Tensor | None) -> str | None:
        if given is None or given.is_meta:
            return None
        own = [list(self.layout.codebook_sizes), list(self.layout.dims)]
        if given.tolist() == own:
            return None
        return (
            f"{key}: expected codebook sizes {own[0]} and dims {own[1]}, got {given.tolist()}; "
            "build the module with the checkpoint's shapes"
        )

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves like any module, but converts no buffer: statistics stay float32."""
        buffers = {id(buffer) for buffer in self.buffers()}

        def keeping_dtype(tensor: Tensor) -> Tensor:
            moved = fn(tensor)
            kept = id(tensor) not in buffers or moved.dtype == tensor.dtype
            return moved if kept else tensor.to(moved.device)

        return cast(Self, super()._apply(keeping_dtype, recurse))  # type: ignore[no-untyped-call]
