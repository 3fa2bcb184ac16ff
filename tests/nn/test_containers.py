"""ModuleDict and ParameterList: names, order, and the habits of a dictionary and a list."""

import copy

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


def test_module_dict_is_a_dictionary():
    a, b, c = nn.Linear(1, 1), nn.Tanh(), nn.Linear(2, 1)
    modules = nn.ModuleDict({"a": a, "b": b})
    modules["c"] = c
    assert list(modules) == list(modules.keys()) == ["a", "b", "c"] and len(modules) == 3
    assert list(modules.values()) == [a, b, c] and list(modules.items())[1] == ("b", b)
    assert modules["a"] is a is modules.a and "a" in modules and "x" not in modules
    assert list(modules.state_dict()) == ["a.weight", "a.bias", "c.weight", "c.bias"]
    modules["a"] = c
    assert list(modules) == ["a", "b", "c"] and modules["a"] is c
    assert modules.pop("b") is b and list(modules) == ["a", "c"]
    del modules["a"]
    modules.update([("d", a)])
    modules.update(nn.ModuleDict({"e": b}))
    assert list(modules) == ["c", "d", "e"]
    modules.clear()
    assert len(nn.ModuleDict()) == len(modules) == 0


def test_module_dict_errors():
    modules = nn.ModuleDict({"a": nn.Tanh()})
    for act in (lambda: modules["x"], lambda: modules.pop("x"), lambda: modules.__delitem__("x")):
        with pytest.raises(KeyError, match="x"):
            act()
    with pytest.raises(KeyError, match="expected a name that the class itself does not have, got 'keys'"):
        modules["keys"] = nn.Tanh()
    with pytest.raises(TypeError, match="add_module: b: expected a Module or None, got int"):
        modules["b"] = 3


def test_names_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")

    def made(lib, ones):
        net = lib.Module()
        net.parts = lib.ModuleDict([["x", lib.Linear(1, 2)], ["y", lib.ModuleList([lib.Linear(1, 1)])]])
        net.scales = lib.ParameterList([lib.Parameter(ones(2)), lib.Parameter(ones(3))])
        net.scales.append(lib.Parameter(ones(4)))
        net.rest = net.scales[1:]
        return net

    ours, theirs = made(nn, tg.ones), made(torch.nn, torch.ones)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    ours.load_state_dict(theirs.state_dict())


def test_parameter_list_is_a_list():
    a, b = nn.Parameter(tg.ones(1)), nn.Parameter(tg.ones(2))
    parameters = nn.ParameterList([a, b])
    assert parameters.append(tg.ones(3)) is parameters and len(parameters) == 3
    assert isinstance(parameters[2], nn.Parameter) and parameters[-1] is parameters[2]
    assert list(parameters) == [a, b, parameters[2]] and parameters[0] is a
    assert isinstance(parameters[:2], nn.ParameterList) and list(parameters[:2]) == [a, b]
    parameters[-1] = a
    assert parameters[2] is a and list(parameters.state_dict()) == ["0", "1", "2"]
    assert len(list(parameters.parameters())) == 2  # a comes once
    assert parameters.extend([tg.zeros(1)]) is parameters and len(parameters) == 4
    twin = copy.deepcopy(parameters)
    twin[1].data[...] = 5.0
    np.testing.assert_array_equal(b.numpy(), [1.0, 1.0])
    assert repr(nn.ParameterList([a])) == "ParameterList(float32 (1,))"
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"ParameterList: index: expected one from -4 to 3, got {index}"):
            parameters[index]
    with pytest.raises(TypeError, match="ParameterList: expected a Parameter or a tensor, got float"):
        parameters.append(1.0)


def test_every_module_with_parameters_can_reset_them():
    made = [nn.Linear(2, 2), nn.Embedding(3, 2), nn.LayerNorm(2), nn.Conv1d(1, 1, 2), nn.Conv2d(1, 1, 2)]
    made += [nn.LSTM(2, 3), nn.GRU(2, 3), nn.RNN(2, 3), nn.LSTMCell(2, 3), nn.GRUCell(2, 3), nn.RNNCell(2, 3)]
    made += [nn.Recurrent("peephole_lstm", 2, 3), nn.RecurrentCell("gru", 2, 3)]
    for module in made:
        for p in module.parameters():
            p.data[...] = 7.0
        module.reset_parameters()
        assert all((p.numpy() != 7.0).all() for p in module.parameters()), module
