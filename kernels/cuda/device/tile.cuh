/* Product tiles: rows of a source times rows of weights. Both lie in shared memory; the sums lie in registers.

       sum[g][r][u] = sum over k of source[r][k] * weights[g][u][k]

   A tile says how the numbers are stored in shared memory, and how threads share the rows of a pass and the units of a
   tile. All tiles have the same interface:

       Stored               the type of a number in shared memory
       row(width)           the numbers from one row to the next there. width: of a row in memory, in whole vectors,
                            with zeros past the end of its values
       rows, units, slices  the rows of a pass, the units of the tile, and how many partial sums make a sum
       Sums<G>              a thread's sums, for G weights that are multiplied with one source
       multiply, put        add products to the sums; write the sums where the pointwise work finds them

   The order of additions is fixed, and so are the bits of the result. */
#pragma once
#include "block_group.cuh"

/* Sixteen bytes, the most that one instruction moves. */
template <class T> struct alignas(16) Vector {
    static constexpr int size = 16 / sizeof(T);
    T at[size];
};

/* Numbers from one row of sums in shared memory to the next: one more than units, so that lanes use different banks. */
__host__ __device__ inline int sums_row(int units) { return units + 1; }

/* Full precision, by fused multiply-add: each unit, with ROWS rows, is the task of a group of lanes of one warp. The
   lanes split k among them, a vector at a time, so that a group reads whole lines of shared memory; then they add up
   their shares by exchanging halves: after log2(LANES) exchanges each lane holds the sums of its own rows. If there are
   more groups of lanes than tasks, several groups have the same task and split k among them: each is a slice. */
template <class T, int LANES, int ROWS> struct LaneTile {
    using Stored = T;
    using V = Vector<T>;
    template <int G> struct Sums {
        T at[G][ROWS];
    };
    static constexpr int TASKS = THREADS / LANES, LANES_PER_ROW = LANES / ROWS;
    static_assert(LANES % ROWS == 0 && 32 % LANES == 0 && THREADS % 32 == 0, "lanes of one warp split a task");

    const int lane = threadIdx.x % LANES;
    const int unit, first_row, slice;  /* of this thread's task, in the tile and in the pass */
    const int units, rows, slices;

    __device__ LaneTile(int bits, int row_bits)
        : unit(threadIdx.x / LANES & ((1 << bits) - 1)),
          first_row((threadIdx.x / LANES >> bits & ((1 << row_bits) - 1)) * ROWS),
          slice(threadIdx.x / LANES >> bits >> row_bits), units(1 << bits), rows(ROWS << row_bits),
          slices(TASKS >> bits >> row_bits) {}

    __device__ static int row(int width) { return width; }

    template <int G>
    __device__ __forceinline__ void multiply(Sums<G> &sum, const T *source, int source_row, const T *weights,
                                             int weights_row, int span) const {
        source += first_row * source_row;
        weights += unit * weights_row;
        for (int k = (slice * LANES + lane) * V::size; k < span; k += slices * LANES * V::size) {
            V w[G];
#pragma unroll
            for (int g = 0; g < G; ++g) w[g] = *reinterpret_cast<const V *>(weights + g * units * weights_row + k);
#pragma unroll
            for (int r = 0; r < ROWS; ++r) {
                const V a = *reinterpret_cast<const V *>(source + r * source_row + k);
#pragma unroll
                for (int g = 0; g < G; ++g)
#pragma unroll
                    for (int i = 0; i < V::size; ++i) sum.at[g][r] += a.at[i] * w[g].at[i];
            }
        }
    }

    /* Add up the lanes' sums. Of COUNT sums, the lower half of the lanes goes on with one half, the upper half of the
       lanes with the other. */
    template <int ACROSS = LANES / 2, int COUNT = ROWS> __device__ __forceinline__ void add_up(T *sum) const {
        if constexpr (ACROSS > 0) {
            constexpr int half = COUNT > 1 ? COUNT / 2 : 1;
            if constexpr (COUNT > 1) {
                const bool upper = lane & ACROSS;
#pragma unroll
                for (int i = 0; i < half; ++i) {
                    const T given = upper ? sum[i] : sum[i + half];
                    sum[i] = (upper ? sum[i + half] : sum[i]) + of_lane_across(given, ACROSS);
                }
            } else {
                sum[0] += of_lane_across(sum[0], ACROSS);
            }
            add_up<ACROSS / 2, half>(sum);
        }
    }

    /* Write this slice's sums into `sums` [slices, results, rows, units + 1], from the result `first` on. */
    template <int G> __device__ __forceinline__ void put(Sums<G> &sum, T *sums, int results, int first) const {
        const int row = first_row + lane / LANES_PER_ROW;
#pragma unroll
        for (int g = 0; g < G; ++g) {
            add_up(sum.at[g]);
            if (lane % LANES_PER_ROW == 0)
                sums[((slice * results + first + g) * rows + row) * sums_row(units) + unit] = sum.at[g][0];
        }
    }
};

/* The numbers that tensor cores multiply: float with fewer digits. */
struct Tf32 {
    static constexpr int K = 8;  /* of one product of matrices */
    uint32_t bits;
    Tf32() = default;
    __device__ explicit Tf32(float x) : bits(rounded_to_tf32(x)) {}
};

struct Bf16 {
    static constexpr int K = 16;
    uint16_t bits;
    Bf16() = default;
    __device__ explicit Bf16(float x) : bits(rounded_to_bf16(x)) {}
};

/* Products of rounded numbers by the tensor cores, with sums in float. A warp has 16 * BLOCKS rows and eight units. The
   warps with the same eight units split k among them: each is a slice.

   A lane takes sixteen bytes of a row at a time: four words. The first two are its part of one product of matrices, the
   other two its part of the next. Both factors take their words in the same order of k, so the sum over k is complete.
   Eight lanes then read from two rows. These use different banks if rows lie an odd multiple of 64 bytes apart. */
template <class Rounded, int BLOCKS> struct MatrixTile {
    using Stored = Rounded;
    template <int G> struct Sums {
        float at[BLOCKS][G][4];
    };
    static constexpr int UNITS = 8, ROWS = 16, STEP = 64 / sizeof(Rounded);  /* numbers of k that four lanes take */

    const int lane = threadIdx.x % 32;
    const int first_unit, slice;
    const int units, rows = ROWS * BLOCKS, slices;

    __device__ MatrixTile(int bits, int)
        : first_unit((threadIdx.x / 32 & ((1 << bits) / UNITS - 1)) * UNITS),
          slice(threadIdx.x / 32 / ((1 << bits) / UNITS)),
          units(1 << bits), slices(THREADS / 32 / ((1 << bits) / UNITS)) {}

    __device__ static int row(int width) { return width % (2 * STEP) ? width : width + STEP; }

    template <int G>
    __device__ __forceinline__ void multiply(Sums<G> &sum, const Stored *source, int source_row, const Stored *weights,
                                             int weights_row, int span) const {
        const int part = lane % 4 * (STEP / 4);
        source += lane / 4 * source_row + part;
        weights += (first_unit + lane / 4) * weights_row + part;
        for (int k = slice * STEP; k < span; k += slices * STEP) {
            uint4 low[BLOCKS], high[BLOCKS];
#pragma unroll
            for (int b = 0; b < BLOCKS; ++b) {
                low[b] = *reinterpret_cast<const uint4 *>(source + b * ROWS * source_row + k);
                high[b] = *reinterpret_cast<const uint4 *>(source + (b * ROWS + 8) * source_row + k);
            }
#pragma unroll
            for (int g = 0; g < G; ++g) {
                const uint4 w = *reinterpret_cast<const uint4 *>(weights + g * units * weights_row + k);
#pragma unroll
                for (int b = 0; b < BLOCKS; ++b) {
                    multiply_matrices<Rounded::K>(sum.at[b][g], low[b].x, high[b].x, low[b].y, high[b].y, w.x, w.y);
                    multiply_matrices<Rounded::K>(sum.at[b][g], low[b].z, high[b].z, low[b].w, high[b].w, w.z, w.w);
                }
            }
        }
    }

    /* Write this slice's sums into `sums` [slices, results, rows, units + 1], from the result `first` on. */
    template <int G> __device__ __forceinline__ void put(Sums<G> &sum, float *sums, int results, int first) const {
#pragma unroll
        for (int b = 0; b < BLOCKS; ++b)
#pragma unroll
            for (int g = 0; g < G; ++g)
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    const int row = b * ROWS + lane / 4 + i / 2 * 8, unit = first_unit + lane % 4 * 2 + i % 2;
                    sums[((slice * results + first + g) * rows + row) * sums_row(units) + unit] = sum.at[b][g][i];
                }
    }
};
