"""Training in PyTorch and here, from the same weights and batches, gives the same losses at each step."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

torch = pytest.importorskip("torch", reason="parity is tested where PyTorch is installed (extra 'peers')")
torch.set_num_threads(1)  # the models are small, so more threads would only wait for each other

VOCABULARY, EMBEDDED, HIDDEN, CHUNK, BATCH, CLIP = 20, 12, 24, 16, 8, 0.3


def text(steps, seed=0):
    """Return consecutive [CHUNK, BATCH] windows of a Markov chain, which a model can learn, and their targets."""
    rng = np.random.default_rng(seed)
    table = rng.permutation(VOCABULARY)
    tokens = rng.integers(0, VOCABULARY, (1, BATCH))
    for _ in range(steps * CHUNK):
        surprise = rng.integers(0, VOCABULARY, BATCH)
        tokens = np.concatenate([tokens, np.where(rng.random(BATCH) < 0.1, surprise, table[tokens[-1]])[None]])
    return [(tokens[t : t + CHUNK], tokens[t + 1 : t + CHUNK + 1]) for t in range(0, steps * CHUNK, CHUNK)]


def language_model(library, base, kind, layers):
    """Return the same model, made with the `nn` of a library."""

    class Model(base):
        def __init__(self):
            super().__init__()
            self.embedding = library.Embedding(VOCABULARY, EMBEDDED)
            self.rnn = getattr(library, kind)(EMBEDDED, HIDDEN, layers)
            self.decoder = library.Linear(HIDDEN, VOCABULARY)

        def forward(self, tokens, state):
            output, state = self.rnn(self.embedding(tokens), state)
            return self.decoder(output), state

    return Model()


def train(model, library, optimizer, batches, to_tensor, cross_entropy, clip):
    """Train with a state that goes from chunk to chunk. Return the loss and the gradient's norm of every step."""
    history, state = [], None
    for tokens, targets in batches:
        logits, state = model(to_tensor(tokens), state)
        state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = cross_entropy(logits.reshape(-1, VOCABULARY), to_tensor(targets).reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        norm = library.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        history.append((loss.item(), float(norm)))
    return np.array(history)


@pytest.mark.parametrize(
    "kind, layers, steps, optimizer",
    [
        ("LSTM", 2, 50, lambda library, p: library.Adam(p, lr=0.01)),
        ("GRU", 1, 25, lambda library, p: library.SGD(p, lr=0.5, momentum=0.9)),
        ("RNN", 1, 25, lambda library, p: library.Adam(p, lr=0.01)),
    ],
    ids=["lstm-adam", "gru-momentum", "rnn-adam"],
)
def test_losses_are_those_of_pytorch(kind, layers, steps, optimizer):
    torch.manual_seed(0)
    theirs = language_model(torch.nn, torch.nn.Module, kind, layers)
    ours = language_model(nn, nn.Module, kind, layers)
    ours.load_state_dict(theirs.state_dict())
    batches = text(steps)
    found = train(ours, nn, optimizer(optim, ours.parameters()), batches, tg.tensor, nn.functional.cross_entropy, CLIP)
    wanted = train(
        theirs, torch.nn, optimizer(torch.optim, theirs.parameters()), batches, torch.tensor,
        torch.nn.functional.cross_entropy, CLIP,
    )  # fmt: skip
    np.testing.assert_allclose(found[:, 0], wanted[:, 0], 1e-4)
    np.testing.assert_allclose(found[:, 1], wanted[:, 1], 1e-3)
    assert wanted[-1, 0] < 0.9 * wanted[0, 0], "nothing was learned: the comparison shows little"
    assert wanted[:, 1].max() > CLIP, "no gradient was ever clipped"
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(ours.state_dict()[name].numpy(), p.detach().numpy(), 1e-2, 2e-4, err_msg=name)
