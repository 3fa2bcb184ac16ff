"""Inference of recurrent layers by ONNX Runtime and OpenVINO: a model of ONNX's own operators LSTM, GRU and RNN.

Both get the weights as constants, which they pack once, and run in float32 on the wanted number of threads. ONNX
Runtime uses its CPU provider, one thread between operators, and all graph optimisations (its default). OpenVINO uses
its CPU plugin with the setting for least latency, float32 also on hosts with shorter types, and shared inputs and
outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .case import Run
from .problem import GATES, Problem

# ONNX's order of gates, as indices into PyTorch's: i, f, g, o -> i, o, f, c; r, z, n -> z, r, h.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def onnx_model(p: Problem) -> bytes:
    """Return a model: x [T, N, I] (and states h0, c0) -> y [T, directions, N, H] or [T, N, 2 H] (and hn, cn)."""
    from onnx import TensorProto, checker, helper, numpy_helper

    nodes, constants = [], {"last": np.array([0, 0, -1]), "middle": np.array([1])}
    if p.lengths:
        constants["lengths"] = p.steps().astype(np.int32)
    options: dict[str, Any] = {"hidden_size": p.H, "direction": "bidirectional" if p.bidirectional else "forward"}
    options |= {"linear_before_reset": 1} if p.kind == "GRU" else {}
    names = ["h", "c"][: len(p.states())] if p.state else []
    features = "x"
    for k in range(p.layers):
        constants |= {f"{name}{k}": array for name, array in _layer_weights(p, k).items()}
        out = "y" if k == p.layers - 1 else f"y{k}"
        given = [features, f"W{k}", f"R{k}", f"B{k}", "lengths" if p.lengths else "", *(f"{name}0" for name in names)]
        # The last layer, if it has one direction, keeps the operator's own shape; NumPy's view of it costs nothing.
        own_shape = out == "y" and not p.bidirectional
        results = [out if own_shape else f"raw{k}", *(f"{name}n" for name in names)]
        nodes.append(helper.make_node(p.kind, given, results, **options))
        if p.bidirectional:
            nodes.append(helper.make_node("Transpose", [f"raw{k}"], [f"turned{k}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{k}", "last"], [out]))
        elif not own_shape:
            nodes.append(helper.make_node("Squeeze", [f"raw{k}", "middle"], [out]))
        features = out
    used = {name for node in nodes for name in node.input}
    value = lambda name, shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    y_shape = [p.T, p.N, 2 * p.H] if p.bidirectional else [p.T, 1, p.N, p.H]
    graph = helper.make_graph(
        nodes,
        p.kind,
        [value("x", [p.T, p.N, p.I]), *(value(f"{name}0", [1, p.N, p.H]) for name in names)],
        [value("y", y_shape), *(value(f"{name}n", [1, p.N, p.H]) for name in names)],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def _layer_weights(p: Problem, layer: int) -> dict[str, np.ndarray]:
    """Return W, R and B of one layer, with all its directions, the gates in ONNX's order."""
    weights, order = p.weights(), list(ORDER[p.kind])

    def stacked(name: str) -> np.ndarray:
        suffixes = [s for s in p.suffixes if s.removesuffix("_reverse") == f"_l{layer}"]
        arrays = [weights[name + suffix] for suffix in suffixes]
        return np.stack([a.reshape(GATES[p.kind], p.H, -1)[order].reshape(a.shape) for a in arrays])

    bias = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], 1)
    return {"W": stacked("weight_ih"), "R": stacked("weight_hh"), "B": bias}


def _given(p: Problem) -> dict[str, np.ndarray]:
    return {"x": p.inputs()[0]} | (dict(zip(("h0", "c0"), p.states())) if p.state else {})


def _output(p: Problem, y: np.ndarray) -> np.ndarray:
    return y if p.bidirectional else y[:, 0]


def onnxruntime(p: Problem, threads: int) -> Run:
    """Return a Run of an inference session."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session, given = ort.InferenceSession(onnx_model(p), options, providers=["CPUExecutionProvider"]), _given(p)

    def run() -> list[Any]:
        y, *states = session.run(None, given)
        return [_output(p, y), *states]

    return run


def openvino(p: Problem, threads: int) -> Run:
    """Return a Run of an inference request."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core = ov.Core()
    compiled = core.compile_model(core.read_model(onnx_model(p), b""), "CPU", settings)
    request, given, count = compiled.create_infer_request(), list(_given(p).values()), len(compiled.outputs)

    def run() -> list[Any]:
        found = request.infer(given, share_inputs=True, share_outputs=True)
        y, *states = (found[i] for i in range(count))
        return [_output(p, y), *states]

    return run
