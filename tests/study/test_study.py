"""The study: claims measure what they say, repeatably; findings as text, page and picture. Slow claims are left out."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.study import CLAIMS, VERDICTS, Curves, Finding, report, run
from tinygrad_rnn.study.comparison import ElmanReader
from tinygrad_rnn.study.finding import Claim, claim
from tinygrad_rnn.study.text import period
from tinygrad_rnn.study.training import Reader, accuracy, balanced, first_symbol, majority, order, recall, train

FAST = (
    "repeated-factor",
    "singular-value",
    "vanishing-gradient",
    "state-memory",
    "clip-direction",
    "clip-bias",
    "truncated-bptt",
    "carried-state",
    "summed-gradient",
    "embedding-product",
)


@pytest.fixture(scope="module")
def findings():
    return {name: CLAIMS[name].measure(seed=0) for name in FAST}


def rows(finding):
    """Return the rows of a table by their first cell, with the other cells as numbers where they are some."""

    def number(text):
        try:
            return float(text.rstrip("%"))
        except ValueError:
            return text

    return {row[0]: [number(cell) for cell in row[1:]] for row in finding.rows}


def test_every_fast_claim_has_a_table_a_verdict_and_its_own_name(findings):
    for name, finding in findings.items():
        assert finding.verdict in VERDICTS and finding.claim == CLAIMS[name].sentence and CLAIMS[name].name == name
        assert finding.rows and finding.reason.endswith(".") and finding.claim.endswith(".")


def test_equal_seeds_give_equal_figures_and_the_random_stream_is_restored(findings):
    tg.manual_seed(3)
    before = tg.get_rng_state()
    again = CLAIMS["vanishing-gradient"].measure(seed=0)
    assert again.rows == findings["vanishing-gradient"].rows
    assert CLAIMS["vanishing-gradient"].measure(seed=1).rows != again.rows
    assert tg.get_rng_state() == before


def test_the_random_stream_is_restored_after_an_error():
    def fails(seed, progress):
        tg.rand(1)
        raise ArithmeticError

    before = tg.get_rng_state()
    with pytest.raises(ArithmeticError):
        Claim("x", "y", fails).measure()
    assert tg.get_rng_state() == before


def test_repeated_factor(findings):
    found = rows(findings["repeated-factor"])
    assert found["1.1"] == pytest.approx([1.1**50, 1.1**65], rel=5e-3)
    assert found["0.9"] == pytest.approx([0.9**50, 0.9**65], rel=5e-3)


def test_vanishing_gradient_by_the_layer_in_single_steps(findings):
    """The oracle: the gradient of the first state by a loop over an RNN cell."""
    factors = {name: row[0] for name, row in rows(findings["vanishing-gradient"]).items()}
    assert 0.4 < factors["RNN"] < factors["LSTM"] < factors["GRU"] < 0.75 and factors["LSTM, forget bias 3"] > 0.95
    tg.manual_seed(0)
    layer = nn.RNN(8, 32)
    draw = np.random.default_rng(0).standard_normal
    x, u = draw((100, 16, 8)).astype("f"), draw((16, 32)).astype("f")
    cell = nn.RNNCell(8, 32)
    cell.load_state_dict({key.removesuffix("_l0"): value.numpy() for key, value in layer.state_dict().items()})
    h = first = cell(tg.tensor(x[0]))
    for step in x[1:]:
        h = cell(tg.tensor(step), h)
    (gradient,) = tg.grad((h * tg.tensor(u)).sum(), first)
    expected = np.linalg.norm(gradient.numpy().astype("d")) / np.linalg.norm(u)
    assert rows(findings["vanishing-gradient"])["RNN"][1] == pytest.approx(expected, rel=0.05)


def test_state_memory(findings):
    found = rows(findings["state-memory"])
    assert found["RNN"][2] < found["LSTM"][2] < 1e-8 and found["LSTM, forget bias 3"][2] > 0.1


def test_singular_value(findings):
    found = rows(findings["singular-value"])
    assert found["0.9 x orthogonal"][2:] == pytest.approx([0.9**5, 0.9**20, 0.9**200], rel=0.05)
    assert found["shift with end, 2s"][0] == 2 and found["shift with end, 2s"][3:] == [0, 0]
    assert found["cyclic shift, 2 and 1/2"][:2] == [2, 1] and found["cyclic shift, 2 and 1/2"][3:] == [1, 1]
    assert found["1/2 with 2s above"][1] == 0.5 and found["1/2 with 2s above"][3] > 10


def test_clipping(findings):
    found = np.array(list(rows(findings["clip-direction"]).values()))
    assert (found[:, 0] > 0.9999).all() and (np.diff(found[:, 1]) < 0).all()
    each, batch = np.array(list(rows(findings["clip-bias"]).values())).T
    assert each[0] == batch[0] == 1 and each[-1] < 0.9 and (each[1:] < 0.99).all() and batch[-1] < 0.999


def test_truncated_bptt(findings):
    found = {row[0]: [float(cell.split()[0]) for cell in row[1:]] for row in findings["truncated-bptt"].rows}
    assert all(row[-1] == 1 for row in found.values())
    assert found["RNN, state reset"][0] == 0 and found["RNN, state carried"][1] > 0.95
    assert found["LSTM, forget bias 3, state carried"][2] < 0.95


def test_exact_claims(findings):
    assert all(row[0] == 100 and row[1] > 0.01 and row[2] > 0 for row in rows(findings["carried-state"]).values())
    cells = [row[1] for row in findings["summed-gradient"].rows]
    assert float(cells[0]) < 1e-13 and cells[1:] == ["0", "11 of 12", "none"]
    cells = [row[1] for row in findings["embedding-product"].rows]
    assert cells[0] == "102400 of 102400" and float(cells[1]) < 1e-6


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name in CLAIMS if name not in FAST])
def test_slow_claims(name):
    told = []
    finding = CLAIMS[name].measure(0, told.append)
    assert finding.verdict in VERDICTS and told


# tasks and training


def test_tasks():
    generator = np.random.default_rng(0)
    x, target = recall(generator, 3, 8, 5)
    assert x.shape == (8, 5, 4) and (x.argmax(-1)[:5] == target[3:]).all() and (target[:3] == 0).all()
    x, target = first_symbol(generator, 7, 9)
    assert ((x[0, :, 0] > 0) == target).all() and set(np.unique(x)) == {-1.0, 1.0}
    x, target = majority(generator, 7, 9)
    assert ((x.sum((0, 2)) > 0) == target).all()
    x, target = order(generator, 30, 50)
    marks = [ids[ids < 2].tolist() for ids in x.argmax(-1).T]
    assert [2 * first + second for first, second in marks] == target.tolist() and set(target) == {0, 1, 2, 3}
    x, target = balanced(generator, 2, 4, 20)
    assert (x.argmax(-1)[1:] == target[:-1]).all() and x.shape == (9, 20, 3)
    for ids in np.concatenate([x.argmax(-1)[:1], target]).T:
        n = int((ids == 0).sum())
        assert 2 <= n <= 4 and ids.tolist() == [0] * n + [1] * n + [2] * (10 - 2 * n)


def test_training_learns_the_first_symbol():
    tg.manual_seed(0)
    generator, model = np.random.default_rng(0), Reader(nn.RNN(1, 8), 2)
    train(model, lambda: first_symbol(generator, 4), 150, 2e-2)
    assert accuracy(model, first_symbol(generator, 4, 200)) > 0.95


def test_elmans_gradient_passes_through_one_step_and_its_scores_are_the_same():
    tg.manual_seed(0)
    layer = nn.RNN(4, 6)
    elman, whole = ElmanReader(layer, 4), Reader(layer, 4)
    whole.linear = elman.linear
    x = tg.tensor(recall(np.random.default_rng(0), 1, 5, 3)[0], requires_grad=True)
    np.testing.assert_allclose(elman(x).detach().numpy(), whole(x).detach().numpy(), atol=1e-6)
    for model, reaches in ((elman, False), (whole, True)):
        (gradient,) = tg.grad(model(x)[4].sum(), x)
        assert gradient.numpy()[:4].any() == reaches and gradient.numpy()[4].any()


def test_period():
    assert period(np.array([5, 4, 3, 1, 2, 1, 2, 1, 2, 1])) == 2
    assert period(np.array([0, 0, 0, 0, 0, 0, 1, 2, 1, 3, 4, 1])) == 0
    assert period(np.arange(10)) == 0 and period(np.ones(8)) == 1 and period(np.arange(1)) == 0


# findings, page, pictures

FINDING = Finding(("a|b", "n"), [("x", "1")], "wrong", "It is not.", Curves("x", "y", {"c": ([1, 2], [3, 4])}, "xy"))


def test_wrong_findings_are_refused():
    with pytest.raises(ValueError, match="Finding: verdict: expected one of confirmed, qualified, wrong, got 'true'"):
        Finding((), (), "true", "")
    with pytest.raises(ValueError, match="Finding: rows: expected 1 columns, got 2"):
        Finding(("a",), [("b", "c")], "wrong", "")
    with pytest.raises(ValueError, match="claim: name: expected a new one, got 'depth'"):
        claim("depth", "")(lambda seed, progress: FINDING)


def test_the_page_holds_claims_pictures_and_corrections():
    page = report.page({"lstm-x": FINDING}, {"lstm-x": "pictures/study_lstm_x.png"}, 7)
    assert "## LSTM x" in page and "| a&#124;b | n |" in page and "**wrong**: It is not." in page
    assert "![LSTM x](pictures/study_lstm_x.png)" in page and "--seed 7" in page
    assert "## Corrections" in page and page.endswith("|\n")


def test_run_writes_page_and_pictures(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    run(["repeated-factor", "summed-gradient"], markdown=tmp_path / "page.md")
    out, err = capsys.readouterr()
    assert out.count("repeated-factor: ") == 1 and "490" in out and err.count("\n") == 2
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["study_repeated_factor.png"]
    assert (tmp_path / "pictures/study_repeated_factor.png").read_bytes()[:4] == b"\x89PNG"
    assert report.is_page(tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "(pictures/study_repeated_factor.png)" in page and page.count("\n## ") == 3


def test_without_matplotlib_the_page_has_no_pictures(tmp_path, capsys, monkeypatch):
    original = builtins.__import__

    def missing(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    run(["repeated-factor"], markdown=tmp_path / "page.md")
    assert "no pictures: matplotlib is not installed" in capsys.readouterr().err
    assert "![" not in (tmp_path / "page.md").read_text()
