"""Attention and its two decoders: against NumPy and a twin in PyTorch, gradients, masks and hard choices."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.nn.attention import SCORES

rng = np.random.default_rng(0)


def made(score, hard=False, query=5, memory=5, size=3, **options):
    tg.manual_seed(0)
    return nn.Attention(query, memory, score, size, hard=hard, dtype="float64", **options)


def expected(attention, q, values, seen):
    """Return (context, weights) for q [N, Q], values [S, N, M] and seen [N, S], place by place."""
    w = {name: p.numpy() for name, p in attention.state_dict().items()}
    context, weights = np.zeros((len(q), values.shape[2])), np.zeros((len(q), values.shape[0]))
    for n in range(len(q)):
        scores = []
        for m in values[:, n]:
            if attention.score == "additive":
                hidden = np.tanh(w["query.weight"] @ q[n] + w["query.bias"] + w["key.weight"] @ m)
                scores.append(w["energy.weight"][0] @ hidden)
            elif attention.score == "dot":
                scores.append(q[n] @ m)
            elif attention.score == "general":
                scores.append(q[n] @ w["key.weight"] @ m)
            else:
                scores.append((w["query.weight"] @ q[n]) @ (w["key.weight"] @ m) / np.sqrt(3))
        e = np.where(seen[n], np.exp(np.array(scores).reshape(-1)), 0)
        if e.sum():
            weights[n] = e / e.sum()
            context[n] = weights[n] @ values[:, n]
    return context, weights


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("n,s,t", [(1, 1, 1), (3, 17, 2), (4, 6, 0), (2, 0, 1), (0, 3, 2)])
def test_attention_equals_its_equations(score, n, s, t):
    attention = made(score)
    q, values = rng.normal(size=(t, n, 5)), rng.normal(size=(s, n, 5))
    seen = rng.random((n, s)) < 0.7
    memory = attention.memorize(values, mask=seen)
    context, weights = attention(q, memory)
    assert context.shape == (t, n, 5) and weights.shape == (t, n, s)
    for k in range(t):
        wanted = expected(attention, q[k], values, seen)
        np.testing.assert_allclose(context.numpy()[k], wanted[0], atol=1e-12)
        np.testing.assert_allclose(weights.numpy()[k], wanted[1], atol=1e-12)
        one = attention(q[k], memory)
        assert one.context.shape == (n, 5)
        np.testing.assert_allclose(one.context.numpy(), wanted[0], atol=1e-12)


def test_the_batch_may_come_first():
    here, there = made("additive"), made("additive", batch_first=True)
    q, values = rng.normal(size=(2, 3, 5)), rng.normal(size=(4, 3, 5))
    context, weights = here(q, here.memorize(values, lengths=[4, 0, 2]))
    swapped = there(q.swapaxes(0, 1), there.memorize(values.swapaxes(0, 1), lengths=[4, 0, 2]))
    np.testing.assert_array_equal(swapped.context.numpy().swapaxes(0, 1), context.numpy())
    np.testing.assert_array_equal(swapped.weights.numpy().swapaxes(0, 1), weights.numpy())


@pytest.mark.parametrize("score", SCORES)
def test_masked_places_reach_nothing(score):
    attention = made(score)
    q, values = rng.normal(size=(3, 5)), rng.normal(size=(4, 3, 5))
    found = attention(q, attention.memorize(values, lengths=[4, 2, 0]))
    values[2:, 1], values[:, 2] = np.nan, np.inf
    again = attention(q, attention.memorize(values, lengths=[4, 2, 0]))
    for a, b in zip(found, again):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert not found.weights.numpy()[1, 2:].any()
    assert not found.context.numpy()[2].any() and not found.weights.numpy()[2].any()


@pytest.mark.parametrize("score", SCORES)
def test_gradients_of_attention(score):
    attention = made(score)
    names = list(dict(attention.named_parameters()))
    q, values = tg.tensor(rng.normal(size=(2, 3, 5))), tg.tensor(rng.normal(size=(4, 3, 5)))
    weights = [p.detach().clone() for p in attention.parameters()]

    def f(q, values, *weights):
        for name, w in zip(names, weights):
            owner, _, leaf = name.rpartition(".")
            setattr(getattr(attention, owner), leaf, w)
        context, w = attention(q, attention.memorize(values, lengths=[4, 1, 0]))
        return context, w

    inputs = [a.requires_grad_() for a in (q, values, *weights)]
    assert tg.gradcheck(f, inputs) and tg.gradgradcheck(f, inputs)


def test_hard_attention_draws_places_by_their_weights():
    attention = made("dot", hard=True)
    values, q = rng.normal(size=(4, 1, 5)), np.tile(rng.normal(size=(1, 1, 5)), (4000, 1, 1))
    memory = attention.memorize(values, mask=[[True, False, True, True]])
    context, weights, log_prob = attention(q, memory)
    chosen = np.abs(context.numpy()[:, :, None] - values.swapaxes(0, 1)).sum(-1).argmin(-1)[:, 0]
    share = np.bincount(chosen, minlength=4) / 4000
    assert share[1] == 0
    np.testing.assert_allclose(share, weights.numpy()[0, 0], atol=0.03)
    np.testing.assert_allclose(log_prob.numpy()[:, 0], np.log(weights.numpy()[:, 0][np.arange(4000), chosen]))
    attention.eval()
    context, weights, _ = attention(q[:1], memory)
    np.testing.assert_array_equal(context.numpy()[0, 0], values[weights.numpy()[0, 0].argmax(), 0])


def test_reinforce_finds_the_gradient_of_the_expected_value():
    """The mean of d log p times a reward estimates the derivative of the mean reward, which soft weights give."""
    attention = made("dot", hard=True)
    values = rng.normal(size=(3, 1, 5))
    reward = np.array([1.0, -2.0, 0.5])
    q = tg.tensor(np.tile(rng.normal(size=(1, 1, 5)), (20000, 1, 1)), requires_grad=True)
    memory = attention.memorize(values)
    context, _, log_prob = attention(q, memory)
    chosen = np.abs(context.numpy()[:, 0, None] - values[:, 0]).sum(-1).argmin(-1)
    (log_prob * reward[chosen][:, None]).mean().backward()
    estimate = q.grad.numpy().sum(0)[0]
    q.grad = None
    (attention(q, memory).weights * reward).sum(-1).mean().backward()
    np.testing.assert_allclose(estimate, q.grad.numpy().sum(0)[0], atol=0.05)


def test_errors_of_attention():
    for options, message in [
        ({"query_size": 0, "memory_size": 2}, "query_size: expected a whole number from 1 up, got 0"),
        (
            {"query_size": 2, "memory_size": 2, "score": "cosine"},
            "score: expected one of additive, dot, general, scaled_dot",
        ),
        (
            {"query_size": 2, "memory_size": 3, "score": "dot"},
            "expected equal query_size and memory_size with score='dot'",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            nn.Attention(**options)
    attention = nn.Attention(2, 3)
    values = np.zeros((4, 5, 3), "float32")
    with pytest.raises(ValueError, match=r"values: expected shape \[S, N, 3\], got \(4, 3\)"):
        attention.memorize(values[:, 0])
    with pytest.raises(TypeError, match="mask: expected booleans, got int64"):
        attention.memorize(values, mask=np.ones((5, 4), int))
    with pytest.raises(ValueError, match=r"mask: expected shape \(5, 4\), got \(4, 5\)"):
        attention.memorize(values, mask=np.ones((4, 5), bool))
    for wrong in ([5, 1, 1, 1, 1], [1, 1], [-1, 0, 0, 0, 0], [1.5] * 5):
        with pytest.raises(ValueError, match="lengths: expected 5 whole numbers from 0 to 4"):
            attention.memorize(values, lengths=wrong)
    memory = attention.memorize(values)
    with pytest.raises(ValueError, match=r"query: expected shape \[5, 2\] or \[T, 5, 2\], got \(4, 2\)"):
        attention(np.zeros((4, 2), "float32"), memory)
    with pytest.raises(TypeError, match="memory: expected the result of memorize, got ndarray"):
        attention(np.zeros((5, 2), "float32"), values)
    hard = nn.Attention(2, 3, hard=True)
    with pytest.raises(ValueError, match="got a row with all masked"):
        hard(np.zeros((5, 2), "float32"), hard.memorize(values, lengths=[0, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match="got a memory of 0 places"):
        hard(np.zeros((5, 2), "float32"), hard.memorize(values[:0]))
    with pytest.raises(ValueError, match="expected finite scores to draw a place with, got inf or NaN"):
        hard(np.full((5, 2), np.nan, "float32"), hard.memorize(values))


# Decoders


def decoder(cell="gru", inside=True, score="additive", **options):
    tg.manual_seed(1)
    return nn.AttentionDecoder(cell, 3, 4, 5, score, inside=inside, dtype="float64", **options)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_decoder_goes_on_from_its_state(cell, inside):
    """A whole sequence, and the same in two parts, and step by step, give the same."""
    model = decoder(cell, inside)
    x, values = rng.normal(size=(5, 2, 3)), rng.normal(size=(6, 2, 5))
    memory = model.memorize(values, lengths=[6, 3])
    whole = model(x, memory)
    assert whole.output.shape == (5, 2, 4) and whole.weights.shape == (5, 2, 6) and whole.log_prob is None
    state, outputs = None, []
    for part in (x[:2], x[2:3], x[3:]):
        found = model(part, memory, state)
        state = found.state
        outputs.append(found.output.numpy())
    np.testing.assert_allclose(np.concatenate(outputs), whole.output.numpy(), atol=1e-12)
    first = decoder(cell, inside, batch_first=True)
    swapped = first(x.swapaxes(0, 1), first.memorize(values.swapaxes(0, 1), lengths=[6, 3]))
    np.testing.assert_allclose(swapped.output.numpy().swapaxes(0, 1), whole.output.numpy(), atol=1e-12)


@pytest.mark.parametrize("inside", [False, True])
def test_gradients_of_a_decoder(inside):
    model = decoder("gru", inside)
    x, values = tg.tensor(rng.normal(size=(3, 2, 3))), tg.tensor(rng.normal(size=(4, 2, 5)))
    h = tg.tensor(rng.normal(size=(1, 2, 4)))

    def f(x, values, h):
        found = model(x, model.memorize(values, lengths=[4, 1]), h)
        return found.output, found.state, found.weights

    assert tg.gradcheck(f, [a.requires_grad_() for a in (x, values, h)])


@pytest.mark.parametrize("inside", [False, True])
def test_a_decoder_trains_as_its_twin_in_pytorch(inside):
    """The same weights, losses within 1e-4 over 20 steps of SGD."""
    torch = pytest.importorskip("torch")
    tg.manual_seed(2)
    model = nn.AttentionDecoder("lstm", 3, 4, 5, inside=inside)
    x, values = rng.normal(size=(6, 3, 3)).astype("f"), rng.normal(size=(7, 3, 5)).astype("f")
    target, lengths = rng.normal(size=(6, 3, 4)).astype("f"), np.array([7, 2, 4])
    w = {k: torch.tensor(v.numpy(), requires_grad=True) for k, v in model.state_dict().items()}
    suffix = "" if inside else "_l0"
    tx, tv = torch.tensor(x), torch.tensor(values).transpose(0, 1)
    hidden = ~(torch.arange(7) < torch.tensor(lengths)[:, None])

    def attend(h):
        score = torch.tanh((h @ w["attention.query.weight"].T + w["attention.query.bias"])[:, None] + keys)
        score = (score @ w["attention.energy.weight"].T)[..., 0].masked_fill(hidden, -torch.inf)
        return (torch.softmax(score, -1)[:, None] @ tv)[:, 0]

    optimizer = tg.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(20):
        loss = ((model(x, model.memorize(values, lengths)).output - target) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        h, c, outputs = torch.zeros(3, 4), torch.zeros(3, 4), []
        keys = tv @ w["attention.key.weight"].T
        for t in range(6):
            read = [tx[t], attend(h)] if inside else [tx[t]]
            gates = torch.cat(read, 1) @ w[f"rnn.weight_ih{suffix}"].T + h @ w[f"rnn.weight_hh{suffix}"].T
            i, f, g, o = (gates + w[f"rnn.bias_ih{suffix}"] + w[f"rnn.bias_hh{suffix}"]).chunk(4, 1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            context = read[1] if inside else attend(h)
            outputs.append(torch.tanh(torch.cat([h, context], 1) @ w["combine.weight"].T + w["combine.bias"]))
        theirs = ((torch.stack(outputs) - torch.tensor(target)) ** 2).mean()
        theirs.backward()
        assert abs(theirs.item() - loss.item()) < 1e-4
        with torch.no_grad():
            for p in w.values():
                p -= 0.5 * p.grad
                p.grad = None


def test_hard_attention_inside_a_decoder():
    model = decoder(hard=True)
    found = model(rng.normal(size=(3, 2, 3)), model.memorize(rng.normal(size=(4, 2, 5))))
    assert found.log_prob.shape == (3, 2) and (found.log_prob.numpy() <= 0).all()
    found.log_prob.sum().backward()
    assert model.attention.energy.weight.grad.numpy().any()


def test_errors_of_a_decoder():
    with pytest.raises(ValueError, match="hard: expected inside=True"):
        decoder(inside=False, hard=True)
    model = decoder("lstm")
    memory = model.memorize(np.zeros((4, 2, 5)))
    with pytest.raises(ValueError, match=r"x: expected three dimensions, got shape \(2, 3\)"):
        model(np.zeros((2, 3)), memory)
    with pytest.raises(ValueError, match="expected at least one step with inside=True, got none"):
        model(np.zeros((0, 2, 3)), memory)
    with pytest.raises(ValueError, match=r"state: expected 2 of shape \(1, 2, 4\), got \(1, 2, 4\)$"):
        model(np.zeros((1, 2, 3)), memory, np.zeros((1, 2, 4)))
