"""Recurrent networks on a minimal tape-based autograd, with fused sequence kernels for any cell.

import tinygrad_rnn as tg
from tinygrad_rnn import nn, optim

x = tg.randn(100, 16, 32)                       # T, N, I
lstm = nn.LSTM(input_size=32, hidden_size=64)
output, (h_n, c_n) = lstm(x)
output.mean().backward()
lstm.weight_hh_l0.grad
"""

from . import interrupts as _interrupts

if _interrupts.is_program():  # before the imports below, so that Ctrl-C while they run prints no traceback
    _interrupts.watch()

from importlib.util import find_spec as _find_spec

if _find_spec("tinygrad_rnn.kernels") is None:
    raise ImportError(
        "tinygrad_rnn: the package 'tinygrad_rnn.kernels' was not found: it lies in the folder 'kernels' of the "
        "repository and is put in its place by installing: run `pip install -e .` there"
    )

from . import cuda, decode, func, nn, optim
from .arrays.random import get_rng_state, manual_seed, set_rng_state
from .arrays.storage import load, save
from .autograd.anomaly import detect_anomaly
from .autograd.functional import detach, grad
from .autograd.grad_modes import (
    enable_grad,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from .autograd.gradcheck import gradcheck, gradgradcheck
from .autograd.primitives.einsum import einsum
from .autograd.primitives.elementwise import (
    abs,
    add,
    clip,
    cos,
    div,
    eq,
    erf,
    exp,
    ge,
    gelu,
    gt,
    isfinite,
    isnan,
    le,
    log,
    logical_and,
    logical_not,
    logical_or,
    lt,
    masked_fill,
    maximum,
    minimum,
    mul,
    ne,
    neg,
    pow,
    relu,
    sigmoid,
    sign,
    sin,
    softplus,
    sqrt,
    sub,
    tanh,
    where,
)
from .autograd.primitives.index import gather
from .autograd.primitives.norm import norm
from .autograd.primitives.order import argsort, sort, topk
from .autograd.primitives.products import bmm, matmul
from .autograd.primitives.reduce import (
    all,
    amax,
    amin,
    any,
    argmax,
    argmin,
    cumsum,
    log_softmax,
    logsumexp,
    max,
    mean,
    min,
    softmax,
    std,
    sum,
    var,
)
from .autograd.primitives.sampling import multinomial
from .autograd.primitives.shape import (
    broadcast_to,
    chunk,
    concat,
    flatten,
    flip,
    pad,
    permute,
    repeat,
    reshape,
    split,
    squeeze,
    stack,
    tile,
    transpose,
    unbind,
    unsqueeze,
)
from .cells import Cell, cell
from .cells.explain import explain
from .kernels.cpu.runtime.threads import get_num_threads, set_num_threads
from .kernels.cuda.tiles import get_float32_matmul_precision, set_float32_matmul_precision
from .sequence.fused import empty_cache
from .tensor import Tensor
from .tensor.creation import (
    arange,
    eye,
    from_dlpack,
    full,
    full_like,
    ones,
    ones_like,
    rand,
    randint,
    randn,
    tensor,
    zeros,
    zeros_like,
)

__version__ = "0.1.0"
cat = concat

__all__ = [
    "Cell",
    "Tensor",
    "__version__",
    "abs",
    "add",
    "all",
    "amax",
    "amin",
    "any",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "bmm",
    "broadcast_to",
    "cat",
    "cell",
    "chunk",
    "clip",
    "concat",
    "cos",
    "cuda",
    "cumsum",
    "decode",
    "detach",
    "detect_anomaly",
    "div",
    "einsum",
    "empty_cache",
    "enable_grad",
    "eq",
    "erf",
    "exp",
    "explain",
    "eye",
    "flatten",
    "flip",
    "from_dlpack",
    "full",
    "full_like",
    "func",
    "gather",
    "ge",
    "gelu",
    "get_float32_matmul_precision",
    "get_num_threads",
    "get_rng_state",
    "grad",
    "gradcheck",
    "gradgradcheck",
    "gt",
    "is_grad_enabled",
    "isfinite",
    "isnan",
    "le",
    "load",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "logsumexp",
    "lt",
    "manual_seed",
    "masked_fill",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mul",
    "multinomial",
    "ne",
    "neg",
    "nn",
    "no_grad",
    "norm",
    "ones",
    "ones_like",
    "optim",
    "pad",
    "permute",
    "pow",
    "rand",
    "randint",
    "randn",
    "relu",
    "repeat",
    "reshape",
    "save",
    "set_float32_matmul_precision",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "sigmoid",
    "sign",
    "sin",
    "softmax",
    "softplus",
    "sort",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "sub",
    "sum",
    "tanh",
    "tensor",
    "tile",
    "topk",
    "transpose",
    "unbind",
    "unsqueeze",
    "var",
    "where",
    "zeros",
    "zeros_like",
]
