/* The one kernel: a cell's stages, step after step, over whole sequences, forward or backward. */
#pragma once
#include "stage.cuh"

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
    wait_for_all_but<0>();
    __syncthreads();  // all has come, and may be read and written
    team.enter(F::meets(0));
    const int begin = call.work.begin[team.way], end = min(call.work.end[team.way], team.steps());
    for (int i = begin; i < end; ++i)
        visit([&](const auto &stage, auto meets) { stage(BACKWARD ? begin + end - 1 - i : i, i == end - 1, meets); });
    team.leave(F::meets(0));
}

/* The meetings of a walk, and no work: grid [members]. */
__global__ void __launch_bounds__(THREADS, 1) meet(const __grid_constant__ rnn_work work) {
    Team team(work);
    for (int i = 0; i < work.steps; ++i) {
        team.arrive();
        team.wait();
    }
}

/* Grid [members, teams, ways]; all members of a team have to run at once, as those of a cluster do. */
template <class T, class Tile, class Function>
__global__ void __launch_bounds__(THREADS, 1) walk(const __grid_constant__ Call<Function> call) {
    SHARED_MEMORY(memory);
    steps<T, Tile>(call, memory);
}
