/* The one kernel: a cell's stages, step after step, over whole sequences, forward or backward. */
#pragma once
#include "stage.cuh"

/* A function: the number of its sources, and its stages in order. */
template <bool BACKWARD, int SOURCES, class... Stage> struct Function {
    static constexpr int stages = sizeof...(Stage), sources = SOURCES;
    /* Return whether the blocks wait at a barrier before a stage. The stage after the last is the next step's first. */
    __host__ __device__ static constexpr bool waits(int stage) {
        const bool found[] = {(Stage::products > 0)...};
        return found[stage % stages];
    }
    static constexpr int operands = (0 + ... + (Stage::results + Stage::inputs + Stage::outputs));
};

/* All arguments of a launch; see interface.h. */
template <class Function> struct Call {
    rnn_work work;
    rnn_stage stages[Function::stages];
    rnn_source sources[RNN_MOST_SEQUENCES][Function::sources + 1];
    rnn_operand operands[RNN_MOST_SEQUENCES][Function::operands];
};

/* Call visit(stage, waits) for the stages of a function from the I-th on. waits: whether the blocks wait at a barrier
   before the next stage. operands[0] is the first operand of the I-th stage. */
template <class T, class Tile, class Function, int I, class First, class... Stage, class Visit>
__device__ __forceinline__ void each_stage(const Sources<Tile> &sources, const rnn_stage *stages,
                                           const rnn_operand *operands, Visit visit) {
    visit(StageRun<T, First, Tile>(sources, stages[I], operands), std::bool_constant<Function::waits(I + 1)>());
    if constexpr (sizeof...(Stage) > 0) {
        constexpr int own = First::results + First::inputs + First::outputs;
        each_stage<T, Tile, Function, I + 1, Stage...>(sources, stages, operands + own, visit);
    }
}

template <class T, class Tile, bool BACKWARD, int SOURCES, class... Stage>
__device__ __forceinline__ void steps(const Call<Function<BACKWARD, SOURCES, Stage...>> &call, unsigned char *shared) {
    using F = Function<BACKWARD, SOURCES, Stage...>;
    BlockGroup group(call.work);
    const Sources<Tile> sources = {group, call.sources[group.sequence], shared};
    const auto visit = [&](auto what) {
        each_stage<T, Tile, F, 0, Stage...>(sources, call.stages, call.operands[group.sequence], what);
    };
    if (call.work.resident) visit([](const auto &stage, auto) { stage.load(); });
    if (call.work.source_rows) sources.load(SOURCES);
    close_batch();
    wait_for_all_but<0>();
    __syncthreads();  // the copies of all threads have come
    group.enter(F::waits(0));
    const int begin = call.work.begin[group.sequence], end = min(call.work.end[group.sequence], group.steps());
    for (int i = begin; i < end; ++i)
        visit([&](const auto &stage, auto waits) { stage(BACKWARD ? begin + end - 1 - i : i, i == end - 1, waits); });
    group.leave(F::waits(0));
}

/* The barriers of a scan, without its work. Grid [blocks]. */
__global__ void __launch_bounds__(THREADS, 1) wait_only(const __grid_constant__ rnn_work work) {
    BlockGroup group(work);
    for (int i = 0; i < work.steps; ++i) {
        group.arrive();
        group.wait();
    }
}

/* Grid [group_size, groups, sequences]. The blocks of a group wait for each other, so all of them must run at once. The
   blocks of a cluster always do. */
template <class T, class Tile, class Function>
__global__ void __launch_bounds__(THREADS, 1) scan(const __grid_constant__ Call<Function> call) {
    SHARED_MEMORY(memory);
    steps<T, Tile>(call, memory);
}
