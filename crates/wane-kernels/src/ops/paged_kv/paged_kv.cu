// Rows of cached keys and values: pages of 64 key rows, then 64 value rows. One thread moves one word of a
// key row and the same word of the value row.
#include "common.cuh"

#define PAGE_LEN 64

// Address of row `i` of a lane's keys; its value row lies PAGE_LEN rows further.
template <class Word>
__device__ __forceinline__ Word* row_of(const u64* __restrict__ table, i64 lane, int max_pages, int i, int row_words) {
    return reinterpret_cast<Word*>(table[lane * max_pages + i / PAGE_LEN]) + (i64)(i % PAGE_LEN) * row_words;
}

// V elements of type From become V elements of type To.
template <class From, class To, int V>
__device__ __forceinline__ void append(const u64* __restrict__ table, const int* __restrict__ start,
                                       const From* __restrict__ k, const From* __restrict__ v, i64 total, int tokens,
                                       int kv_heads, int head_dim, int max_pages) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    int units = head_dim / V;
    if (i >= total * units) return;
    // (sequence, token, head), as in k.
    i64 source = i / units, row = source / kv_heads;
    int col = (int)(i % units) * V, head = (int)(source % kv_heads), token = (int)(row % tokens);
    i64 lane = row / tokens * kv_heads + head;
    To* to = row_of<To>(table, lane, max_pages, start[lane] + token, head_dim) + col;
    float x[V];
    load(k + source * head_dim + col, x);
    store(to, x);
    load(v + source * head_dim + col, x);
    store(to + PAGE_LEN * head_dim, x);
}

#define APPEND(NAME, FROM, TO, V)                                                                              \
    extern "C" __global__ void __launch_bounds__(256)                                                          \
        append_##NAME(const u64* table, const int* start, const FROM* k, const FROM* v, i64 total, int tokens, \
                      int kv_heads, int head_dim, int max_pages) {                                             \
        append<FROM, TO, V>(table, start, k, v, total, tokens, kv_heads, head_dim, max_pages);                 \
    }

APPEND(bf16_to_bf16_8, bf16, bf16, 8)
APPEND(bf16_to_bf16_1, bf16, bf16, 1)
APPEND(f32_to_f32_8, float, float, 8)
APPEND(f32_to_f32_1, float, float, 1)
APPEND(f32_to_bf16_8, float, bf16, 8)
APPEND(f32_to_bf16_1, float, bf16, 1)
APPEND(bf16_to_f32_8, bf16, float, 8)
APPEND(bf16_to_f32_1, bf16, float, 1)

// k, v [len, kv_heads, row_words] of one sequence whose first lane is `lane0`.
template <class Word>
__device__ __forceinline__ void gather(const u64* __restrict__ table, Word* __restrict__ k, Word* __restrict__ v,
                                       int len, int lane0, int kv_heads, int row_words, int max_pages) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (i64)len * kv_heads * row_words) return;
    i64 target = i / row_words;
    int col = (int)(i % row_words), head = (int)(target % kv_heads), row = (int)(target / kv_heads);
    const Word* from = row_of<Word>(table, lane0 + head, max_pages, row, row_words) + col;
    k[i] = from[0];
    v[i] = from[(i64)PAGE_LEN * row_words];
}

// Row indices[lane, i] of `from` becomes row i of `to`.
template <class Word>
__device__ __forceinline__ void compact(const u64* __restrict__ from, const u64* __restrict__ to,
                                        const int* __restrict__ indices, const int* __restrict__ counts, i64 lanes,
                                        int width, int row_words, int from_pages, int to_pages) {
    i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= lanes * width * row_words) return;
    i64 entry = i / row_words, lane = entry / width;
    int col = (int)(i % row_words), row = (int)(entry % width);
    if (row >= counts[lane]) return;
    const Word* source = row_of<Word>(from, lane, from_pages, indices[entry], row_words) + col;
    Word* target = row_of<Word>(to, lane, to_pages, row, row_words) + col;
    target[0] = source[0];
    target[(i64)PAGE_LEN * row_words] = source[(i64)PAGE_LEN * row_words];
}

#define COPIES(BYTES, WORD)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        gather_##BYTES(const u64* table, WORD* k, WORD* v, int len, int lane0, int kv_heads, int row_words,       \
                       int max_pages) {                                                                           \
        gather(table, k, v, len, lane0, kv_heads, row_words, max_pages);                                          \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(256)                                                             \
        compact_##BYTES(const u64* from, const u64* to, const int* indices, const int* counts, i64 lanes,         \
                        int width, int row_words, int from_pages, int to_pages) {                                 \
        compact<WORD>(from, to, indices, counts, lanes, width, row_words, from_pages, to_pages);                  \
    }

COPIES(16, uint4)
COPIES(4, u32)
COPIES(2, u16)

// Pairs of addresses: a page of `words` 16-byte words, and its copy. One block per page.
extern "C" __global__ void __launch_bounds__(256) copy_pages(const u64* pairs, int words) {
    const uint4* from = reinterpret_cast<const uint4*>(pairs[2 * (i64)blockIdx.x]);
    uint4* to = reinterpret_cast<uint4*>(pairs[2 * (i64)blockIdx.x + 1]);
    for (int i = threadIdx.x; i < words; i += blockDim.x) to[i] = from[i];
}
