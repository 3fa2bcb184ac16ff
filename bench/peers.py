"""Inference of one recurrent layer by ONNX Runtime and OpenVINO, with the weights of a PyTorch layer.

Each is a model of one ONNX operator (LSTM, GRU or RNN), on as many threads as asked for, in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

# The order of ONNX's gates as numbers of PyTorch's: i, f, g, o -> i, o, f, c; r, z, n -> z, r, h.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}


def onnx_model(kind: str, layer: Any, shape: tuple[int, int, int, int]) -> bytes:
    """The layer as an ONNX model, x [T, N, I] -> output [T, 1, N, H]."""
    from onnx import TensorProto, checker, helper, numpy_helper

    T, N, I, H = shape
    in_order = lambda a: a.reshape(len(ORDER[kind]), H, -1)[list(ORDER[kind])].reshape(1, -1, *a.shape[1:])
    state = {name: in_order(value.numpy()) for name, value in layer.state_dict().items()}
    bias = np.concatenate([state["bias_ih_l0"], state["bias_hh_l0"]], 1)
    weights = {"W": state["weight_ih_l0"], "R": state["weight_hh_l0"], "B": bias}
    options = {"hidden_size": H} | ({"linear_before_reset": 1} if kind == "GRU" else {})
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "W", "R", "B"], ["y"], **options)],
        kind,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [T, N, I])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [T, 1, N, H])],
        [numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def onnxruntime(model: bytes, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """Its CPU provider with all graph optimisations (the default), which packs the weights once."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0][:, 0]


def openvino(model: bytes, x: np.ndarray, threads: int) -> Callable[[], np.ndarray]:
    """Its CPU plugin set to least latency, in float32 also where the host has shorter numbers, inputs shared."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    core = ov.Core()
    request = core.compile_model(core.read_model(model, b""), "CPU", settings).create_infer_request()
    return lambda: request.infer([x], share_inputs=True, share_outputs=True)[0][:, 0]


INFERENCE = {"onnxruntime": onnxruntime, "openvino": openvino}
