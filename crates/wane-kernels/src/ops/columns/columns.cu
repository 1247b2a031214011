// Copies rows of `units` words; rows begin every from_stride and to_stride words.
#include "common.cuh"

template <class Word>
__device__ __forceinline__ void copy(const Word* __restrict__ from, Word* __restrict__ to, i64 rows, i64 units,
                                     i64 from_stride, i64 to_stride) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= rows * units) return;
    i64 row = i / units, col = i - row * units;
    to[row * to_stride + col] = from[row * from_stride + col];
}

#define COPY(NAME, WORD)                                                                                      \
    extern "C" __global__ void __launch_bounds__(256)                                                         \
        NAME(const WORD* from, WORD* to, i64 rows, i64 units, i64 from_stride, i64 to_stride) {               \
        copy(from, to, rows, units, from_stride, to_stride);                                                  \
    }

COPY(copy_16, uint4)
COPY(copy_4, u32)
COPY(copy_2, u16)
