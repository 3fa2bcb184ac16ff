/* The C interface (interface.h) of one cell. The cell's generated file includes it last, after it has defined `Number`,
   the tiles `Few` and `Many`, and the functions `Train`, `Infer` and `Backward`. Every call into CUDA is checked;
   rnn_error returns the name of a call that failed, and the reason. */
#pragma once
#include <algorithm>
#include <cstdio>
#include "scan.cuh"

namespace {

thread_local char message[256] = "";

int failed(const char *call, const char *reason) {
    std::snprintf(message, sizeof message, "%s: %s", call, reason);
    return 1;
}

#define TRY(call, ...)                                                                              \
    do {                                                                                            \
        const cudaError_t error = call(__VA_ARGS__);                                                \
        if (error != cudaSuccess) {                                                                 \
            (void)cudaGetLastError(); /* clear it, or another caller would see the error again */   \
            return failed(#call, cudaGetErrorString(error));                                        \
        }                                                                                           \
    } while (0)

/* The arguments of rnn_scan, except for those that choose the kernel. */
struct LaunchArgs {
    int device;
    cudaStream_t stream;
    const rnn_work *work;
    const rnn_stage *stages;
    int stage_count;
    const rnn_source *sources;
    int source_count;
    const rnn_operand *operands;
    int operand_count;
    int shared;
};

/* A launch of clusters of grid.x blocks. `shared` is so large that each block has a multiprocessor of its own. */
struct Clusters {
    cudaLaunchAttribute size = {};
    cudaLaunchConfig_t config = {};
    Clusters(dim3 grid, int shared, cudaStream_t stream) {
        size.id = cudaLaunchAttributeClusterDimension;
        size.val.clusterDim.x = grid.x;
        size.val.clusterDim.y = size.val.clusterDim.z = 1;
        config.gridDim = grid;
        config.blockDim = dim3(THREADS);
        config.dynamicSmemBytes = shared;
        config.stream = stream;
        config.attrs = &size;
        config.numAttrs = 1;
    }
    Clusters(const Clusters &) = delete;  /* the config of a copy would point to the size of the original */
};

/* Another thread of the host may be about to launch the kernel with more shared memory than this launch takes. So allow
   the kernel all that the device has. bytes: written, how much that is for a block. */
template <class Kernel> int allow_all_shared(int device, Kernel kernel, int *bytes) {
    TRY(cudaDeviceGetAttribute, bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
    TRY(cudaFuncSetAttribute, kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, *bytes);
    return 0;
}

/* Count the clusters of 2, 4 and 8 blocks, each with `shared` bytes, that run side by side: 0 on a device without
   clusters. The blocks of a cluster need multiprocessors near each other, so some multiprocessors may be left over. */
template <class Kernel> int count_clusters(int device, Kernel kernel, int shared, int *counts) {
    int possible;
    TRY(cudaDeviceGetAttribute, &possible, cudaDevAttrClusterLaunch, device);
    for (int i = 0, size = 2; i < 3; ++i, size *= 2) {
        const Clusters of(dim3(size), shared, nullptr);
        counts[i] = 0;
        if (!possible || cudaOccupancyMaxActiveClusters(&counts[i], kernel, &of.config) == cudaSuccess) continue;
        (void)cudaGetLastError(); /* a cluster may not have so many blocks */
        counts[i] = 0;
    }
    return 0;
}

template <class Function, class Tile> int launch(const LaunchArgs &given) {
    const int sequences = given.work->sequences;
    if (sequences < 1 || sequences > RNN_MOST_SEQUENCES) return failed("rnn_scan", "expected fewer sequences at once");
    if (given.stage_count != Function::stages || given.source_count != sequences * Function::sources ||
        given.operand_count != sequences * Function::operands)
        return failed("rnn_scan", "the numbers of stages, sources or operands are not the function's");
    Call<Function> call = {};
    call.work = *given.work;
    for (int i = 0; i < Function::stages; ++i) call.stages[i] = given.stages[i];
    for (int sequence = 0; sequence < sequences; ++sequence)
        for (int i = 0; i < Function::sources; ++i)
            call.sources[sequence][i] = given.sources[sequence * Function::sources + i];
    for (int i = 0; i < given.operand_count; ++i)
        call.operands[i / Function::operands][i % Function::operands] = given.operands[i];
    const auto kernel = scan<Number, Tile, Function>;
    const int groups = (call.work.rows + call.work.group_rows - 1) / call.work.group_rows;
    const dim3 grid(call.work.group_size, groups, sequences), block(THREADS);
    void *arguments[] = {&call};
    int most;
    if (allow_all_shared(given.device, kernel, &most)) return 1;
    if (call.work.group_size == 1) {
        TRY(cudaLaunchKernel, kernel, grid, block, arguments, given.shared, given.stream);
        return 0;
    }
    if (call.work.cluster) {
        const Clusters clusters(grid, std::max(given.shared, most / 2 + 1), given.stream);
        TRY(cudaLaunchKernelEx, &clusters.config, kernel, call);
        return 0;
    }
    const size_t counters = sizeof(uint32_t) * COUNTER_WORDS * groups * sequences;
    TRY(cudaMemsetAsync, call.work.arrived, 0, counters, given.stream);
    TRY(cudaLaunchCooperativeKernel, kernel, grid, block, arguments, given.shared, given.stream);
    return 0;
}

template <class Function> int launch(int tile, const LaunchArgs &given) {
    if (tile == 0) return launch<Function, Few>(given);
    if (tile == 1) return launch<Function, Many>(given);
    return failed("rnn_scan", "there is no tile of this number");
}

}  // namespace

extern "C" {

const char *rnn_error(void) { return message; }

int rnn_facts(int device, rnn_device *facts) {
    TRY(cudaDeviceGetAttribute, &facts->blocks, cudaDevAttrMultiProcessorCount, device);
    TRY(cudaSetDevice, device);
    const auto kernel = scan<Number, Many, Train>;
    return allow_all_shared(device, kernel, &facts->shared) ||
           count_clusters(device, kernel, facts->shared, facts->clusters);
}

int rnn_barriers(int device, void *stream, int blocks, int count, uint32_t *arrived) {
    TRY(cudaSetDevice, device);
    const auto queue = static_cast<cudaStream_t>(stream);
    rnn_work work = {};
    work.group_size = blocks;
    work.steps = count;
    work.arrived = arrived;
    void *arguments[] = {&work};
    TRY(cudaMemsetAsync, arrived, 0, sizeof(uint32_t) * COUNTER_WORDS, queue);
    TRY(cudaLaunchCooperativeKernel, wait_only, dim3(blocks), dim3(THREADS), arguments, 0, queue);
    return 0;
}

int rnn_store(int device, void *stream, const void *from, int64_t rows, int width, void *to, int row) {
    TRY(cudaSetDevice, device);
    const int blocks = int(std::min<int64_t>((rows * row + THREADS - 1) / THREADS, 1024));
    StoreArgs what = {from, to, rows, width, row, blocks};
    void *arguments[] = {&what};
    const auto kernel = store<Number, Many::Stored>;
    TRY(cudaLaunchKernel, kernel, dim3(blocks), dim3(THREADS), arguments, 0, static_cast<cudaStream_t>(stream));
    return 0;
}

int rnn_scan(int device, void *stream, int function, int tile, const rnn_work *work,
             const rnn_stage *stages, int stage_count, const rnn_source *sources, int source_count,
             const rnn_operand *operands, int operand_count, int shared) {
    TRY(cudaSetDevice, device);
    const LaunchArgs given = {device, static_cast<cudaStream_t>(stream), work, stages, stage_count, sources,
                              source_count, operands, operand_count, shared};
    switch (function) {
        case 0: return launch<Train>(tile, given);
        case 1: return launch<Infer>(tile, given);
        case 2: return launch<Backward>(tile, given);
    }
    return failed("rnn_scan", "there is no function of this number");
}
}
