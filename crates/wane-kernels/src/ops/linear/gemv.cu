// y [n, m] = x [n, k] W^T (+ bias) (+ residual) for at most N rows: one warp per output feature reads
// its row of W once, 16 bytes per lane, and multiplies it with all rows of x.
#include "common.cuh"

template <class T, int V, int N>
__device__ __forceinline__ void gemv(const T* __restrict__ x, const T* __restrict__ w, const T* __restrict__ bias,
                                     const T* __restrict__ residual, T* __restrict__ y, int n, int m, int k,
                                     int x_stride, int residual_stride, int y_stride) {
    int feature = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (feature >= m) return;
    const T* row = w + (i64)feature * k;
    float sum[N];
#pragma unroll
    for (int r = 0; r < N; r++) sum[r] = 0.f;
#pragma unroll 4
    for (int col = lane * V; col < k; col += 32 * V) {
        float a[V];
        load(row + col, a);
#pragma unroll
        for (int r = 0; r < N; r++) {
            if (r < n) {
                float b[V];
                load(x + (i64)r * x_stride + col, b);
#pragma unroll
                for (int j = 0; j < V; j++) sum[r] = fmaf(a[j], b[j], sum[r]);
            }
        }
    }
#pragma unroll
    for (int r = 0; r < N; r++) {
        float total = warp_sum(sum[r]);
        if (r < n && lane == 0) {
            if (bias) total += widen(bias[feature]);
            if (residual) total += widen(residual[(i64)r * residual_stride + feature]);
            narrow(total, y[(i64)r * y_stride + feature]);
        }
    }
}

#define KERNEL(N, NAME, T, V)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                              \
        gemv_##N##_##NAME(const T* x, const T* w, const T* bias, const T* residual, T* y, int n, int m, int k,     \
                          int x_stride, int residual_stride, int y_stride) {                                       \
        gemv<T, V, N>(x, w, bias, residual, y, n, m, k, x_stride, residual_stride, y_stride);                      \
    }

KERNEL(1, bf16, bf16, 8)
KERNEL(2, bf16, bf16, 8)
KERNEL(4, bf16, bf16, 8)
KERNEL(8, bf16, bf16, 8)
KERNEL(1, f32, float, 4)
KERNEL(2, f32, float, 4)
KERNEL(4, f32, float, 4)
KERNEL(8, f32, float, 4)
