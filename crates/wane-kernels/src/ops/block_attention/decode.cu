// One query per (sequence, head) against cached pages, split over the rows of a lane
// (flash decoding; needs mma.cuh; -D HEAD_DIM: 32, 64, 128 or 256, padded; -D GROUP: query heads of a
// block; -D PAGE_BYTES: 2 for bf16 pages, 4 for f32).
//
// A block serves GROUP query heads of one KV head, so that a page is read once for all of them, and
// one range of the rows they read: a row is the r-th of the cache, or of the selected blocks. Within
// a warp, HEAD_DIM / 8 lanes share a row and every such lane group keeps a running softmax of its own;
// the groups are merged at the end, and the ranges by `block_attention_combine`.

constexpr int DECODE_WARPS = 4;
constexpr int ROW_LANES = HEAD_DIM / 8;
constexpr int WARP_ROWS = 32 / ROW_LANES;
// Rows of a lane group in flight.
constexpr int UNROLL = 4;
constexpr int PARTS = DECODE_WARPS * WARP_ROWS;
constexpr int PAGE_ROWS = 64;

// Eight elements of a page.
struct Chunk {
  uint4 words[PAGE_BYTES / 2];
};

DEVICE Chunk zero_chunk() {
  Chunk c;
#pragma unroll
  for (int i = 0; i < PAGE_BYTES / 2; i++) c.words[i] = make_uint4(0, 0, 0, 0);
  return c;
}

DEVICE Chunk load_chunk(u64 address) {
  Chunk c;
#pragma unroll
  for (int i = 0; i < PAGE_BYTES / 2; i++) c.words[i] = load_16((const void*)(address + i * 16));
  return c;
}

struct DecodeSizes {
  int heads, kv_heads, head_dim, max_pages;
  // Selected blocks: rows of the selection per sequence (0: no selection), its width, rows of a block.
  int selectors, width, block;
  // Rows of a split, and how many splits there are.
  int split_rows, splits;
  float scale;
};

// Where the r-th row read lies: the address of its key, 0 if it is not there.
struct Rows {
  const u64* pages;
  const int* blocks;
  int length, block, shift, head_dim;
  // Rows to visit; those of selected blocks may reach past `length`.
  int count;

  DEVICE u64 key(int r, int end) const {
    if (r >= end) return 0;
    int row = r;
    if (blocks != nullptr) {
      const int entry = shift >= 0 ? r >> shift : r / block;
      row = __ldg(blocks + entry) * block + (r - entry * block);
    }
    if (row < 0 || row >= length) return 0;
    return __ldg(pages + row / PAGE_ROWS) + (u64)(row % PAGE_ROWS) * head_dim * PAGE_BYTES;
  }
};

DEVICE float minus_infinity() { return __int_as_float(0xff800000); }

DEVICE void unpack(const uint4& x, float (&y)[8]) {
  y[0] = low_float(x.x), y[1] = high_float(x.x), y[2] = low_float(x.y), y[3] = high_float(x.y);
  y[4] = low_float(x.z), y[5] = high_float(x.z), y[6] = low_float(x.w), y[7] = high_float(x.w);
}

DEVICE void unpack(const Chunk& c, float (&y)[8]) {
  if (PAGE_BYTES == 2) {
    unpack(c.words[0], y);
  } else {
#pragma unroll
    for (int i = 0; i < PAGE_BYTES / 2; i++) {
      const uint4& x = c.words[i];
      y[4 * i] = __uint_as_float(x.x), y[4 * i + 1] = __uint_as_float(x.y);
      y[4 * i + 2] = __uint_as_float(x.z), y[4 * i + 3] = __uint_as_float(x.w);
    }
  }
}

// partial [sequences * heads, splits, head_dim] (unused with one split); statistics: maximum in units of
// log 2, and sum, [sequences * heads, splits, 2].
extern "C" __global__ void __launch_bounds__(DECODE_WARPS * 32)
    block_attention_decode(const u16* q, const u64* table, const int* lens, const int* indices, const int* counts,
                           u16* output, float* partial, float* statistics, const DecodeSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  const int lane_id = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int part = lane_id / ROW_LANES, chunk = lane_id % ROW_LANES;
  const bool active = chunk * 8 < n.head_dim;
  const int blocks_per_sequence = n.heads / GROUP;
  const int sequence = blockIdx.x / blocks_per_sequence, first_head = blockIdx.x % blocks_per_sequence * GROUP;
  const int kv_head = first_head / (n.heads / n.kv_heads), lane = sequence * n.kv_heads + kv_head;

  Rows rows{table + (size_t)lane * n.max_pages, nullptr, lens[lane], n.block, -1, n.head_dim, 0};
  rows.count = rows.length;
  if (n.selectors > 0) {
    const int selector = n.selectors == n.heads ? sequence * n.heads + first_head : lane;
    rows.blocks = indices + (size_t)selector * n.width;
    rows.count = counts[selector] * n.block;
    if ((n.block & (n.block - 1)) == 0) rows.shift = 31 - __clz(n.block);
  }
  const int begin = blockIdx.y * n.split_rows, end = min(begin + n.split_rows, rows.count);

  uint4 query[GROUP];
  float acc[GROUP][8], largest[GROUP], sum[GROUP];
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    query[h] = make_uint4(0, 0, 0, 0);
    if (active) query[h] = load_16(q + (size_t)(sequence * n.heads + first_head + h) * n.head_dim + chunk * 8);
    largest[h] = minus_infinity(), sum[h] = 0.f;
#pragma unroll
    for (int i = 0; i < 8; i++) acc[h][i] = 0.f;
  }
  const float scale2 = n.scale * 1.4426950408889634f;
  const int values = PAGE_ROWS * n.head_dim * PAGE_BYTES;

  // Addresses are looked up one round ahead.
  u64 address[UNROLL];
  const int first = begin + warp * (UNROLL * WARP_ROWS) + part;
#pragma unroll
  for (int u = 0; u < UNROLL; u++) address[u] = rows.key(first + u * WARP_ROWS, end);

  for (int start = begin + warp * (UNROLL * WARP_ROWS); start < end; start += PARTS * UNROLL) {
    Chunk key[UNROLL], value[UNROLL];
    bool valid[UNROLL];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      valid[u] = address[u] != 0;
      key[u] = value[u] = zero_chunk();
      if (valid[u] && active) {
        key[u] = load_chunk(address[u] + chunk * 8 * PAGE_BYTES);
        value[u] = load_chunk(address[u] + values + chunk * 8 * PAGE_BYTES);
      }
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) address[u] = rows.key(start + PARTS * UNROLL + part + u * WARP_ROWS, end);

    float score[UNROLL][GROUP];
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      float k[8];
      unpack(key[u], k);
#pragma unroll
      for (int h = 0; h < GROUP; h++) {
        float x[8];
        unpack(query[h], x);
        float dot = 0.f;
#pragma unroll
        for (int i = 0; i < 8; i++) dot = fmaf(x[i], k[i], dot);
#pragma unroll
        for (int offset = ROW_LANES / 2; offset; offset >>= 1) dot += __shfl_xor_sync(0xffffffffu, dot, offset);
        score[u][h] = valid[u] ? dot * scale2 : minus_infinity();
      }
    }
#pragma unroll
    for (int h = 0; h < GROUP; h++) {
      float next = largest[h];
#pragma unroll
      for (int u = 0; u < UNROLL; u++) next = fmaxf(next, score[u][h]);
      const float base = next == minus_infinity() ? 0.f : next;
      const float shrink = exp2_fast(largest[h] - base);
      largest[h] = next;
      sum[h] *= shrink;
#pragma unroll
      for (int i = 0; i < 8; i++) acc[h][i] *= shrink;
#pragma unroll
      for (int u = 0; u < UNROLL; u++) {
        score[u][h] = exp2_fast(score[u][h] - base);
        sum[h] += score[u][h];
      }
    }
#pragma unroll
    for (int u = 0; u < UNROLL; u++) {
      float v[8];
      unpack(value[u], v);
#pragma unroll
      for (int h = 0; h < GROUP; h++)
#pragma unroll
        for (int i = 0; i < 8; i++) acc[h][i] = fmaf(score[u][h], v[i], acc[h][i]);
    }
  }

  // Merge the lane groups: [GROUP, PARTS, HEAD_DIM] accumulators, then [GROUP, PARTS, 2] statistics.
  float* sums = (float*)attention_shared;
  float* stats = sums + GROUP * PARTS * HEAD_DIM;
#pragma unroll
  for (int h = 0; h < GROUP; h++) {
    const int at = h * PARTS + warp * WARP_ROWS + part;
#pragma unroll
    for (int i = 0; i < 2; i++)
      *(float4*)(sums + at * HEAD_DIM + chunk * 8 + i * 4) =
          make_float4(acc[h][4 * i], acc[h][4 * i + 1], acc[h][4 * i + 2], acc[h][4 * i + 3]);
    if (chunk == 0) stats[at * 2] = largest[h], stats[at * 2 + 1] = sum[h];
  }
  __syncthreads();
  for (int i = threadIdx.x; i < GROUP * HEAD_DIM; i += DECODE_WARPS * 32) {
    const int h = i / HEAD_DIM, column = i % HEAD_DIM;
    if (column >= n.head_dim) continue;
    const float* part_stats = stats + h * PARTS * 2;
    float most = minus_infinity(), total = 0.f, value = 0.f;
    for (int p = 0; p < PARTS; p++) most = fmaxf(most, part_stats[p * 2]);
    if (most != minus_infinity())
      for (int p = 0; p < PARTS; p++) {
        const float weight = exp2_fast(part_stats[p * 2] - most);
        total += weight * part_stats[p * 2 + 1];
        value += weight * sums[(h * PARTS + p) * HEAD_DIM + column];
      }
    const size_t row = (size_t)sequence * n.heads + first_head + h;
    if (n.splits == 1) {
      output[row * n.head_dim + column] = (u16)pack(total > 0.f ? value / total : 0.f, 0.f);
    } else {
      partial[(row * n.splits + blockIdx.y) * n.head_dim + column] = value;
      if (column == 0) {
        statistics[(row * n.splits + blockIdx.y) * 2] = most;
        statistics[(row * n.splits + blockIdx.y) * 2 + 1] = total;
      }
    }
  }
}

// Merges the splits of a (sequence, head): one block, a thread to a column; `splits` floats of shared memory.
extern "C" __global__ void __launch_bounds__(128)
    block_attention_combine(const float* partial, const float* statistics, u16* output, int splits, int head_dim) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  float* weights = (float*)attention_shared;
  const size_t row = blockIdx.x;
  const float* stats = statistics + row * splits * 2;
  const int lane = threadIdx.x & 31;
  // Every warp for itself, so that one barrier is enough.
  float most = minus_infinity(), total = 0.f;
  for (int s = lane; s < splits; s += 32) most = fmaxf(most, stats[s * 2]);
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
  const float base = most == minus_infinity() ? 0.f : most;
  for (int s = lane; s < splits; s += 32) total += exp2_fast(stats[s * 2] - base) * stats[s * 2 + 1];
#pragma unroll
  for (int offset = 16; offset; offset >>= 1) total += __shfl_xor_sync(0xffffffffu, total, offset);
  const float inverse = total > 0.f ? 1.f / total : 0.f;
  if (threadIdx.x < 32)
    for (int s = lane; s < splits; s += 32) weights[s] = exp2_fast(stats[s * 2] - base) * inverse;
  __syncthreads();
  for (int column = threadIdx.x; column < head_dim; column += 128) {
    const float* values = partial + row * splits * head_dim + column;
    float value = 0.f;
#pragma unroll 8
    for (int s = 0; s < splits; s++) value = fmaf(weights[s], values[(size_t)s * head_dim], value);
    output[row * head_dim + column] = (u16)pack(value, 0.f);
  }
}
