"""A look inside recurrent layers, by the same fused kernels: the gradients of the states, and the gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...autograd.functional import grad
from ...autograd.grad_modes import enable_grad
from ...autograd.primitives.shape import stack
from ...cells import Cell
from ...cells.observed import with_gates, with_state_cotangents
from ...tensor import Tensor
from ...tensor.creation import zeros, zeros_like
from ..recurrent import Recurrent
from ..recurrent_call import LayerCall


def state_gradients(
    layer: Recurrent,
    x: Any,
    loss: Callable[..., Tensor],
    state: Any = None,
    lengths: Any = None,
    inputs: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Return the gradient of a loss by each state after each step: {"h": dL/dh_t, "c": dL/dc_t, ...}.

    Each is [layers * directions, T, N, H], or laid out as the third result of a layer with return_states; 0 past the
    end of a sequence. dL/dc_t is the whole derivative: it also comes through the h_t that is computed from c_t.

    loss: a function of the layer's results, `loss(output, state)`, that returns a number. The other arguments are those
    of the layer's call. No `grad` changes. The norm for each step, by which vanishing gradients are seen:
    `np.sqrt(np.square(found["h"].numpy()).sum((0, 2, 3)))`.
    Raises TypeError unless layer is a `Recurrent`, ValueError for a layer with proj_size.
    """
    _check("state_gradients", layer)
    if layer.proj_size:
        raise ValueError(f"state_gradients: layer: expected one without proj_size, got proj_size={layer.proj_size}")
    cell, names = with_state_cotangents(layer.cell)
    twin, call = _twin(layer, cell), LayerCall(layer, x, lengths)
    make = lambda: zeros(*call.per_step, dtype=call.dtype, device=call.weight.device, requires_grad=True)
    added = {name: [make() for _ in layer.suffixes] for name in names.values()}
    with enable_grad():
        value = loss(*twin(x, state, lengths, {**(inputs or {}), **added}))
    leaves = [leaf for leaf_of in added.values() for leaf in leaf_of]
    found = grad([value], leaves, allow_unused=True)
    each = [zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found)]
    count = len(layer.suffixes)
    return {name: stack(each[i * count : (i + 1) * count]) for i, name in enumerate(names)}


class Watch:
    """A recurrent layer whose call also returns the gates of every step: see `watch`.

    activations: for each gate the function whose value is shown, e.g. {"i": "sigmoid", "g": "tanh"}; None where the
    pre-activation is shown, as the equations do not apply one function to it.
    """

    def __init__(self, layer: Recurrent):
        _check("watch", layer)
        self.layer = layer
        self.activations = with_gates(layer.cell).activations

    def __call__(
        self, x: Any, state: Any = None, lengths: Any = None, inputs: Mapping[str, Any] | None = None
    ) -> tuple[Any, ...]:
        """Return the layer's results for these arguments, and then the gates."""
        layer = self.layer
        cell, names, _ = with_gates(layer.cell)
        twin, call = _twin(layer, cell, return_states=True), LayerCall(layer, x, lengths)
        extra = (zeros(call.batch, layer.hidden_size, dtype=call.dtype, device=call.weight.device),) * len(names)
        initial = [(*own, *extra) for own in call.initial(state)]
        runs = twin._run_layers(call, initial, layer._side_inputs(inputs, call))
        output, last, sequences = twin._results(call, runs)
        own = len(layer.step.states)
        gates = {gate: gate_steps.detach() for gate, gate_steps in zip(names, sequences[own:])}
        results = (output, last[0] if own == 1 else last[:own])
        return (*results, sequences[:own], gates) if layer.return_states else (*results, gates)


def watch(layer: Recurrent) -> Watch:
    """Return the layer as a function that also returns its gates: `output, state, gates = watch(layer)(x)`.

    gates: a dict, gate -> its values [layers * directions, T, N, H], or laid out as the third result of a layer with
    return_states; 0 past the end of a sequence. A value is sigmoid(a.i), tanh(a.g) and so on where the equations apply
    one such function to the pre-activation, else the pre-activation itself: `Watch.activations` tells which.

    The other results are the layer's own, to the last bit, with gradients; the gates carry none. The layer itself does
    not change. Raises TypeError unless layer is a `Recurrent`.
    """
    return Watch(layer)


def _check(name: str, layer: Any) -> None:
    if not isinstance(layer, Recurrent):
        raise TypeError(f"{name}: layer: expected a recurrent layer, got {type(layer).__name__}")


def _twin(layer: Recurrent, cell: Cell, **settings: Any) -> Recurrent:
    """Return a layer with the same parameters and settings, and a cell derived from the layer's own."""
    twin = object.__new__(type(layer))
    twin.__dict__.update(layer.__dict__, cell=cell, **settings)
    return twin
