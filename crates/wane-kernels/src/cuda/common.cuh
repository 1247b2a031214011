// Shared by every kernel: element types, 16-byte vectors, reductions. Compiled by NVRTC, which
// brings no headers, so nothing else may be included.
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define FULL_WARP 0xffffffffu

struct bf16 {
    u16 bits;
};

// ---- bf16 and f32 ----

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float((u32)x.bits << 16); }

// Round to nearest even.
__device__ __forceinline__ bf16 to_bf16(float x) {
    bf16 r;
#ifdef __CUDACC_RTC__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(r.bits) : "f"(x));
#else
    u32 u = __float_as_uint(x);
    r.bits = x != x ? 0x7fff : (u16)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
#endif
    return r;
}

// Two bf16 in one word, `low` at the lower address.
__device__ __forceinline__ u32 pack_bf16(float low, float high) {
#ifdef __CUDACC_RTC__
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
#else
    return (u32)to_bf16(low).bits | (u32)to_bf16(high).bits << 16;
#endif
}

__device__ __forceinline__ float low_bf16(u32 pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_bf16(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

__device__ __forceinline__ void narrow(float x, float& to) { to = x; }
__device__ __forceinline__ void narrow(float x, bf16& to) { to = to_bf16(x); }

// ---- N elements at once: 16-byte accesses when N fills them (then p must be 16-byte aligned) ----

template <int N>
__device__ __forceinline__ void load(const float* p, float (&x)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N / 4; i++) {
            float4 v = reinterpret_cast<const float4*>(p)[i];
            x[4 * i] = v.x, x[4 * i + 1] = v.y, x[4 * i + 2] = v.z, x[4 * i + 3] = v.w;
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = p[i];
    }
}

template <int N>
__device__ __forceinline__ void load(const bf16* p, float (&x)[N]) {
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N / 8; i++) {
            uint4 v = reinterpret_cast<const uint4*>(p)[i];
            u32 w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int j = 0; j < 4; j++) x[8 * i + 2 * j] = low_bf16(w[j]), x[8 * i + 2 * j + 1] = high_bf16(w[j]);
        }
    } else if constexpr (N % 2 == 0) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) {
            u32 v = reinterpret_cast<const u32*>(p)[i];
            x[2 * i] = low_bf16(v), x[2 * i + 1] = high_bf16(v);
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = widen(p[i]);
    }
}

template <int N>
__device__ __forceinline__ void store(float* p, const float (&x)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N / 4; i++) {
            float4 v;
            v.x = x[4 * i], v.y = x[4 * i + 1], v.z = x[4 * i + 2], v.w = x[4 * i + 3];
            reinterpret_cast<float4*>(p)[i] = v;
        }
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) p[i] = x[i];
    }
}

template <int N>
__device__ __forceinline__ void store(bf16* p, const float (&x)[N]) {
    if constexpr (N % 8 == 0) {
#pragma unroll
        for (int i = 0; i < N / 8; i++) {
            uint4 v;
            v.x = pack_bf16(x[8 * i], x[8 * i + 1]), v.y = pack_bf16(x[8 * i + 2], x[8 * i + 3]);
            v.z = pack_bf16(x[8 * i + 4], x[8 * i + 5]), v.w = pack_bf16(x[8 * i + 6], x[8 * i + 7]);
            reinterpret_cast<uint4*>(p)[i] = v;
        }
    } else if constexpr (N % 2 == 0) {
#pragma unroll
        for (int i = 0; i < N / 2; i++) reinterpret_cast<u32*>(p)[i] = pack_bf16(x[2 * i], x[2 * i + 1]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i++) p[i] = to_bf16(x[i]);
    }
}

// ---- reductions; blocks have one dimension and whole warps ----

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int offset = 16; offset; offset >>= 1) x += __shfl_xor_sync(FULL_WARP, x, offset);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int offset = 16; offset; offset >>= 1) x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, offset));
    return x;
}

// Over the block, the same value in every thread; `shared` holds 32 floats.
__device__ __forceinline__ float block_sum(float x, float* shared) {
    int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
    x = warp_sum(x);
    if (lane == 0) shared[threadIdx.x >> 5] = x;
    __syncthreads();
    x = warp_sum(lane < warps ? shared[lane] : 0.f);
    __syncthreads();
    return x;
}

__device__ __forceinline__ float block_max(float x, float* shared) {
    int lane = threadIdx.x & 31, warps = blockDim.x >> 5;
    x = warp_max(x);
    if (lane == 0) shared[threadIdx.x >> 5] = x;
    __syncthreads();
    x = warp_max(lane < warps ? shared[lane] : __uint_as_float(0xff800000u));
    __syncthreads();
    return x;
}

// ---- functions ----

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.f, 1.f + __expf(-x)); }

// ---- indices ----

// Type of a flat index: 32 bits when every thread handles a 16-byte vector (2^32 vectors are 64 GB),
// 64 bits in the scalar kernels.
template <int V>
struct Index {
    typedef u32 type;
};
template <>
struct Index<1> {
    typedef u64 type;
};

// The calling thread's number in the grid.
template <int V>
__device__ __forceinline__ typename Index<V>::type flat_index() {
    return (typename Index<V>::type)blockIdx.x * blockDim.x + threadIdx.x;
}
