// The best entries of each row of scores, ascending. Scores become integers of the same order; the key of the
// last selected entry is found bit by bit (one warp per row, keys in registers) or byte by byte (one block per
// row, histograms). Free entries are first..valid - local; those outside are forced.
#include "common.cuh"

// NaN is lowest, both zeros are equal; 0 is left for entries that are not free.
__device__ __forceinline__ u32 ordered(float x) {
    u32 bits = __float_as_uint(x + 0.f);
    return x != x ? 1u : bits ^ ((bits >> 31) ? 0xffffffffu : 0x80000000u);
}

struct Forced {
    int k, first, local, counted;
};

// Free entries of a row: [start, end), `wanted` of them are selected.
struct Row {
    int start, end, wanted;
};

__device__ __forceinline__ Row row_of(const Forced& f, int valid) {
    Row row;
    row.start = min(f.first, valid);
    row.end = max(valid - min(f.local, valid), row.start);
    int forced = row.start + valid - row.end;
    row.wanted = min(f.counted ? max(f.k - forced, 0) : f.k, row.end - row.start);
    return row;
}

// One warp per row of at most 32 E scores.
template <int E>
__device__ __forceinline__ void select_warp(const float* __restrict__ scores, const int* __restrict__ valids,
                                            int* __restrict__ indices, int* __restrict__ counts, int rows, int n,
                                            int width, const Forced& forced) {
    int r = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5), lane = threadIdx.x & 31;
    if (r >= rows) return;
    int valid = min(max(valids[r], 0), n);
    Row row = row_of(forced, valid);
    const float* from = scores + (i64)r * n;
    u32 keys[E];
#pragma unroll
    for (int e = 0; e < E; e++) {
        int i = e * 32 + lane;
        keys[e] = i >= row.start && i < row.end ? ordered(from[i]) : 0u;
    }
    // The largest threshold that `wanted` keys reach.
    u32 threshold = 0;
    if (row.wanted > 0) {
        for (int bit = 31; bit >= 0; bit--) {
            u32 candidate = threshold | 1u << bit, count = 0;
#pragma unroll
            for (int e = 0; e < E; e++) count += keys[e] >= candidate;
            count = __reduce_add_sync(FULL_WARP, count);
            if (count >= (u32)row.wanted) threshold = candidate;
            if (count == (u32)row.wanted) break;
        }
    } else {
        threshold = 0xffffffffu;
    }
    u32 above = 0;
#pragma unroll
    for (int e = 0; e < E; e++) above += keys[e] > threshold;
    int ties = row.wanted - (int)__reduce_add_sync(FULL_WARP, above), written = 0;
    u32 before = (1u << lane) - 1;
    int* to = indices + (i64)r * width;
#pragma unroll
    for (int e = 0; e < E; e++) {
        int i = e * 32 + lane;
        bool tie = keys[e] == threshold && threshold != 0xffffffffu;
        u32 tied = __ballot_sync(FULL_WARP, tie);
        bool selected = i < valid && (i < row.start || i >= row.end || keys[e] > threshold ||
                                      (tie && __popc(tied & before) < ties));
        u32 chosen = __ballot_sync(FULL_WARP, selected);
        if (selected) to[written + __popc(chosen & before)] = i;
        ties -= __popc(tied);
        written += __popc(chosen);
    }
    for (int i = written + lane; i < width; i += 32) to[i] = -1;
    if (lane == 0) counts[r] = written;
}

#define WARP(E)                                                                                                   \
    extern "C" __global__ void __launch_bounds__(128)                                                             \
        select_warp_##E(const float* scores, const int* valids, int* indices, int* counts, int rows, int n,       \
                        int width, Forced forced) {                                                               \
        select_warp<E>(scores, valids, indices, counts, rows, n, width, forced);                                  \
    }

WARP(2)
WARP(8)
WARP(32)

// One block of 512 threads per row of any length.
extern "C" __global__ void __launch_bounds__(512)
    select_block(const float* __restrict__ scores, const int* __restrict__ valids, int* __restrict__ indices,
                 int* __restrict__ counts, int rows, int n, int width, Forced forced) {
    __shared__ u32 histogram[256];
    __shared__ u32 found[2];
    __shared__ int warp_ties[16], warp_chosen[16];
    int r = blockIdx.x, lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    int valid = min(max(valids[r], 0), n);
    Row row = row_of(forced, valid);
    const float* from = scores + (i64)r * n;
    u32 prefix = 0, mask = 0, wanted = row.wanted;
    if (wanted > 0) {
        for (int shift = 24; shift >= 0; shift -= 8) {
            if (threadIdx.x < 256) histogram[threadIdx.x] = 0;
            __syncthreads();
            for (int i = row.start + threadIdx.x; i < row.end; i += 512) {
                u32 key = ordered(from[i]);
                if ((key & mask) == prefix) atomicAdd(histogram + ((key >> shift) & 255), 1u);
            }
            __syncthreads();
            if (warp == 0) {
                // Lane l adds the bins 255 - 8 l down to 248 - 8 l.
                u32 own = 0;
                for (int b = 0; b < 8; b++) own += histogram[255 - 8 * lane - b];
                u32 sum = own;
                for (int o = 1; o < 32; o <<= 1) {
                    u32 other = __shfl_up_sync(FULL_WARP, sum, o);
                    if (lane >= o) sum += other;
                }
                u32 higher = sum - own;
                if (higher < wanted && wanted <= sum) {
                    int bin = 255 - 8 * lane;
                    while (higher + histogram[bin] < wanted) higher += histogram[bin--];
                    found[0] = bin, found[1] = higher;
                }
            }
            __syncthreads();
            prefix |= found[0] << shift, mask |= 255u << shift, wanted -= found[1];
            __syncthreads();
        }
    } else {
        prefix = 0xffffffffu;
    }
    // `wanted` entries equal to the threshold are left to take, the lowest first.
    int ties = (int)wanted, written = 0;
    u32 before = (1u << lane) - 1;
    int* to = indices + (i64)r * width;
    for (int base = 0; base < valid; base += 512) {
        int i = base + threadIdx.x;
        bool free = i >= row.start && i < row.end;
        u32 key = free ? ordered(from[i]) : 0u;
        bool tie = free && key == prefix;
        u32 tied = __ballot_sync(FULL_WARP, tie);
        if (lane == 0) warp_ties[warp] = __popc(tied);
        __syncthreads();
        int rank = __popc(tied & before), all_ties = 0;
        for (int w = 0; w < 16; w++) {
            if (w < warp) rank += warp_ties[w];
            all_ties += warp_ties[w];
        }
        bool selected = i < valid && (!free || key > prefix || (tie && rank < ties));
        u32 chosen = __ballot_sync(FULL_WARP, selected);
        if (lane == 0) warp_chosen[warp] = __popc(chosen);
        __syncthreads();
        int at = written + __popc(chosen & before), all_chosen = 0;
        for (int w = 0; w < 16; w++) {
            if (w < warp) at += warp_chosen[w];
            all_chosen += warp_chosen[w];
        }
        if (selected) to[at] = i;
        ties -= all_ties;
        written += all_chosen;
    }
    for (int i = written + threadIdx.x; i < width; i += 512) to[i] = -1;
    if (threadIdx.x == 0) counts[r] = written;
}
