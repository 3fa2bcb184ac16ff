"""The first example of a recurrent network: learn to write "hello", letter by letter.

The letters come as one-hot vectors; the target of each is the letter after it. The two l of "hello" have different
letters after them, so a network needs its state. Then the network writes by itself: the most probable letter each time
(argmax), or a letter drawn with its probability (sampling).

    python examples/hello.py
"""

from __future__ import annotations

import argparse

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import decode, nn, optim

WORD, LETTERS = "hello", "helo"


class Speller(nn.Module):
    """Logits of the next letter: h_t = tanh(W x_t + U h_(t-1) + b), y_t = V h_t + c."""

    def __init__(self, hidden: int):
        super().__init__()
        self.rnn, self.out = nn.RNN(len(LETTERS), hidden), nn.Linear(hidden, len(LETTERS))

    def forward(self, ids: np.ndarray, h: tg.Tensor | None = None) -> tuple[tg.Tensor, tg.Tensor]:
        """Return logits [T, N, 4] and the last state, for ids [T, N]."""
        output, h = self.rnn(nn.functional.one_hot(ids, len(LETTERS)).float(), h)
        return self.out(output), h

    def step(self, ids: tg.Tensor, h: tg.Tensor | None) -> tuple[tg.Tensor, tg.Tensor]:
        """Return (logits [N, 4], state) after one letter, for `decode`."""
        logits, h = self(ids.unsqueeze(0), h)
        return logits[0], h


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the last loss."""
    options = argparse.ArgumentParser(description='Learn to write "hello".')
    options.add_argument("--steps", type=int, default=40, help="training steps (default: 40)")
    options.add_argument("--hidden", type=int, default=8, help="hidden units (default: 8)")
    options.add_argument("--temperature", type=float, default=1.0, help="temperature of the sampling (default: 1.0)")
    options.add_argument("--seed", type=int, default=0, help="seed of weights and samples (default: 0)")
    args = options.parse_args(arguments)

    tg.manual_seed(args.seed)
    ids = np.array([LETTERS.index(letter) for letter in WORD])[:, None]
    model = Speller(args.hidden)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    for step in range(1, args.steps + 1):
        logits, _ = model(ids[:-1])
        loss = nn.functional.cross_entropy(logits[:, 0], ids[1:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            likely = "".join(LETTERS[i] for i in logits[:, 0].numpy().argmax(1))
            print(f"step {step:4}  loss {loss.item():.4f}  {WORD[:-1]} -> {likely}")

    written = lambda temperature, rows: [
        "h" + "".join(LETTERS[i] for i in row)
        for row in decode.generate(model.step, None, ids[0].repeat(rows), 4, temperature=temperature).ids.tolist()
    ]
    samples = written(args.temperature, 1000)
    others = sorted(set(samples) - {WORD}, key=samples.count, reverse=True)
    print(f"argmax writes {written(0.0, 1)[0]}; of 1000 samples {samples.count(WORD)} are {WORD}, others: {others[:5]}")
    print(f"loss {loss.item():.4f} per letter; without learning {np.log(len(LETTERS)):.4f}")
    return loss.item()


if __name__ == "__main__":
    if main() > 0.05:
        raise SystemExit('the network did not learn to write "hello": expected a loss of 0.05 at most')
