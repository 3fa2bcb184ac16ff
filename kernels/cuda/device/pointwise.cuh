/* The pointwise operations that are not in C++ or its std. kernels/ir/operations.py defines each in NumPy.

   Precise versions throughout (no fast-math): exp, log and tanh are within two units of the last place of float. */
#pragma once
#include <cmath>
#include <device.cuh>

/* 1 / (1 + e^-x), from e^-|x| so that neither end overflows and small results keep their digits. */
template <class T> __device__ inline T sigmoid(T x) {
    const T e = std::exp(-std::fabs(x));
    return (x >= T(0) ? T(1) : e) / (T(1) + e);
}

/* Unlike fmax and fmin, these two return NaN if either argument is NaN. */
template <class T> __device__ inline T maximum(T x, T y) { return x > y || x != x ? x : y; }
template <class T> __device__ inline T minimum(T x, T y) { return x < y || x != x ? x : y; }

/* log(1 + e^x) */
template <class T> __device__ inline T softplus(T x) { return maximum(x, T(0)) + std::log1p(std::exp(-std::fabs(x))); }

template <class T> __device__ inline T sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : x; }
