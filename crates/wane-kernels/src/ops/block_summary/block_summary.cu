// Summaries of blocks of keys and the scores computed from them, all in f32.
#include "common.cuh"

#define PAGE_LEN 64

// One block of threads per (lane, new block of rows); threads go over the channels.
template <class T>
__device__ __forceinline__ void min_max(const u64* __restrict__ table, const int* __restrict__ lens,
                                        const int* __restrict__ from, float* __restrict__ summary, int new_blocks,
                                        int block, int head_dim, int max_pages, int max_blocks) {
    i64 lane = blockIdx.x / new_blocks;
    int b = from[lane] / block + (int)(blockIdx.x % new_blocks), len = lens[lane];
    int begin = b * block, end = min(begin + block, len);
    if (begin >= end || b >= max_blocks) return;
    float* to = summary + (lane * max_blocks + b) * 2 * head_dim;
    for (int c = threadIdx.x; c < head_dim; c += blockDim.x) {
        float low = __uint_as_float(0x7f800000u), high = __uint_as_float(0xff800000u);
#pragma unroll 8
        for (int i = begin; i < end; i++) {
            const T* page = reinterpret_cast<const T*>(table[lane * max_pages + i / PAGE_LEN]);
            float x = widen(page[(i64)(i % PAGE_LEN) * head_dim + c]);
            low = fminf(low, x), high = fmaxf(high, x);
        }
        to[c] = low, to[head_dim + c] = high;
    }
}

extern "C" __global__ void __launch_bounds__(128)
    min_max_bf16(const u64* table, const int* lens, const int* from, float* summary, int new_blocks, int block,
                 int head_dim, int max_pages, int max_blocks) {
    min_max<bf16>(table, lens, from, summary, new_blocks, block, head_dim, max_pages, max_blocks);
}
extern "C" __global__ void __launch_bounds__(128)
    min_max_f32(const u64* table, const int* lens, const int* from, float* summary, int new_blocks, int block,
                int head_dim, int max_pages, int max_blocks) {
    min_max<float>(table, lens, from, summary, new_blocks, block, head_dim, max_pages, max_blocks);
}

// One warp per (lane, block of rows): the summary is read once for all query heads of the lane.
template <class T>
__device__ __forceinline__ void quest(const T* __restrict__ q, const float* __restrict__ summary,
                                      const int* __restrict__ lens, float* __restrict__ scores, i64 lanes, int block,
                                      int kv_heads, int group, int head_dim, int max_blocks) {
    i64 i = (i64)blockIdx.x * (blockDim.x >> 5) + (threadIdx.x >> 5);
    int thread = threadIdx.x & 31;
    if (i >= lanes * max_blocks) return;
    i64 lane = i / max_blocks;
    int b = (int)(i % max_blocks);
    if (b * block >= lens[lane]) return;
    const float* box = summary + i * 2 * head_dim;
    i64 first = lane / kv_heads * (kv_heads * group) + lane % kv_heads * group;
    for (int h = 0; h < group; h++) {
        const T* query = q + (first + h) * head_dim;
        float sum = 0.f;
        for (int c = thread; c < head_dim; c += 32) {
            float x = widen(query[c]);
            sum += fmaxf(x * box[c], x * box[head_dim + c]);
        }
        sum = warp_sum(sum);
        if (thread == 0) scores[(first + h) * max_blocks + b] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    quest_bf16(const bf16* q, const float* summary, const int* lens, float* scores, i64 lanes, int block,
               int kv_heads, int group, int head_dim, int max_blocks) {
    quest(q, summary, lens, scores, lanes, block, kv_heads, group, head_dim, max_blocks);
}
extern "C" __global__ void __launch_bounds__(256)
    quest_f32(const float* q, const float* summary, const int* lens, float* scores, i64 lanes, int block,
              int kv_heads, int group, int head_dim, int max_blocks) {
    quest(q, summary, lens, scores, lanes, block, kv_heads, group, head_dim, max_blocks);
}

// means [kv_heads, blocks, head_dim]; one block of threads per (head, block of rows).
template <class T>
__device__ __forceinline__ void means(const T* __restrict__ k, float* __restrict__ out, int keys, int kv_heads,
                                      int head_dim, int block, int blocks) {
    int head = blockIdx.x / blocks, b = blockIdx.x % blocks, begin = b * block, end = min(begin + block, keys);
    const T* from = k + (i64)head * head_dim;
    for (int c = threadIdx.x; c < head_dim; c += blockDim.x) {
        float sum = 0.f;
#pragma unroll 8
        for (int i = begin; i < end; i++) sum += widen(from[(i64)i * kv_heads * head_dim + c]);
        out[(i64)blockIdx.x * head_dim + c] = sum / (end - begin);
    }
}

extern "C" __global__ void __launch_bounds__(128)
    means_bf16(const bf16* k, float* out, int keys, int kv_heads, int head_dim, int block, int blocks) {
    means(k, out, keys, kv_heads, head_dim, block, blocks);
}
extern "C" __global__ void __launch_bounds__(128)
    means_f32(const float* k, float* out, int keys, int kv_heads, int head_dim, int block, int blocks) {
    means(k, out, keys, kv_heads, head_dim, block, blocks);
}

// scores [heads, queries, blocks] = q . mean. Tiles of 64 queries x 64 blocks, 4 x 4 per thread; every score
// is one sum in channel order, whatever the tile.
template <class T>
__device__ __forceinline__ void mean_scores(const T* __restrict__ q, const float* __restrict__ means,
                                            float* __restrict__ scores, int queries, int heads, int group,
                                            int head_dim, int blocks, int block_tiles) {
    constexpr int TILE = 64, DEPTH = 16;
    __shared__ float qs[DEPTH][TILE + 1], ms[DEPTH][TILE + 1];
    int head = blockIdx.y, i0 = blockIdx.x / block_tiles * TILE, b0 = blockIdx.x % block_tiles * TILE;
    int x = threadIdx.x % 16, y = threadIdx.x / 16;
    const float* of_head = means + (i64)(head / group) * blocks * head_dim;
    float sum[4][4] = {};
    for (int c0 = 0; c0 < head_dim; c0 += DEPTH) {
        for (int e = threadIdx.x; e < DEPTH * TILE; e += 256) {
            int c = e % DEPTH, r = e / DEPTH;
            bool inside = c0 + c < head_dim;
            qs[c][r] = inside && i0 + r < queries ? widen(q[((i64)(i0 + r) * heads + head) * head_dim + c0 + c]) : 0.f;
            ms[c][r] = inside && b0 + r < blocks ? of_head[(i64)(b0 + r) * head_dim + c0 + c] : 0.f;
        }
        __syncthreads();
#pragma unroll
        for (int c = 0; c < DEPTH; c++)
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) sum[i][j] = fmaf(qs[c][y + 16 * i], ms[c][x + 16 * j], sum[i][j]);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            int row = i0 + y + 16 * i, b = b0 + x + 16 * j;
            if (row < queries && b < blocks) scores[((i64)head * queries + row) * blocks + b] = sum[i][j];
        }
}

extern "C" __global__ void __launch_bounds__(256)
    mean_scores_bf16(const bf16* q, const float* means, float* scores, int queries, int heads, int group,
                     int head_dim, int blocks, int block_tiles) {
    mean_scores(q, means, scores, queries, heads, group, head_dim, blocks, block_tiles);
}
extern "C" __global__ void __launch_bounds__(256)
    mean_scores_f32(const float* q, const float* means, float* scores, int queries, int heads, int group,
                    int head_dim, int blocks, int block_tiles) {
    mean_scores(q, means, scores, queries, heads, group, head_dim, blocks, block_tiles);
}

// out [outer, kv_heads, inner, n] = factor * sum over the group of scores [outer, heads, inner, n].
extern "C" __global__ void __launch_bounds__(256)
    group_sums(const float* __restrict__ scores, float* __restrict__ out, i64 total, int group, i64 inner_n, float factor) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= total) return;
    const float* from = scores + i / inner_n * group * inner_n + i % inner_n;
    float sum = 0.f;
    for (int h = 0; h < group; h++) sum += from[h * inner_n];
    out[i] = sum * factor;
}
