"""Tokens, words or characters or whatever can be hashed, to ids and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..arrays.device import to_numpy
from .text import TextError


class Vocabulary:
    """An ordered set of tokens; a token's id is its index.

    tokens: characters, as one str, or any iterable of hashable tokens, for example words. A vocabulary made from a str
        is one of characters: `encode` takes a text, and `decode` returns one. Any other encodes and decodes sequences.
    specials: tokens for padding, start, end and the like, which come first; one of them in `tokens` is skipped there.
    unknown: the token that stands for all others, None for an error; where no special, it comes after those.

    The attribute `tokens` has all tokens in their order, `specials` those that came first: Vocabulary(v.tokens,
    v.specials, v.unknown) equals v, or with "".join(v.tokens) for a vocabulary of characters without specials.
    `len`, `in` and iteration go over the tokens; v[token] is an id.
    Raises TextError for a token that comes twice, and for fewer than two tokens.
    """

    def __init__(self, tokens: Iterable[Hashable], specials: Iterable[Hashable] = (), unknown: Hashable = None):
        first = _first_tokens(specials, unknown)
        self.of_characters = isinstance(tokens, str)
        self.specials, self.unknown = tuple(first), unknown
        self.tokens = (*first, *(token for token in tokens if token not in first))
        self._ids = {token: i for i, token in enumerate(self.tokens)}
        kind = "character" if self.of_characters else "token"
        if len(self._ids) != len(self.tokens):
            raise TextError(f"vocabulary: expected every {kind} once, got one of them again")
        if len(self) < 2:
            raise TextError(f"vocabulary: expected at least 2 different {kind}s, got {len(self)}")

    @classmethod
    def of(cls, text: str, specials: Iterable[Hashable] = (), unknown: Hashable = None) -> Vocabulary:
        """Return the vocabulary of a text's characters, ordered by code point."""
        return cls("".join(sorted(set(text))), specials, unknown)

    @classmethod
    def build(
        cls,
        sequences: Iterable[Iterable[Hashable]],
        min_count: int = 1,
        max_size: int | None = None,
        specials: Iterable[Hashable] = (),
        unknown: Hashable = None,
    ) -> Vocabulary:
        """Return the vocabulary of the tokens in all sequences, the most frequent first.

        Of equally frequent tokens the earlier comes first.
        min_count: leave out tokens that come less often. max_size: keep this many tokens at most, specials and unknown
        among them, which are always kept. specials, unknown: as in the class, for example ("<pad>",) and "<unk>".
        Raises ValueError for a count or size that is not allowed, TypeError for a str in place of a sequence of tokens.
        """
        if min_count < 1:
            raise ValueError(f"Vocabulary.build: min_count: expected a number from 1 up, got {min_count!r}")
        first = _first_tokens(specials, unknown)
        room = None if max_size is None else max_size - len(first)
        if room is not None and room < 0:
            raise ValueError(f"Vocabulary.build: max_size: expected room for {len(first)} specials, got {max_size!r}")
        counts = Counter[Hashable]()
        for sequence in sequences:
            if isinstance(sequence, str):
                got = f"got the str {sequence[:40]!r}: split it into words, or take list(text) for characters"
                raise TypeError(f"Vocabulary.build: sequences: expected sequences of tokens, {got}")
            counts.update(sequence)
        kept = [token for token, n in counts.most_common() if n >= min_count and token not in first]
        return cls(kept[:room], first, unknown)

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tokens)

    def __contains__(self, token: Hashable) -> bool:
        return token in self._ids

    def __getitem__(self, token: Hashable) -> int:
        """Return the id of a token, or that of `unknown`. Raise KeyError where there is neither."""
        if token not in self._ids and self.unknown is None:
            raise KeyError(f"vocabulary: expected one of its {len(self)} tokens, got {token!r}")
        return self._ids[token if token in self._ids else self.unknown]

    def __eq__(self, other: object) -> bool:
        of = lambda v: (v.tokens, v.specials, v.unknown, v.of_characters)
        return isinstance(other, Vocabulary) and of(self) == of(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        kind = "characters" if self.of_characters else "tokens"
        return f"Vocabulary({len(self)} {kind}, specials={self.specials!r}, unknown={self.unknown!r})"

    @cached_property
    def characters(self) -> str:
        """The tokens of a vocabulary of characters as one text."""
        return "".join(map(str, self.tokens))

    @property
    def dtype(self) -> np.dtype:
        """The smallest integer dtype that holds every id: one byte for up to 256 tokens."""
        return np.min_scalar_type(len(self) - 1)

    def encode(self, text: Iterable[Hashable], name: str = "text", dtype: Any = np.int64) -> np.ndarray:
        """Return the ids of a text's characters or of a sequence's tokens, [len(text)].

        name: of the text, for errors. dtype: the dtype of the ids. The attribute `dtype` of a small vocabulary needs an
        eighth of int64's memory. Raises TextError that names the first unknown token, unless there is `unknown`, and
        TypeError for a str that a vocabulary of other tokens would read character by character.
        """
        if isinstance(text, str) and not self.of_characters:
            raise TypeError(f"{name}: expected a sequence of tokens, got the str {text[:40]!r}: split it first")
        tokens = text if isinstance(text, Sequence) else list(text)
        try:
            if self.unknown is None:
                return np.fromiter(map(self._ids.__getitem__, tokens), dtype, len(tokens))
            other = self._ids[self.unknown]
            return np.fromiter((self._ids.get(token, other) for token in tokens), dtype, len(tokens))
        except KeyError:
            at = next(i for i, token in enumerate(tokens) if token not in self._ids)
        token, kind = tokens[at], "characters" if self.of_characters else "tokens"
        got = f"{token!a} (U+{ord(token):04X})" if isinstance(token, str) and len(token) == 1 else repr(token)
        raise TextError(f"{name}: expected {kind} of the vocabulary ({len(self)} of them), got {got} at position {at}")

    def decode(self, ids: Any) -> Any:
        """Return the tokens of a row of ids as a list; of a vocabulary of characters the text.

        Raises TextError for an id that no token has.
        """
        try:
            found = to_numpy(ids if hasattr(ids, "shape") else list(ids), "ids", any_dtype=True)
            if found.ndim != 1 or found.size and found.dtype.kind not in "iu":
                raise TypeError(f"got {found.dtype} of shape {found.shape}")
        except TypeError as error:
            raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1} ({error})") from None
        wrong = found[(found < 0) | (found >= len(self))]
        if wrong.size:
            raise TextError(f"ids: expected whole numbers from 0 to {len(self) - 1}, got {wrong[0]}")
        tokens = [self.tokens[i] for i in found.tolist()]
        return "".join(map(str, tokens)) if self.of_characters else tokens


def _first_tokens(specials: Iterable[Hashable], unknown: Hashable) -> dict[Hashable, None]:
    """Return the tokens that come first, as keys in their order: the specials, and `unknown` unless it is None."""
    if isinstance(specials, str):
        raise TypeError(f"Vocabulary: specials: expected a list of tokens, got the str {specials!r}")
    first = dict.fromkeys(specials)
    return first if unknown is None else first | {unknown: None}
