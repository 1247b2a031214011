// The index of the largest element of each row; one block per row. NaN is lowest, ties go to the lower index.
#include "common.cuh"

// (ordered value, inverted index): the maximum of these is the answer.
__device__ __forceinline__ u64 candidate(float x, int index) {
    u32 bits = __float_as_uint(x + 0.f), key = bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
    return (u64)(x != x ? 0u : key) << 32 | (0xffffffffu - (u32)index);
}

template <class T>
__device__ __forceinline__ void argmax(const T* __restrict__ x, int* __restrict__ out, int n) {
    __shared__ u64 shared[32];
    const T* row = x + (i64)blockIdx.x * n;
    u64 best = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        u64 c = candidate(widen(row[i]), i);
        best = c > best ? c : best;
    }
    for (int offset = 16; offset; offset >>= 1) {
        u64 other = __shfl_xor_sync(FULL_WARP, best, offset);
        best = other > best ? other : best;
    }
    if ((threadIdx.x & 31) == 0) shared[threadIdx.x >> 5] = best;
    __syncthreads();
    if (threadIdx.x == 0) {
        for (int w = 1; w < (int)(blockDim.x >> 5); w++) best = shared[w] > best ? shared[w] : best;
        out[blockIdx.x] = (int)(0xffffffffu - (u32)best);
    }
}

extern "C" __global__ void __launch_bounds__(1024) argmax_bf16(const bf16* x, int* out, int n) { argmax(x, out, n); }
extern "C" __global__ void __launch_bounds__(1024) argmax_f32(const float* x, int* out, int n) { argmax(x, out, n); }
