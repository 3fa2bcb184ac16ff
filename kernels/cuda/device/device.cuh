/* The few things of a device that C++ has no words for. Included with <>, so that another of this name may stand in. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#define SHARED_MEMORY(name) extern __shared__ __align__(16) unsigned char name[]

/* Send for sixteen bytes, which may have been written since this kernel began, by any block: they come to shared memory
   from the second-level cache, which all blocks share. Both addresses are multiples of 16. */
__device__ inline void copy_async(void *to, const void *from) {
    const uint32_t place = uint32_t(__cvta_generic_to_shared(to));
    const size_t source = __cvta_generic_to_global(from);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place), "l"(source) : "memory");
}

/* What this thread has sent for since the last call is a batch; it may be empty. */
__device__ inline void close_batch() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/* Wait until all but the last so many batches of this thread have come. */
template <int BATCHES> __device__ inline void wait_for_all_but() {
    asm volatile("cp.async.wait_group %0;" ::"n"(BATCHES) : "memory");
}

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

/* All threads of a cluster arrive and wait; between the two there is time for what does not depend on others. What any
   of them wrote before it arrived, all see after they have waited. */
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

/* The same place in the shared memory of a block of the cluster, by its number there. */
template <class T> __device__ inline T *of_block(T *own, int number) {
#if __CUDA_ARCH__ >= 900
    return static_cast<T *>(__cluster_map_shared_rank(own, number));
#else
    return own;  /* there are no clusters */
#endif
}

/* The value of the lane whose number differs in these bits; all 32 lanes take part. */
template <class T> __device__ inline T of_lane_across(T value, int bits) {
    return __shfl_xor_sync(0xffffffffu, value, bits);
}

/* A float to the nearest number of ten binary digits, those in the middle away from 0; the other bits are 0. */
__device__ inline uint32_t rounded_to_tf32(float x) {
    uint32_t bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

/* A float to the nearest number of seven binary digits, those in the middle to the even one: its upper half. */
__device__ inline uint16_t rounded_to_bf16(float x) {
    uint16_t bits;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
    return bits;
}

/* sum [16, 8] += a [16, K] b [K, 8], one product of matrices by a warp: K is 8 with numbers of tf32, 16 with bf16.

   Of lane l: sum[0], [1] at row l / 4, columns l % 4 * 2 and the next; sum[2], [3] eight rows on. a0 at row l / 4, a1
   eight rows on, both the (l % 4)-th word of the first half of k; a2 and a3 likewise of the second half; b0 and b1 at
   column l / 4, at the same places of k. */
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
