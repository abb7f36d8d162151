"""The token contract: what tokens of one model mean, and how to tell those of another one."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spinlock.errors import DataError
from spinlock.modules import NestedResidualQuantizer
from spinlock.vqvae.categorical_vqvae import CategoricalHierarchicalVQVAE

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = 12  # digits of a digest in a message


@dataclass(frozen=True)
class TokenContract:
    """Which columns went in, which codebooks the tokens index; one column of tokens per quantizer.

    Attributes:
        schema_fingerprint: SHA-256 of the raw column names in their order.
        codebook_hash: SHA-256 of every codebook, :func:`codebook_hash`.
        quantizers: ``<category>/L<level>``, category-major.
        codebook_sizes: K per quantizer: its tokens are 0 to K - 1.

    >>> contract = TokenContract("0" * 64, "1" * 64, ("shape/L0", "shape/L1"), (300, 16))
    >>> contract.token_dtype
    dtype('uint16')
    >>> TokenContract.from_dict(contract.to_dict(), "'tokens.json'") == contract
    True
    """

    schema_fingerprint: str
    codebook_hash: str
    quantizers: tuple[str, ...]
    codebook_sizes: tuple[int, ...]

    @classmethod
    def of(cls, model: CategoricalHierarchicalVQVAE, schema_fingerprint: str) -> TokenContract:
        """The contract of a model that takes columns with that fingerprint."""
        config = model.config
        return cls(
            schema_fingerprint=schema_fingerprint,
            codebook_hash=codebook_hash(model),
            quantizers=quantizer_names(config.category_names, config.num_levels),
            codebook_sizes=tuple(size for sizes in config.codebook_sizes for size in sizes),
        )

    @property
    def token_dtype(self) -> np.dtype[Any]:
        """The smallest unsigned integer that holds every token."""
        return np.min_scalar_type(max(self.codebook_sizes, default=1) - 1)

    @property
    def bits(self) -> float:
        """Bits per row: the sum over quantizers of log2 K."""
        return sum(math.log2(size) for size in self.codebook_sizes)

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "schema_fingerprint": self.schema_fingerprint,
            "codebook_hash": self.codebook_hash,
            "quantizers": list(self.quantizers),
            "codebook_sizes": list(self.codebook_sizes),
            "token_dtype": str(self.token_dtype),
        }

    @classmethod
    def from_dict(cls, plain: Any, what: str) -> TokenContract:
        """The contract that :meth:`to_dict` wrote.

        Raises:
            DataError: ``plain`` is none; names ``what``.
        """
        if not isinstance(plain, Mapping):
            raise DataError(f"{what} holds no token contract: expected a JSON object")
        digests = [plain.get(key) for key in ("schema_fingerprint", "codebook_hash")]
        names: Any = plain.get("quantizers")
        sizes: Any = plain.get("codebook_sizes")
        sound = (
            all(isinstance(digest, str) and _DIGEST.fullmatch(digest) for digest in digests)
            and isinstance(names, list)
            and isinstance(sizes, list)
            and 0 < len(names) == len(sizes)
            and all(isinstance(name, str) for name in names)
            and len(set(names)) == len(names)
            and all(type(size) is int and 0 < size < 2**31 for size in sizes)
        )
        if not sound:
            raise DataError(
                f"{what} holds no token contract: expected two SHA-256 digests, and one name and "
                "one codebook size per quantizer; it is damaged or was written by something else"
            )
        contract = cls(str(digests[0]), str(digests[1]), tuple(names), tuple(sizes))
        if plain.get("token_dtype") != str(contract.token_dtype):
            raise DataError(
                f"{what} contradicts itself: codebooks of {max(contract.codebook_sizes)} codes at "
                f"most need token_dtype '{contract.token_dtype}', got {plain.get('token_dtype')!r}"
            )
        return contract

    def require(self, other: TokenContract, what: str, *, owner: str = "the checkpoint") -> None:
        """Refuses tokens of another model.

        Args:
            other: the contract that came with the tokens.
            what: what holds the tokens, for the message.
            owner: what this contract is of, for the message.

        Raises:
            DataError: the contracts differ; says in what.
        """
        differences = list(self._differences(other))
        if differences:
            raise DataError(
                f"{what} holds tokens of another model than {owner}: {'; '.join(differences)}. "
                "Decode them with the checkpoint that encoded them"
            )

    def check_tokens(self, tokens: NDArray[Any], what: str, *, first_row: int = 0) -> None:
        """Refuses tokens that are no index of their codebook.

        Args:
            tokens: integers ``[n, Q]``, one column per quantizer.
            what: what holds them, for the message.
            first_row: the row of ``tokens[0]`` in it.

        Raises:
            DataError: another shape or type, or a token out of range; names the first such row.
        """
        if tokens.dtype.kind not in "iu":
            raise DataError(f"{what}: tokens must be integers, got dtype {tokens.dtype}")
        if tokens.ndim != 2 or tokens.shape[1] != len(self.quantizers):
            raise DataError(
                f"{what}: tokens must be [N, {len(self.quantizers)}], one column per quantizer, "
                f"got {list(tokens.shape)}"
            )
        wrong = tokens >= np.array(self.codebook_sizes)
        if tokens.dtype.kind == "i":
            wrong |= tokens < 0
        if wrong.any():
            row, q = (int(index) for index in np.argwhere(wrong)[0])
            size = self.codebook_sizes[q]
            raise DataError(
                f"{what}: row {first_row + row}, quantizer '{self.quantizers[q]}': token "
                f"{int(tokens[row, q])} is out of range; its codebook has {size} codes, "
                f"0 to {size - 1}"
            )

    def _differences(self, other: TokenContract) -> Iterator[str]:
        if self.quantizers != other.quantizers:
            yield f"its quantizers are {_some(other.quantizers)}, not {_some(self.quantizers)}"
        elif self.codebook_sizes != other.codebook_sizes:
            q = next(
                q for q, size in enumerate(self.codebook_sizes) if size != other.codebook_sizes[q]
            )
            yield (
                f"the codebook of '{self.quantizers[q]}' has {other.codebook_sizes[q]} codes, "
                f"not {self.codebook_sizes[q]}"
            )
        for key in ("schema_fingerprint", "codebook_hash"):
            mine, theirs = getattr(self, key), getattr(other, key)
            if mine != theirs:
                yield f"its {key} is {theirs[:_SHOWN]}..., not {mine[:_SHOWN]}..."


def quantizer_names(categories: tuple[str, ...], num_levels: int) -> tuple[str, ...]:
    """``<category>/L<level>`` of every quantizer, category-major.

    >>> quantizer_names(("shape", "colour"), 2)
    ('shape/L0', 'shape/L1', 'colour/L0', 'colour/L1')
    """
    return tuple(f"{name}/L{level}" for name in categories for level in range(num_levels))


def codebooks(model: CategoricalHierarchicalVQVAE) -> list[Tensor]:
    """Each quantizer's codes ``[K, D]``, category-major: views."""
    quantizer = model.quantizer
    if isinstance(quantizer, NestedResidualQuantizer):
        places = [
            (category, level)
            for category in range(quantizer.num_categories)
            for level in range(quantizer.num_levels)
        ]
        return [quantizer.codebook(category, level) for category, level in places]
    return [quantizer.codebook(q) for q in range(quantizer.layout.num_quantizers)]


def codebook_hash(model: CategoricalHierarchicalVQVAE) -> str:
    """SHA-256 (64 hex digits) of every codebook, category-major: K, D and float32 codes.

    Sizes are little-endian int64, codes little-endian float32, row after row.
    """
    digest = hashlib.sha256()
    for codes in codebooks(model):
        values = codes.detach().float().cpu().contiguous().numpy().astype("<f4", copy=False)
        digest.update(np.array(values.shape, dtype="<i8").tobytes())
        digest.update(values.tobytes())
    return digest.hexdigest()


def _some(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    return f"{shown}, ... ({len(names)} in all)" if len(names) > 4 else shown
