"""Pointwise operations on LLVM vectors: what each operation of a Program is in vector code.

`Vectors` wraps an LLVM builder for one vector type, `lanes` numbers of float32 or float64. Its functions are
polynomials with the errors below, in units in the last place (ulp) of the result against float64 (or better),
over the whole range including subnormal results; +-inf and NaN are right.

    exp      2 ulp   e^x = 2^n e^r, |r| <= ln(2)/2, Taylor series of e^r
    expm1    2 ulp   2^n (e^r - 1) + (2^n - 1), for x <= 0
    sigmoid  3 ulp   c / (c + c e^-x), c = 2^-64 (2^-512 in float64), so that e^-x cannot overflow
    tanh     4 ulp   from expm1(-2|x|), so that small results keep theirs
    log      2 ulp   log m = 2 artanh((m - 1)/(m + 1)), sqrt(1/2) <= m < sqrt(2), series of artanh

Few cells use sin, cos, erf and pow: these call the C library for one lane after the other, which is several times
slower.

The polynomials are Taylor series, not minimax polynomials. They take one or two multiply-adds more, and every
coefficient can be read.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir

LN2_HIGH = {32: 0.693145751953125, 64: 6.93147180369123816490e-01}  # ln 2 in few enough digits that n * it is exact
LN2_LOW = {32: 1.428606820309417232e-06, 64: 1.90821492927058770002e-10}  # the rest
ZERO_BELOW = {32: -104.0, 64: -746.0}  # where e^x is 0
EXP_TERMS = {32: 7, 64: 13}
LOG_TERMS = {32: 5, 64: 11}


def declared(module: ir.Module, name: str, result: ir.Type, arguments: list[ir.Type]) -> Any:
    """Return a function of LLVM or the C library by name: `declare_intrinsic` of llvmlite refuses vector types."""
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(result, arguments), name)


class Vectors:
    """Emits operations on vectors of one type through an `ir.IRBuilder`."""

    def __init__(self, builder: ir.IRBuilder, bits: int, lanes: int):
        self.builder, self.bits, self.lanes = builder, bits, lanes
        self.scalar = ir.FloatType() if bits == 32 else ir.DoubleType()
        self.integer = ir.IntType(bits)
        self.type = ir.VectorType(self.scalar, lanes)
        self.int_type = ir.VectorType(self.integer, lanes)
        self.fraction = 23 if bits == 32 else 52
        self.bias = (1 << (bits - self.fraction - 2)) - 1

    # Constants and calls

    def constant(self, value: float) -> ir.Constant:
        """Return a vector with a number in all lanes."""
        return ir.Constant(self.type, [self.scalar(value)] * self.lanes)

    def int_constant(self, value: int) -> ir.Constant:
        """Return a vector with a whole number in all lanes."""
        return ir.Constant(self.int_type, [self.integer(value)] * self.lanes)

    def splat(self, scalar: Any) -> Any:
        """Return a vector with a scalar of any type in all lanes."""
        kind = ir.VectorType(scalar.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [ir.IntType(32)(0)] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), mask)

    def _call(self, name: str, *args: Any) -> Any:
        full = f"llvm.{name}.v{self.lanes}f{self.bits}"
        return self.builder.call(declared(self.builder.module, full, self.type, [self.type] * len(args)), args)

    def _by_lane(self, name: str, *args: Any) -> Any:
        """Call a function of the C library for one lane after the other."""
        name += "f" if self.bits == 32 else ""
        function = declared(self.builder.module, name, self.scalar, [self.scalar] * len(args))
        result = ir.Constant(self.type, ir.Undefined)
        for i in map(ir.IntType(32), range(self.lanes)):
            one = self.builder.call(function, [self.builder.extract_element(a, i) for a in args])
            result = self.builder.insert_element(result, one, i)
        return result

    # Arithmetic

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c: one multiply-add if the host has it, else two operations (`llvm.fma` would call libm)."""
        return self._call("fmuladd", a, b, c)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        return self.builder.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        return self.builder.fmul(a, b)

    def div(self, a: Any, b: Any) -> Any:
        return self.builder.fdiv(a, b)

    def neg(self, a: Any) -> Any:
        return self.builder.fneg(a)

    def abs(self, a: Any) -> Any:
        return self._call("fabs", a)

    def sqrt(self, a: Any) -> Any:
        return self._call("sqrt", a)

    def copysign(self, size: Any, sign: Any) -> Any:
        return self._call("copysign", size, sign)

    def compare(self, sign: str, a: Any, b: Any) -> Any:
        """Return a mask. It is false where either is NaN, except for !=."""
        return (self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered)(sign, a, b)

    def is_mask(self, a: Any) -> bool:
        """Return whether a value is a mask, the result of a comparison, and not numbers."""
        return a.type.element == ir.IntType(1)

    def mask(self, a: Any) -> Any:
        """Return numbers as a mask: true where a number is not 0. NaN is true."""
        return a if self.is_mask(a) else self.builder.fcmp_unordered("!=", a, self.constant(0.0))

    def number(self, a: Any) -> Any:
        """Return a mask as numbers: 1 where it is true, else 0."""
        return self.where(a, self.constant(1.0), self.constant(0.0)) if self.is_mask(a) else a

    def where(self, mask: Any, a: Any, b: Any) -> Any:
        return self.builder.select(mask, a, b)

    def maximum(self, a: Any, b: Any) -> Any:
        """Return the larger; NaN where either is NaN, as in NumPy."""
        larger = self.where(self.compare(">", a, b), a, b)
        return self.where(self.builder.fcmp_unordered("uno", a, a), a, larger)

    def minimum(self, a: Any, b: Any) -> Any:
        """Return the smaller; NaN where either is NaN, as in NumPy."""
        smaller = self.where(self.compare("<", a, b), a, b)
        return self.where(self.builder.fcmp_unordered("uno", a, a), a, smaller)

    def polynomial(self, x: Any, coefficients: list[float], square: Any = None) -> Any:
        """Return c0 + c1 x + c2 x^2 + ... = (c0 + c1 x) + x^2 (c2 + c3 x) + ..., by Horner's rule in x^2. square: x^2.

        Horner's rule in x has as many operations, but each of them waits for the one before.
        """
        square = self.mul(x, x) if square is None else square
        c = [self.constant(number) for number in coefficients]
        pairs = [self.fma(c[k + 1], x, c[k]) if k + 1 < len(c) else c[k] for k in range(0, len(c), 2)]
        total = pairs.pop()
        for pair in reversed(pairs):
            total = self.fma(total, square, pair)
        return total

    # Functions

    def _reduced(self, x: Any) -> tuple[Any, Any, Any]:
        """Return (bits, n, r): x = n ln 2 + r, n whole and |r| <= ln(2)/2. bits: integers that end with n's bits."""
        # The sum of x / ln 2 and so large a number has no fraction: it is rounded, and its low bits are n.
        magic = self.constant(1.5 * 2.0**self.fraction)
        shifted = self.fma(x, self.constant(1 / math.log(2)), magic)
        n = self.sub(shifted, magic)
        r = self.fma(n, self.constant(-LN2_HIGH[self.bits]), x)
        r = self.fma(n, self.constant(-LN2_LOW[self.bits]), r)
        return self.builder.bitcast(shifted, self.int_type), n, r

    def _power_of_two(self, bits: Any, more: int = 0) -> Any:
        """Return 2^(n + more) from integers that end with n's bits, within the range of exponents of normal numbers."""
        shifted = self.builder.shl(bits, self.int_constant(self.fraction))
        exponent = self.builder.add(shifted, self.int_constant((self.bias + more) << self.fraction))
        return self.builder.bitcast(exponent, self.type)

    def _scaled(self, value: Any, bits: Any, n: Any) -> Any:
        """Return 2^n value for any whole n, even if the result is subnormal or infinite. bits end with n's bits."""
        if self.lanes * self.bits == 512:  # AVX-512 has an instruction for it
            kind, every = ("ps", ir.IntType(16)(-1)) if self.bits == 32 else ("pd", ir.IntType(8)(-1))
            name, arguments = f"llvm.x86.avx512.mask.scalef.{kind}.512", [value, n, value, every, ir.IntType(32)(4)]
            scale = declared(self.builder.module, name, self.type, [a.type for a in arguments])
            return self.builder.call(scale, arguments)
        # Two factors, as 2^n may be no normal number. The whole of n, with its sign, is needed to halve it.
        whole = self.builder.sub(bits, self.builder.bitcast(self.constant(1.5 * 2.0**self.fraction), self.int_type))
        half = self.builder.ashr(whole, self.int_constant(1))
        value = self.mul(value, self._power_of_two(half))
        return self.mul(value, self._power_of_two(self.builder.sub(whole, half)))

    def _expm1_series(self, r: Any) -> Any:
        """Return e^r - 1 for |r| <= ln(2)/2, as r + r^2 (1/2! + r/3! + ...)."""
        square = self.mul(r, r)
        series = self.polynomial(r, [1 / math.factorial(k) for k in range(2, EXP_TERMS[self.bits] + 1)], square)
        return self.fma(square, series, r)

    def _exp(self, x: Any) -> Any:
        """Return e^x for x that is not infinite."""
        bits, n, r = self._reduced(x)
        return self._scaled(self.add(self.constant(1.0), self._expm1_series(r)), bits, n)

    def _at_least(self, x: Any, low: float) -> Any:
        """Return the larger of x and a number; NaN stays NaN."""
        return self.where(self.compare("<", x, self.constant(low)), self.constant(low), x)

    def _at_most(self, x: Any, high: float) -> Any:
        """Return the smaller of x and a number; NaN stays NaN."""
        return self.where(self.compare(">", x, self.constant(high)), self.constant(high), x)

    def exp(self, x: Any) -> Any:
        """Return e^x."""
        x = self._at_most(x, 89.0 if self.bits == 32 else 710.0)  # inf from there on
        return self._exp(self._at_least(x, ZERO_BELOW[self.bits]))

    def _exp_of_minus_abs(self, x: Any) -> Any:
        """Return e^-|x|."""
        return self._exp(self._at_least(self.neg(self.abs(x)), ZERO_BELOW[self.bits]))

    def expm1_negative(self, x: Any) -> Any:
        """Return e^x - 1 for x <= 0."""
        bits, _, r = self._reduced(self._at_least(x, -25.0 if self.bits == 32 else -50.0))  # -1 below
        scale = self._power_of_two(bits)
        return self.fma(scale, self._expm1_series(r), self.sub(scale, self.constant(1.0)))

    def sigmoid(self, x: Any) -> Any:
        """Return 1 / (1 + e^-x) as c / (c + c e^-x), with c so small that c e^-x does not overflow."""
        power = -64 if self.bits == 32 else -512
        c = self.constant(2.0**power)
        below = self._at_least(self.neg(x), -30.0 if self.bits == 32 else -60.0)  # the result is 1
        bits, _, r = self._reduced(self._at_most(below, -ZERO_BELOW[self.bits]))
        scale = self._power_of_two(bits, power)
        return self.div(c, self.add(c, self.fma(scale, self._expm1_series(r), scale)))

    def tanh(self, x: Any) -> Any:
        """Return tanh x = t / (t + 2) with t = e^(-2|x|) - 1, and the sign of x."""
        t = self.expm1_negative(self.mul(self.abs(x), self.constant(-2.0)))
        return self.copysign(self.div(t, self.add(t, self.constant(2.0))), x)

    def log(self, x: Any) -> Any:
        """Return the natural logarithm."""
        b, zero, one = self.builder, self.constant(0.0), self.constant(1.0)
        tiny = self.constant(2.0 ** (2 - (1 << (self.bits - self.fraction - 2))))
        small = self.compare("<", x, tiny)
        up = float(self.fraction + 1)
        scaled = self.where(small, self.mul(x, self.constant(2.0**up)), x)
        # Subtract the bits of sqrt(1/2) before the exponent is read, so that m lies around 1.
        offset = b.sub(b.bitcast(scaled, self.int_type), b.bitcast(self.constant(math.sqrt(0.5)), self.int_type))
        n = b.ashr(offset, self.int_constant(self.fraction))
        m = b.bitcast(b.sub(b.bitcast(scaled, self.int_type), b.shl(n, self.int_constant(self.fraction))), self.type)
        whole = self.sub(b.sitofp(n, self.type), self.where(small, self.constant(up), zero))
        f = self.sub(m, one)
        s = self.div(f, self.add(m, one))
        s2 = self.mul(s, s)
        # log m = 2 s + 2 s^3/3 + ... = f - s (f - 2 s^2/3 - 2 s^4/5 ...): f is exact, and the rest is small.
        rest = self.mul(s2, self.polynomial(s2, [2 / (2 * k + 3) for k in range(LOG_TERMS[self.bits])]))
        low = self.fma(whole, self.constant(LN2_LOW[self.bits]), self.mul(s, self.sub(rest, f)))
        value = self.fma(whole, self.constant(LN2_HIGH[self.bits]), self.add(f, low))
        value = self.where(self.compare("==", x, self.constant(math.inf)), x, value)
        value = self.where(self.compare("==", x, zero), self.constant(-math.inf), value)
        # Below 0 the result is NaN, and so it is where x is NaN.
        return self.where(self.compare(">=", x, zero), value, self.constant(math.nan))

    def softplus(self, x: Any) -> Any:
        """Return log(1 + e^x) = max(x, 0) + log(1 + e^-|x|)."""
        e = self._exp_of_minus_abs(x)
        one = self.constant(1.0)
        u = self.add(one, e)
        # u is rounded, so log(u) is not log(1 + e). The factor e / (u - 1) corrects it (Kahan).
        d = self.sub(u, one)
        exact = self.compare("==", d, self.constant(0.0))
        tail = self.where(exact, e, self.mul(self.log(u), self.div(e, self.where(exact, one, d))))
        return self.add(self.maximum(x, self.constant(0.0)), tail)

    def sin(self, x: Any) -> Any:
        return self._by_lane("sin", x)

    def cos(self, x: Any) -> Any:
        return self._by_lane("cos", x)

    def erf(self, x: Any) -> Any:
        """Return 2/sqrt(pi) times the integral of e^-t^2 from 0 to x."""
        return self._by_lane("erf", x)

    def pow(self, x: Any, y: Any) -> Any:
        return self._by_lane("pow", x, y)
