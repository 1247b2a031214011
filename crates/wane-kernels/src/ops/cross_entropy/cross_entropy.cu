// Softmax, loss and gradient of rows of logits, in place; one block per row.
#include "common.cuh"

// logits [rows, vocabulary], rows beginning every `stride` elements, 16-byte aligned.
// losses[row] = log sum exp - logit of the target. If weights are given, the logits are replaced by
// scale weights[row] (softmax - one-hot).
template <class T, int V>
__device__ __forceinline__ void cross_entropy(T* __restrict__ logits, const int* __restrict__ targets,
                                              const float* __restrict__ weights, float* __restrict__ losses,
                                              int vocabulary, int stride, float scale) {
    __shared__ float shared[32];
    const float low = __uint_as_float(0xff800000u);
    T* row = logits + (i64)blockIdx.x * stride;
    int target = targets[blockIdx.x];
    bool valid = target >= 0 && target < vocabulary;
    float at_target = valid ? widen(row[target]) : 0.f;
    float top = low, sum = 0.f;
#pragma unroll 4
    for (int col = threadIdx.x * V; col < vocabulary; col += blockDim.x * V) {
        float x[V], peak = top;
        load(row + col, x);
#pragma unroll
        for (int j = 0; j < V; j++) {
            if (col + j >= vocabulary) x[j] = low;
            peak = fmaxf(peak, x[j]);
        }
        if (peak > low) {
            float part = 0.f;
#pragma unroll
            for (int j = 0; j < V; j++) part += __expf(x[j] - peak);
            sum = sum * __expf(top - peak) + part;
            top = peak;
        }
    }
    float peak = block_max(top, shared);
    sum = block_sum(top > low ? sum * __expf(top - peak) : 0.f, shared);
    float total = peak + logf(sum);
    if (threadIdx.x == 0) losses[blockIdx.x] = valid ? total - at_target : __uint_as_float(0x7fc00000u);
    if (!weights) return;
    float factor = scale * weights[blockIdx.x];
#pragma unroll 4
    for (int col = threadIdx.x * V; col < vocabulary; col += blockDim.x * V) {
        float x[V];
        if (factor == 0.f) {
#pragma unroll
            for (int j = 0; j < V; j++) x[j] = 0.f;
        } else {
            load(row + col, x);
#pragma unroll
            for (int j = 0; j < V; j++) x[j] = factor * (__expf(x[j] - total) - (col + j == target ? 1.f : 0.f));
        }
        store(row + col, x);
    }
}

extern "C" __global__ void __launch_bounds__(512)
    cross_entropy_bf16(bf16* logits, const int* targets, const float* weights, float* losses, int vocabulary,
                       int stride, float scale) {
    cross_entropy<bf16, 8>(logits, targets, weights, losses, vocabulary, stride, scale);
}
extern "C" __global__ void __launch_bounds__(512)
    cross_entropy_f32(float* logits, const int* targets, const float* weights, float* losses, int vocabulary,
                      int stride, float scale) {
    cross_entropy<float, 4>(logits, targets, weights, losses, vocabulary, stride, scale);
}
