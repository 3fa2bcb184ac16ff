"""Forward hooks: their order, what they may change, and their handles."""

import copy

import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Scaled(nn.Module):
    """y = by x."""

    def forward(self, x, by=1.0):
        return x * by


def test_hooks_see_arguments_and_output_in_order():
    seen, layer = [], Scaled()
    layer.register_forward_pre_hook(lambda module, args: seen.append(("before", module, args)))
    layer.register_forward_hook(lambda module, args, output: seen.append(("first", module, args, output)))
    layer.register_forward_hook(lambda module, args, output: seen.append(("second", module, args, output)))
    x = tg.ones(2)
    y = layer(x)
    assert seen[0] == ("before", layer, (x,))
    assert [s[0] for s in seen[1:]] == ["first", "second"] and all(s[3] is y and s[2] == (x,) for s in seen[1:])


def test_hooks_change_arguments_and_output():
    layer, x = Scaled(), tg.tensor([1.0])
    handles = [
        layer.register_forward_pre_hook(lambda module, args: args[0] + 1.0),
        layer.register_forward_pre_hook(lambda module, args: (args[0] * 10.0, 2.0)),
        layer.register_forward_hook(lambda module, args, output: output + 0.5),
        layer.register_forward_hook(lambda module, args, output: output * 2.0),
    ]
    assert layer(x).tolist() == [81.0]
    handles[1].remove()
    assert layer(x).tolist() == [5.0]
    handles[1].remove()  # a second time: nothing
    for handle in handles:
        handle.remove()
    assert layer(x).tolist() == [1.0]


def test_hooks_with_keywords():
    layer, seen = Scaled(), []
    layer.register_forward_pre_hook(lambda module, args, kwargs: (args, {"by": 3.0}), with_kwargs=True)
    layer.register_forward_hook(lambda module, args, kwargs, out: seen.append(kwargs), with_kwargs=True)
    assert layer(tg.ones(1), by=2.0).tolist() == [3.0] and seen == [{"by": 3.0}]
    layer.register_forward_pre_hook(lambda module, args, kwargs: args, with_kwargs=True)
    with pytest.raises(TypeError, match=r"Scaled: forward pre-hook: expected None or a pair \(args, kwargs\), got"):
        layer(tg.ones(1))
    with pytest.raises(TypeError, match="hook: expected a function, got int"):
        layer.register_forward_hook(3)


def test_hooks_of_parts_run_and_gradients_pass():
    net = nn.Sequential(nn.Linear(2, 3), nn.Tanh())
    outputs = []
    net[0].register_forward_hook(lambda module, args, output: outputs.append(output))
    net[0].register_forward_hook(lambda module, args, output: output * 2.0)
    x = tg.ones(1, 2, requires_grad=True)
    (g,) = tg.grad(net(x).sum(), x, retain_graph=True)
    (expected,) = tg.grad((outputs[0] * 2.0).tanh().sum(), x)
    assert g.tolist() == expected.tolist()


def test_a_hook_may_be_removed_or_added_while_hooks_run():
    layer, seen = Scaled(), []
    handle = layer.register_forward_hook(lambda *_: (seen.append(1), handle.remove())[1])
    layer.register_forward_hook(lambda *_: seen.append(2))
    layer(tg.ones(1))
    layer(tg.ones(1))
    assert seen == [1, 2, 2]


def test_a_copy_has_hooks_of_its_own():
    layer, seen = Scaled(), []
    note = seen.append
    handle = layer.register_forward_hook(lambda module, args, output: note(module))
    twin = copy.deepcopy(layer)
    handle.remove()
    layer(tg.ones(1))
    assert seen == []
    twin(tg.ones(1))
    assert seen == [twin]


def test_hooks_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    found = []
    for lib, ones in ((nn, tg.ones(2)), (torch.nn, torch.ones(2))):
        layer = lib.Identity()
        layer.register_forward_pre_hook(lambda module, args: args[0] + 1.0)
        layer.register_forward_pre_hook(lambda module, args: (args[0] * 3.0,))
        layer.register_forward_hook(lambda module, args, output: output - args[0] * 0.5)
        found.append(layer(ones).tolist())
    assert found[0] == found[1] == [3.0, 3.0]
