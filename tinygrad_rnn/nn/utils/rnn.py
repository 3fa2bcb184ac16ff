"""Sequences of unequal length, with PyTorch's functions: padding, packing, and `PackedSequence`.

Our recurrent layers take padded sequences with `lengths=` and need no packing. These functions exist so that programs
written for PyTorch run unchanged: a PackedSequence holds the padded tensor and the lengths, and a layer that gets one
computes as with `lengths=`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...arrays.device import array_like, to_numpy
from ...autograd.primitives.elementwise import masked_fill
from ...autograd.primitives.index import embedding
from ...autograd.primitives.shape import concat, new_zeros, pad, reshape, transpose, unbind
from ...autograd.primitives.static import as_int
from ...tensor import Tensor
from ...tensor.creation import as_tensor, own_tensor


class PackedSequence:
    """Sequences of unequal length in one object, which recurrent layers take as x and return as output.

    padded: the elements, [T, N, ...], where T is the greatest length; elements past a sequence's end have no meaning.
    lengths: the length of each sequence, int64 [N], in the order of `padded`.
    data, batch_sizes, sorted_indices, unsorted_indices: PyTorch's fields, computed when read. They are also the
        arguments of the constructor, and what iteration gives.

    Raises ValueError for fields that do not fit each other, TypeError for those that are no whole numbers.
    """

    padded: Tensor
    lengths: np.ndarray

    def __init__(
        self, data: Any, batch_sizes: Any = None, sorted_indices: Any = None, unsorted_indices: Any = None
    ) -> None:
        if batch_sizes is None:
            if not isinstance(data, (tuple, list)) or len(data) != 2:
                raise TypeError(f"PackedSequence: expected data and batch_sizes, got {type(data).__name__} alone")
            data, batch_sizes = data
        data = own_tensor(data, "PackedSequence: data")
        sizes = _whole_numbers("PackedSequence: batch_sizes", batch_sizes)
        fits = sizes.size and sizes[-1] > 0 and (np.diff(sizes) <= 0).all()
        if not fits or data.shape[:1] != (sizes.sum(),):
            raise ValueError(
                f"PackedSequence: batch_sizes: expected falling numbers above 0 that add up to the rows of data, "
                f"got {sizes.tolist()} for data of shape {data.shape}"
            )
        self._order = _order(sorted_indices, unsorted_indices, int(sizes[0]))
        order = np.arange(sizes[0]) if self._order is None else self._order
        self.lengths = np.empty_like(order)
        self.lengths[order] = (sizes[:, None] > np.arange(sizes[0])).sum(0)
        self.padded = _spread(data, _rows_of(self.lengths, order))

    @classmethod
    def _of(cls, padded: Tensor, lengths: np.ndarray, order: np.ndarray | None) -> PackedSequence:
        """Return the sequences [T, N, ...] of these lengths. order: as `sorted_indices`."""
        found = cls.__new__(cls)
        found.padded, found.lengths, found._order = padded, lengths, order
        return found

    def _with_padded(self, padded: Tensor) -> PackedSequence:
        """Return other elements at the same positions: padded [T, N, ...]."""
        return self._of(padded, self.lengths, self._order)

    @property
    def data(self) -> Tensor:
        """All elements without padding, [sum of lengths, ...]: the first of each sequence, longest sequence first, then
        the second of each, and so on. Each access gathers them again, and gradients pass through.
        """
        order = np.arange(len(self.lengths)) if self._order is None else self._order
        rows = _rows_of(self.lengths, order)
        positions = np.argsort(rows, None, kind="stable")[: self.lengths.sum()]  # padding has the greatest number
        return _take(self.padded, 2, positions)

    @property
    def batch_sizes(self) -> Tensor:
        """The number of sequences that have a t-th element, int64 [T] on the CPU."""
        return Tensor((self.lengths > np.arange(self.lengths.max())[:, None]).sum(1))

    @property
    def sorted_indices(self) -> Tensor | None:
        """The numbers of the sequences, longest first, int64 [N]; None where they came in that order."""
        return None if self._order is None else Tensor(self._order).to(self.padded.device)

    @property
    def unsorted_indices(self) -> Tensor | None:
        """The inverse permutation of `sorted_indices`; None where that is None."""
        return None if self._order is None else Tensor(np.argsort(self._order)).to(self.padded.device)

    def __iter__(self) -> Iterator[Any]:
        return iter((self.data, self.batch_sizes, self.sorted_indices, self.unsorted_indices))

    def _replace(self, **fields: Any) -> PackedSequence:
        """Return a PackedSequence in which the named fields are others, as a named tuple's method does."""
        old = dict(zip(("data", "batch_sizes", "sorted_indices", "unsorted_indices"), self))
        return PackedSequence(**{**old, **fields})

    def to(self, *targets: Any, **named: Any) -> PackedSequence:
        """Return the sequences in another dtype or on another device: see `Tensor.to`."""
        return self._with_padded(self.padded.to(*targets, **named))

    def cpu(self) -> PackedSequence:
        """Return the sequences on the CPU."""
        return self.to("cpu")

    def cuda(self, device: Any = "cuda") -> PackedSequence:
        """Return the sequences on a GPU, given by its name or number; the current one by default."""
        return self._with_padded(self.padded.cuda(device))

    def __repr__(self) -> str:
        return f"PackedSequence(padded {self.padded.dtype} {self.padded.shape}, lengths={self.lengths.tolist()})"


def pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Return padded sequences and their lengths as one PackedSequence.

    input: [T, N, ...], or [N, T, ...] with batch_first; the steps past the greatest length are cut off.
    lengths: N whole numbers from 1 to T. 0 is refused, as `data` has no row of such a sequence; the argument
        `lengths=` of the layers allows it.
    enforce_sorted: lengths never rise. With False any order is allowed; results come in the order of the input.

    Raises RuntimeError for lengths that rise with enforce_sorted, ValueError or TypeError for others that do not fit.
    """
    name = "pack_padded_sequence"
    padded, found = _padded_and_lengths(name, own_tensor(input, f"{name}: input"), lengths, batch_first)
    if not found.size or found.min() < 1:
        got = f"{found.min()} at position {found.argmin()}" if found.size else "no sequence"
        raise ValueError(
            f"{name}: lengths: expected at least one sequence, and numbers from 1 up, got {got}: "
            "a recurrent layer's argument `lengths` allows 0"
        )
    rises = np.flatnonzero(np.diff(found) > 0)
    if enforce_sorted and rises.size:
        k = rises[0]
        raise RuntimeError(
            f"{name}: lengths: expected numbers that never rise, as enforce_sorted=True says, "
            f"got {found[k]} before {found[k + 1]}: pass enforce_sorted=False for sequences in any order"
        )
    order = None if enforce_sorted else np.argsort(-found, kind="stable")
    return PackedSequence._of(padded[: int(found.max())], found, order)


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return (padded, lengths) of a PackedSequence: the inverse of `pack_padded_sequence`.

    padded: [T, N, ...], or [N, T, ...] with batch_first, padding_value past each end; T is total_length, by default
    the greatest length. lengths: int64 [N]. Both are in the order in which the sequences were packed.
    Raises TypeError for what is no PackedSequence, ValueError for a total_length below the greatest length.
    """
    if not isinstance(sequence, PackedSequence):
        got = type(sequence).__name__
        raise TypeError(f"pad_packed_sequence: sequence: expected a PackedSequence, got {got}")
    padded, lengths = sequence.padded, sequence.lengths
    past = np.arange(len(padded))[:, None] >= lengths
    if past.any():
        mask = past.reshape(*past.shape, *[1] * (padded.ndim - 2))
        padded = masked_fill(padded, array_like(mask, padded), padding_value)
    if total_length is not None:
        more = as_int("pad_packed_sequence: total_length", total_length) - len(padded)
        if more < 0:
            raise ValueError(
                f"pad_packed_sequence: total_length: expected at least the greatest length, {len(padded)}, "
                f"got {total_length}"
            )
        padded = pad(padded, [0, 0] * (padded.ndim - 1) + [0, more], padding_value) if more else padded
    return transpose(padded, 0, 1) if batch_first else padded, Tensor(lengths.copy())


def pad_sequence(
    sequences: Iterable[Any], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Return sequences of unequal length as one tensor, padded to the greatest length T.

    sequences: N tensors [length, ...] of one dtype, equal in all dimensions but the first. The result is [T, N, ...],
    or [N, T, ...] with batch_first. padding_side: "right" pads the end, "left" the start. Gradients pass.
    Raises ValueError for no sequence or unequal shapes, TypeError for unequal dtypes.
    """
    if padding_side not in ("right", "left"):
        raise ValueError(f"pad_sequence: padding_side: expected 'right' or 'left', got {padding_side!r}")
    xs = _sequences("pad_sequence", sequences)
    lengths = np.array([len(x) for x in xs])
    longest = lengths.max()
    step = np.arange(longest) - (longest - lengths[:, None] if padding_side == "left" else 0)
    first = np.cumsum(lengths) - lengths
    rows = np.where((step >= 0) & (step < lengths[:, None]), first[:, None] + step, lengths.sum())
    return _spread(concat(xs), rows if batch_first else rows.T, padding_value)


def pack_sequence(sequences: Iterable[Any], enforce_sorted: bool = True) -> PackedSequence:
    """Return sequences of unequal length, each [length, ...], as one PackedSequence.

    Arguments and errors are those of `pad_sequence` and `pack_padded_sequence`.
    """
    xs = _sequences("pack_sequence", sequences)
    return pack_padded_sequence(pad_sequence(xs), [len(x) for x in xs], enforce_sorted=enforce_sorted)


def unpad_sequence(padded_sequences: Any, lengths: Any, batch_first: bool = False) -> list[Tensor]:
    """Return the sequences of a padded tensor without their padding: N tensors [length, ...].

    padded_sequences: [T, N, ...], or [N, T, ...] with batch_first. lengths: N whole numbers from 0 to T.
    Raises ValueError or TypeError for lengths that do not fit.
    """
    name = "unpad_sequence"
    padded = as_tensor(padded_sequences, f"{name}: padded_sequences")
    padded, found = _padded_and_lengths(name, padded, lengths, batch_first)
    return [x[:n] for x, n in zip(unbind(padded, 1), found.tolist())]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """Return the sequences of a PackedSequence: N tensors [length, ...], in the order in which they were packed."""
    return unpad_sequence(*pad_packed_sequence(packed_sequences))


def _sequences(name: str, sequences: Iterable[Any]) -> list[Tensor]:
    """Return sequences as tensors. Raise the errors of `pad_sequence`."""
    if isinstance(sequences, (str, bytes, dict)) or not isinstance(sequences, Iterable):
        raise TypeError(f"{name}: sequences: expected a list of tensors, got {type(sequences).__name__}")
    xs = [own_tensor(x, f"{name}: sequences[{i}]") for i, x in enumerate(sequences)]
    if not xs:
        raise ValueError(f"{name}: sequences: expected at least one, got none")
    for i, x in enumerate(xs):
        if not x.ndim or x.shape[1:] != xs[0].shape[1:]:
            wanted = f"[length, {', '.join(map(str, xs[0].shape[1:]))}]" if xs[0].ndim > 1 else "[length]"
            raise ValueError(f"{name}: sequences[{i}]: expected shape {wanted}, got {x.shape}")
        if x.dtype != xs[0].dtype:
            raise TypeError(f"{name}: sequences[{i}]: expected {xs[0].dtype} as the first is, got {x.dtype}")
    return xs


def _padded_and_lengths(name: str, x: Tensor, lengths: Any, batch_first: bool) -> tuple[Tensor, np.ndarray]:
    """Return padded sequences as [T, N, ...], and their lengths, checked to be N whole numbers from 0 to T."""
    if x.ndim < 2:
        raise ValueError(f"{name}: expected a padded tensor of at least two dimensions, got shape {x.shape}")
    x = transpose(x, 0, 1) if batch_first else x
    found = _whole_numbers(f"{name}: lengths", lengths)
    if len(found) != x.shape[1]:
        raise ValueError(f"{name}: lengths: expected {x.shape[1]}, one for each sequence, got {len(found)}")
    if found.size and not 0 <= found.min() <= found.max() <= len(x):
        raise ValueError(f"{name}: lengths: expected numbers from 0 to {len(x)}, got {found.min()} to {found.max()}")
    return x, found


def _whole_numbers(name: str, values: Any) -> np.ndarray:
    """Return a row of whole numbers as an int64 array of its own."""
    found = to_numpy(values, name, any_dtype=True)
    if found.ndim != 1 or found.size and found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected a row of whole numbers, got {found.dtype} of shape {found.shape}")
    return found.astype(np.int64)


def _order(sorted_indices: Any, unsorted_indices: Any, n: int) -> np.ndarray | None:
    """Return the numbers of n sequences, longest first, from PyTorch's fields; None where both are None."""
    given = {"sorted_indices": sorted_indices, "unsorted_indices": unsorted_indices}
    for name, value in given.items():
        if value is None:
            continue
        found = _whole_numbers(f"PackedSequence: {name}", value)
        if not np.array_equal(np.sort(found), np.arange(n)):
            raise ValueError(f"PackedSequence: {name}: expected each of 0 to {n - 1} once, got {found.tolist()}")
        return found if name == "sorted_indices" else np.argsort(found)
    return None


def _rows_of(lengths: np.ndarray, order: np.ndarray) -> np.ndarray:
    """Return the row of `data` that holds the element at each position [T, N]; the number of rows for padding."""
    real = np.arange(lengths.max())[:, None] < lengths[order]
    rows = np.empty(real.shape, np.int64)
    rows[:, order] = np.where(real, np.cumsum(real).reshape(real.shape) - 1, real.sum())
    return rows


def _spread(rows: Tensor, at: np.ndarray, value: float = 0.0) -> Tensor:
    """Return rows [K, ...] at the positions that `at` [A, B] names: [A, B, ...], with `value` where `at` has K."""
    border = new_zeros(rows, (1, *rows.shape[1:]))
    border.fill(value)
    return _take(concat([rows, Tensor(border)]), 1, at)


def _take(x: Tensor, dims: int, at: np.ndarray) -> Tensor:
    """Return the elements of x at positions within its first dimensions, made one: [*at.shape, ...]."""
    rest = x.shape[dims:]
    flat = reshape(x, (math.prod(x.shape[:dims]), math.prod(rest)))
    return reshape(embedding(at, flat), (*at.shape, *rest))
