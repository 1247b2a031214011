// Root-mean-square norm over groups of d columns. A group is handled by one warp (d / V <= 32 N, N = 1,
// 2 or 4), by 256 threads (d / V <= 1024) or by 1024 (d / V <= 4096), and stays in registers, N vectors
// a thread, between the two uses: each element is read once.
#include "common.cuh"

// V weights of either type.
template <int V>
__device__ __forceinline__ void load_weight(const void* w, int f32, int col, float (&x)[V]) {
    if (f32) {
        load((const float*)w + col, x);
    } else {
        load((const bf16*)w + col, x);
    }
}

// Sum over the threads of a group.
template <bool WARP>
__device__ __forceinline__ float group_sum(float x, float* shared) {
    return WARP ? warp_sum(x) : block_sum(x, shared);
}

// First element of a group; x has rows of `groups` groups, beginning every `stride` elements.
template <class T>
__device__ __forceinline__ const T* group_of(const T* x, i64 group, int groups, int d, int stride) {
    if (groups == 1) return x + group * stride;
    return x + group / groups * stride + group % groups * d;
}

// y is contiguous.
template <class T, int V, int N, bool WARP>
__device__ __forceinline__ void forward(const T* __restrict__ x, const void* __restrict__ w, int w_f32,
                                        T* __restrict__ y, i64 total, int groups, int d, int stride, float eps) {
    __shared__ float shared[32];
    int threads = WARP ? 32 : blockDim.x, thread = WARP ? threadIdx.x & 31 : threadIdx.x;
    i64 group = WARP ? (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5) : blockIdx.x;
    if (group >= total) return;
    const T* from = group_of(x, group, groups, d, stride);
    float v[N][V], sum = 0.f;
#pragma unroll
    for (int i = 0; i < N; i++) {
        int col = (i * threads + thread) * V;
        if (col < d) {
            load(from + col, v[i]);
#pragma unroll
            for (int j = 0; j < V; j++) sum = fmaf(v[i][j], v[i][j], sum);
        }
    }
    float r = rsqrtf(group_sum<WARP>(sum, shared) / d + eps);
#pragma unroll
    for (int i = 0; i < N; i++) {
        int col = (i * threads + thread) * V;
        if (col < d) {
            float weight[V];
            load_weight(w, w_f32, col, weight);
#pragma unroll
            for (int j = 0; j < V; j++) weight[j] *= v[i][j] * r;
            store(y + group * d + col, weight);
        }
    }
}

// dx = r (g - xhat mean(g xhat)) (+ residual), g = dy w, xhat = r x. Each block walks over groups and
// leaves its part of the weight's gradient, sum of dy xhat, in partial [blocks, d].
template <class T, int V, int N, bool WARP>
__device__ __forceinline__ void backward(const T* __restrict__ dy, const T* __restrict__ x, const void* __restrict__ w,
                                         int w_f32, const T* __restrict__ residual, T* __restrict__ dx,
                                         float* __restrict__ partial, i64 total, int groups, int d, int stride,
                                         float eps) {
    extern __shared__ float weight_sums[];
    __shared__ float shared[32];
    int threads = WARP ? 32 : blockDim.x, thread = WARP ? threadIdx.x & 31 : threadIdx.x;
    int warps = blockDim.x >> 5, per_block = WARP ? warps : 1;
    // Registers allow the residual's loads to begin with the others.
    constexpr bool EARLY = N <= 2;
    float dw[N][V];
#pragma unroll
    for (int i = 0; i < N; i++)
#pragma unroll
        for (int j = 0; j < V; j++) dw[i][j] = 0.f;

    for (i64 group = (i64)blockIdx.x * per_block + (WARP ? threadIdx.x >> 5 : 0); group < total;
         group += (i64)gridDim.x * per_block) {
        const T* from = group_of(x, group, groups, d, stride);
        float v[N][V], g[N][V], extra[N][V], squares = 0.f, dot = 0.f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            int col = (i * threads + thread) * V;
            if (col < d) {
                load(from + col, v[i]);
                load(dy + group * d + col, g[i]);
                if (EARLY && residual) load(residual + group * d + col, extra[i]);
            }
        }
#pragma unroll
        for (int i = 0; i < N; i++) {
            int col = (i * threads + thread) * V;
            if (col < d) {
                float weight[V];
                load_weight(w, w_f32, col, weight);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    squares = fmaf(v[i][j], v[i][j], squares);
                    dot = fmaf(v[i][j] * weight[j], g[i][j], dot);
                }
            }
        }
        squares = group_sum<WARP>(squares, shared);
        dot = group_sum<WARP>(dot, shared);
        float r = rsqrtf(squares / d + eps), c = dot * r * r / d;
#pragma unroll
        for (int i = 0; i < N; i++) {
            int col = (i * threads + thread) * V;
            if (col < d) {
                float weight[V];
                load_weight(w, w_f32, col, weight);
                if (!EARLY && residual) load(residual + group * d + col, extra[i]);
#pragma unroll
                for (int j = 0; j < V; j++) {
                    dw[i][j] = fmaf(g[i][j], v[i][j] * r, dw[i][j]);
                    weight[j] = r * (g[i][j] * weight[j] - v[i][j] * c);
                    if (residual) weight[j] += extra[i][j];
                }
                store(dx + group * d + col, weight);
            }
        }
    }

    float* to = partial + (i64)blockIdx.x * d;
    if (!WARP) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            int col = (i * threads + thread) * V;
            if (col < d)
                for (int j = 0; j < V; j++) to[col + j] = dw[i][j];
        }
        return;
    }
    // One warp after the other adds its sums: the order, and so the result, is fixed.
    for (int turn = 0; turn < warps; turn++) {
        if ((threadIdx.x >> 5) == turn) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                int col = (i * threads + thread) * V;
                if (col < d)
#pragma unroll
                    for (int j = 0; j < V; j++)
                        weight_sums[col + j] = turn ? weight_sums[col + j] + dw[i][j] : dw[i][j];
            }
        }
        __syncthreads();
    }
    for (int col = threadIdx.x; col < d; col += blockDim.x) to[col] = weight_sums[col];
}

#define KERNELS(SUFFIX, T, V, N, WARP, THREADS)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        forward_##SUFFIX(const T* x, const void* w, int w_f32, T* y, i64 total, int groups, int d, int stride,       \
                         float eps) {                                                                                \
        forward<T, V, N, WARP>(x, w, w_f32, y, total, groups, d, stride, eps);                                       \
    }                                                                                                                \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                            \
        backward_##SUFFIX(const T* dy, const T* x, const void* w, int w_f32, const T* residual, T* dx,               \
                          float* partial, i64 total, int groups, int d, int stride, float eps) {                     \
        backward<T, V, N, WARP>(dy, x, w, w_f32, residual, dx, partial, total, groups, d, stride, eps);              \
    }

KERNELS(warp1_bf16_wide, bf16, 8, 1, true, 256)
KERNELS(warp1_bf16_1, bf16, 1, 1, true, 256)
KERNELS(warp1_f32_wide, float, 4, 1, true, 256)
KERNELS(warp1_f32_1, float, 1, 1, true, 256)
KERNELS(warp2_bf16_wide, bf16, 8, 2, true, 256)
KERNELS(warp2_bf16_1, bf16, 1, 2, true, 256)
KERNELS(warp2_f32_wide, float, 4, 2, true, 256)
KERNELS(warp2_f32_1, float, 1, 2, true, 256)
KERNELS(warp4_bf16_wide, bf16, 8, 4, true, 256)
KERNELS(warp4_bf16_1, bf16, 1, 4, true, 256)
KERNELS(warp4_f32_wide, float, 4, 4, true, 256)
KERNELS(warp4_f32_1, float, 1, 4, true, 256)
KERNELS(block_bf16_wide, bf16, 8, 4, false, 256)
KERNELS(block_bf16_1, bf16, 1, 4, false, 256)
KERNELS(block_f32_wide, float, 4, 4, false, 256)
KERNELS(block_f32_1, float, 1, 4, false, 256)
// 64 registers a thread: long rows only.
KERNELS(large_bf16_wide, bf16, 8, 4, false, 1024)
KERNELS(large_bf16_1, bf16, 1, 4, false, 1024)
KERNELS(large_f32_wide, float, 4, 4, false, 1024)
KERNELS(large_f32_1, float, 1, 4, false, 1024)
