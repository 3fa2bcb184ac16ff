/* CUDA on the host, as much of it as the kernels use: the same sources, built as C++, run on this.

   A block's threads are fibers that take turns on one thread of the host, warp by warp, of which each goes on as far as
   it can, in a fixed order, forwards or backwards, so that a barrier that is missing shows: results then depend on the
   order. Shared memory holds NaN when a block begins. What is copied later is read at once if the order is backwards,
   and otherwise as late as can be.
   Blocks of an ordinary launch run one after the other; those of a cooperative one all at once. Where all fibers wait
   and none can go on, the launch fails: some barrier is not reached by all. */
#pragma once
#include <setjmp.h>
#include <stdint.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <memory>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __forceinline__ inline
#define __launch_bounds__(...)

using std::max;
using std::min;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorLaunchFailure = 719,
    cudaErrorCooperativeLaunchTooLarge = 720
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrClusterLaunch = 120
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
typedef void *cudaStream_t;
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    union {
        struct {
            unsigned x, y, z;
        } clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    size_t dynamicSmemBytes;
    cudaStream_t stream;
    cudaLaunchAttribute *attrs;
    unsigned numAttrs;
};

namespace shim {

constexpr int BLOCKS = 6, SHARED = 1 << 20;  /* of the device that is played */
constexpr size_t STACK = 64 << 10;
inline size_t allowed;  /* bytes of shared memory that a kernel may have */

struct Warp {
    double values[2][32];  /* what lanes show each other; two in turn, that nobody overwrites what others still read */
    uint32_t words[2][32][6];
    int come = 0, meeting = 0;
};

struct Block;

struct Cluster {
    std::vector<Block *> blocks;
    int come = 0, meeting = 0, threads = 0;
};

struct Block {
    dim3 index;
    Cluster *cluster = nullptr;
    std::unique_ptr<unsigned char[]> memory;
    unsigned char *shared;
    int come = 0, meeting = 0, threads = 0;
    int at_work = 0;  /* threads that have begun and not ended */
    std::vector<Warp> warps;
};

struct Copy {
    void *to;
    const void *from;
    unsigned char read[16];
};

struct Fiber {
    Block *block;
    dim3 thread;
    jmp_buf at;
    ucontext_t start;
    std::unique_ptr<unsigned char[]> stack;
    bool begun = false, done = false;
    int arrived = 0;                         /* at which meeting of the cluster */
    std::vector<Copy> sent;                  /* on their sequence to shared memory: since the last batch was closed, */
    std::deque<std::vector<Copy>> batches;   /* and in batches */
};

inline Fiber *self;
inline jmp_buf scheduler;
inline long moves;            /* how often any fiber got further */
inline void (*body)(void *);  /* the kernel and its argument */
inline void *argument;
inline bool backwards;        /* the order of turns: RNN_SHIM_BACKWARDS in the environment */

inline bool wrong;            /* whether a thread has done what a device does not allow: the launch fails */

inline void enter() {
    ++self->block->at_work;
    body(argument);
    --self->block->at_work;
    self->done = true;
    ++moves;
    _longjmp(scheduler, 1);
}

inline void give_way() {
    if (!_setjmp(self->at)) _longjmp(scheduler, 1);
}

/* Wait until `all` have come. */
inline void meet(int &come, int &meeting, int all) {
    const int now = meeting;
    ++moves;
    if (++come == all) {
        come = 0;
        ++meeting;
    }
    while (meeting == now) give_way();
}

/* Let a fiber run until it gives sequence. */
inline void give_turn(Fiber &fiber) {
    static ucontext_t here;
    self = &fiber;
    if (_setjmp(scheduler)) return;
    if (fiber.begun) _longjmp(fiber.at, 1);
    fiber.begun = true;
    getcontext(&fiber.start);
    fiber.start.uc_stack.ss_sp = fiber.stack.get();
    fiber.start.uc_stack.ss_size = STACK;
    fiber.start.uc_link = &here;
    makecontext(&fiber.start, enter, 0);
    setcontext(&fiber.start);
}

/* Let every fiber run until all are done, each warp as far as it gets. False where none gets any further. */
inline bool run(std::vector<Fiber> &fibers) {
    const size_t warps = fibers.size() / 32;
    for (;;) {
        const long before = moves;
        size_t done = 0;
        for (size_t i = 0; i < warps; ++i) {
            Fiber *const warp = &fibers[(backwards ? warps - 1 - i : i) * 32];
            long moved;
            do {
                moved = moves;
                for (int lane = 0; lane < 32; ++lane) {
                    Fiber &fiber = warp[backwards ? 31 - lane : lane];
                    if (!fiber.done) give_turn(fiber);
                }
            } while (moves != moved);
            done += std::count_if(warp, warp + 32, [](const Fiber &f) { return f.done; });
        }
        if (done == fibers.size()) return !wrong;
        if (moves == before) return false;
    }
}

inline std::unique_ptr<Block> make_block(dim3 index, int threads, size_t shared) {
    auto block = std::make_unique<Block>();
    block->index = index;
    block->threads = threads;
    block->warps.resize(threads / 32);
    block->memory.reset(new unsigned char[shared + 16]);
    block->shared = reinterpret_cast<unsigned char *>((reinterpret_cast<uintptr_t>(block->memory.get()) + 15) & -16);
    memset(block->shared, 0xff, shared);
    return block;
}

/* The fibers of some blocks, whose stacks are used again by those after them. */
inline bool run_blocks(std::vector<std::unique_ptr<Block>> &blocks, std::vector<Fiber> &fibers) {
    const size_t threads = blocks[0]->threads;
    fibers.resize(blocks.size() * threads);
    for (size_t i = 0; i < fibers.size(); ++i) {
        Fiber &fiber = fibers[i];
        fiber.block = blocks[i / threads].get();
        fiber.thread = dim3(i % threads, 0, 0);
        fiber.begun = fiber.done = false;
        fiber.sent.clear();
        fiber.batches.clear();
        if (!fiber.stack) fiber.stack.reset(new unsigned char[STACK]);
    }
    return run(fibers);
}

/* cluster: how many blocks are one, or 0; at_once: whether all blocks run at once, as those of a cluster do. */
template <class Argument>
cudaError_t launch(void (*kernel)(Argument), dim3 grid, dim3 block, void **arguments, size_t shared, bool at_once,
                   unsigned cluster = 0) {
    struct Both {
        void (*kernel)(Argument);
        Argument *argument;
    } both = {kernel, static_cast<Argument *>(arguments[0])};
    if (!grid.x || !grid.y || !grid.z || shared > allowed || block.x % 32) return cudaErrorInvalidValue;
    if (cluster && (cluster > 8 || grid.x % cluster)) return cudaErrorInvalidValue;
    Cluster current;
    wrong = false;
    if (at_once && grid.x * grid.y * grid.z > BLOCKS) return cudaErrorCooperativeLaunchTooLarge;
    body = [](void *p) { static_cast<Both *>(p)->kernel(*static_cast<Both *>(p)->argument); };
    argument = &both;
    backwards = std::getenv("RNN_SHIM_BACKWARDS") != nullptr;
    std::vector<std::unique_ptr<Block>> blocks;
    static std::vector<Fiber> fibers;
    for (unsigned i = 0; i < grid.x * grid.y * grid.z; ++i) {
        const dim3 index(i % grid.x, i / grid.x % grid.y, i / grid.x / grid.y);
        blocks.push_back(make_block(index, block.x, shared));
        if (cluster) {
            current.blocks.push_back(blocks.back().get());
            current.threads += block.x;
            blocks.back()->cluster = &current;
        }
        if (at_once || blocks.size() < cluster) continue;
        if (!run_blocks(blocks, fibers)) return cudaErrorLaunchFailure;
        blocks.clear();
        current = Cluster();
    }
    return !at_once || run_blocks(blocks, fibers) ? cudaSuccess : cudaErrorLaunchFailure;
}

}  // namespace shim

#define threadIdx (shim::self->thread)
#define blockIdx (shim::self->block->index)

inline void __syncthreads() {
    shim::Block &block = *shim::self->block;
    shim::meet(block.come, block.meeting, block.threads);
}

inline const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorCooperativeLaunchTooLarge: return "too many blocks in cooperative launch";
        case cudaErrorLaunchFailure: return "unspecified launch failure";
    }
    return "unknown error";
}

inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaSetDevice(int device) { return device ? cudaErrorInvalidValue : cudaSuccess; }

inline cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    switch (attribute) {
        case cudaDevAttrMultiProcessorCount: *value = shim::BLOCKS; return cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = shim::SHARED; return cudaSuccess;
        case cudaDevAttrClusterLaunch: *value = 1; return cudaSuccess;
    }
    return cudaErrorInvalidValue;
}

template <class Kernel> cudaError_t cudaFuncSetAttribute(Kernel, cudaFuncAttribute, int bytes) {
    if (bytes > shim::SHARED) return cudaErrorInvalidValue;
    shim::allowed = bytes;
    return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void *at, int value, size_t bytes, cudaStream_t) {
    memset(at, value, bytes);
    return cudaSuccess;
}

template <class Kernel>
cudaError_t cudaLaunchKernel(Kernel kernel, dim3 grid, dim3 block, void **arguments, size_t shared, cudaStream_t) {
    return shim::launch(kernel, grid, block, arguments, shared, false);
}

template <class Kernel>
cudaError_t cudaLaunchCooperativeKernel(Kernel kernel, dim3 grid, dim3 block, void **arguments, size_t shared,
                                        cudaStream_t) {
    return shim::launch(kernel, grid, block, arguments, shared, true);
}

template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int *clusters, Kernel, const cudaLaunchConfig_t *config) {
    const unsigned size = config->attrs->val.clusterDim.x;
    *clusters = shim::BLOCKS / size;
    return size > shim::BLOCKS ? cudaErrorInvalidValue : cudaSuccess;
}

template <class Argument>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t *config, void (*kernel)(Argument),
                               std::remove_cv_t<Argument> argument) {
    if (config->numAttrs != 1 || config->attrs->id != cudaLaunchAttributeClusterDimension) return cudaErrorInvalidValue;
    void *arguments[] = {&argument};
    return shim::launch(kernel, config->gridDim, config->blockDim, arguments, config->dynamicSmemBytes, false,
                        config->attrs->val.clusterDim.x);
}
