"""Claims on what a trained network remembers, counts, and does with longer sequences than it was trained on."""

from __future__ import annotations

import numpy as np

from .. import nn
from ..autograd.grad_modes import no_grad
from ..tensor.creation import tensor
from .finding import Curves, Finding, Progress, claim, figure
from .gradients import LAYERS
from .training import Reader, accuracy, balanced, first_symbol, majority, one_hot, train


@claim("any-length", "A recurrent network can process sequences of any length.")
def any_length(seed: int, progress: Progress) -> Finding:
    lengths, rows, curves = (11, 21, 51, 101, 401), [], {}
    for task, batch in {"first bit": first_symbol, "most frequent bit": majority}.items():
        for name in ("RNN", "GRU", "LSTM"):
            label = f"{name}, {task}"
            progress(label)
            generator = np.random.default_rng(seed)
            model = Reader(LAYERS[name](1, 16), 2)
            train(model, lambda: batch(generator, 11), 300, 1e-2)  # noqa: B023  called at once
            found = [accuracy(model, batch(generator, length, 500)) for length in lengths]
            rows.append((label, *map(figure, found)))
            curves[label] = (lengths, found)
    return Finding(
        ("layer, and the bit of T to name", *(f"T = {length}" for length in lengths)),
        rows,
        "qualified",
        "All run at any length with the weights learned at T = 11. Whether they still answer right depends on what "
        "they learned there: a state that stays for ever does; a count that saturates does not, nor a state that "
        "turns over (with some seeds that of an RNN, then below 1/2). 1/2 is chance.",
        Curves("T", "right answers", curves, log="x"),
    )


@claim("counter-cells", "The cells c of an LSTM are best thought of as counters.")
def counter_cells(seed: int, progress: Progress) -> Finding:
    generator = np.random.default_rng(seed)
    model = Reader(nn.LSTM(3, 8, return_states=True), 3)
    progress("training")
    train(model, lambda: balanced(generator, 1, 12), 1200, 1e-2)
    ids = np.repeat([0, 1], 12)[:, None]
    with no_grad():
        _, _, (_, c) = model.layer(tensor(one_hot(ids, 3)))
    cells, count = c.numpy()[0, :, 0], np.where(ids[:, 0] == 0, 1, -1).cumsum()
    fit = np.array([np.corrcoef(cells[:, k], count)[0, 1] for k in range(8)])
    best, rows = int(np.abs(fit).argmax()), []
    rows.append(("largest |correlation| of a cell with #a - #b", figure(abs(fit[best]))))
    rows.append(("cells with |correlation| above .9", f"{(np.abs(fit) > 0.9).sum()} of 8"))
    moves = np.diff(cells[:, best])
    rows.append(
        ("change of that cell for each a, mean and spread", f"{moves[:11].mean():.2f} ± {moves[:11].std():.2f}")
    )
    rows.append(
        ("change of that cell for each b, mean and spread", f"{moves[11:].mean():.2f} ± {moves[11:].std():.2f}")
    )
    for n in (6, 12, 16, 24, 48):
        rows.append((f"end of a^n b^n found, n = {n}", "yes" if _finds_end(model, n) else "no"))
    curves = {
        f"cell {k + 1}{', the counter' * (k == best)}": (np.arange(1, 25), cells[:, k])
        for k in range(8)
        if k == best or abs(fit[k]) < 0.6
    }
    return Finding(
        ("LSTM of 8 units trained on a^n b^n, n up to 12", "value"),
        rows,
        "qualified",
        "The training makes counters where the task needs one: a cell moves one way for each a and back for each b. "
        "The other cells hold something else, the steps of the counter are not equal, and so it miscounts beyond "
        "some length.",
        Curves("symbol of a^12 b^12", "c", curves),
    )


def _finds_end(model: Reader, n: int) -> bool:
    """Return whether the model expects a b after each b of a^n b^n but the last, and the end mark after that one."""
    ids = np.repeat([0, 1], n)[:, None]
    with no_grad():
        expected = model(tensor(one_hot(ids, 3))).numpy()[:, 0].argmax(-1)
    return bool((expected[n:-1] == 1).all() and expected[-1] == 2)
