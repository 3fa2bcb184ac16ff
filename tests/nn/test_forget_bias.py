"""forget_bias: the first value of the forget gate's bias."""

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn

MAKERS = {
    "lstm": lambda **o: nn.LSTM(3, 5, 2, bidirectional=True, **o),
    "projected": lambda **o: nn.LSTM(3, 5, proj_size=2, **o),
    "peephole": lambda **o: nn.Recurrent("peephole_lstm", 3, 5, **o),
    "lstm cell": lambda **o: nn.LSTMCell(3, 5, **o),
    "peephole cell": lambda **o: nn.RecurrentCell("peephole_lstm", 3, 5, **o),
}


def drawn(make, **options):
    tg.manual_seed(1)
    return make(**options)


@pytest.mark.parametrize("kind", MAKERS)
def test_the_rows_of_f_are_set_and_all_others_drawn_as_ever(kind):
    plain, layer = drawn(MAKERS[kind]), drawn(MAKERS[kind], forget_bias=1.5)
    for again in (False, True):
        if again:  # a later reset sets it too
            for module in (plain, layer):
                tg.manual_seed(2)
                module.reset_parameters()
        for (name, p), (_, q) in zip(plain.named_parameters(), layer.named_parameters()):
            expected = p.numpy().copy()
            if name.startswith("bias"):
                expected[5:10] = 1.5 if name.startswith("bias_ih") else 0.0
            np.testing.assert_array_equal(q.numpy(), expected, err_msg=name)
    assert "forget_bias=1.5" in repr(layer) and "forget_bias" not in repr(plain)


@pytest.mark.parametrize(
    "name", ["lstm", "peephole_lstm", "cifg_lstm", "cifg_peephole_lstm", "minimal_gated", "nog_lstm"]
)
def test_a_cell_keeps_sigmoid_of_the_bias_of_its_state(name):
    bias = 2.0
    cell = nn.RecurrentCell(name, 1, 1, forget_bias=bias, dtype="float64")
    for key, p in cell.named_parameters():
        if not key.startswith("bias"):
            p.data[...] = 0.0
    states = [tg.zeros(1, 1, dtype="float64") for _ in cell.step.states]

    def after(number):
        given = [*states[:-1], tg.full((1, 1), number, dtype="float64")]
        found = cell(tg.zeros(1, 1, dtype="float64"), tuple(given) if len(given) > 1 else given[0])
        return (found[-1] if isinstance(found, tuple) else found).item()

    np.testing.assert_allclose(after(1.0) - after(0.0), 1 / (1 + np.exp(-bias)), 1e-12)


def test_it_may_change_later_and_survives_a_copy():
    import pickle

    layer = nn.LSTM(2, 3)
    layer.forget_bias = 1
    layer.reset_parameters()
    assert layer.bias_ih_l0.numpy()[3:6].tolist() == [1.0] * 3
    assert pickle.loads(pickle.dumps(layer)).forget_bias == 1.0
    layer.forget_bias = None
    layer.reset_parameters()
    assert (layer.bias_ih_l0.numpy()[3:6] != 1.0).all()


def test_inference_after_a_reset_uses_the_new_bias():
    layer, x = nn.LSTM(2, 3), tg.randn(4, 1, 2)
    with tg.no_grad():
        before = layer(x)[0].numpy()
        layer.forget_bias = 5.0
        layer.reset_parameters()
        after = layer(x)[0].numpy()
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(after, layer(x)[0].numpy(), 1e-6, 1e-7)


def test_errors():
    with pytest.raises(ValueError, match=r"GRU: forget_bias: expected None, as the cell gru has no gate f, got 1\.0"):
        nn.GRU(2, 3, forget_bias=1.0)
    with pytest.raises(ValueError, match="forget_bias: expected None, as the cell nfg_lstm has no gate f"):
        nn.Recurrent("nfg_lstm", 2, 3, forget_bias=1.0)
    with pytest.raises(ValueError, match=r"LSTM: forget_bias: expected None with bias=False, got 1\.0"):
        nn.LSTM(2, 3, bias=False, forget_bias=1.0)
    with pytest.raises(ValueError, match=r"LSTMCell: forget_bias: expected None with bias=False, got 1\.0"):
        nn.LSTMCell(2, 3, bias=False, forget_bias=1.0)
    for wrong in ("one", float("nan"), True):
        with pytest.raises(ValueError, match="LSTM: forget_bias: expected a finite number or None, got"):
            nn.LSTM(2, 3, forget_bias=wrong)
