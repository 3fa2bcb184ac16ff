/* The few things of a device that C++ has no words for. Included with <>, so that another of this name may stand in. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

/* What other blocks may have written since this kernel began: read from the second-level cache, which all share. */
template <class T> __device__ inline T read_shared_by_all(const T *from) { return __ldcg(from); }

/* Count one more, after all that this thread has written, or seen written, is to be seen by whoever sees the count. */
__device__ inline void count_up(uint32_t *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

/* Look at a count; what was written before it counted so far is seen after. */
__device__ inline uint32_t look_at(const uint32_t *counter) {
    uint32_t count;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
    return count;
}

/* The value of the lane whose number differs in these bits; all 32 lanes take part. */
template <class T> __device__ inline T of_lane_across(T value, int bits) {
    return __shfl_xor_sync(0xffffffffu, value, bits);
}
