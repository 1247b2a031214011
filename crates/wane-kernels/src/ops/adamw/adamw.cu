// The optimizer: one pass over a parameter, and the norm of all gradients without waiting for the host.
#include "common.cuh"

// One block sums the squares of one piece of a gradient; pieces: (address, elements).
struct Piece {
    const float* address;
    i64 elements;
};

extern "C" __global__ void __launch_bounds__(256) squares(const Piece* __restrict__ pieces, float* __restrict__ out) {
    __shared__ float shared[32];
    Piece piece = pieces[blockIdx.x];
    float sum = 0.f;
    i64 done = 0;
    if (((u64)piece.address & 15) == 0) {
        done = piece.elements / 4 * 4;
#pragma unroll 4
        for (i64 i = (i64)threadIdx.x * 4; i < done; i += 256 * 4) {
            float x[4];
            load(piece.address + i, x);
            sum = fmaf(x[0], x[0], fmaf(x[1], x[1], fmaf(x[2], x[2], fmaf(x[3], x[3], sum))));
        }
    }
    for (i64 i = done + threadIdx.x; i < piece.elements; i += 256) sum = fmaf(piece.address[i], piece.address[i], sum);
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) out[blockIdx.x] = sum;
}

// out = sqrt(sum of partial); one block.
extern "C" __global__ void __launch_bounds__(256) root(const float* __restrict__ partial, float* __restrict__ out, int n) {
    __shared__ double shared[256];
    double sum = 0.;
    for (int i = threadIdx.x; i < n; i += 256) sum += partial[i];
    shared[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half; half >>= 1) {
        if ((int)threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[0] = (float)sqrt(shared[0]);
}

// The constants of one update: rate = lr / (1 - beta1^t), unbias2 = 1 / (1 - beta2^t), keep = 1 - lr decay.
struct Update {
    float max_norm, beta1, beta2, eps, rate, unbias2, keep;
};

template <class T, int V>
__device__ __forceinline__ void step(float* __restrict__ master, float* __restrict__ m, float* __restrict__ v,
                                     const float* __restrict__ grad, const float* __restrict__ norm,
                                     T* __restrict__ working, i64 n, const Update& u) {
    i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i >= n) return;
    float total = *norm;
    if (!(fabsf(total) <= 3.4028234e38f)) return;
    float clip = u.max_norm > 0.f && total > u.max_norm ? u.max_norm / total : 1.f;
    float w[V], a[V], b[V], g[V];
    load(master + i, w), load(m + i, a), load(v + i, b), load(grad + i, g);
#pragma unroll
    for (int j = 0; j < V; j++) {
        float x = g[j] * clip;
        a[j] = u.beta1 * a[j] + (1.f - u.beta1) * x;
        b[j] = u.beta2 * b[j] + (1.f - u.beta2) * (x * x);
        w[j] = u.keep * w[j] - u.rate * a[j] / (sqrtf(b[j] * u.unbias2) + u.eps);
    }
    store(master + i, w), store(m + i, a), store(v + i, b), store(working + i, w);
}

// `from`: first element; V divides n - from.
#define STEP(SUFFIX, T, V)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                           \
        step_##SUFFIX(float* master, float* m, float* v, const float* grad, const float* norm, T* working,      \
                      i64 from, i64 n, Update u) {                                                              \
        step<T, V>(master + from, m + from, v + from, grad + from, norm, working + from, n - from, u);          \
    }

STEP(bf16_8, bf16, 8)
STEP(bf16_1, bf16, 1)
STEP(f32_8, float, 8)
STEP(f32_1, float, 1)
