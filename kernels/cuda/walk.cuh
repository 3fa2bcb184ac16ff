/* The one kernel: a cell's stages, step after step, over whole sequences, forward or backward.

   A stage is a type, written by emit.py:

       inputs, outputs   how many values the Program reads and writes, beside the products' results
       products, results how many matrix products there are, and how many results they have together
       count(p)          how many results the p-th product has
       run(in, sum, out) the Program for one row and unit: in [inputs], sum [results]: read; out [outputs]: written

   In each step a member of a team goes through its tiles of units and, pass by pass, through the team's rows:

       read the inputs, of which none depends on what others do in this stage
       meet the team, if this is the first pass and there are products: their sources are written
       multiply: source rows and weights through shared memory, sums in registers, then back in shared memory
       run the Program, a thread for each row and unit, and write its outputs

   The thread of a row and unit is the same in all stages over as many units and in all steps, so values that pass from
   stage to stage or step to step of one unit need no meeting. Buffers that a product reads are written once (a place
   for each step) or have two places in turn: who writes the second again has met those who read the first since. */
#pragma once
#include <type_traits>
#include "tile.cuh"

/* A function: its stages in order. */
template <bool BACKWARD, class... Stage> struct Function {
    static constexpr bool backward = BACKWARD;
    static constexpr int stages = sizeof...(Stage);
    /* Whether the members meet before a stage; the one after the last is the first, of the next step. */
    __host__ __device__ static constexpr bool meets(int stage) {
        const bool found[] = {(Stage::products > 0)...};
        return found[stage % stages];
    }
    static constexpr int spots = (0 + ... + (Stage::products + Stage::results + Stage::inputs + Stage::outputs));
};

/* Everything that one run of the kernel is told; see interface.h. */
template <class Function> struct Call {
    rnn_work work;
    rnn_stage stages[Function::stages];
    rnn_spot spots[RNN_MOST_WAYS][Function::spots];
};

/* One stage at one step, for one member of a team. */
template <class T, class Stage, class Tile> struct StageRun {
    const Team &team;
    const rnn_work &work;
    const rnn_stage &stage;
    const rnn_spot *const spots;
    unsigned char *const shared;
    const Tile tile;
    using Stored = typename Tile::Stored;

    __device__ StageRun(const Team &t, const rnn_stage &s, const rnn_spot *p, unsigned char *memory)
        : team(t), work(t.work), stage(s), spots(p), shared(memory), tile(t.work.tile_bits, t.work.row_bits) {}

    /* Tiles of units that a member has at most: what its resident weights make room for. */
    __device__ int own_tiles() const {
        const int tiles = (stage.units + tile.units - 1) >> work.tile_bits;
        return (tiles + team.members - 1) / team.members;
    }

    /* The spots of the P-th product: its source, then the weights of each result. */
    template <int P> __device__ const rnn_spot *product() const {
        int before = P;
#pragma unroll
        for (int p = 0; p < P; ++p) before += Stage::count(p);
        return spots + before;
    }

    /* Where the P-th product's weights of a tile lie in shared memory if they stay there: [G, units, Tile::row(K)]. */
    template <int P> __device__ Stored *resident(int own_tile) const {
        Stored *found = reinterpret_cast<Stored *>(shared + stage.weights);
        if constexpr (P > 0) found = resident<P - 1>(own_tiles());
        return found + own_tile * Stage::count(P) * tile.units * Tile::row(product<P>()[1].row);
    }

    /* Bring `span` numbers from k on of the weights of a tile, units first_unit on, to [G, units, row]. */
    template <int P> __device__ void bring_weights(Stored *to, int row, int first_unit, int k, int span) const {
        const rnn_spot *const weights = product<P>() + 1;
        for (int g = 0; g < Stage::count(P); ++g) {
            const auto from = [&](int unit) -> const T * {
                if (first_unit + unit >= stage.units) return nullptr;
                return static_cast<const T *>(weights[g].data) + int64_t(first_unit + unit) * weights[g].row;
            };
            Bringing<Stored, T, decltype(from)> bringing(to + g * tile.units * row, row, tile.units, weights[g], from);
            bringing.begin(k, span, Tile::filled(span));
            bringing.finish();
        }
    }

    /* Before the first step: all weights that stay. */
    template <int P = 0> __device__ void load() const {
        if constexpr (P < Stage::products) {
            int own_tile = 0;
            for (int j = team.member; j << work.tile_bits < stage.units; j += team.members) {
                const int width = product<P>()[1].row;
                bring_weights<P>(resident<P>(own_tile++), Tile::row(width), j << work.tile_bits, 0, width);
            }
            load<P + 1>();
        }
    }

    /* The P-th product and those after it, for the rows of a pass and a tile of units: results lie in shared memory,
       from `done` on, for whoever comes after the next __syncthreads. again: the source may still be there. */
    template <int P = 0> __device__ void multiply_all(int k_step, int first_row, int tile_number, int done) const {
        if constexpr (P < Stage::products) {
            constexpr int G = Stage::count(P);
            const rnn_spot *const spot = product<P>();
            const int width = spot[1].row;
            const bool again = Stage::products == 1 && width <= work.depth && tile_number != team.member;
            Stored *const source = reinterpret_cast<Stored *>(shared + work.source);
            Stored *const passing = reinterpret_cast<Stored *>(shared);
            const int row_apart = Tile::row(work.depth);
            const auto from = [&](int r) -> const T * {
                const Row row = team.row(first_row + r, k_step);
                return row.at_work ? place<const T>(*spot, row) : nullptr;
            };
            Bringing<Stored, T, decltype(from)> bringing(source, row_apart, tile.rows, *spot, from);
            const auto begin = [&](int k) {
                const int span = min(work.depth, width - k);
                if (span > 0 && !again) bringing.begin(k, span, Tile::filled(span));
            };
            typename Tile::template Sums<G> sum = {};
            begin(0);
            for (int k = 0; k < width; k += work.depth) {
                const int span = min(work.depth, width - k);
                if (P > 0 || k > 0) __syncthreads();  // all are done with what lies there
                if (!again) bringing.finish();
                if (!work.resident) bring_weights<P>(passing, row_apart, tile_number << work.tile_bits, k, span);
                __syncthreads();
                begin(k + work.depth);  // it comes while these are multiplied
                const int own_tile = (tile_number - team.member) / team.members;
                const Stored *const weights = work.resident ? resident<P>(own_tile) + k : passing;
                const int weights_apart = work.resident ? Tile::row(width) : row_apart;
                tile.template multiply<G>(sum, source, row_apart, weights, weights_apart, span);
            }
            tile.template put<G>(sum, reinterpret_cast<T *>(shared + work.sums), Stage::results, done);
            multiply_all<P + 1>(k_step, first_row, tile_number, done + G);
        }
    }

    /* The stage at the k-th step of the walk. */
    __device__ void operator()(int k) const {
        const int own_row = threadIdx.x >> work.tile_bits, own_unit = threadIdx.x & (tile.units - 1);
        const rnn_spot *const inputs = spots + Stage::products + Stage::results, *const outputs = inputs + Stage::inputs;
        bool to_meet = Stage::products > 0;
        for (int first = team.first; first < team.end && k < team.length(first); first += tile.rows) {
            for (int j = team.member; j << work.tile_bits < stage.units; j += team.members) {
                const Row row = team.row(own_row < tile.rows ? first + own_row : team.end, k);
                const int unit = (j << work.tile_bits) + own_unit;
                const bool mine = row.at_work && unit < stage.units;
                T in[Stage::inputs + 1], out[Stage::outputs + 1], sum[Stage::results + 1];
                if (mine) {
#pragma unroll
                    for (int i = 0; i < Stage::inputs; ++i) in[i] = place<const T>(inputs[i], row)[unit];
                }
                if (to_meet) team.wait();
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
            }
        }
        if (to_meet) team.wait();  // one who has no tile here goes to the meetings all the same
    }
};

/* Visit the stages of a function from the I-th on, each with whether the members meet before the next; the first of
   them has its spots from spots[0] on. */
template <class T, class Tile, class Function, int I, class First, class... Stage, class Visit>
__device__ __forceinline__ void each_stage(const Team &team, const rnn_stage *stages, const rnn_spot *spots,
                                           unsigned char *shared, Visit visit) {
    visit(StageRun<T, First, Tile>(team, stages[I], spots, shared), std::bool_constant<Function::meets(I + 1)>());
    if constexpr (sizeof...(Stage) > 0) {
        constexpr int own = First::products + First::results + First::inputs + First::outputs;
        each_stage<T, Tile, Function, I + 1, Stage...>(team, stages, spots + own, shared, visit);
    }
}

template <class T, class Tile, bool BACKWARD, class... Stage>
__device__ __forceinline__ void steps(const Call<Function<BACKWARD, Stage...>> &call, unsigned char *shared) {
    Team team(call.work);
    const auto visit = [&](auto what) {
        each_stage<T, Tile, Function<BACKWARD, Stage...>, 0, Stage...>(team, call.stages, call.spots[team.way], shared, what);
    };
    if (call.work.resident) visit([](const auto &stage, auto) { stage.load(); });
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
