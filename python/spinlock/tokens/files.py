"""Token files: tokens beside the contract that says what they mean, written and read by blocks.

``.npz`` holds ``tokens`` [N, Q], ``quantizers`` [Q] and ``contract`` (JSON text); ``.parquet`` a
column per quantizer and the contract in the schema's metadata.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from spinlock.data.npz import NpzContents
from spinlock.data.selection import Selection
from spinlock.data.sources import check_expansion, check_memory, damage_as_data_error
from spinlock.errors import DataError
from spinlock.tokens.output import NpzRows, ParquetRows, RowWriter, require_pyarrow, row_writer
from spinlock.vqvae.contract import TokenContract

ENDINGS = (".npz", ".parquet")
METADATA = "spinlock.contract"
TOKENS, QUANTIZERS, CONTRACT, LABELS, LABEL = (
    "tokens", "quantizers", "contract", "labels", "label",
)  # fmt: skip
_CONTRACT_BYTES = 1 << 26

_T = TypeVar("_T")


def token_writer(
    output: Path,
    contract: TokenContract,
    num_rows: int,
    labels: NDArray[Any] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> AbstractContextManager[Callable[[NDArray[Any]], None]]:
    """A function that appends tokens ``[n, Q]`` to a new token file, by the ending of its name.

    The file takes its place when all rows are written; until then what was there stays.

    Args:
        output: ``.npz`` or ``.parquet``.
        contract: what the tokens mean.
        num_rows: N.
        labels: ``[N]``, kept beside the tokens.
        metadata: more to say in a ``.parquet`` file.

    Raises:
        DataError: pyarrow is missing, the file cannot be written, or other rows come.
    """
    text = json.dumps(contract.to_dict(), ensure_ascii=False)

    def make(path: Path) -> RowWriter:
        if output.suffix.lower() == ".npz":
            beside = {
                QUANTIZERS: np.array(contract.quantizers, dtype=np.str_),
                CONTRACT: np.array(text, dtype=np.str_),
            }
            if labels is not None:
                beside[LABELS] = labels
            width = len(contract.quantizers)
            return NpzRows(path, TOKENS, num_rows, width, contract.token_dtype, beside)
        require_pyarrow(output)
        dtypes = [np.min_scalar_type(size - 1) for size in contract.codebook_sizes]
        named = None if labels is None else (LABEL, labels)
        held = {METADATA: text, **(metadata or {})}
        return ParquetRows(path, contract.quantizers, dtypes, held, named)

    return row_writer(output, make, num_rows)


@contextmanager
def closed_after(blocks: Iterator[_T]) -> Iterator[Iterator[_T]]:
    """Lets go of what an iterator over blocks holds open, also where it was not read to its end."""
    try:
        yield blocks
    finally:
        close = getattr(blocks, "close", None)
        if close is not None:
            close()


class TokenFile(Protocol):
    """An open token file.

    Attributes:
        where: how messages call it.
        contract: what its tokens mean, as the file says.
        num_rows: N.
    """

    @property
    def where(self) -> str: ...
    @property
    def contract(self) -> TokenContract: ...
    @property
    def num_rows(self) -> int: ...

    def blocks(self, rows: int = 65_536) -> Iterator[NDArray[Any]]:
        """All tokens in order, integers ``[n, Q]`` with n <= ``rows``, checked for their range.

        Raises:
            DataError: the file is damaged, or a token is out of range of its codebook.
        """
        ...

    def labels(self) -> NDArray[Any] | None:
        """``[N]``; None where the file holds none."""
        ...


@contextmanager
def open_tokens(path: Path) -> Iterator[TokenFile]:
    """Opens a token file for reading in blocks; nothing in it is unpickled or run.

    Raises:
        DataError: missing, damaged, without a token contract, or of another format.
    """
    suffix = path.suffix.lower()
    if suffix not in ENDINGS:
        hint = ": an .npy file has no token contract" if suffix == ".npy" else ""
        raise DataError(
            f"'{path}' is no token file{hint}; expected what spinlock encode writes, "
            f"{' or '.join(ENDINGS)}"
        )
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise DataError(f"the token file '{path}' {what}; name a file that spinlock encode wrote")
    if suffix == ".npz":
        with damage_as_data_error(f"'{path}'", "an .npz archive"):
            archive = zipfile.ZipFile(path)
        with archive:
            yield _NpzTokens.of(f"'{path}'", archive)
    else:
        require_pyarrow(path, "reading")
        import pyarrow.parquet as parquet

        with damage_as_data_error(f"'{path}'", "a Parquet file"):
            file = parquet.ParquetFile(path, pre_buffer=False, memory_map=False)
        with file:
            yield _ParquetTokens.of(f"'{path}'", file, path.stat().st_size)


@dataclass(frozen=True, eq=False)
class _NpzTokens:
    where: str
    contract: TokenContract
    contents: NpzContents
    has_labels: bool

    @classmethod
    def of(cls, where: str, archive: zipfile.ZipFile) -> _NpzTokens:
        contents = NpzContents(where, archive, Selection())
        held = set(archive.namelist())
        if f"{CONTRACT}.npy" not in held:
            raise _without_contract(where)
        if f"{TOKENS}.npy" not in held:
            raise DataError(f"{where} holds no array 'tokens'; it is damaged: encode anew")
        found = cls(where, _contract_of(where, contents), contents, f"{LABELS}.npy" in held)
        expected = len(found.contract.quantizers)
        shape = found.contents.at(TOKENS, TOKENS).array.shape
        if len(shape) != 2 or shape[1] != expected:
            raise DataError(
                f"{where}: 'tokens' has shape {list(shape)}, but its contract has {expected} "
                f"quantizers: expected [N, {expected}]; it is damaged: encode anew"
            )
        return found

    @property
    def num_rows(self) -> int:
        return int(self.contents.at(TOKENS, TOKENS).array.shape[0])

    def blocks(self, rows: int = 65_536) -> Iterator[NDArray[Any]]:
        array = self.contents.at(TOKENS, TOKENS).array
        return _checked(array.blocks(rows), self.contract, self.where)

    def labels(self) -> NDArray[Any] | None:
        found = self.contents.labels() if self.has_labels else None
        return _checked_labels(found, self.num_rows, self.where)


@dataclass(frozen=True, eq=False)
class _ParquetTokens:
    where: str
    contract: TokenContract
    file: Any

    @classmethod
    def of(cls, where: str, file: Any, size: int) -> _ParquetTokens:
        with damage_as_data_error(where, "a Parquet file"):
            metadata = file.metadata
            text = (file.schema_arrow.metadata or {}).get(METADATA.encode())
            names = list(file.schema_arrow.names)
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
            unpacked = sum(int(group.total_byte_size) for group in groups)
        check_expansion(where, unpacked, size)
        if text is None:
            raise _without_contract(where)
        contract = _parsed(where, text.decode("utf-8", errors="replace"))
        missing = [name for name in contract.quantizers if names.count(name) != 1]
        if missing:
            raise DataError(
                f"{where} has no column {missing[0]!r}, or two of them, but its contract names it; "
                "write all columns of tokens, or encode anew"
            )
        return cls(where, contract, file)

    @property
    def num_rows(self) -> int:
        return int(self.file.metadata.num_rows)

    def blocks(self, rows: int = 65_536) -> Iterator[NDArray[Any]]:
        return _checked(self._matrices(rows), self.contract, self.where)

    def labels(self) -> NDArray[Any] | None:
        if LABEL not in self.file.schema_arrow.names:
            return None
        check_memory(f"the labels of {self.where}", self.num_rows * 8)
        with damage_as_data_error(self.where, "a Parquet file"):
            column = self.file.read(columns=[LABEL]).column(0).to_pylist()
            found = np.asarray(column)
        if found.dtype.hasobject:
            raise DataError(f"{self.where}: the column 'label' has missing or mixed values")
        return _checked_labels(found, self.num_rows, self.where)

    def _matrices(self, rows: int) -> Iterator[NDArray[Any]]:
        import pyarrow.types as types

        names = list(self.contract.quantizers)
        with damage_as_data_error(self.where, "a Parquet file"):
            for batch in self.file.iter_batches(batch_size=rows, columns=names):
                for name in names:
                    column = batch.column(name)
                    if not types.is_integer(column.type) or column.null_count:
                        what = "missing values" if column.null_count else str(column.type)
                        raise DataError(
                            f"{self.where}: column {name!r} holds {what}; tokens are integers"
                        )
                yield np.stack([np.asarray(batch.column(name)) for name in names], axis=1)


def _checked(
    blocks: Iterator[NDArray[Any]], contract: TokenContract, where: str
) -> Iterator[NDArray[Any]]:
    row = 0
    with closed_after(blocks):
        for block in blocks:
            contract.check_tokens(block, where, first_row=row)
            row += len(block)
            yield block


def _checked_labels(labels: NDArray[Any] | None, num_rows: int, where: str) -> NDArray[Any] | None:
    if labels is not None and labels.shape != (num_rows,):
        raise DataError(
            f"{where}: labels have shape {list(labels.shape)}; expected one per row, [{num_rows}]"
        )
    return labels


def _contract_of(where: str, contents: NpzContents) -> TokenContract:
    array: Any = contents.at(CONTRACT, CONTRACT).array
    if array.shape != () or array.dtype.kind != "U" or array.dtype.itemsize > _CONTRACT_BYTES:
        raise DataError(
            f"{where}: 'contract' is no text (shape {list(array.shape)}, dtype {array.dtype}); it "
            "is damaged: encode anew"
        )
    with damage_as_data_error(where, "an .npz archive"), array.open() as stream:
        text = npy_format.read_array(stream, allow_pickle=False)
    return _parsed(where, str(text))


def _parsed(where: str, text: str) -> TokenContract:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"the token contract in {where} is no JSON ({error}); it is damaged: encode anew"
        ) from error
    return TokenContract.from_dict(plain, where)


def _without_contract(where: str) -> DataError:
    return DataError(
        f"{where} has no token contract, so that nobody can tell which model its tokens are of: "
        "expected a file that spinlock encode wrote"
    )
