/* The one kernel: a cell's stages, step after step, over whole sequences, forward or backward.

   A stage is a type, written by emit.py:

       inputs, outputs   how many values the Program reads and writes, beside the products' results
       products, results how many matrix products there are, and how many results they have together
       count(p)          how many results the p-th product has
       source(p)         what it multiplies
       passes, passed(i) how many outputs are parts of what products multiply, and the i-th of them
       run(in, sum, out) the Program for one row and unit: in [inputs], sum [results]: read; out [outputs]: written

   In each step a member of a team goes through its tiles of units and, pass by pass, through the team's rows:

       read the inputs, of which none depends on what others do in this stage
       meet the team, if this is the first pass and there are products: their sources are written
       multiply: source rows and weights through shared memory, sums in registers, then back in shared memory
       run the Program, a thread for each row and unit, and write its outputs

   The thread of a row and unit is the same in all stages over as many units and in all steps, so values that pass from
   stage to stage or step to step of one unit need no meeting. Sources have two places in turn: who writes the second
   again has met those who read the first since.

   A source comes from memory in parts, a ring of which is on its way while others are multiplied. A team of one has its
   sources in shared memory all the time; in memory they are all the same, for a run that goes on where this one ends. */
#pragma once
#include <type_traits>
#include "tile.cuh"

/* What a product multiplies: the number of the source, and the step whose place it reads, from this one on. */
struct Source {
    int number, shift;
};

/* An output that is a part of a source: its number and the source's, which part, and the step whose place it has. */
struct Passed {
    int output, number, part, shift;
};

/* A function: how many sources it has, and its stages in order. */
template <bool BACKWARD, int SOURCES, class... Stage> struct Function {
    static constexpr int stages = sizeof...(Stage), sources = SOURCES;
    /* Whether the members meet before a stage; the one after the last is the first, of the next step. */
    __host__ __device__ static constexpr bool meets(int stage) {
        const bool found[] = {(Stage::products > 0)...};
        return found[stage % stages];
    }
    static constexpr int spots = (0 + ... + (Stage::results + Stage::inputs + Stage::outputs));
};

/* Everything that one run of the kernel is told; see interface.h. */
template <class Function> struct Call {
    rnn_work work;
    rnn_stage stages[Function::stages];
    rnn_source sources[RNN_MOST_WAYS][Function::sources + 1];
    rnn_spot spots[RNN_MOST_WAYS][Function::spots];
};

/* The sources of one way, for one member of a team. */
template <class Tile> struct Sources {
    using Stored = typename Tile::Stored;
    const Team &team;
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

    /* Write the u-th number of a row's part, `units` wide, at step k. */
    template <class T> __device__ void pass(const Passed &passed, int k, int r, int units, int u, T value) const {
        const Stored stored(value);
        const int place = (k + passed.shift) & 1, at = passed.part * units + u;
        row(passed.number, place, r)[at] = stored;
        if (team.work.kept_rows) kept(passed.number, place, r)[at] = stored;
    }
};

/* One stage at one step, for one member of a team. */
template <class T, class Stage, class Tile> struct StageRun {
    const Team &team;
    const rnn_work &work;
    const rnn_stage &stage;
    const Sources<Tile> &sources;
    const rnn_spot *const spots;
    unsigned char *const shared;
    const Tile tile;
    using Stored = typename Tile::Stored;

    __device__ StageRun(const Sources<Tile> &all, const rnn_stage &s, const rnn_spot *p)
        : team(all.team), work(team.work), stage(s), sources(all), spots(p), shared(all.shared),
          tile(work.tile_bits, work.row_bits) {}

    /* Tiles of units that a member has at most: what its resident weights make room for. */
    __device__ int own_tiles() const {
        const int tiles = (stage.units + tile.units - 1) >> work.tile_bits;
        return (tiles + team.members - 1) / team.members;
    }

    /* The spots of the P-th product's weights. */
    template <int P> __device__ const rnn_spot *weights() const {
        int before = 0;
#pragma unroll
        for (int p = 0; p < P; ++p) before += Stage::count(p);
        return spots + before;
    }

    /* Where the P-th product's weights of a tile lie in shared memory if they stay there: [G, units, Tile::row(K)]. */
    template <int P> __device__ Stored *resident(int own_tile) const {
        Stored *found = reinterpret_cast<Stored *>(shared + stage.weights);
        if constexpr (P > 0) found = resident<P - 1>(own_tiles());
        return found + own_tile * Stage::count(P) * tile.units * Tile::row(weights<P>()->row);
    }

    /* Send for `span` numbers from `at` on of the weights of a tile, units first_unit on: to [G, units, row]. */
    template <int P> __device__ void send_for_weights(Stored *to, int row, int first_unit, int at, int span) const {
        for (int g = 0; g < Stage::count(P); ++g) {
            const rnn_spot &weight = weights<P>()[g];
            const Stored *const first = static_cast<const Stored *>(weight.data) + int64_t(first_unit) * weight.row + at;
            const int count = min(tile.units, stage.units - first_unit);
            send_for(to + g * tile.units * row, row, count, span, [&](int unit) { return first + int64_t(unit) * weight.row; });
        }
    }

    /* Before the first step: all weights that stay. */
    template <int P = 0> __device__ void load() const {
        if constexpr (P < Stage::products) {
            const int width = weights<P>()->row;
            int own_tile = 0;
            for (int j = team.member; j << work.tile_bits < stage.units; j += team.members)
                send_for_weights<P>(resident<P>(own_tile++), Tile::row(width), j << work.tile_bits, 0, width);
            load<P + 1>();
        }
    }

    /* The P-th product and those after it, for the rows of a pass and a tile of units: results lie in shared memory,
       from `done` on, for whoever comes after the next __syncthreads. */
    template <int P = 0> __device__ void multiply_all(int k, int first_row, int tile_number, int done) const {
        if constexpr (P < Stage::products) {
            constexpr int G = Stage::count(P), number = Stage::source(P).number;
            const int place = (k + Stage::source(P).shift) & 1, width = weights<P>()->row;
            const bool kept = work.kept_rows;
            const int depth = kept ? width : work.depth, row = Tile::row(depth), first_unit = tile_number << work.tile_bits;
            const bool again = Stage::products == 1 && width <= RING * depth && tile_number != team.member;  // it is there
            Stored *const source = kept ? sources.kept(number, place, first_row) : reinterpret_cast<Stored *>(shared + work.source);
            Stored *const passing = reinterpret_cast<Stored *>(shared);
            const auto from = [&](int r) { return team.at_work(first_row + r, k) ? sources.row(number, place, first_row + r) : nullptr; };
            const auto send = [&](int at, int slot) {
                const int span = min(depth, width - at);
                if (span > 0 && !again)
                    send_for(source + slot * tile.rows * row, row, tile.rows, span, [&](int r) { const Stored *f = from(r); return f ? f + at : f; });
                if (span > 0 && !work.resident) send_for_weights<P>(passing + slot * G * tile.units * row, row, first_unit, at, span);
                close_batch();
            };
            if (P > 0 && !kept) __syncthreads();  // all are done with what lies in the ring
#pragma unroll 1
            for (int i = 0; i < RING - 1 && !kept; ++i) send(i * depth, i);
            typename Tile::template Sums<G> sum = {};
            int slot = 0;
#pragma unroll 1
            for (int at = 0; at < width; at += depth) {
                if (!kept) {
                    wait_for_all_but<RING - 2>();
                    __syncthreads();
                    send(at + (RING - 1) * depth, (slot + RING - 1) % RING);
                }
                const Stored *const factors = work.resident ? resident<P>((tile_number - team.member) / team.members) + at
                                                            : passing + slot * G * tile.units * row;
                const int factors_row = work.resident ? Tile::row(width) : row;
                tile.template multiply<G>(sum, source + slot * tile.rows * row, row, factors, factors_row, min(depth, width - at));
                slot = (slot + 1) % RING;
            }
            tile.template put<G>(sum, reinterpret_cast<T *>(shared + work.sums), Stage::results, done);
            multiply_all<P + 1>(k, first_row, tile_number, done + G);
        }
    }

    /* The stage at the k-th step of the walk. */
    __device__ void operator()(int k) const {
        const int own_row = threadIdx.x >> work.tile_bits, own_unit = threadIdx.x & (tile.units - 1);
        const rnn_spot *const inputs = spots + Stage::results, *const outputs = inputs + Stage::inputs;
        bool to_meet = Stage::products > 0;
        for (int first = team.first; first < team.end && k < team.length(first); first += tile.rows) {
            for (int j = team.member; j << work.tile_bits < stage.units; j += team.members) {
                const int r = own_row < tile.rows ? first + own_row : team.end;
                const Row row = team.row(r, k);
                const int unit = (j << work.tile_bits) + own_unit;
                const bool mine = row.at_work && unit < stage.units;
                T in[Stage::inputs + 1], out[Stage::outputs + 1], sum[Stage::results + 1];
                if (mine) {
#pragma unroll
                    for (int i = 0; i < Stage::inputs; ++i) in[i] = place<const T>(inputs[i], row)[unit];
                }
                if (to_meet) team.wait();
                else if (Stage::products > 0) __syncthreads();  // all are done with the ring and the sums
                to_meet = false;
                multiply_all(k, first, j, 0);
                if (Stage::products > 0) __syncthreads();
                if (!mine) continue;
#pragma unroll
                for (int i = 0; i < Stage::results; ++i) {
                    const T *slice = reinterpret_cast<const T *>(shared + work.sums);
                    slice += (i * tile.rows + own_row) * sums_row(tile.units) + own_unit;
                    sum[i] = *slice;
                    for (int s = 1; s < tile.slices; ++s)
                        sum[i] += *(slice += Stage::results * tile.rows * sums_row(tile.units));
                }
                Stage::run(in, sum, out);
#pragma unroll
                for (int i = 0; i < Stage::outputs; ++i) place<T>(outputs[i], row)[unit] = out[i];
#pragma unroll
                for (int i = 0; i < Stage::passes; ++i)
                    sources.pass(Stage::passed(i), k, r, stage.units, unit, out[Stage::passed(i).output]);
            }
        }
        if (to_meet) team.wait();  // one who has no tile here goes to the meetings all the same
    }
};

/* Visit the stages of a function from the I-th on, each with whether the members meet before the next; the first of
   them has its spots from spots[0] on. */
template <class T, class Tile, class Function, int I, class First, class... Stage, class Visit>
__device__ __forceinline__ void each_stage(const Sources<Tile> &sources, const rnn_stage *stages, const rnn_spot *spots,
                                           Visit visit) {
    visit(StageRun<T, First, Tile>(sources, stages[I], spots), std::bool_constant<Function::meets(I + 1)>());
    if constexpr (sizeof...(Stage) > 0) {
        constexpr int own = First::results + First::inputs + First::outputs;
        each_stage<T, Tile, Function, I + 1, Stage...>(sources, stages, spots + own, visit);
    }
}

template <class T, class Tile, bool BACKWARD, int SOURCES, class... Stage>
__device__ __forceinline__ void steps(const Call<Function<BACKWARD, SOURCES, Stage...>> &call, unsigned char *shared) {
    using F = Function<BACKWARD, SOURCES, Stage...>;
    Team team(call.work);
    const Sources<Tile> sources = {team, call.sources[team.way], shared};
    const auto visit = [&](auto what) {
        each_stage<T, Tile, F, 0, Stage...>(sources, call.stages, call.spots[team.way], what);
    };
    if (call.work.resident) visit([](const auto &stage, auto) { stage.load(); });
    if (call.work.kept_rows) sources.load(SOURCES);
    close_batch();
    wait_for_all_but<0>();  // and before anyone looks at it there is a barrier
    const int begin = call.work.begin[team.way], end = min(call.work.end[team.way], team.steps());
    for (int i = begin; i < end; ++i)
        visit([&](const auto &stage, auto meets) {
            stage(BACKWARD ? begin + end - 1 - i : i);
            if constexpr (decltype(meets)::value) team.arrive();
        });
}

/* The meetings of a walk, and no work: grid [members]. */
__global__ void __launch_bounds__(THREADS, 1) meet(const __grid_constant__ rnn_work work) {
    Team team(work);
    for (int i = 0; i < work.steps; ++i) {
        team.arrive();
        team.wait();
    }
}

/* Grid [members, teams, ways]; all members of a team have to run at once. */
template <class T, class Tile, class Function>
__global__ void __launch_bounds__(THREADS, 1) walk(const __grid_constant__ Call<Function> call) {
    SHARED_MEMORY(memory);
    steps<T, Tile>(call, memory);
}

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
