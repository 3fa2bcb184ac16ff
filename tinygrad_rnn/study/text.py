"""Claims on text: embeddings, generation, depth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import nn
from ..autograd.grad_modes import no_grad
from ..data import Vocabulary, default_text
from ..tensor import Tensor
from ..tensor.creation import tensor
from .finding import Curves, Finding, Progress, claim, figure, gradient_of
from .training import Batch, one_hot, train

LETTERS = 200_000  # of the text that is learned
GENERATED = 1600  # characters of each generated text; a loop of a quarter of them is found


class Characters(nn.Module):
    """A small character model: embedding, recurrent layers, linear layer."""

    def __init__(self, size: int, hidden: int, layers: int):
        super().__init__()
        self.embedding = nn.Embedding(size, 32)
        self.layer, self.linear = nn.GRU(32, hidden, layers), nn.Linear(hidden, size)

    def forward(self, ids: Any, state: Any = None) -> Tensor:
        """Return the scores [T, N, size] of each next character."""
        return self.linear(self.layer(self.embedding(ids), state)[0])


def _batches(ids: np.ndarray, generator: np.random.Generator, steps: int = 40, count: int = 32) -> Any:
    def batch() -> Batch:
        start = generator.integers(0, len(ids) - steps - 1, count)
        place = start + np.arange(steps + 1)[:, None]
        return ids[place[:-1]], ids[place[1:]]

    return batch


def _text() -> tuple[Vocabulary, np.ndarray, np.ndarray]:
    """Return the vocabulary, the ids to learn and the ids held out, of Python's language reference in small letters."""
    text = default_text().lower()[: LETTERS + 20_000]
    vocabulary = Vocabulary.of(text)
    ids = vocabulary.encode(text)
    return vocabulary, ids[:LETTERS], ids[LETTERS:]


@claim("embedding-product", "An embedding gives the product of its matrix with a one-hot vector.")
def embedding_product(seed: int, progress: Progress) -> Finding:
    ids = np.random.default_rng(seed).integers(0, 1000, (50, 32))
    weight = nn.Embedding(1000, 64).weight
    cotangent = np.random.default_rng(seed).standard_normal((50, 32, 64)).astype("f")
    results = []
    for by_product in (False, True):
        weight.grad = None
        looked_up = tensor(one_hot(ids, 1000)) @ weight if by_product else nn.functional.embedding(tensor(ids), weight)
        (looked_up * tensor(cotangent)).sum().backward()
        results.append((looked_up.detach().numpy(), gradient_of(weight).copy()))
    (found, gradient), (product, other) = results
    equal = int((found.view("i4") == product.view("i4")).sum())
    error = float(np.abs(gradient - other).max() / np.abs(other).max())
    same = equal == found.size
    return Finding(
        ("figure", "value"),
        [
            ("numbers that are equal to the last bit", f"{equal} of {found.size}"),
            ("largest difference of the gradients, relative", figure(error, 2)),
            ("bytes of one-hot vectors that the embedding saves", f"{one_hot(ids, 1000).nbytes:,}"),
        ],
        "confirmed" if same else "qualified",
        "Each number of the product is one weight times 1, plus zeros, so nothing is rounded. With vectors as rows the "
        "product extracts a row of the matrix, with vectors as columns a column.",
    )


def _generate(model: Characters, first: int, count: int, choose: Any) -> Iterator[int]:
    """Yield characters that the model continues with; choose: a function of the scores [size]."""
    state, character = None, first
    with no_grad():
        for _ in range(count):
            output, state = model.layer(model.embedding(tensor(np.array([[character]]))), state)
            character = int(choose(model.linear(output).numpy()[0, 0]))
            yield character


def period(ids: np.ndarray) -> int:
    """Return the shortest period of the last half of a sequence that fits into it twice, or 0 if it has none."""
    tail = ids[len(ids) // 2 :]
    return next((p for p in range(1, len(tail) // 2 + 1) if (tail[p:] == tail[:-p]).all()), 0)


@claim(
    "argmax-loops", "Sampling gives diverse text; taking the most probable character each time is the stable choice."
)
def argmax_loops(seed: int, progress: Progress) -> Finding:
    vocabulary, ids, _ = _text()
    generator = np.random.default_rng(seed)
    model = Characters(len(vocabulary), 96, 1)
    progress("training")
    train(model, _batches(ids, generator), 1500)
    softmax = lambda scores: np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    ways = {
        "most probable": np.argmax,
        "sampled, temperature 0.5": lambda scores: generator.choice(len(scores), p=softmax(scores.astype("d") / 0.5)),
        "sampled, temperature 1": lambda scores: generator.choice(len(scores), p=softmax(scores.astype("d"))),
    }
    rows, starts = [], vocabulary.encode("aeilnost")
    for name, choose in ways.items():
        progress(name)
        texts = [np.fromiter(_generate(model, first, GENERATED, choose), int) for first in starts]
        periods = [period(text) for text in texts]
        grams = [len({tuple(text[k : k + 4]) for k in range(len(text) - 3)}) for text in texts]
        loops = sorted({p for p in periods if p})
        lengths = ", ".join(map(str, loops)) or "none"
        rows.append((name, f"{np.count_nonzero(periods)} of {len(texts)}", lengths, f"{np.mean(grams):,.0f}"))
    return Finding(
        ("next character", "texts that end in a loop", "periods of the loops", f"different 4-grams of {GENERATED - 3}"),
        rows,
        "qualified",
        "Sampling is diverse, as claimed. The other choice is stable in a sense that nobody wants: it repeats itself. "
        "It is a function of the state alone, so a text whose state comes back stays in a loop for ever. A low "
        "temperature is between the two.",
    )


@claim("depth", "Two to four recurrent layers are usual; more seldom help.")
def depth(seed: int, progress: Progress) -> Finding:
    vocabulary, ids, held_out = _text()
    depths, steps, rows, curves = (1, 2, 4, 8), 500, [], []
    for layers in depths:
        progress(f"{layers} layers")
        model = Characters(len(vocabulary), 64, layers)
        loss = train(model, _batches(ids, np.random.default_rng(seed)), steps)
        with no_grad():
            scores = model(tensor(held_out[:-1].reshape(-1, 1)[:19_200].reshape(-1, 480).T.copy()))
            target = held_out[1:19_201].reshape(-1, 480).T.reshape(-1)
            bits = nn.functional.cross_entropy(scores.reshape(len(target), -1), tensor(target.copy())).item() / np.log(
                2
            )
        curves.append(bits)
        count = sum(p.numel() for p in model.parameters())
        rows.append((str(layers), f"{count:,}", f"{loss / np.log(2):.2f}", f"{bits:.2f}"))
    best, least = depths[int(np.argmin(curves))], depths[int(np.argmax(curves))]
    return Finding(
        ("layers", "parameters", "bits per character, training", "held out"),
        rows,
        "qualified",
        f"After {steps} steps with one learning rate the best depth is {best}, and {least} has learned least. Deep "
        "stacks start slower: this short training does not show what eight layers reach in the end.",
        Curves("layers", "bits per character, held out", {"GRU of 64": (depths, curves)}),
    )
