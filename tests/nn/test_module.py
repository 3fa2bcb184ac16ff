"""Module: names, saving and loading, modes, copies, and lists of modules."""

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest

import tinygrad_rnn as tg
from tinygrad_rnn import nn


class Net(nn.Module):
    """A model with a parameter, a buffer, a list and a nested module."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(tg.ones(2))
        self.register_buffer("mean", tg.zeros(2))
        self.layers = nn.ModuleList([nn.Linear(2, 3), nn.Linear(3, 2, bias=False)])
        self.head = nn.Sequential(nn.LayerNorm(2), nn.Tanh())

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return self.head(x * self.scale - self.mean)


NAMES = ["scale", "layers.0.weight", "layers.0.bias", "layers.1.weight", "head.0.weight", "head.0.bias"]


def values(module):
    return {name: tensor.numpy().copy() for name, tensor in module.state_dict().items()}


def assert_same(a, b):
    assert list(a) == list(b)
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# Registration and names


def test_parameters_come_in_order_of_definition():
    net = Net()
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == ["mean"]
    assert list(net.state_dict()) == ["scale", "mean", *NAMES[1:]]
    every = ["", "layers", "layers.0", "layers.1", "head", "head.0", "head.1"]
    assert [name for name, _ in net.named_modules()] == every
    assert [name for name, _ in net.named_children()] == ["layers", "head"]
    assert [name for name, _ in net.named_parameters("net")] == [f"net.{name}" for name in NAMES]


def test_names_are_those_of_pytorch():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")

    class Theirs(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(2))
            self.register_buffer("mean", torch.zeros(2))
            self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 3), torch.nn.Linear(3, 2, bias=False)])
            self.head = torch.nn.Sequential(torch.nn.LayerNorm(2), torch.nn.Tanh())

    theirs, ours = Theirs(), Net()
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert [n for n, _ in theirs.named_parameters()] == [n for n, _ in ours.named_parameters()]
    assert [n for n, _ in theirs.named_modules()] == [n for n, _ in ours.named_modules()]


def test_parameter_takes_lists_arrays_and_tensors():
    assert nn.Parameter([1.0, 2.0]).dtype == np.float32
    assert nn.Parameter(np.zeros(2)).dtype == np.float64
    assert nn.Parameter(tg.ones(2) * 3).is_leaf
    assert nn.Parameter(tg.ones(2)).requires_grad
    assert not nn.Parameter(tg.arange(3), requires_grad=False).requires_grad
    with pytest.raises(TypeError, match="requires_grad: expected a floating dtype, got int64"):
        nn.Parameter(tg.arange(3))


def test_assigning_again_keeps_the_order():
    net = Net()
    net.scale = nn.Parameter(tg.zeros(2))
    assert next(net.named_parameters())[0] == "scale"


def test_none_replaces_a_parameter_and_the_reverse():
    layer = nn.Linear(2, 3)
    layer.bias = None
    assert layer.bias is None and list(layer.state_dict()) == ["weight"]
    assert layer(tg.ones(1, 2)).shape == (1, 3)
    layer.bias = nn.Parameter(tg.zeros(3))
    assert list(layer.state_dict()) == ["weight", "bias"]
    net = Net()
    net.head = None
    assert net.head is None and [name for name, _ in net.named_children()] == ["layers"]


def test_a_computed_weight_replaces_a_parameter_and_passes_gradients_on():
    layer = nn.Linear(2, 2, bias=False)
    raw = layer.weight
    layer.weight = raw * 0.5
    assert list(layer.parameters()) == []
    layer(tg.ones(1, 2)).sum().backward()
    np.testing.assert_array_equal(raw.grad.numpy(), np.full((2, 2), 0.5))
    layer.weight = raw  # the parameter replaces it again: no old attribute hides it
    assert layer.weight is raw and [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_name_belongs_to_one_registry():
    module = nn.Module()
    module.x = nn.Parameter(tg.ones(1))
    module.x = nn.Identity()
    assert list(module.state_dict()) == [] and isinstance(module.x, nn.Identity)
    module.x = 3
    assert module.x == 3 and list(module.children()) == []
    module.x = nn.Parameter(tg.ones(1))
    assert list(module.state_dict()) == ["x"]
    del module.x
    with pytest.raises(AttributeError, match="Module has no attribute 'x'"):
        _ = module.x
    with pytest.raises(AttributeError):
        del module.x


def test_a_buffer_need_not_be_saved():
    module = nn.Module()
    module.register_buffer("a", tg.ones(1))
    module.register_buffer("b", tg.ones(1), persistent=False)
    assert list(module.state_dict()) == ["a"]
    assert [name for name, _ in module.named_buffers()] == ["a", "b"]
    module.b = tg.zeros(1)
    assert list(module.state_dict()) == ["a"] and module.b.item() == 0
    module.register_buffer("b", tg.ones(1))
    assert list(module.state_dict()) == ["a", "b"]


def test_errors_of_registration():
    class Early(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(tg.ones(1))

    with pytest.raises(AttributeError, match=r"expected super\(\).__init__\(\) to be called first"):
        Early()
    layer = nn.Linear(2, 2)
    with pytest.raises(TypeError, match=r"Linear\.weight: expected a Parameter, a tensor or None, got float"):
        layer.weight = 1.0
    with pytest.raises(KeyError, match=r"expected a name without dots, got 'a\.b'"):
        layer.add_module("a.b", nn.Identity())
    with pytest.raises(TypeError, match="register_parameter: x: expected a Parameter or None, got Tensor"):
        layer.register_parameter("x", tg.ones(1))
    with pytest.raises(TypeError, match="add_module: x: expected a Module or None, got Tensor"):
        layer.add_module("x", tg.ones(1))
    with pytest.raises(TypeError, match="expected a subclass that defines forward"):
        nn.Module()(1)


# Saving and loading


def test_state_dict_is_a_copy_without_gradients():
    net = Net()
    saved = net.state_dict()
    assert not any(tensor.requires_grad for tensor in saved.values())
    before = values(net)
    saved["scale"].data[...] = 7.0
    assert_same(values(net), before)


def test_load_takes_arrays_tensors_and_other_dtypes_and_layouts():
    a, b = Net(), Net().double()
    a.load_state_dict(b.state_dict())
    assert all(p.dtype == np.float32 for p in a.parameters())
    np.testing.assert_allclose(a.layers[0].weight.numpy(), b.layers[0].weight.numpy(), rtol=1e-7)
    source = {name: np.asfortranarray(array) for name, array in values(b).items()}
    b.load_state_dict(source)
    assert b.layers[0].weight.data.flags.c_contiguous
    source["scale"][...] = 9.0  # the loaded parameter is not a view of it
    assert b.scale.data[0] == 1.0


def test_load_a_pytorch_state_dict_as_it_is():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
    ours = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    ours.load_state_dict(theirs.state_dict())
    x = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
    expected = theirs(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(ours(tg.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("layers.0.bias"), KeyError, r"missing \['layers.0.bias'\], unknown \[\]"),
        (lambda s: s.update(extra=np.ones(1)), KeyError, r"missing \[\], unknown \['extra'\]"),
        (lambda s: s.update({"head.0.bias": np.ones(3)}), ValueError, r"bias: expected shape \(2,\), got \(3,\)"),
        (lambda s: s.update({"head.0.bias": np.array(["a", "b"])}), TypeError, "head.0.bias: expected numbers"),
    ],
)
def test_a_load_that_fails_changes_nothing(change, error, message):
    net = Net()
    before, saved = values(net), values(Net())
    change(saved)
    with pytest.raises(error, match=message):
        net.load_state_dict(saved)
    assert_same(values(net), before)


def test_load_that_is_not_strict_loads_the_names_that_exist():
    net = Net()
    found = net.load_state_dict({"scale": np.full(2, 5.0), "unknown": np.ones(1)}, strict=False)
    assert found.missing_keys == [n for n in net.state_dict() if n != "scale"] and found.unexpected_keys == ["unknown"]
    assert net.load_state_dict(net.state_dict()) == ([], [])
    assert net.scale.data.tolist() == [5.0, 5.0]
    with pytest.raises(ValueError, match="scale: expected shape"):
        net.load_state_dict({"scale": np.ones(3)}, strict=False)


def test_a_graph_recorded_before_a_load_stays_right():
    weight = nn.Linear(1, 1, bias=False)
    weight.load_state_dict({"weight": [[3.0]]})
    x = tg.tensor([[1.0]], requires_grad=True)
    y = weight(x)
    weight.load_state_dict({"weight": [[5.0]]})
    y.backward()
    assert x.grad.item() == 3.0


def test_shared_parameters_count_once_and_are_saved_under_each_name():
    torch = pytest.importorskip("torch", reason="parity with PyTorch")

    def tied(lib):
        net = lib.Module()
        net.encoder, net.decoder = lib.Embedding(5, 3), lib.Linear(3, 5)
        net.decoder.weight = net.encoder.weight
        net.again = net.decoder
        return net

    ours, theirs = tied(nn), tied(torch.nn)
    assert [n for n, _ in ours.named_parameters()] == [n for n, _ in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    assert ours.decoder.weight is ours.encoder.weight
    np.testing.assert_array_equal(ours.encoder.weight.numpy(), theirs.encoder.weight.detach().numpy())


# Modes, dtype


def test_train_and_eval_reach_all_below():
    net = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout()))
    assert all(module.training for module in net.modules())
    assert net.eval() is net and not any(module.training for module in net.modules())
    assert net.train() is net and all(module.training for module in net.modules())


def test_to_converts_parameters_gradients_and_buffers_in_place():
    net = Net()
    net.register_buffer("count", tg.arange(3))
    net(tg.ones(1, 2)).sum().backward()
    kept = net.scale
    assert net.to("cpu", dtype="float64") is net and net.scale is kept
    assert all(p.dtype == np.float64 and p.is_leaf and p.requires_grad for p in net.parameters())
    assert all(p.grad.dtype == np.float64 for p in net.parameters())
    assert net.mean.dtype == np.float64 and net.count.dtype == np.int64
    net(tg.ones(1, 2, dtype="float64")).sum().backward()
    assert net.float().scale.dtype == np.float32
    with pytest.raises(TypeError, match="expected float32 or float64 for a module, got int64"):
        net.to("int64")


def test_zero_grad_and_requires_grad():
    net = Net()
    net(tg.randn(4, 2)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert all(not p.grad.numpy().any() for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())
    net.requires_grad_(False)
    assert not net(tg.ones(1, 2)).requires_grad


def test_apply_goes_from_the_bottom_up():
    seen = []
    net = Net()
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "Linear", "ModuleList", "LayerNorm", "Tanh", "Sequential", "Net"]


# Copies


def pickled(net):
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_are_equal_and_independent(copied):
    net = Net().eval()
    net.layers.append(net.layers[0])
    twin = copied(net)
    assert_same(values(twin), values(net))
    assert not twin.training and twin.layers[2] is twin.layers[0]
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in twin.parameters())
    twin.scale.data[...] = 8.0
    assert net.scale.data[0] == 1.0


def test_repr_shows_the_tree():
    assert repr(Net()) == (
        "Net(\n  (layers): ModuleList(\n    (0): Linear(in_features=2, out_features=3, bias=True)\n"
        "    (1): Linear(in_features=3, out_features=2, bias=False)\n  )\n"
        "  (head): Sequential(\n    (0): LayerNorm((2,), eps=1e-05, elementwise_affine=True)\n    (1): Tanh()\n  )\n)"
    )
    every = [nn.Embedding(4, 2, 1), nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Dropout(0.1), nn.Flatten(), nn.GELU()]
    for module in every:
        assert repr(module).startswith(type(module).__name__ + "(") and repr(module) != f"{type(module).__name__}()"


# Lists


def test_module_list_is_a_list():
    a, b, c, d = (nn.Linear(n, 1) for n in (1, 2, 3, 4))
    modules = nn.ModuleList([a, b])
    assert modules.append(c) is modules and modules.extend([d]) is modules
    assert len(modules) == 4 and list(modules) == [a, b, c, d]
    assert modules[0] is a and modules[-1] is d
    assert isinstance(modules[1:3], nn.ModuleList) and list(modules[1:3]) == [b, c]
    assert list(modules[1:3].state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    modules[-1] = a
    assert modules[3] is a and list(modules._modules) == ["0", "1", "2", "3"]
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"ModuleList: index: expected one from -4 to 3, got {index}"):
            modules[index]
    with pytest.raises(TypeError, match="expected a Module or None, got int"):
        modules.append(3)
    assert len(nn.ModuleList()) == 0


def test_sequential_with_names_and_slices():
    net = nn.Sequential(OrderedDict([("first", nn.Linear(2, 3)), ("act", nn.Tanh()), ("last", nn.Linear(3, 1))]))
    assert list(net.state_dict()) == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert net.act is net[1] and net[-1] is net.last and len(net) == 3
    x = tg.randn(4, 2)
    np.testing.assert_array_equal(net[1:](net[:1](x)).numpy(), net(x).numpy())
    assert list(net[1:].state_dict()) == ["last.weight", "last.bias"]
    assert nn.Sequential()(x) is x
    with pytest.raises(KeyError, match="expected the name '1' to be free"):
        nn.Sequential({"1": nn.Tanh()}).append(nn.Tanh())
