/* What products multiply weights with, in memory and in shared memory.

   A source comes from memory in parts, a ring of which is on its way while others are multiplied. Each member of a
   cluster, and a team of one, has all its team's sources in shared memory all the time; at the end they are in memory
   too, for a run that goes on there. A source has two places in turn: who writes the second again has met those who
   read the first since. */
#pragma once
#include "tile.cuh"

constexpr int RING = RNN_RING;  /* places for what comes from memory in parts, as the generated file says */

/* Send for rows, by all threads of the block: they come to shared memory, `row` numbers apart. from(r): the address of
   the r-th of `count`, `span` numbers in whole vectors, or a null pointer if nobody looks at what lies in its place. */
template <class Stored, class From>
__device__ __forceinline__ void send_for(Stored *to, int row, int count, int span, From from) {
    constexpr int LANES = 16, SIZE = Vector<Stored>::size;
    for (int r = threadIdx.x / LANES; r < count; r += THREADS / LANES) {
        const Stored *const source = from(r);
        if (!source) continue;
        for (int k = threadIdx.x % LANES * SIZE; k < span; k += LANES * SIZE) copy_later(to + r * row + k, source + k);
    }
}

/* What a product multiplies: the number of the source, and the step whose place it reads, from this one on. */
struct Source {
    int number, shift;
};

/* An output that is a part of a source: its number and the source's, which part, and the step whose place it has. */
struct Passed {
    int output, number, part, shift;
};

/* The sources of one way, for one member of a team. */
template <class Tile> struct Sources {
    using Stored = typename Tile::Stored;
    Team &team;
    const rnn_source *const all;
    unsigned char *const shared;

    /* Where the r-th row of a source lies in memory. */
    __device__ Stored *row(int number, int place, int r) const {
        const rnn_source &source = all[number];
        return static_cast<Stored *>(source.data) + place * source.step + int64_t(r) * source.row;
    }

    /* The same in shared memory, if it stays there: rows are Tile::row(K) apart. */
    __device__ Stored *kept(int number, int place, int r) const {
        const rnn_source &source = all[number];
        const int row = place * team.work.kept_rows + r - team.first;
        return reinterpret_cast<Stored *>(shared + source.kept) + row * Tile::row(source.row);
    }

    /* Before the first step: all that stay. */
    __device__ void load(int count) const {
        for (int number = 0; number < count; ++number)
            for (int place = 0; place < 2; ++place) {
                const int width = all[number].row;
                const auto from = [&](int r) { return row(number, place, team.first + r); };
                send_for(kept(number, place, team.first), Tile::row(width), team.end - team.first, width, from);
            }
    }

    /* Write the u-th number of a row's part, `units` wide, at step k. last: whether it is the last of the run. */
    template <class T>
    __device__ void pass(const Passed &passed, int k, bool last, int r, int units, int u, T value) const {
        const Stored stored(value);
        const int place = (k + passed.shift) & 1, at = passed.part * units + u;
        if (last || !team.work.kept_rows) row(passed.number, place, r)[at] = stored;
        if (!team.work.kept_rows) return;
        Stored *const own = kept(passed.number, place, r) + at;
        if (!team.work.cluster) *own = stored;
        else for (int member = 0; member < team.members; ++member) *of_block(own, member) = stored;
    }
};

/* What rnn_store is given, and how many blocks share it. */
struct Storing {
    const void *from;
    void *to;
    int64_t rows;
    int width, row, blocks;
};

/* Grid [blocks]. */
template <class T, class Stored>
__global__ void __launch_bounds__(THREADS) store(const __grid_constant__ Storing what) {
    const int64_t apart = int64_t(what.blocks) * THREADS, count = what.rows * what.row;
    for (int64_t i = int64_t(blockIdx.x) * THREADS + threadIdx.x; i < count; i += apart) {
        const int64_t r = i / what.row, k = i % what.row;
        const T value = k < what.width ? static_cast<const T *>(what.from)[r * what.width + k] : T(0);
        static_cast<Stored *>(what.to)[i] = Stored(value);
    }
}
