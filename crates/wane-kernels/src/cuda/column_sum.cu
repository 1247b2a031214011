// Sums over rows, in a fixed order.
#include "common.cuh"

// partial [splits, cols]: sums of the rows of each split. x: rows begin every `stride` elements.
template <class T>
__device__ __forceinline__ void split_sums(const T* __restrict__ x, float* __restrict__ partial, int rows, int cols,
                                           int stride) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) return;
    int per_split = (rows + gridDim.y - 1) / gridDim.y;
    int begin = blockIdx.y * per_split, end = min(begin + per_split, rows);
    float sum = 0.f;
#pragma unroll 8
    for (int row = begin; row < end; row++) sum += widen(x[(i64)row * stride + col]);
    partial[(i64)blockIdx.y * cols + col] = sum;
}

extern "C" __global__ void __launch_bounds__(256)
    split_sums_bf16(const bf16* x, float* partial, int rows, int cols, int stride) {
    split_sums(x, partial, rows, cols, stride);
}
extern "C" __global__ void __launch_bounds__(256)
    split_sums_f32(const float* x, float* partial, int rows, int cols, int stride) {
    split_sums(x, partial, rows, cols, stride);
}

// out [cols] += sum of the rows of partial. 32 columns x 32 rows of threads.
extern "C" __global__ void __launch_bounds__(1024)
    add_sums(const float* __restrict__ partial, float* __restrict__ out, int rows, int cols) {
    __shared__ float shared[32][32];
    int x = threadIdx.x & 31, y = threadIdx.x >> 5, col = blockIdx.x * 32 + x;
    float sum = 0.f;
    if (col < cols) {
#pragma unroll 8
        for (int row = y; row < rows; row += 32) sum += partial[(i64)row * cols + col];
    }
    shared[y][x] = sum;
    __syncthreads();
    if (y == 0 && col < cols) {
        for (int i = 1; i < 32; i++) sum += shared[i][x];
        out[col] += sum;
    }
}
