/* Who works on what: blocks in teams, a team's rows, and where its members meet. */
#pragma once
#include <device.cuh>

extern "C" {
#include "interface.h"
}

constexpr int THREADS = RNN_THREADS;  /* of a block, as the generated file says */
constexpr int COUNTER_WORDS = 32;     /* each team's counter has a cache line of its own */

/* A row of the batch at a step: its place n there, its own time t, and whether it has that step at all. */
struct Row {
    int n, t;
    bool at_work;
};

template <class T> __device__ inline T *place(const rnn_spot &spot, const Row &row) {
    const int64_t slot = (row.t + spot.shift) & spot.wrap;
    return static_cast<T *>(spot.data) + slot * spot.step + int64_t(row.n) * spot.row;
}

/* A team, as one of its blocks sees it. Grid: [members, teams, ways]. */
struct Team {
    const rnn_work &work;
    const int way, member, members, first, end;  /* rows first to end - 1, in the order of falling length */
    const bool reverse;
    uint32_t *const counter;
    uint32_t meetings = 0;

    __device__ explicit Team(const rnn_work &w)
        : work(w), way(blockIdx.z), member(blockIdx.x), members(w.members), first(blockIdx.y * w.team_rows),
          end(min(first + w.team_rows, w.rows)), reverse(w.reverse >> way & 1),
          counter(w.arrived + (blockIdx.y * w.ways + way) * COUNTER_WORDS) {}

    __device__ int length(int r) const { return work.lengths ? work.lengths[r] : work.steps; }

    /* Whether the r-th row has a k-th step. */
    __device__ bool at_work(int r, int k) const { return r < end && k < length(r); }

    /* How many steps the longest of the team's rows has. */
    __device__ int steps() const { return length(first); }

    /* The r-th row at the k-th step of its walk. */
    __device__ Row row(int r, int k) const {
        if (r >= end) return {0, 0, false};
        const int steps = length(r);
        return {work.order ? work.order[r] : r, reverse ? steps - 1 - k : k, k < steps};
    }

    /* All members have to come to a meeting; between the two calls there is time for what does not depend on others.
       What any thread of a member wrote before it arrived, every thread of every member sees after it has waited.
       Counters only grow, so nobody has to set them back between two meetings. */
    __device__ void arrive() {
        if (work.cluster) return arrive_at_cluster();
        ++meetings;
        if (members == 1) return;
        __syncthreads();
        if (threadIdx.x == 0) count_up(counter);
    }

    __device__ void wait() const {
        if (work.cluster) return wait_for_cluster();
        if (members > 1 && threadIdx.x == 0)
            while (int32_t(look_at(counter) - meetings * members) < 0) {  /* counts may begin again at 0 */
            }
        __syncthreads();
    }

    /* The members of a cluster write to each other's shared memory, which has to be there from before the first step
       until after the last. meets: whether they meet before the first stage, so that one has arrived for that. */
    __device__ void enter(bool meets) {
        if (!work.cluster) return;
        arrive();
        if (!meets) wait();
    }
    __device__ void leave(bool meets) {
        if (!work.cluster) return;
        if (!meets) arrive();
        wait();
    }
};
