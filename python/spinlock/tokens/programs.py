"""The whole way from raw rows to tokens and back as plain torch modules, for ``torch.export``.

What a graph cannot hold, such as checks of values, is left out: the same arithmetic in the same
order as the codec's, so that the results are equal, on the CPU.  The number of rows is open:
torch 2.6 asks for it at a slice ``[:, a:b]``, and not at ``narrow`` and ``select``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spinlock.training.preprocessing import Preprocessing
from spinlock.vqvae import CategoricalHierarchicalVQVAE
from spinlock.vqvae.contract import codebooks

# Coordinates whose squares are added in one operation of the graph.
_COORDINATES = 16


class Stack(nn.Module):
    """The codebooks of one latent vector: residual levels, or a single one.

    Args:
        codebooks: float32 ``[K, D]`` per level.
        width: columns of the latent vector; a level quantizes the first D of what is left.
    """

    def __init__(self, codebooks: Sequence[Tensor], width: int) -> None:
        super().__init__()
        self.width = width
        for level, codes in enumerate(codebooks):
            self.register_buffer(f"codes_{level}", codes.detach().clone().float())
        self.levels = len(codebooks)

    def encode(self, latents: Tensor) -> list[Tensor]:
        """Latents ``[N, width]`` to int64 ``[N]`` per level."""
        residual, indices = latents, []
        for level in range(self.levels):
            codes = self._codes(level)
            chosen = nearest_code(residual.narrow(1, 0, codes.shape[1]), codes)
            residual = residual - self._widen(codes.index_select(0, chosen))
            indices.append(chosen)
        return indices

    def decode(self, tokens: Tensor) -> Tensor:
        """int64 ``[N, levels]`` to the sum of the levels' codes, ``[N, width]``."""
        total = torch.zeros_like(tokens.narrow(1, 0, 1), dtype=torch.float32)
        for level in range(self.levels):
            total = total + self._widen(self._codes(level).index_select(0, tokens.select(1, level)))
        return total

    def _codes(self, level: int) -> Tensor:
        codes: Tensor = getattr(self, f"codes_{level}")
        return codes

    def _widen(self, codes: Tensor) -> Tensor:
        return nn.functional.pad(codes, (0, self.width - codes.shape[1]))


class TokenEncoder(nn.Module):
    """Raw features float32 ``[N, D]`` to tokens int64 ``[N, Q]``."""

    def __init__(self, preprocessing: Preprocessing, model: CategoricalHierarchicalVQVAE) -> None:
        super().__init__()
        self.prepare = Prepare(preprocessing)
        self.model = _without(model, "quantizer", "decoder", "partial_decoders")
        self.stacks = stacks_of(model)

    def forward(self, features: Tensor) -> Tensor:
        """Cleans, groups, normalises, encodes, and looks up the nearest codes."""
        latents = self.model.encode(self.prepare(features))
        indices, start = [], 0
        for stack in self.stacks:
            assert isinstance(stack, Stack)
            indices += stack.encode(latents.narrow(1, start, stack.width))
            start += stack.width
        return torch.stack(indices, dim=1)


class TokenDecoder(nn.Module):
    """Tokens int64 ``[N, Q]`` to raw features float32 ``[N, D]``."""

    def __init__(self, preprocessing: Preprocessing, model: CategoricalHierarchicalVQVAE) -> None:
        super().__init__()
        self.model = _without(model, "quantizer", "encoder", "head", "heads", "head_norm")
        self.stacks = stacks_of(model)
        self.restore = Restore(preprocessing)

    def forward(self, tokens: Tensor) -> Tensor:
        """Gathers the codes, decodes, and undoes normalisation, grouping and cleaning."""
        parts, start = [], 0
        for stack in self.stacks:
            assert isinstance(stack, Stack)
            parts.append(stack.decode(tokens.narrow(1, start, stack.levels)))
            start += stack.levels
        restored: Tensor = self.restore(self.model.decode(torch.cat(parts, dim=1)))
        return restored


class Prepare(nn.Module):
    """Raw features ``[N, D]`` to the model's input ``[N, D_kept]``: cleaned, grouped, z-scored."""

    columns: Tensor
    medians: Tensor
    lower: Tensor
    upper: Tensor
    order: Tensor
    centre: Tensor
    scale: Tensor
    told: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        repair = preprocessing.cleaner.repair_
        arrays: dict[str, NDArray[Any]] = {
            "columns": repair.columns,
            "medians": repair.medians,
            "lower": repair.lower,
            "upper": repair.upper,
            "order": np.array(preprocessing.groups.order),
            "centre": preprocessing.normaliser.center_,
            "scale": preprocessing.normaliser.scale_,
        }
        self.tells = preprocessing.cleaner.indicators_.columns.size > 0
        if self.tells:
            arrays["told"] = preprocessing.cleaner.indicators_.columns
        _register(self, arrays)

    def forward(self, features: Tensor) -> Tensor:
        """Fills, caps, adds the indicators, groups and normalises."""
        taken = features.index_select(1, self.columns)
        filled = torch.where(taken.isfinite(), taken, self.medians)
        cleaned = filled.clamp(self.lower, self.upper)
        if self.tells:
            missing = (~features.index_select(1, self.told).isfinite()).float()
            cleaned = torch.cat([cleaned, missing], dim=1)
        grouped = cleaned.index_select(1, self.order)
        return ((grouped.double() - self.centre) / self.scale).float()


class Restore(nn.Module):
    """The model's units ``[N, D_kept]`` to all raw columns ``[N, D]``."""

    place: Tensor
    centre: Tensor
    scale: Tensor
    source: Tensor
    slope: Tensor
    intercept: Tensor
    teller: Tensor
    absent: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        cleaner = preprocessing.cleaner
        restoration, teller = cleaner.restoration_, cleaner.indicators_.teller
        # What comes from no column comes from one of zeros behind them.
        width = len(preprocessing.groups.order)
        arrays: dict[str, NDArray[Any]] = {
            "place": np.argsort(preprocessing.groups.order),
            "centre": preprocessing.normaliser.center_,
            "scale": preprocessing.normaliser.scale_,
            "source": np.where(restoration.source < 0, width, restoration.source),
            "slope": restoration.slope,
            "intercept": restoration.intercept,
            "teller": np.where(teller < 0, width, teller + len(cleaner.kept_)),
            # A buffer, for torch 2.7 cannot save a graph with NaN among its constants.
            "absent": np.array(np.nan, np.float32),
        }
        _register(self, arrays)

    def forward(self, x: Tensor) -> Tensor:
        """Undoes normalisation and grouping, restores dropped columns, and erases what is told."""
        cleaned = (x.double() * self.scale + self.centre).float().index_select(1, self.place)
        extended = nn.functional.pad(cleaned, (0, 1))
        lines = extended.index_select(1, self.source).double() * self.slope + self.intercept
        missing = extended.index_select(1, self.teller) > 0.5
        return torch.where(missing, self.absent, lines.float())


def _register(module: nn.Module, arrays: Mapping[str, NDArray[Any]]) -> None:
    for name, values in arrays.items():
        module.register_buffer(name, torch.from_numpy(np.array(values)))


def nearest_code(rows: Tensor, codes: Tensor) -> Tensor:
    """int64 ``[N]``: the code with the least float64 distance, the lowest index on ties.

    The sum over coordinates is ascending, as in ``ops._reference``: a cumulative sum adds one
    after the other.

    >>> nearest_code(torch.tensor([[1.4], [9.0]]), torch.tensor([[0.0], [1.0], [8.0], [8.0]]))
    tensor([1, 2])
    """
    wide, centres = rows.double(), codes.double()
    total = torch.zeros_like(wide.narrow(1, 0, 1)) + torch.zeros_like(centres.select(1, 0))
    row_blocks = torch.split(wide, _COORDINATES, dim=1)
    code_blocks = torch.split(centres, _COORDINATES, dim=1)
    for row_block, code_block in zip(row_blocks, code_blocks, strict=True):
        difference = row_block.unsqueeze(1) - code_block
        terms = torch.cat([total.unsqueeze(2), difference * difference], dim=2)
        total = terms.cumsum(2).select(2, -1)
    # As infinity does; that itself torch 2.7 could not save as a constant.
    return total.nan_to_num(nan=torch.finfo(torch.float64).max).argmin(1)


def _without(model: CategoricalHierarchicalVQVAE, *parts: str) -> CategoricalHierarchicalVQVAE:
    """A copy that holds no weights of some parts, which its caller never runs."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    for part in parts:
        if hasattr(copied, part):
            setattr(copied, part, None)
    return copied


def stacks_of(model: CategoricalHierarchicalVQVAE) -> nn.ModuleList:
    """The codebooks of a model by latent vector, in the order of its latents and tokens."""
    config, tables = model.config, codebooks(model)
    if config.hierarchy != "residual":
        return nn.ModuleList(Stack([codes], codes.shape[1]) for codes in tables)
    levels = config.num_levels
    return nn.ModuleList(
        Stack(tables[c * levels : (c + 1) * levels], max(dims))
        for c, dims in enumerate(config.latent_dims)
    )
