/* What kernels/cuda/device.cuh has, on the host. */
#pragma once
#include <cuda_runtime.h>
#include <stdint.h>

#define SHARED_MEMORY(name) unsigned char *const name = shim::self->block->shared

template <class T> inline T read_shared_by_all(const T *from) { return *from; }

inline void count_up(uint32_t *counter) {
    ++shim::moves;
    ++*counter;
}

inline uint32_t look_at(const uint32_t *counter) {
    shim::give_way();
    return *counter;
}

template <class T> inline T of_lane_across(T value, int bits) {
    const int lane = shim::self->thread.x % 32;
    shim::Warp &warp = shim::self->block->warps[shim::self->thread.x / 32];
    double(&shown)[32] = warp.values[warp.meeting & 1];
    shown[lane] = value;
    shim::meet(warp.come, warp.meeting, 32);
    return T(shown[lane ^ bits]);
}
