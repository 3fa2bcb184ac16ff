/* The product tile: rows of a source times rows of weights, both in shared memory, in registers.

       sum[g][r][u] = sum over k of source[r][k] * weights[g][u][k]

   Each unit of the tile, with so many rows, is the task of a group of lanes of one warp. The lanes split k among them,
   sixteen bytes at a time, so that a group reads whole lines of shared memory; then they add up their shares by
   exchanging halves: after log2(LANES) exchanges each lane holds the sums of its own rows. The order of additions is
   fixed, and so are the bits of the result. */
#pragma once
#include <cstring>
#include "team.cuh"

/* Sixteen bytes, the most that one instruction moves. */
template <class T> struct alignas(16) Vector {
    static constexpr int size = 16 / sizeof(T);
    T at[size];
};

template <int LANES_, int ROWS_> struct Tile {
    static constexpr int LANES = LANES_, ROWS = ROWS_;
    static constexpr int TASKS = THREADS / LANES;  /* tasks of a block at once */
    static constexpr int LANES_PER_ROW = LANES / ROWS;
    static_assert(LANES % ROWS == 0 && 32 % LANES == 0 && THREADS % 32 == 0, "lanes of one warp split a task");

    const int lane = threadIdx.x % LANES;
    const int unit, first_row;  /* of this thread's task, in the tile and in the pass */
    const int units, rows;      /* of the tile, and of a pass: all tasks at once */

    __device__ explicit Tile(int bits)
        : unit(threadIdx.x / LANES & ((1 << bits) - 1)), first_row((threadIdx.x / LANES >> bits) * ROWS),
          units(1 << bits), rows((TASKS >> bits) * ROWS) {}
};

/* Add the products of a span of k. source [rows, depth], weights [G, units, across]: read. */
template <int G, class Tile, class T>
__device__ __forceinline__ void multiply(const Tile &tile, T (&sum)[G][Tile::ROWS], const T *source, int depth,
                                const T *weights, int across, int span) {
    using V = Vector<T>;
    const T *const own = source + tile.first_row * depth;
    const T *const of_unit = weights + tile.unit * across;
    for (int k = tile.lane * V::size; k < span; k += Tile::LANES * V::size) {
        V w[G];
#pragma unroll
        for (int g = 0; g < G; ++g) w[g] = *reinterpret_cast<const V *>(of_unit + g * tile.units * across + k);
#pragma unroll
        for (int r = 0; r < Tile::ROWS; ++r) {
            const V a = *reinterpret_cast<const V *>(own + r * depth + k);
#pragma unroll
            for (int g = 0; g < G; ++g)
#pragma unroll
                for (int i = 0; i < V::size; ++i) sum[g][r] += a.at[i] * w[g].at[i];
        }
    }
}

/* Add up what lanes hold: of COUNT sums the lower half of the lanes goes on with one half, the upper with the other. */
template <int LANES, int COUNT, class T> __device__ __forceinline__ void add_up(T *sum, int lane) {
    if constexpr (LANES > 1) {
        constexpr int across = LANES / 2, half = COUNT > 1 ? COUNT / 2 : 1;
        if constexpr (COUNT > 1) {
            const bool upper = lane & across;
#pragma unroll
            for (int i = 0; i < half; ++i) {
                const T given = upper ? sum[i] : sum[i + half];
                sum[i] = (upper ? sum[i + half] : sum[i]) + of_lane_across(given, across);
            }
        } else {
            sum[0] += of_lane_across(sum[0], across);
        }
        add_up<across, half>(sum, lane);
    }
}

/* Numbers from one row of sums in shared memory to the next: one more, so that lanes meet in no bank. */
__device__ inline int sums_row(int units) { return units + 1; }

/* Put a task's sums where the pointwise work finds them: sums [G, rows, units + 1], written. */
template <int G, class Tile, class T>
__device__ __forceinline__ void put_sums(const Tile &tile, T (&sum)[G][Tile::ROWS], T *sums) {
    const int row = tile.first_row + tile.lane / Tile::LANES_PER_ROW;
#pragma unroll
    for (int g = 0; g < G; ++g) {
        add_up<Tile::LANES, Tile::ROWS>(sum[g], tile.lane);
        if (tile.lane % Tile::LANES_PER_ROW == 0)
            sums[(g * tile.rows + row) * sums_row(tile.units) + tile.unit] = sum[g][0];
    }
}

/* `width` rounded up to whole vectors. */
template <class T> __device__ inline int whole(int width) { return (width + Vector<T>::size - 1) & -Vector<T>::size; }

/* Copy `count` rows to shared memory, `across` numbers apart, by all threads of the block: `span` numbers of each, and
   zeros up to whole vectors. from(row): the address of a row, or a null pointer for zeros. */
template <class T, class From> __device__ inline void bring(T *to, int across, int count, int span, From from) {
    using V = Vector<T>;
    const int vectors = whole<T>(span) / V::size;
    for (int i = threadIdx.x; i < count * vectors; i += THREADS) {
        const int row = i / vectors, k = i % vectors * V::size;
        const T *const start = from(row);
        V found;
        if (start && k + V::size <= span && reinterpret_cast<uintptr_t>(start + k) % sizeof(V) == 0) {
            const int4 bits = read_shared_by_all(reinterpret_cast<const int4 *>(start + k));
            memcpy(&found, &bits, sizeof found);
        } else {
#pragma unroll
            for (int j = 0; j < V::size; ++j)
                found.at[j] = start && k + j < span ? read_shared_by_all(start + k + j) : T(0);
        }
        *reinterpret_cast<V *>(to + row * across + k) = found;
    }
}
