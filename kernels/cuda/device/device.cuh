/* The instructions of a device that C++ cannot express. Files include it with <>, so that the tests can replace it. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

/* Start to copy sixteen bytes to shared memory. They come from the second-level cache, which all blocks share, so any
   block may have written them since this kernel began. Both addresses are multiples of 16. */
__device__ inline void copy_async(void *to, const void *from) {
    const uint32_t place = uint32_t(__cvta_generic_to_shared(to));
    const size_t source = __cvta_generic_to_global(from);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(source) : "memory");
}

/* Make a batch of the copies that this thread has started since the last call; it may be empty. */
__device__ inline void close_batch() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Wait until all batches of this thread except the last BATCHES have come. */
template <int BATCHES> __device__ inline void wait_for_all_but() {
    asm volatile("cp.async.wait_group %0;" ::"n"(BATCHES) : "memory");
}

/* Add one to the counter. A thread that sees this count also sees all that this thread has written or seen written. */
__device__ inline void count_up(uint32_t *counter) {
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

/* Return the count. This thread then sees all that other threads had written, or seen written, when they counted. */
__device__ inline uint32_t look_at(const uint32_t *counter) {
    uint32_t count;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter) : "memory");
    return count;
}

/* All threads of a cluster arrive and wait. In between there is time for work that does not depend on other blocks.
   After a thread has waited, it sees all that any thread of the cluster wrote before that thread arrived. */
__device__ inline void arrive_at_cluster() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}

__device__ inline void wait_for_cluster() {
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}

/* Return the address that corresponds to `own` in the shared memory of block `number` of the cluster. */
template <class T> __device__ inline T *of_block(T *own, int number) {
#if __CUDA_ARCH__ >= 900
    return static_cast<T *>(__cluster_map_shared_rank(own, number));
#else
    return own;  /* there are no clusters */
#endif
}

/* Return the value of the lane with this lane's number ^ bits. All 32 lanes must call it. */
template <class T> __device__ inline T of_lane_across(T value, int bits) {
    return __shfl_xor_sync(0xffffffffu, value, bits);
}

/* Round a float to the nearest number with ten fraction bits, ties away from 0. The other bits become 0. */
__device__ inline uint32_t rounded_to_tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

/* Round a float to the nearest number with seven fraction bits, ties to even. Return its upper half. */
__device__ inline uint16_t rounded_to_bf16(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

/* sum [16, 8] += a [16, K] b [K, 8], one product of matrices by a warp: K is 8 with numbers of tf32, 16 with bf16.

   Lane l has these parts of the matrices. sum[0] and sum[1]: row l / 4, columns l % 4 * 2 and the next; sum[2] and
   sum[3]: the same, eight rows on. a0: row l / 4, the (l % 4)-th word of the first half of k; a1: the same, eight rows
   on; a2 and a3: like a0 and a1, in the second half of k. b0 and b1: column l / 4, the words of k of a0 and a2. */
template <int K>
__device__ inline void multiply_matrices(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                         uint32_t b0, uint32_t b1) {
    static_assert(K == 8 || K == 16, "tf32 or bf16");
    if constexpr (K == 8)
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    else
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
            : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
            : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
