// Strided rows to strided rows, one element of the widest common type per thread.
template <typename T>
__device__ void copy(const char* from, long long from_stride, char* to, long long to_stride, int width,
                     long long count) {
    long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    long long row = i / width;
    int column = (int)(i - row * width);
    *(T*)(to + row * to_stride + column * sizeof(T)) = *(const T*)(from + row * from_stride + column * sizeof(T));
}

#define COPY(NAME, TYPE)                                                                                       \
    extern "C" __global__ void NAME(const char* from, long long from_stride, char* to, long long to_stride,   \
                                    int width, long long count) {                                             \
        copy<TYPE>(from, from_stride, to, to_stride, width, count);                                            \
    }

COPY(copy_16, uint4)
COPY(copy_4, unsigned int)
COPY(copy_2, unsigned short)
