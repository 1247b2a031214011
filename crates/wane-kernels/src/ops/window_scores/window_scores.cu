// Attention of the last queries, summed over them; and pooling.
#include "common.cuh"

// products [heads, queries, keys]: q . k, unscaled. One block per row: log-sum-exp of the scaled visible ones.
extern "C" __global__ void __launch_bounds__(256)
    log_sums(const float* __restrict__ products, float* __restrict__ lse, int queries, int keys, float scale) {
    __shared__ float shared[32];
    const float low = __uint_as_float(0xff800000u);
    const float* row = products + (i64)blockIdx.x * keys;
    int visible = keys - queries + (int)(blockIdx.x % queries) + 1;
    float top = low;
    for (int j = threadIdx.x; j < visible; j += 256) top = fmaxf(top, row[j] * scale);
    top = block_max(top, shared);
    float sum = 0.f;
    for (int j = threadIdx.x; j < visible; j += 256) sum += __expf(row[j] * scale - top);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) lse[blockIdx.x] = top + logf(sum);
}

// scores [heads, n], n = keys - queries: every query sees all of them.
extern "C" __global__ void __launch_bounds__(256)
    sum_queries(const float* __restrict__ products, const float* __restrict__ lse, float* __restrict__ scores,
                int queries, int keys, int n, float scale) {
    int j = blockIdx.x * blockDim.x + threadIdx.x, head = blockIdx.y;
    if (j >= n) return;
    const float* column = products + (i64)head * queries * keys + j;
    float sum = 0.f;
#pragma unroll 8
    for (int i = 0; i < queries; i++) sum += __expf(column[(i64)i * keys] * scale - lse[head * queries + i]);
    scores[(i64)head * n + j] = sum;
}

// Over windows of `kernel` (odd) neighbours; `average` counts the zero padding in its divisor.
extern "C" __global__ void __launch_bounds__(256)
    pool(const float* __restrict__ x, float* __restrict__ y, i64 total, int n, int kernel, int average) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    i64 row = i / n;
    int col = (int)(i - row * n), begin = max(col - kernel / 2, 0), end = min(col + kernel / 2 + 1, n);
    const float* from = x + row * n;
    float sum = 0.f, top = from[begin];
    for (int j = begin; j < end; j++) sum += from[j], top = fmaxf(top, from[j]);
    y[i] = average ? sum / kernel : top;
}
