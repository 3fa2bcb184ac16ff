/* One stage at one step: its products, and the Program on them.

   A stage is a type that emit.py writes:

       inputs, outputs   the numbers of values that the Program reads and writes, without the products' results
       products, results the numbers of matrix products, and of all their results
       count(p)          the number of results of the p-th product
       source(p)         the source of the p-th product
       passes, passed(i) the number of outputs that are parts of sources, and the i-th of them
       run(in, sum, out) the Program for one row and unit: in [inputs], sum [results]: read; out [outputs]: written

   A block goes through its tiles of units, a set at a time, and, pass by pass, through the rows of its group:

       read the inputs: none of them depends on what other blocks do in this stage
       if there are products, wait at the barrier before the first: after the barrier, all sources are written
       multiply: source rows and weights lie in shared memory; sums lie in registers, then in shared memory
       run the Program, with a thread for each row and unit, and write its outputs

   The thread of a row and unit is the same in all stages over the same number of units and in all steps. So a value
   that one unit hands on to its own later stage or step needs no barrier. */
#pragma once
#include <type_traits>
#include "sources.cuh"

/* One stage at one step, as one block of a group runs it. */
template <class T, class Stage, class Tile> struct StageRun {
    BlockGroup &group;
    const rnn_work &work;
    const rnn_stage &stage;
    const Sources<Tile> &sources;
    const rnn_operand *const operands;
    unsigned char *const shared;
    const Tile tile;
    using Stored = typename Tile::Stored;

    __device__ StageRun(const Sources<Tile> &all, const rnn_stage &s, const rnn_operand *p)
        : group(all.group), work(group.work), stage(s), sources(all), operands(p), shared(all.shared),
          tile(work.tile_bits, work.row_bits) {}

    /* Return the most tiles of units that any block has: shared memory is laid out for the weights of so many. */
    __device__ int own_tiles() const {
        const int tiles = (stage.units + tile.units - 1) >> work.tile_bits;
        return (tiles + group.size - 1) / group.size;
    }

    /* The operands of the P-th product's weights. */
    template <int P> __device__ const rnn_operand *weights() const {
        int before = 0;
#pragma unroll
        for (int p = 0; p < P; ++p) before += Stage::count(p);
        return operands + before;
    }

    /* Return where a tile's resident weights of the P-th product lie in shared memory: [G, units, Tile::row(K)]. */
    template <int P> __device__ Stored *resident(int own_tile) const {
        Stored *found = reinterpret_cast<Stored *>(shared + stage.weights);
        if constexpr (P > 0) found = resident<P - 1>(own_tiles());
        return found + own_tile * Stage::count(P) * tile.units * Tile::row(weights<P>()->row);
    }

    /* Start to copy the weights of a tile, which begins at `first_unit`, into `to` [G, units, row]: from each row,
       `span` numbers from the `at`-th on. */
    template <int P> __device__ void start_copy_weights(Stored *to, int row, int first_unit, int at, int span) const {
        for (int g = 0; g < Stage::count(P); ++g) {
            const rnn_operand &weight = weights<P>()[g];
            const auto from = [&](int unit) {
                return static_cast<const Stored *>(weight.data) + int64_t(first_unit + unit) * weight.row + at;
            };
            start_copy(to + g * tile.units * row, row, min(tile.units, stage.units - first_unit), span, from);
        }
    }

    /* Start to copy all resident weights, before the first step. */
    template <int P = 0> __device__ void load() const {
        if constexpr (P < Stage::products) {
            const int width = weights<P>()->row;
            int own_tile = 0;
            for (int j = group.rank; j << work.tile_bits < stage.units; j += group.size)
                start_copy_weights<P>(resident<P>(own_tile++), Tile::row(width), j << work.tile_bits, 0, width);
            load<P + 1>();
        }
    }

    /* The place of a product: the k-th step, and the pass and the tile that begin with this row and this unit. */
    struct At {
        int k, row, unit;
    };

    /* Return the first of a block's sets of tiles; return the set after a set. All sets of a pass come before the next
       pass. */
    __device__ At first(int k) const { return {k, group.first, group.rank << work.tile_bits}; }
    __device__ At after(At at) const {
        at.unit += (group.size << work.tile_bits) << work.tile_set_bits;
        return at.unit < stage.units ? at : At{at.k, at.row + tile.rows, group.rank << work.tile_bits};
    }

    /* The first unit of the g-th tile of a set, which may be past the last unit. */
    __device__ int unit_of_tile(At at, int g) const { return at.unit + g * (group.size << work.tile_bits); }

    /* Where the sums of the g-th tile of a set are: [slices, results, rows, units + 1]. */
    __device__ T *sums(int g) const {
        return reinterpret_cast<T *>(shared + work.sums) + g * tile.slices * slice_size();
    }
    __device__ int slice_size() const { return Stage::results * tile.rows * sums_row(tile.units); }
    __device__ bool is_there(At at) const { return at.unit < stage.units && group.at_work(at.row, at.k); }

    /* The P-th product's source, if it stays in shared memory. */
    template <int P> __device__ const Stored *source_in_shared(At at) const {
        constexpr Source what = Stage::source(P);
        return sources.in_shared(what.number, (at.k + what.shift) & 1, at.row);
    }

    /* Return where a slot of the ring lies. A part in it has `depth` numbers of each row. */
    template <int P> __device__ Stored *weights_slot(int slot) const {
        return reinterpret_cast<Stored *>(shared) + slot * Stage::count(P) * tile.units * Tile::row(work.depth);
    }
    __device__ Stored *source_slot(int slot) const {
        return reinterpret_cast<Stored *>(shared + work.source) + slot * tile.rows * Tile::row(work.depth);
    }

    /* Start to copy a part of the P-th product's weights, unless they are resident. */
    template <int P> __device__ void send_weights(At at, int from, int slot) const {
        const int span = min(work.depth, weights<P>()->row - from);
        if (work.resident || span <= 0) return;
        start_copy_weights<P>(weights_slot<P>(slot), Tile::row(work.depth), at.unit, from, span);
    }

    /* Start to copy a part of the P-th product's source, unless the ring still holds it from the tile before. */
    template <int P> __device__ void send_source(At at, int from, int slot) const {
        constexpr Source what = Stage::source(P);
        const int width = weights<P>()->row, span = min(work.depth, width - from), place = (at.k + what.shift) & 1;
        const bool all_stays = Stage::products == 1 && width <= RING * work.depth;
        if (span <= 0 || (all_stays && at.unit >> work.tile_bits != group.rank)) return;
        const auto row = [&](int r) -> const Stored * {
            return group.at_work(at.row + r, at.k) ? sources.row(what.number, place, at.row + r) + from : nullptr;
        };
        start_copy(source_slot(slot), Tile::row(work.depth), tile.rows, span, row);
    }

    /* Start to copy all parts of a ring except the last. The weights do not depend on other blocks, so their copies may
       start before the barrier. */
    template <int P> __device__ void begin_weights(At at) const {
#pragma unroll 1
        for (int i = 0; i < RING - 1; ++i) send_weights<P>(at, i * work.depth, i);
    }
    template <int P> __device__ void begin_source(At at) const {
#pragma unroll 1
        for (int i = 0; i < RING - 1; ++i) {
            send_source<P>(at, i * work.depth, i);
            close_batch();
        }
    }

    /* Compute the P-th product and those after it, of one tile, after begin_weights and begin_source of the first.
       Write the results to `sums`, from the `done`-th on. Any thread may read them after the next __syncthreads. */
    template <int P = 0> __device__ void multiply_all(At at, T *sums, int done = 0) const {
        if constexpr (P < Stage::products) {
            constexpr int G = Stage::count(P);
            const int width = weights<P>()->row, depth = work.source_rows ? width : work.depth;
            if (P > 0 && !work.source_rows) {
                __syncthreads();  // all threads are done with the parts in the ring
                begin_weights<P>(at);
                begin_source<P>(at);
            }
            typename Tile::template Sums<G> sum = {};
            int slot = 0;
#pragma unroll 1
            for (int k = 0; k < width; k += depth, slot = (slot + 1) % RING) {
                if (!work.source_rows) {
                    const int next = k + (RING - 1) * depth, place = (slot + RING - 1) % RING;
                    wait_for_all_but<RING - 2>();
                    __syncthreads();
                    send_weights<P>(at, next, place);
                    send_source<P>(at, next, place);
                    close_batch();
                }
                const Stored *const source = work.source_rows ? source_in_shared<P>(at) : source_slot(slot);
                const int own_tile = ((at.unit >> work.tile_bits) - group.rank) / group.size;
                const Stored *const factors = work.resident ? resident<P>(own_tile) + k : weights_slot<P>(slot);
                const int factors_row = Tile::row(work.resident ? width : depth);
                tile.template multiply<G>(sum, source, Tile::row(depth), factors, factors_row, min(depth, width - k));
            }
            tile.template put<G>(sum, sums, Stage::results, done);
            multiply_all<P + 1>(at, sums, done + G);
        }
    }

    /* Write to `sum` the results of all products for a row of the pass and a unit of a tile: the sums of the slices. */
    __device__ void collect(const T *sums, int row, int unit, T *sum) const {
#pragma unroll
        for (int i = 0; i < Stage::results; ++i) {
            const T *from = sums + (i * tile.rows + row) * sums_row(tile.units) + unit;
            sum[i] = *from;
            for (int s = 1; s < tile.slices; ++s) sum[i] += *(from += slice_size());
        }
    }

    /* Run the stage at the k-th step of the scan. last: whether k is the last step of the launch. WAITS: whether the
       blocks wait at a barrier before the next stage. A block arrives there after it has written its parts of sources,
       which other blocks read. It may write the other outputs later: only the thread that writes them reads them. */
    template <bool WAITS> __device__ void operator()(int k, bool last, std::bool_constant<WAITS>) const {
        const int own_unit = threadIdx.x & (tile.units - 1), tile_set = 1 << work.tile_set_bits;
        const int own_tile = threadIdx.x >> work.tile_bits & (tile_set - 1);
        const int own_row = threadIdx.x >> work.tile_bits >> work.tile_set_bits;
        const rnn_operand *const inputs = operands + Stage::results, *const outputs = inputs + Stage::inputs;
        constexpr bool multiplies = Stage::products > 0;
        const bool comes = multiplies && !work.source_rows;  // whether the source comes in parts
        At at = first(k);
        bool must_wait = multiplies, more = is_there(at);
        if (!more) {  // other blocks wait for this one, so it goes to the barriers without a tile, too
            if (must_wait) group.wait();
            if (WAITS) group.arrive();
        } else if (comes) {
            begin_weights<0>(at);
        }
        while (more) {
            const int r = own_row < tile.rows ? at.row + own_row : group.end;
            const int unit = unit_of_tile(at, own_tile) + own_unit;
            const Row row = group.row(r, k);
            const bool mine = row.at_work && unit < stage.units;
            T in[Stage::inputs + 1], out[Stage::outputs + 1], sum[Stage::results + 1];
            if (mine) {
#pragma unroll
                for (int i = 0; i < Stage::inputs; ++i) in[i] = place<const T>(inputs[i], row)[unit];
            }
            if (must_wait) {
                group.wait();
                if (comes) begin_source<0>(at);
            } else if (multiplies) {
                __syncthreads();  // all threads are done with the sums
            }
            must_wait = false;
            for (int g = 0; multiplies && g < tile_set && unit_of_tile(at, g) < stage.units; ++g)
                multiply_all(At{k, at.row, unit_of_tile(at, g)}, sums(g));
            at = after(at);
            more = is_there(at);
            if (multiplies) __syncthreads();
            if (comes && more) {  // the parts come while the Program runs
                begin_weights<0>(at);
                begin_source<0>(at);
            }
            if (mine) {
                collect(sums(own_tile), own_row, own_unit, sum);
                Stage::run(in, sum, out);
#pragma unroll
                for (int i = 0; i < Stage::passes; ++i)
                    sources.pass(Stage::passed(i), k, last, r, stage.units, unit, out[Stage::passed(i).output]);
            }
            if (WAITS && !more) group.arrive();
            if (mine) {
#pragma unroll
                for (int i = 0; i < Stage::outputs; ++i) place<T>(outputs[i], row)[unit] = out[i];
            }
        }
    }
};
