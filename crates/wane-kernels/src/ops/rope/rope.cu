// Half-rotation layout: of a head [a | b | rest], (a, b) is rotated by position * frequency. One thread
// handles V pairs, or V elements of the rest.
#include "common.cuh"

// sign = 1 rotates forward, -1 backward.
template <class T, int V>
__device__ __forceinline__ void rotate(const T* __restrict__ x, T* __restrict__ y, const int* __restrict__ positions,
                                       const float* __restrict__ cosines, const float* __restrict__ sines, i64 rows,
                                       int heads, int head_dim, int half, int x_stride, int y_stride, float sign) {
    auto i = flat_index<V>();
    u32 units = half / V + (head_dim - 2 * half) / V, per_row = units * heads;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    u32 rest = (u32)(i % per_row);
    int head = rest / units, unit = rest % units;
    const T* from = x + row * x_stride + head * head_dim;
    T* to = y + row * y_stride + head * head_dim;
    float a[V];
    if (unit >= half / V) {
        int col = 2 * half + (unit - half / V) * V;
        load(from + col, a);
        store(to + col, a);
        return;
    }
    int col = unit * V;
    i64 angle = (i64)positions[row] * half + col;
    float b[V], c[V], s[V];
    load(from + col, a);
    load(from + half + col, b);
    load(cosines + angle, c);
    load(sines + angle, s);
#pragma unroll
    for (int j = 0; j < V; j++) {
        float sine = sign * s[j], first = a[j] * c[j] - b[j] * sine;
        b[j] = b[j] * c[j] + a[j] * sine;
        a[j] = first;
    }
    store(to + col, a);
    store(to + half + col, b);
}

#define KERNEL(SUFFIX, T, V)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256)                                                           \
        rotate_##SUFFIX(const T* x, T* y, const int* positions, const float* cosines, const float* sines,       \
                        i64 rows, int heads, int head_dim, int half, int x_stride, int y_stride, float sign) {  \
        rotate<T, V>(x, y, positions, cosines, sines, rows, heads, head_dim, half, x_stride, y_stride, sign);   \
    }

KERNEL(bf16_wide, bf16, 8)
KERNEL(bf16_1, bf16, 1)
KERNEL(f32_wide, float, 4)
KERNEL(f32_1, float, 1)
