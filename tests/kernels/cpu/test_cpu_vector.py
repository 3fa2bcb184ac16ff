"""Vector code of the pointwise operations errs by a few units in the last place, against a wider format."""

import numpy as np
import pytest
from numba import njit, types
from numba.extending import intrinsic

import tinygrad_rnn as tg
from tinygrad_rnn import cos, erf, nn, sin, tanh
from tinygrad_rnn.cells import cell
from tinygrad_rnn.kernels.cpu.codegen.pointwise import emit_operation
from tinygrad_rnn.kernels.cpu.codegen.vector import Vectors
from tinygrad_rnn.kernels.cpu.runtime.host import VARIABLE, vector_unit
from tinygrad_rnn.kernels.ir.operations import OPERATIONS

LIMIT = {"exp": 2, "log": 2, "sigmoid": 3, "tanh": 4, "softplus": 4, "sin": 2, "cos": 2}
SPECIAL = [
    0.0,
    -0.0,
    np.inf,
    -np.inf,
    np.nan,
    1.0,
    -1.0,
    1e-45,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    88.7,
    -87.5,
    -103.9,
    -104.5,
]


def vectorised(name, dtype, bits):
    """Return a function that computes an operation on arrays in vectors of so many bits."""
    size = np.dtype(dtype).itemsize
    lanes = bits // (8 * size)

    @intrinsic
    def one(typing, source, target):
        def emit(context, builder, signature, args):
            v = Vectors(builder, 8 * size, lanes)
            place = [builder.inttoptr(a, v.type.as_pointer()) for a in args]
            builder.store(emit_operation(v, name, [builder.load(place[0], align=size)]), place[1], align=size)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp), emit

    @njit
    def run(x, y):
        for i in range(0, x.size, lanes):
            one(x.ctypes.data + i * size, y.ctypes.data + i * size)

    def call(x):
        padded = np.concatenate([x, np.ones(-x.size % lanes, dtype)])
        out = np.empty_like(padded)
        run(padded, out)
        return out[: x.size]

    return call


def numbers(dtype):
    rng = np.random.default_rng(0)
    far = (-110, 95) if dtype == np.float32 else (-750, 712)
    parts = [rng.uniform(-12, 12, 50_000), rng.uniform(*far, 50_000), rng.uniform(0.5, 2, 50_000)]
    parts += [rng.standard_normal(50_000) * np.exp(rng.uniform(-90, 60, 50_000)), np.exp(rng.uniform(-85, 85, 50_000))]
    return np.concatenate([*parts, SPECIAL]).astype(dtype)


@pytest.mark.parametrize("bits", [128, 256, 512])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LIMIT)
def test_error_over_the_whole_range(name, dtype, bits):
    if bits > vector_unit().bits:
        pytest.skip(f"this processor has no {bits}-bit vectors")
    x = numbers(dtype)
    wide = np.float64 if dtype == np.float32 else np.longdouble
    with np.errstate(all="ignore"):
        found = vectorised(name, dtype, bits)(x)
        exact = np.log1p(np.exp(-np.abs(x.astype(wide)))) + np.maximum(x, 0) if name == "softplus" else None
        exact = OPERATIONS[name].compute(x.astype(wide)) if exact is None else exact
        expected = exact.astype(dtype)
        finite = np.isfinite(expected)
        ulp = np.abs(found.astype(wide) - exact)[finite] / np.spacing(np.abs(expected[finite])).astype(wide)
    assert ulp.max() <= LIMIT[name], x[finite][ulp.argmax()]
    np.testing.assert_array_equal(found[~finite], expected[~finite])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_functions_of_the_c_library(dtype):
    x = np.array([*SPECIAL, 0.3, -2.5, 4.0, 17.25], dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(
            vectorised("erf", dtype, 128)(x), OPERATIONS["erf"].compute(x), rtol=4 * np.finfo(dtype).eps
        )


@cell(gates="n")
def curved(a, s):
    """A cell of operations that other cells do not use."""
    return tanh(erf(a.n) + sin(a.n) * cos(0.5 * s.h) + 0.1 * (1.5 + tanh(a.n)) ** 2.5 + 0.1 * a.n**3)


def test_a_cell_of_rare_operations_is_compiled(caplog):
    layer = nn.Recurrent(curved, 3, 17, dtype="float64")
    x = tg.tensor(np.random.default_rng(0).standard_normal((3, 2, 3)), requires_grad=True)
    assert tg.gradcheck(lambda v: layer(v)[0], [x])
    assert tg.gradgradcheck(lambda v: layer(v)[0], [x])
    assert not [record for record in caplog.records if "reference" in record.message]


@pytest.mark.parametrize("name", ["relu", "sign", "abs", "sqrt", "neg"])
def test_simple_operations_equal_numpys(name):
    x = np.array([*SPECIAL, 2.0, -3.5], np.float32)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(vectorised(name, np.float32, 128)(x), OPERATIONS[name].compute(x))


def test_the_environment_forces_a_width(monkeypatch):
    monkeypatch.setenv(VARIABLE, "128")
    assert vector_unit.__wrapped__().bits == 128  # __wrapped__ bypasses the cached value
    monkeypatch.setenv(VARIABLE, "64")
    with pytest.raises(ValueError, match="expected 128, 256 or 512, got '64'"):
        vector_unit.__wrapped__()
