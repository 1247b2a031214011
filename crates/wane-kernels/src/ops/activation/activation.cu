// Elementwise parts of a block. One thread handles V neighbouring channels (16 bytes, or one).
#include "common.cuh"

// x [rows, 2 f] = [gate | up]; y = silu(gate) up.
template <class T, int V>
__device__ __forceinline__ void swiglu(const T* __restrict__ x, T* __restrict__ y, i64 rows, int f) {
    auto i = flat_index<V>();
    u32 per_row = f / V;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    int col = (int)(i % per_row) * V;
    const T* at = x + row * 2 * f + col;
    float gate[V], up[V];
    load(at, gate);
    load(at + f, up);
#pragma unroll
    for (int j = 0; j < V; j++) up[j] *= gate[j] * sigmoid(gate[j]);
    store(y + row * f + col, up);
}

template <class T, int V>
__device__ __forceinline__ void swiglu_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx,
                                                i64 rows, int f) {
    auto i = flat_index<V>();
    u32 per_row = f / V;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    int col = (int)(i % per_row) * V;
    i64 at = row * 2 * f + col;
    float gate[V], up[V], d[V];
    load(x + at, gate);
    load(x + at + f, up);
    load(dy + row * f + col, d);
#pragma unroll
    for (int j = 0; j < V; j++) {
        float s = sigmoid(gate[j]), silu = gate[j] * s;
        gate[j] = d[j] * up[j] * s * (1.f + gate[j] * (1.f - s));
        up[j] = d[j] * silu;
    }
    store(dx + at, gate);
    store(dx + at + f, up);
}

__device__ __forceinline__ float normal_cdf(float x) { return 0.5f * (1.f + erff(x * 0.70710678f)); }

struct Gelu {
    __device__ static float apply(float x, float) { return x * normal_cdf(x); }
};
// a = dy, b = x
struct GeluBackward {
    __device__ static float apply(float dy, float x) {
        return dy * (normal_cdf(x) + x * 0.39894228f * __expf(-0.5f * x * x));
    }
};
struct Add {
    __device__ static float apply(float a, float b) { return a + b; }
};

// y = F(a, b) over n elements; b may be a.
template <class F, class T, int V>
__device__ __forceinline__ void elementwise(const T* a, const T* b, T* y, i64 n) {
    i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i + V <= n) {
        float u[V], v[V];
        load(a + i, u);
        load(b + i, v);
#pragma unroll
        for (int j = 0; j < V; j++) u[j] = F::apply(u[j], v[j]);
        store(y + i, u);
    } else {
        for (; i < n; i++) narrow(F::apply(widen(a[i]), widen(b[i])), y[i]);
    }
}

// out [rows, d] = y sigmoid(gate); rows of gate begin every `stride` elements.
template <class T, int V>
__device__ __forceinline__ void sigmoid_gate(const T* __restrict__ y, const T* __restrict__ gate, T* __restrict__ out,
                                             i64 rows, int d, int stride) {
    auto i = flat_index<V>();
    u32 per_row = d / V;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    int col = (int)(i % per_row) * V;
    float u[V], g[V];
    load(y + row * d + col, u);
    load(gate + row * stride + col, g);
#pragma unroll
    for (int j = 0; j < V; j++) u[j] *= sigmoid(g[j]);
    store(out + row * d + col, u);
}

template <class T, int V>
__device__ __forceinline__ void sigmoid_gate_backward(const T* __restrict__ dout, const T* __restrict__ y,
                                                      const T* __restrict__ gate, T* __restrict__ dy,
                                                      T* __restrict__ dgate, i64 rows, int d, int stride,
                                                      int dgate_stride) {
    auto i = flat_index<V>();
    u32 per_row = d / V;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    int col = (int)(i % per_row) * V;
    float up[V], u[V], g[V];
    load(dout + row * d + col, up);
    load(y + row * d + col, u);
    load(gate + row * stride + col, g);
#pragma unroll
    for (int j = 0; j < V; j++) {
        float s = sigmoid(g[j]);
        g[j] = up[j] * u[j] * s * (1.f - s);
        u[j] = up[j] * s;
    }
    store(dy + row * d + col, u);
    store(dgate + row * dgate_stride + col, g);
}

#define KERNELS(SUFFIX, T, V)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) swiglu_##SUFFIX(const T* x, T* y, i64 rows, int f) {          \
        swiglu<T, V>(x, y, rows, f);                                                                                \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        swiglu_backward_##SUFFIX(const T* dy, const T* x, T* dx, i64 rows, int f) {                                 \
        swiglu_backward<T, V>(dy, x, dx, rows, f);                                                                  \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) gelu_##SUFFIX(const T* a, const T* b, T* y, i64 n) {          \
        elementwise<Gelu, T, V>(a, b, y, n);                                                                        \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) gelu_backward_##SUFFIX(const T* a, const T* b, T* y, i64 n) { \
        elementwise<GeluBackward, T, V>(a, b, y, n);                                                                \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) add_##SUFFIX(const T* a, const T* b, T* y, i64 n) {           \
        elementwise<Add, T, V>(a, b, y, n);                                                                         \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        sigmoid_gate_##SUFFIX(const T* y, const T* gate, T* out, i64 rows, int d, int stride) {                     \
        sigmoid_gate<T, V>(y, gate, out, rows, d, stride);                                                          \
    }                                                                                                               \
    extern "C" __global__ void __launch_bounds__(256)                                                               \
        sigmoid_gate_backward_##SUFFIX(const T* dout, const T* y, const T* gate, T* dy, T* dgate, i64 rows, int d,  \
                                       int stride, int dgate_stride) {                                              \
        sigmoid_gate_backward<T, V>(dout, y, gate, dy, dgate, rows, d, stride, dgate_stride);                       \
    }

KERNELS(bf16_wide, bf16, 8)
KERNELS(bf16_1, bf16, 1)
KERNELS(f32_wide, float, 4)
KERNELS(f32_1, float, 1)
