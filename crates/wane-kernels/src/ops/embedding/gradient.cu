// The gradient of a table: dtable[ids[row]] += dy[row], the rows of an id added in an order that
// depends on ids alone. Stable radix sort of (id, row) by id, a `count` and a `place` for each digit;
// sums of equal ids in each CHUNK of the sorted rows; sums across chunks.
#include "common.cuh"

#define SORT_THREADS 1024
#define SORT_WARPS 32
#define MAX_BINS 512
#define CHUNK 32
// Rows of dy that a warp loads before it adds them.
#define AHEAD 8
#define JOIN_WARPS 8

// Sorting pairs (key, row). The first digit's come from the ids; all that are no row of the table
// share the key `vocabulary`, the last.
__device__ __forceinline__ int2 pair_at(const int* ids, const int2* from, int i, int vocabulary) {
    if (from) return from[i];
    int2 pair;
    pair.x = (u32)ids[i] < (u32)vocabulary ? ids[i] : vocabulary, pair.y = i;
    return pair;
}

// counts [tiles, bins]: how often each digit occurs in the block's tile of pairs.
extern "C" __global__ void __launch_bounds__(SORT_THREADS)
    count(const int* ids, const int2* from, int* counts, int rows, int tile, int vocabulary, int shift, int bins) {
    __shared__ int histogram[MAX_BINS];
    if (threadIdx.x < bins) histogram[threadIdx.x] = 0;
    __syncthreads();
    int begin = blockIdx.x * tile, end = min(begin + tile, rows);
    for (int i = begin + threadIdx.x; i < end; i += SORT_THREADS)
        atomicAdd(histogram + (pair_at(ids, from, i, vocabulary).x >> shift & (bins - 1)), 1);
    __syncthreads();
    if (threadIdx.x < bins) counts[blockIdx.x * bins + threadIdx.x] = histogram[threadIdx.x];
}

// Moves the pairs of the block's tile to their places in the order of their digit.
extern "C" __global__ void __launch_bounds__(SORT_THREADS)
    place(const int* __restrict__ ids, const int2* __restrict__ from, int2* __restrict__ to,
          const int* __restrict__ counts, int rows, int tile, int vocabulary, int shift, int bins) {
    // Pairs before a warp's with the same digit, in this step; where the step's first one goes.
    __shared__ u16 seen[SORT_WARPS][MAX_BINS];
    __shared__ int next[MAX_BINS], warp_totals[SORT_WARPS];
    int thread = threadIdx.x, lane = thread & 31, warp = thread >> 5;
    int total = 0, before = 0;
    if (thread < bins) {
#pragma unroll 16
        for (int i = 0; i < gridDim.x; i++) {
            int n = counts[i * bins + thread];
            total += n;
            if (i < blockIdx.x) before += n;
        }
    }
    int scan = total;
#pragma unroll
    for (int offset = 1; offset < 32; offset <<= 1) {
        int other = __shfl_up_sync(FULL_WARP, scan, offset);
        if (lane >= offset) scan += other;
    }
    if (lane == 31) warp_totals[warp] = scan;
    __syncthreads();
    for (int i = 0; i < warp; i++) scan += warp_totals[i];
    if (thread < bins) next[thread] = scan - total + before;

    int end = min((int)blockIdx.x * tile + tile, rows), placed = 0;
    for (int base = blockIdx.x * tile; base < end; base += SORT_THREADS) {
        for (int bin = lane; bin < bins; bin += 32) seen[warp][bin] = 0;
        __syncwarp();
        int i = base + thread, digit = -1;
        int2 pair;
        if (i < end) {
            pair = pair_at(ids, from, i, vocabulary);
            digit = pair.x >> shift & (bins - 1);
        }
        u32 equal = __match_any_sync(FULL_WARP, digit);
        int rank = __popc(equal & ((1u << lane) - 1));
        if (i < end && rank == 0) seen[warp][digit] = __popc(equal);
        __syncthreads();
        if (thread < bins) {
            next[thread] += placed;
            int n[SORT_WARPS];
#pragma unroll
            for (int w = 0; w < SORT_WARPS; w++) n[w] = seen[w][thread];
            placed = 0;
#pragma unroll
            for (int w = 0; w < SORT_WARPS; w++) seen[w][thread] = placed, placed += n[w];
        }
        __syncthreads();
        if (i < end) to[next[digit] + seen[warp][digit] + rank] = pair;
        __syncwarp();
    }
}

// p += x, by one thread only in a launch: the result does not depend on any order.
template <int V>
__device__ __forceinline__ void add_to(float* p, const float (&x)[V]) {
#if __CUDA_ARCH__ >= 900
    if constexpr (V % 4 == 0) {
#pragma unroll
        for (int j = 0; j < V; j += 4)
            asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(p + j), "f"(x[j]), "f"(x[j + 1]),
                         "f"(x[j + 2]), "f"(x[j + 3])
                         : "memory");
    } else
#endif
    {
#pragma unroll
        for (int j = 0; j < V; j++) atomicAdd(p + j, x[j]);
    }
}

// A warp sums the runs of equal ids in its chunk, in 32 V columns. Of partial [chunks, 2, d], row 0 is
// the run that comes from the chunk before, row 1 the one that begins here and goes on.
template <class T, int V>
__device__ __forceinline__ void sum_runs(const int2* __restrict__ sorted, const T* __restrict__ dy,
                                         float* __restrict__ dtable, float* __restrict__ partial, int rows, int d,
                                         int vocabulary) {
    int lane = threadIdx.x & 31, chunk = blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    i64 begin = (i64)chunk * CHUNK;
    if (begin >= rows) return;
    int n = min((i64)CHUNK, rows - begin), col = (blockIdx.y * 32 + lane) * V;
    bool inside = col < d;
    int before = begin > 0 ? sorted[begin - 1].x : -1, after = begin + CHUNK < rows ? sorted[begin + CHUNK].x : -1;
    int2 mine;
    mine.x = -1, mine.y = 0;
    if (lane < n) mine = sorted[begin + lane];
    float sum[V] = {};
    int first = 0;
    for (int at = 0; at < n; at += AHEAD) {
        float x[AHEAD][V];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            i64 row = __shfl_sync(FULL_WARP, mine.y, at + k);
            if (inside && at + k < n) load(dy + row * d + col, x[k]);
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            int i = at + k, id = __shfl_sync(FULL_WARP, mine.x, i), next = __shfl_sync(FULL_WARP, mine.x, i + 1);
            if (i == CHUNK - 1) next = after;
            if (i >= n) break;
#pragma unroll
            for (int j = 0; j < V; j++) sum[j] += x[k][j];
            if (next == id && i < CHUNK - 1) continue;
            bool comes = first == 0 && before == id, goes = next == id;
            if (inside && id < vocabulary) {
                if (comes || goes) {
                    store(partial + ((i64)chunk * 2 + !comes) * d + col, sum);
                } else {
                    add_to(dtable + (i64)id * d + col, sum);
                }
            }
#pragma unroll
            for (int j = 0; j < V; j++) sum[j] = 0.f;
            first = i + 1;
        }
    }
}

// A block for each chunk: adds the run that begins there and goes on, if there is one. Each warp sums
// a part of the chunks that it goes through.
template <int V>
__device__ __forceinline__ void join_runs(const int2* __restrict__ sorted, const float* __restrict__ partial,
                                          float* __restrict__ dtable, int rows, int d, int vocabulary) {
    __shared__ float sums[JOIN_WARPS][32][V];
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, chunk = blockIdx.x, col = (blockIdx.y * 32 + lane) * V;
    i64 begin = (i64)chunk * CHUNK, end = begin + CHUNK;
    if (end >= rows) return;
    int id = sorted[end - 1].x;
    bool began_before = begin > 0 && sorted[begin - 1].x == id;
    if (id >= vocabulary || sorted[end].x != id || began_before) return;
    // Chunks after this one that begin with the id.
    int more = 0, found;
    do {
        i64 at = end + (i64)(more + threadIdx.x) * CHUNK;
        found = __syncthreads_count(at < rows && sorted[at].x == id);
        more += found;
    } while (found == blockDim.x);
    int each = (more + JOIN_WARPS - 1) / JOIN_WARPS, from = min(warp * each, more), to = min(from + each, more);
    float sum[V] = {};
    if (col < d) {
#pragma unroll 4
        for (int i = from; i < to; i++) {
            float x[V];
            load(partial + ((i64)chunk + 1 + i) * 2 * d + col, x);
#pragma unroll
            for (int j = 0; j < V; j++) sum[j] += x[j];
        }
    }
#pragma unroll
    for (int j = 0; j < V; j++) sums[warp][lane][j] = sum[j];
    __syncthreads();
    if (warp > 0 || col >= d) return;
    load(partial + ((i64)chunk * 2 + 1) * d + col, sum);
    for (int w = 0; w < JOIN_WARPS; w++)
#pragma unroll
        for (int j = 0; j < V; j++) sum[j] += sums[w][lane][j];
    add_to(dtable + (i64)id * d + col, sum);
}

#define SUM_RUNS(SUFFIX, T, V)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256)                                                                  \
        sum_runs_##SUFFIX(const int2* sorted, const T* dy, float* dtable, float* partial, int rows, int d,             \
                          int vocabulary) {                                                                            \
        sum_runs<T, V>(sorted, dy, dtable, partial, rows, d, vocabulary);                                              \
    }
#define JOIN_RUNS(SUFFIX, V)                                                                                           \
    extern "C" __global__ void __launch_bounds__(32 * JOIN_WARPS)                                                      \
        join_runs_##SUFFIX(const int2* sorted, const float* partial, float* dtable, int rows, int d, int vocabulary) { \
        join_runs<V>(sorted, partial, dtable, rows, d, vocabulary);                                                    \
    }

SUM_RUNS(bf16_wide, bf16, 8)
SUM_RUNS(bf16_1, bf16, 1)
SUM_RUNS(f32_wide, float, 4)
SUM_RUNS(f32_1, float, 1)
JOIN_RUNS(f32_wide, 4)
JOIN_RUNS(f32_1, 1)
