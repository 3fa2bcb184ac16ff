/* What kernels/cuda/device.cuh has, on the host. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#define SHARED_MEMORY(name) unsigned char *const name = shim::self->block->shared

/* What is sent for comes when it is waited for, and not before: until then its place holds NaN. */
inline void copy_async(void *to, const void *from) {
    shim::wrong |= (reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from)) % 16 != 0;
    shim::Copy copy = {to, from, {}};
    memcpy(copy.read, from, 16);
    memset(to, 0xff, 16);
    shim::self->sent.push_back(copy);
}

inline void close_batch() {
    shim::self->batches.push_back(std::move(shim::self->sent));
    shim::self->sent.clear();
}

template <int BATCHES> inline void wait_for_all_but() {
    auto &batches = shim::self->batches;
    ++shim::moves;
    shim::give_way();  /* another thread may go on before this one's come */
    for (; batches.size() > BATCHES; batches.pop_front())
        for (const shim::Copy &copy : batches.front()) memcpy(copy.to, shim::backwards ? copy.read : copy.from, 16);
}

inline uint32_t float_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

inline uint32_t rounded_to_tf32(float x) {
    const uint32_t bits = float_bits(x);
    return (bits & 0x7f800000u) == 0x7f800000u ? bits : (bits + 0x1000u) & ~0x1fffu;  /* NaN and infinity stay */
}

inline uint16_t rounded_to_bf16(float x) {
    const uint32_t bits = float_bits(x), finite = (bits & 0x7f800000u) != 0x7f800000u;
    const uint32_t even = finite ? 0x7fffu + (bits >> 16 & 1) : (bits & 0x7fffffu ? 0x10000u : 0u);
    return uint16_t((bits + even) >> 16);
}

inline float float_of(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

inline void count_up(uint32_t *counter) {
    ++shim::moves;
    ++*counter;
}

inline uint32_t look_at(const uint32_t *counter) {
    shim::give_way();
    return *counter;
}

inline void arrive_at_cluster() {
    shim::Cluster &cluster = *shim::self->block->cluster;
    shim::self->arrived = cluster.meeting;
    ++shim::moves;
    if (++cluster.come < cluster.threads) return;
    cluster.come = 0;
    ++cluster.meeting;
}

inline void wait_for_cluster() {
    const shim::Cluster &cluster = *shim::self->block->cluster;
    while (cluster.meeting == shim::self->arrived) shim::give_way();
}

/* A block's shared memory is there only while all its threads are at work. */
template <class T> inline T *of_block(T *own, int number) {
    shim::Block &block = *shim::self->block->cluster->blocks[number];
    shim::wrong |= block.at_work < block.threads;
    return reinterpret_cast<T *>(block.shared + (reinterpret_cast<unsigned char *>(own) - shim::self->block->shared));
}

template <class T> inline T of_lane_across(T value, int bits) {
    const int lane = shim::self->thread.x % 32;
    shim::Warp &warp = shim::self->block->warps[shim::self->thread.x / 32];
    double(&shown)[32] = warp.values[warp.meeting & 1];
    shown[lane] = value;
    shim::meet(warp.come, warp.meeting, 32);
    return T(shown[lane ^ bits]);
}

inline double number_of(uint32_t word, int K, int part) {
    return float_of(K == 8 ? word : part ? word & 0xffff0000u : word << 16);
}

template <int K>
inline void multiply_matrices(float (&sum)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3, uint32_t b0,
                              uint32_t b1) {
    const int lane = shim::self->thread.x % 32;
    shim::Warp &warp = shim::self->block->warps[shim::self->thread.x / 32];
    auto &shown = warp.words[warp.meeting & 1];
    const uint32_t own[6] = {a0, a1, a2, a3, b0, b1};
    memcpy(shown[lane], own, sizeof own);
    shim::meet(warp.come, warp.meeting, 32);
    for (int i = 0; i < 4; ++i) {
        const int row = lane / 4, lower = i / 2, column = lane % 4 * 2 + i % 2;
        double all = sum[i];
        for (int q = 0; q < 4; ++q)
            for (int half = 0; half < 2; ++half)
                for (int part = 0; part < K / 8; ++part)
                    all += number_of(shown[row * 4 + q][lower + 2 * half], K, part) *
                           number_of(shown[column * 4 + q][4 + half], K, part);
        sum[i] = float(all);
    }
}
