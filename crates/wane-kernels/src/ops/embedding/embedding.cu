// Rows of a table.
#include "common.cuh"

template <class From, class To, int V>
__device__ __forceinline__ void lookup(const int* __restrict__ ids, const From* __restrict__ table,
                                       To* __restrict__ y, i64 rows, int d, int vocabulary) {
    auto i = flat_index<V>();
    u32 per_row = d / V;
    if (i >= (u64)rows * per_row) return;
    i64 row = i / per_row;
    int col = (int)(i % per_row) * V, id = ids[row];
    float x[V];
    if (id >= 0 && id < vocabulary) {
        load(table + (i64)id * d + col, x);
    } else {
        // The caller has checked the ids; a wrong one must not read elsewhere, and must show.
#pragma unroll
        for (int j = 0; j < V; j++) x[j] = __uint_as_float(0x7fc00000u);
    }
    store(y + row * d + col, x);
}

#define LOOKUP(SUFFIX, FROM, TO, V)                                                                            \
    extern "C" __global__ void __launch_bounds__(256)                                                          \
        lookup_##SUFFIX(const int* ids, const FROM* table, TO* y, i64 rows, int d, int vocabulary) {           \
        lookup<FROM, TO, V>(ids, table, y, rows, d, vocabulary);                                               \
    }

LOOKUP(bf16_to_bf16_8, bf16, bf16, 8)
LOOKUP(bf16_to_bf16_1, bf16, bf16, 1)
LOOKUP(bf16_to_f32_8, bf16, float, 8)
LOOKUP(bf16_to_f32_1, bf16, float, 1)
LOOKUP(f32_to_bf16_8, float, bf16, 8)
LOOKUP(f32_to_bf16_1, float, bf16, 1)
LOOKUP(f32_to_f32_8, float, float, 8)
LOOKUP(f32_to_f32_1, float, float, 1)
