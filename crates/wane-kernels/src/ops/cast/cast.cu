// y = x in another type, round to nearest even.
#include "common.cuh"

template <class From, class To, int V>
__device__ __forceinline__ void cast(const From* __restrict__ x, To* __restrict__ y, i64 n) {
    i64 i = ((i64)blockIdx.x * blockDim.x + threadIdx.x) * V;
    if (i + V <= n) {
        float v[V];
        load(x + i, v);
        store(y + i, v);
    } else {
        for (; i < n; i++) narrow(widen(x[i]), y[i]);
    }
}

#define CAST(NAME, FROM, TO, V)                                                                          \
    extern "C" __global__ void __launch_bounds__(256) NAME(const FROM* x, TO* y, i64 n) { cast<FROM, TO, V>(x, y, n); }

CAST(widen_8, bf16, float, 8)
CAST(widen_1, bf16, float, 1)
CAST(narrow_8, float, bf16, 8)
CAST(narrow_1, float, bf16, 1)
