/* Groups of blocks: the rows of a group, the rank of a block, and the barrier of a group. */
#pragma once
#include <device.cuh>

extern "C" {
#include "interface.h"
}

constexpr int THREADS = RNN_THREADS;  /* threads of a block; the generated file sets it */
constexpr int COUNTER_WORDS = 32;     /* each group's counter has a cache line of its own */

/* A row at a step: its number n in the batch, its own time t, and whether it has that step at all. */
struct Row {
    int n, t;
    bool at_work;
};

template <class T> __device__ inline T *place(const rnn_operand &operand, const Row &row) {
    const int64_t slot = (row.t + operand.shift) & operand.wrap;
    return static_cast<T *>(operand.data) + slot * operand.step + int64_t(row.n) * operand.row;
}

/* A group of blocks, as one of its blocks sees it. Grid: [group_size, groups, sequences]. */
struct BlockGroup {
    const rnn_work &work;
    const int sequence, rank, size, first, end;  /* rows first to end - 1, in the order of falling length */
    const bool reverse;
    uint32_t *const counter;
    uint32_t barriers = 0;

    __device__ explicit BlockGroup(const rnn_work &w)
        : work(w), sequence(blockIdx.z), rank(blockIdx.x), size(w.group_size), first(blockIdx.y * w.group_rows),
          end(min(first + w.group_rows, w.rows)), reverse(w.reverse >> sequence & 1),
          counter(w.arrived + (blockIdx.y * w.sequences + sequence) * COUNTER_WORDS) {}

    __device__ int length(int r) const { return work.lengths ? work.lengths[r] : work.steps; }

    /* Return whether the r-th row has a k-th step. */
    __device__ bool at_work(int r, int k) const { return r < end && k < length(r); }

    /* Return the number of steps of the group's longest row. */
    __device__ int steps() const { return length(first); }

    /* Return the r-th row at the k-th step of its scan. */
    __device__ Row row(int r, int k) const {
        if (r >= end) return {0, 0, false};
        const int steps = length(r);
        return {work.order ? work.order[r] : r, reverse ? steps - 1 - k : k, k < steps};
    }

    /* The barrier of a group, in two halves. Every block of the group calls both. Between them there is time for work
       that does not depend on other blocks. After a thread has waited, it sees all that any thread of any block wrote
       before that thread arrived. The counter only grows, so no block has to reset it between two barriers. */
    __device__ void arrive() {
        if (work.cluster) return arrive_at_cluster();
        ++barriers;
        if (size == 1) return;
        __syncthreads();
        if (threadIdx.x == 0) count_up(counter);
    }

    __device__ void wait() const {
        if (work.cluster) return wait_for_cluster();
        if (size > 1 && threadIdx.x == 0)
            while (int32_t(look_at(counter) - barriers * size) < 0) {  /* the count may have wrapped around */
            }
        __syncthreads();
    }

    /* Enter and leave a scan. The blocks of a cluster write to each other's shared memory, so all of them must run from
       before the first step until after the last. waits: whether the first stage waits at a barrier. Then `enter` is
       the arrival at that barrier, and `leave` waits at the one where the last stage arrived. */
    __device__ void enter(bool waits) {
        if (!work.cluster) return;
        arrive();
        if (!waits) wait();
    }
    __device__ void leave(bool waits) {
        if (!work.cluster) return;
        if (!waits) arrive();
        wait();
    }
};
