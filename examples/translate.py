"""Translation from English to Korean: an encoder, a decoder with attention, and beam search.

The model reads characters in both directions, and writes the letters that Korean syllables consist of. The sentences
are short: names of emoji and texts of a user interface (`sentences.py`). Bahdanau, Cho and Bengio, Neural machine
translation by jointly learning to align and translate (2015).

    pip install 'tinygrad_rnn[examples]'
    python examples/translate.py --plot alignment.png
"""

from __future__ import annotations

import argparse

import numpy as np
import pictures
import sentences
from sentences import END, FIRST, PAD, START, chrf, composed, encode

import tinygrad_rnn as tg
from tinygrad_rnn import decode, nn, optim


class Translator(nn.Module):
    """A bidirectional GRU over the source, and a GRU over the target that attends to it."""

    def __init__(self, source: int, target: int, size: int):
        super().__init__()
        self.read, self.write = nn.Embedding(source, size), nn.Embedding(target, size)
        self.encoder, self.begin = nn.GRU(size, size, bidirectional=True), nn.Linear(2 * size, size)
        self.decoder, self.out = nn.AttentionDecoder("gru", size, size, 2 * size, inside=True), nn.Linear(size, target)
        self.dropout = nn.Dropout(0.1)

    def encode(self, ids: tg.Tensor, lengths: np.ndarray) -> tuple:
        """Return the decoder's first state and the memory that it attends to."""
        values, h = self.encoder(self.dropout(self.read(ids)), lengths=lengths)
        return self.begin(tg.concat([h[0], h[1]], 1)).tanh().unsqueeze(0), self.decoder.memorize(values, lengths)

    def forward(self, ids: tg.Tensor, state: tuple) -> tuple:
        """Return the logits of the characters that follow ids [T, N], the next state, and the attention weights."""
        output, h, weights, _ = self.decoder(self.dropout(self.write(ids)), state[1], state[0])
        return self.out(self.dropout(output)), (h, state[1]), weights

    def step(self, ids: tg.Tensor, state: tuple) -> tuple:
        """Return (logits [N, V], state) after one character of each row, for `decode`."""
        logits, state, _ = self(ids.reshape(1, -1), state)
        return logits[0], state


def logits_of(model: Translator, batch: list, source: dict[str, int], target: dict[str, int]) -> tuple:
    """Return the logits [T N, V] of the letters of a batch, each predicted from those before it, and the ids [T N]."""
    english, korean = zip(*batch)
    ids, _ = encode(target, korean, end=True)
    before = tg.concat([tg.full((1, ids.shape[1]), START, dtype="int64"), ids[:-1]])
    logits, _, _ = model(before, model.encode(*encode(source, english)))
    return logits.reshape(-1, logits.shape[2]), ids.reshape(-1)


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the chrF of the translations of sentences that were held out."""
    options = argparse.ArgumentParser(description="Translation from English to Korean with attention.")
    options.add_argument("--epochs", type=int, default=24, help="times through the sentences (default: 24)")
    options.add_argument("--limit", type=int, default=10**6, help="use only so many sentences (default: all)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and order (default: 0)")
    options.add_argument("--plot", metavar="FILE", help="draw the attention of one translation (PNG)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    rng = np.random.default_rng(args.seed)
    pairs = sentences.pairs()
    pairs = [pairs[k] for k in rng.permutation(len(pairs))[: args.limit]]
    held_out, train = pairs[: len(pairs) // 12], sorted(pairs[len(pairs) // 12 :], key=lambda pair: len(pair[0]))
    source, target = ({c: i for i, c in enumerate(sorted({*"".join(side)}), FIRST)} for side in zip(*train))
    model = Translator(len(source) + FIRST, len(target) + FIRST, 128)
    optimizer, steps = optim.Adam(model.parameters(), lr=4e-3), -(-len(train) // 64)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs * steps)
    for epoch in range(1, args.epochs + 1):
        losses = []
        for k in rng.permutation(steps):  # batches of similar length
            logits, ids = logits_of(model, train[64 * k : 64 * k + 64], source, target)
            loss = nn.functional.cross_entropy(logits, ids, ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch:3}  loss {np.mean(losses):.3f}", flush=True)

    model.eval()
    english, korean = zip(*held_out)
    with tg.no_grad():
        state = model.encode(*encode(source, english))
    found = decode.beam_search(model.step, state, [START] * len(english), 80, END, width=4, batch_dim=(1, 0))
    letters = dict(zip(target.values(), target))
    texts, expected = [["".join(letters.get(i, "") for i in ids) for ids in found.ids[:, 0].tolist()], list(korean)]
    if args.plot:
        k = max(range(20), key=lambda k: len(english[k]))
        before = tg.concat([tg.tensor([[START]]), encode(target, [texts[k]])[0]])
        weights = model(before, model.encode(*encode(source, [english[k]])))[2].detach().numpy()[:, 0]
        pictures.alignment(args.plot, english[k], [*sentences.names(texts[k]), "end"], weights)
    score = chrf(texts, expected)
    for k in range(6):
        print(f"  {english[k]} -> {composed(texts[k])} ({composed(expected[k])})")
    print(f"chrF of {len(texts)} new sentences: {score:.1f}; of the English itself: {chrf(english, expected):.1f}")
    return score


if __name__ == "__main__":
    if main() < 20:
        raise SystemExit("the model did not learn to translate: expected a chrF of 20 at least")
