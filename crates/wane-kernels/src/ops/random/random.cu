// Philox 4x32-10 scores, bit for bit those of the CPU.
#include "common.cuh"

extern "C" __global__ void __launch_bounds__(256)
    scores(const int* __restrict__ rows, float* __restrict__ out, i64 n, u32 columns, u32 key0, u32 key1) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    i64 row = i / columns;
    u32 c0 = rows[3 * row], c1 = rows[3 * row + 1], c2 = rows[3 * row + 2], c3 = (u32)(i - row * columns);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        u32 low_high = __umulhi(c0, 0xD2511F53u), low = c0 * 0xD2511F53u;
        u32 high_high = __umulhi(c2, 0xCD9E8D57u), high = c2 * 0xCD9E8D57u;
        c0 = high_high ^ c1 ^ key0, c1 = high, c2 = low_high ^ c3 ^ key1, c3 = low;
        key0 += 0x9E3779B9u, key1 += 0xBB67AE85u;
    }
    out[i] = (float)(c0 >> 8) * (1.f / 16777216.f);
}
