/* Sources: the vectors that products multiply with weights, in memory and in shared memory.

   If rnn_work.source_rows is 0, a source comes from memory in parts: the other parts of a ring are on their way while
   one is multiplied. Otherwise each block of a cluster, or a single block, holds all sources of its group in shared
   memory all the time. At the end of a launch they are in memory, too, for the launch that continues the scan. A source
   has two slots, used in turn. A barrier lies between a block's last read of a slot and the next write to it. */
#pragma once
#include "tile.cuh"

constexpr int RING = RNN_RING;  /* parts that shared memory has slots for; the generated file sets it */

/* Start to copy `count` rows of `span` numbers, which are whole vectors, to shared memory, where the rows lie `row`
   numbers apart. All threads of the block must call it. from(r): the address of the r-th row, or a null pointer if no
   thread reads that row. */
template <class Stored, class From>
__device__ __forceinline__ void start_copy(Stored *to, int row, int count, int span, From from) {
    constexpr int LANES = 16, SIZE = Vector<Stored>::size;
    for (int r = threadIdx.x / LANES; r < count; r += THREADS / LANES) {
        const Stored *const source = from(r);
        if (!source) continue;
        for (int k = threadIdx.x % LANES * SIZE; k < span; k += LANES * SIZE) copy_async(to + r * row + k, source + k);
    }
}

/* The source of a product: its number, and the step of the slot to read, counted from this step. */
struct Source {
    int number, shift;
};

/* An output that is a part of a source: its number, the source's number, which part it is, and the step of the slot to
   write, counted from this step. */
struct Passed {
    int output, number, part, shift;
};

/* The sources of one sequence, as one block of a group sees them. */
template <class Tile> struct Sources {
    using Stored = typename Tile::Stored;
    BlockGroup &group;
    const rnn_source *const all;
    unsigned char *const shared;

    /* The r-th row of a source in memory. */
    __device__ Stored *row(int number, int slot, int r) const {
        const rnn_source &source = all[number];
        return static_cast<Stored *>(source.data) + slot * source.step + int64_t(r) * source.row;
    }

    /* The r-th row of a source that stays in shared memory: rows are Tile::row(K) numbers apart. */
    __device__ Stored *in_shared(int number, int slot, int r) const {
        const rnn_source &source = all[number];
        const int row = slot * group.work.source_rows + r - group.first;
        return reinterpret_cast<Stored *>(shared + source.offset) + row * Tile::row(source.row);
    }

    /* Copy all sources to shared memory, before the first step. */
    __device__ void load(int count) const {
        for (int number = 0; number < count; ++number)
            for (int slot = 0; slot < 2; ++slot) {
                const int width = all[number].row;
                const auto from = [&](int r) { return row(number, slot, group.first + r); };
                const int rows = group.end - group.first;
                start_copy(in_shared(number, slot, group.first), Tile::row(width), rows, width, from);
            }
    }

    /* Write the u-th number of the r-th row's part, which is `units` wide, at step k. last: whether k is the last step
       of the launch. */
    template <class T>
    __device__ void pass(const Passed &passed, int k, bool last, int r, int units, int u, T value) const {
        const Stored stored(value);
        const int slot = (k + passed.shift) & 1, at = passed.part * units + u;
        if (last || !group.work.source_rows) row(passed.number, slot, r)[at] = stored;
        if (!group.work.source_rows) return;
        Stored *const own = in_shared(passed.number, slot, r) + at;
        if (!group.work.cluster) *own = stored;
        else for (int rank = 0; rank < group.size; ++rank) *of_block(own, rank) = stored;
    }
};

/* The arguments of rnn_store, and how many blocks share the work. */
struct StoreArgs {
    const void *from;
    void *to;
    int64_t rows;
    int width, row, blocks;
};

/* Copy `from` [rows, width] into `to` [rows, row] as numbers of type Stored. Grid [blocks]. */
template <class T, class Stored>
__global__ void __launch_bounds__(THREADS) store(const __grid_constant__ StoreArgs what) {
    const int64_t apart = int64_t(what.blocks) * THREADS, count = what.rows * what.row;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < count; i += apart) {
        const int64_t r = i / what.row, k = i % what.row;
        const T value = k < what.width ? static_cast<const T *>(what.from)[r * what.width + k] : T(0);
        static_cast<Stored *>(what.to)[i] = Stored(value);
    }
}
