// Flash attention backward (arXiv 2307.08691, section 3.1): one block owns KEY_BLOCK keys of one KV
// head and loops over the query tiles that see them, of every query head of the group
// (needs mma.cuh, tile.cuh; -D HEAD_DIM, padded).
//
// Scores are computed transposed, [keys, queries], 16 keys to a warp: then the probabilities and
// their gradients are already in the registers that the products for dv and dk read. Only ds passes
// through shared memory, for dq, which is added to an f32 accumulator in global memory; the order of
// these additions, and so the last bits of dq, varies between runs. dk and dv are exact sums in order.
// Of a dilated pattern, the keys that all later queries see have few blocks and long loops: several
// blocks share a loop, and their parts of dk and dv are added afterwards.

constexpr int HD = HEAD_DIM;
constexpr int KEY_BLOCK = 128;
constexpr int QUERY_BLOCK = 64;
constexpr int BACKWARD_THREADS = 256;
constexpr int Q_TILES = QUERY_BLOCK / 8;
constexpr int D_TILES = HD / 8;
constexpr int D_STEPS = HD / 16;
constexpr int KEY_BYTES = KEY_BLOCK * HD * 2;
constexpr int QUERY_BYTES = QUERY_BLOCK * HD * 2;
constexpr int DS_BYTES = KEY_BLOCK * QUERY_BLOCK * 2;
// K, V; two stages of Q and dO; dS; two stages of lse and of D.
constexpr int BACKWARD_SHARED = 2 * KEY_BYTES + 4 * QUERY_BYTES + DS_BYTES + 4 * QUERY_BLOCK * 4;

// Which queries see the keys of a block. Under a dilated pattern every key belongs to one block:
// the initial and strided keys, seen by all later queries, are gathered into blocks of their own
// (the first of the grid), and the other blocks hold contiguous keys, of which they serve only the
// rest, seen by a window of queries.
struct KeyBlock {
  int keys, dilation, window, initial;
  // First key, or first entry of the list of gathered keys.
  int start;
  bool gathered;

  // How many of the first `keys` keys are gathered.
  DEVICE static int gathered_keys(const AttentionSizes& n, int keys) {
    const int initial = min(n.initial, keys);
    return initial + (n.dilation > 0 ? keys / n.dilation - initial / n.dilation : 0);
  }

  DEVICE bool everyone(int key) const { return key < initial || (dilation > 0 && (key + 1) % dilation == 0); }

  // The key of a row, or -1.
  DEVICE int key(int row) const {
    const int i = start + row;
    int key = i;
    if (gathered && i >= initial) {
      if (dilation == 0) return -1;
      key = (initial / dilation + i - initial + 1) * dilation - 1;
    }
    return key < keys ? key : -1;
  }

  // Whether this block computes the gradient of a key it holds.
  DEVICE bool serves(int key) const { return key >= 0 && (gathered || !everyone(key)); }
};

template <bool DILATED>
DEVICE void backward_block(const u16* q_all, const u16* k_all, const u16* v_all, const u16* do_all, const float* lse_all,
                           const float* delta_all, float* dq_all, u16* dk_all, u16* dv_all, const AttentionSizes n,
                           float* parts, int sharing, u32 shared, float* statistics) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int group = lane >> 2, pair = lane & 3;
  const int kv_head = blockIdx.y, sequence = blockIdx.z;
  const int heads_per_kv = n.heads / n.kv_heads, past = n.keys - n.queries;
  const size_t q_stride = (size_t)n.heads * n.head_dim, kv_stride = (size_t)n.kv_heads * n.head_dim;
  const size_t kv_offset = (size_t)sequence * n.keys * kv_stride + (size_t)kv_head * n.head_dim;
  const u16* k = k_all + kv_offset;
  const u16* v = v_all + kv_offset;

  KeyBlock block{n.keys, n.dilation, n.window, min(n.initial, n.keys), (int)blockIdx.x * KEY_BLOCK, false};
  if (DILATED) {
    // Gathered blocks have the longest loops: they come first.
    const int gathered = ceil_div(KeyBlock::gathered_keys(n, n.keys), KEY_BLOCK) * sharing;
    block.gathered = (int)blockIdx.x < gathered;
    block.start = (block.gathered ? (int)blockIdx.x / sharing : (int)blockIdx.x - gathered) * KEY_BLOCK;
  }

  const u32 k_tile = shared, v_tile = k_tile + KEY_BYTES, query_tiles = v_tile + KEY_BYTES;
  const u32 ds_tile = query_tiles + 4 * QUERY_BYTES;
  auto row_of_key = [&](int r) { return block.key(r); };
  load_rows<HD, KEY_BLOCK, BACKWARD_THREADS>(k_tile, k, kv_stride, n.head_dim, row_of_key);
  load_rows<HD, KEY_BLOCK, BACKWARD_THREADS>(v_tile, v, kv_stride, n.head_dim, row_of_key);

  // Positions first_position..=last_position see some key of the block.
  const int first_key = max(block.key(0), 0);
  int last_position = n.keys - 1;
  if (DILATED && !block.gathered && n.window < n.keys) last_position = min(last_position, first_key + KEY_BLOCK - 1 + n.window);
  const int first_query = max(first_key - past, 0) / QUERY_BLOCK * QUERY_BLOCK;
  const int tiles = last_position < past ? 0 : ceil_div(last_position - past + 1 - first_query, QUERY_BLOCK);
  const int part = DILATED && block.gathered ? blockIdx.x % sharing : 0;
  const int each = DILATED && block.gathered ? ceil_div(tiles * heads_per_kv, sharing) : tiles * heads_per_kv;
  const int begin = part * each, end = min(begin + each, tiles * heads_per_kv);

  auto load_queries = [&](int iteration, int stage) {
    const int head = kv_head * heads_per_kv + iteration / tiles;
    const int query0 = first_query + iteration % tiles * QUERY_BLOCK;
    const size_t offset = (size_t)sequence * n.queries * q_stride + (size_t)head * n.head_dim;
    const u32 q_tile = query_tiles + stage * 2 * QUERY_BYTES;
    load_stepped_rows<HD, QUERY_BLOCK, BACKWARD_THREADS>(q_tile, q_all + offset, q_stride, n.head_dim, query0, 1,
                                                         n.queries - query0);
    load_stepped_rows<HD, QUERY_BLOCK, BACKWARD_THREADS>(q_tile + QUERY_BYTES, do_all + offset, q_stride, n.head_dim,
                                                         query0, 1, n.queries - query0);
    if (threadIdx.x < QUERY_BLOCK) {
      const int query = query0 + threadIdx.x;
      const size_t at = ((size_t)sequence * n.heads + head) * n.queries + query;
      // An infinite log-sum-exp makes the probabilities of rows outside zero.
      const bool inside = query < n.queries;
      statistics[stage * 2 * QUERY_BLOCK + threadIdx.x] = inside ? lse_all[at] * 1.4426950408889634f : -minus_infinity();
      statistics[stage * 2 * QUERY_BLOCK + QUERY_BLOCK + threadIdx.x] = inside ? delta_all[at] : 0.f;
    }
  };

  // The two keys of this thread and the last position that each serves.
  int keys[2], last[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int key = block.key(warp * 16 + r * 8 + group);
    keys[r] = block.serves(key) ? key : n.keys;
    last[r] = DILATED && !block.gathered && n.window < n.keys ? keys[r] + n.window : n.keys;
  }

  float dk[D_TILES][4], dv[D_TILES][4];
#pragma unroll
  for (int d = 0; d < D_TILES; d++)
#pragma unroll
    for (int i = 0; i < 4; i++) dk[d][i] = 0.f, dv[d][i] = 0.f;

  const LaneRow<HD> lane_keys = lane_for_a<HD>(lane), lane_queries = lane_for_b<HD>(lane);
  const LaneRow<HD> lane_rows = lane_for_b_transposed<HD>(lane);
  const LaneRow<QUERY_BLOCK> lane_ds = lane_for_a_transposed<QUERY_BLOCK>(lane);
  const float scale2 = n.scale * 1.4426950408889634f;

  if (begin < end) load_queries(begin, begin & 1);
  copy_commit();
  for (int iteration = begin; iteration < end; iteration++) {
    const int stage = iteration & 1;
    copy_wait<0>();
    __syncthreads();
    if (iteration + 1 < end) load_queries(iteration + 1, stage ^ 1);
    copy_commit();

    const int head = kv_head * heads_per_kv + iteration / tiles;
    const int query0 = first_query + iteration % tiles * QUERY_BLOCK;
    const u32 q_tile = query_tiles + stage * 2 * QUERY_BYTES, do_tile = q_tile + QUERY_BYTES;
    const float* lse2 = statistics + stage * 2 * QUERY_BLOCK;
    const float* delta = lse2 + QUERY_BLOCK;

    // Of the block's keys in sixteens, those that the tile's queries may see: the others take no part.
    const int position0 = past + query0;
    int first_warp = 0, end_warp = KEY_BLOCK / 16;
    if (DILATED) {
      const int seen = min(position0 + QUERY_BLOCK, n.keys);
      const int behind = block.gathered ? KeyBlock::gathered_keys(n, seen) : seen;
      end_warp = min(ceil_div(max(behind - block.start, 0), 16), KEY_BLOCK / 16);
      if (!block.gathered) first_warp = max(position0 - n.window - block.start, 0) / 16;
    }
    if (warp >= first_warp && warp < end_warp) {
      // s = k q^T and dp = v do^T, [16 keys, 64 queries] of this warp.
      float s[Q_TILES][4], dp[Q_TILES][4];
#pragma unroll
      for (int j = 0; j < Q_TILES; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) s[j][i] = 0.f, dp[j][i] = 0.f;
#pragma unroll
      for (int step = 0; step < D_STEPS; step++) {
        u32 a[4];
        load_matrices(a, lane_keys.at(k_tile + warp * 16 * (HD * 2), 0, step * 2));
#pragma unroll
        for (int j = 0; j < Q_TILES / 2; j++) {
          u32 b[4];
          load_matrices(b, lane_queries.at(q_tile, j * 16, step * 2));
          multiply(s[2 * j], a, b[0], b[1]);
          multiply(s[2 * j + 1], a, b[2], b[3]);
        }
      }
#pragma unroll
      for (int step = 0; step < D_STEPS; step++) {
        u32 a[4];
        load_matrices(a, lane_keys.at(v_tile + warp * 16 * (HD * 2), 0, step * 2));
#pragma unroll
        for (int j = 0; j < Q_TILES / 2; j++) {
          u32 b[4];
          load_matrices(b, lane_queries.at(do_tile, j * 16, step * 2));
          multiply(dp[2 * j], a, b[0], b[1]);
          multiply(dp[2 * j + 1], a, b[2], b[3]);
        }
      }

      if (DILATED || block.start + KEY_BLOCK - 1 > position0) {
#pragma unroll
        for (int j = 0; j < Q_TILES; j++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int position = position0 + j * 8 + pair * 2 + (i & 1);
            if (position < keys[i >> 1] || position > last[i >> 1]) s[j][i] = minus_infinity();
          }
      }

      // p = exp(s - lse), ds = p (dp - D), as pairs of bf16 in the layout of an A operand.
      u32 p[Q_TILES][2], ds[Q_TILES][2];
#pragma unroll
      for (int j = 0; j < Q_TILES; j++) {
        const int column = j * 8 + pair * 2;
        const float2 l = *(const float2*)(lse2 + column), d = *(const float2*)(delta + column);
#pragma unroll
        for (int r = 0; r < 2; r++) {
          const float p0 = exp2_fast(s[j][2 * r] * scale2 - l.x), p1 = exp2_fast(s[j][2 * r + 1] * scale2 - l.y);
          p[j][r] = pack(p0, p1);
          ds[j][r] = pack(p0 * (dp[j][2 * r] - d.x), p1 * (dp[j][2 * r + 1] - d.y));
          store_shared(chunk_at<QUERY_BLOCK>(ds_tile, warp * 16 + r * 8 + group, j) + pair * 4, ds[j][r]);
        }
      }

#pragma unroll
      for (int step = 0; step < QUERY_BLOCK / 16; step++) {
        const u32 a[4] = {p[2 * step][0], p[2 * step][1], p[2 * step + 1][0], p[2 * step + 1][1]};
#pragma unroll
        for (int d = 0; d < D_TILES / 2; d++) {
          u32 b[4];
          load_matrices_transposed(b, lane_rows.at(do_tile, step * 16, d * 2));
          multiply(dv[2 * d], a, b[0], b[1]);
          multiply(dv[2 * d + 1], a, b[2], b[3]);
        }
      }
#pragma unroll
      for (int step = 0; step < QUERY_BLOCK / 16; step++) {
        const u32 a[4] = {ds[2 * step][0], ds[2 * step][1], ds[2 * step + 1][0], ds[2 * step + 1][1]};
#pragma unroll
        for (int d = 0; d < D_TILES / 2; d++) {
          u32 b[4];
          load_matrices_transposed(b, lane_rows.at(q_tile, step * 16, d * 2));
          multiply(dk[2 * d], a, b[0], b[1]);
          multiply(dk[2 * d + 1], a, b[2], b[3]);
        }
      }
    }

    // dq: each warp 16 queries and half of the head, over all keys of the block.
    __syncthreads();
    float dq[D_TILES / 2][4];
#pragma unroll
    for (int d = 0; d < D_TILES / 2; d++)
#pragma unroll
      for (int i = 0; i < 4; i++) dq[d][i] = 0.f;
    const int half = warp >> 2, row0 = (warp & 3) * 16;
#pragma unroll
    for (int step = 0; step < KEY_BLOCK / 16; step++) {
      if (step < first_warp || step >= end_warp) continue;
      u32 a[4];
      load_matrices_transposed(a, lane_ds.at(ds_tile, step * 16, (warp & 3) * 2));
#pragma unroll
      for (int d = 0; d < D_TILES / 4; d++) {
        u32 b[4];
        load_matrices_transposed(b, lane_rows.at(k_tile, step * 16, half * (D_TILES / 2) + d * 2));
        multiply(dq[2 * d], a, b[0], b[1]);
        multiply(dq[2 * d + 1], a, b[2], b[3]);
      }
    }
    float* dq_rows = dq_all + (size_t)sequence * n.queries * q_stride + (size_t)head * n.head_dim;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int query = query0 + row0 + r * 8 + group;
      if (query >= n.queries) continue;
      float* to = dq_rows + (size_t)query * q_stride;
#pragma unroll
      for (int d = 0; d < D_TILES / 2; d++) {
        const int column = (half * (D_TILES / 2) + d) * 8 + pair * 2;
        if (column < n.head_dim) add_pair(to + column, dq[d][2 * r], dq[d][2 * r + 1]);
      }
    }
  }

  copy_wait<0>();
  if (DILATED && block.gathered) {
    // parts [sharing, batch, kv_heads, gathered keys, 2, head_dim].
    const int gathered = KeyBlock::gathered_keys(n, n.keys);
    const size_t slab = ((size_t)part * n.batch + sequence) * n.kv_heads + kv_head;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const int i = block.start + warp * 16 + r * 8 + group;
      if (i >= gathered) continue;
      float* to = parts + (slab * gathered + i) * 2 * n.head_dim;
#pragma unroll
      for (int d = 0; d < D_TILES; d++) {
        const int column = d * 8 + pair * 2;
        if (column >= n.head_dim) continue;
        *(float2*)(to + column) = make_float2(dk[d][2 * r] * n.scale, dk[d][2 * r + 1] * n.scale);
        *(float2*)(to + n.head_dim + column) = make_float2(dv[d][2 * r], dv[d][2 * r + 1]);
      }
    }
    return;
  }

  // dk and dv pass through this warp's own rows of the K and V tiles, for 16-byte stores.
  __syncthreads();
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const int row = warp * 16 + r * 8 + group;
#pragma unroll
    for (int d = 0; d < D_TILES; d++) {
      store_shared(chunk_at<HD>(k_tile, row, d) + pair * 4, pack(dk[d][2 * r] * n.scale, dk[d][2 * r + 1] * n.scale));
      store_shared(chunk_at<HD>(v_tile, row, d) + pair * 4, pack(dv[d][2 * r], dv[d][2 * r + 1]));
    }
  }
  __syncwarp();
#pragma unroll
  for (int round = 0; round < D_TILES / 2; round++) {
    const int i = round * 32 + lane, row = warp * 16 + i / D_TILES, chunk = i % D_TILES;
    const int key = block.key(row);
    if (!block.serves(key) || chunk * 8 >= n.head_dim) continue;
    const size_t at = kv_offset + (size_t)key * kv_stride + chunk * 8;
    u32 x[4];
    load_shared_16(x, chunk_at<HD>(k_tile, row, chunk));
    *(uint4*)(dk_all + at) = make_uint4(x[0], x[1], x[2], x[3]);
    load_shared_16(x, chunk_at<HD>(v_tile, row, chunk));
    *(uint4*)(dv_all + at) = make_uint4(x[0], x[1], x[2], x[3]);
  }
}

// delta[b, h, i] = do_i . o_i, and zeros in the accumulator of dq; 16 lanes to a (query, head).
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_prepare(const u16* output, const u16* doutput, float* delta, float* dq, const AttentionSizes n) {
  const long long item = ((long long)blockIdx.x * 256 + threadIdx.x) >> 4;
  const int chunk = threadIdx.x & 15;
  const bool inside = item < (long long)n.batch * n.queries * n.heads;
  float sum = 0.f;
  if (inside && chunk * 8 < n.head_dim) {
    const size_t at = (size_t)item * n.head_dim + chunk * 8;
    const uint4 o = *(const uint4*)(output + at), d = *(const uint4*)(doutput + at);
    sum = low_float(o.x) * low_float(d.x) + high_float(o.x) * high_float(d.x) + low_float(o.y) * low_float(d.y) +
          high_float(o.y) * high_float(d.y) + low_float(o.z) * low_float(d.z) + high_float(o.z) * high_float(d.z) +
          low_float(o.w) * low_float(d.w) + high_float(o.w) * high_float(d.w);
    *(float4*)(dq + at) = make_float4(0.f, 0.f, 0.f, 0.f);
    *(float4*)(dq + at + 4) = make_float4(0.f, 0.f, 0.f, 0.f);
  }
#pragma unroll
  for (int offset = 8; offset; offset >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (inside && chunk == 0) {
    const int head = item % n.heads;
    const long long token = item / n.heads;
    delta[((token / n.queries) * n.heads + head) * n.queries + token % n.queries] = sum;
  }
}

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
    attention_backward_causal(const u16* q, const u16* k, const u16* v, const u16* doutput, const float* lse,
                              const float* delta, float* dq, u16* dk, u16* dv, float* parts, int sharing,
                              const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  backward_block<false>(q, k, v, doutput, lse, delta, dq, dk, dv, n, parts, sharing, shared_address(attention_shared),
                        (float*)(attention_shared + BACKWARD_SHARED - 4 * QUERY_BLOCK * 4));
}

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
    attention_backward_dilated(const u16* q, const u16* k, const u16* v, const u16* doutput, const float* lse,
                               const float* delta, float* dq, u16* dk, u16* dv, float* parts, int sharing,
                               const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  backward_block<true>(q, k, v, doutput, lse, delta, dq, dk, dv, n, parts, sharing, shared_address(attention_shared),
                       (float*)(attention_shared + BACKWARD_SHARED - 4 * QUERY_BLOCK * 4));
}

// dk and dv of the gathered keys: sums of `parts`, eight elements to a thread.
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_gathered(const float* parts, u16* dk, u16* dv, int sharing, const AttentionSizes n) {
  const int chunks = n.head_dim / 8, gathered = KeyBlock::gathered_keys(n, n.keys);
  const long long count = (long long)n.batch * n.kv_heads * gathered * 2 * chunks;
  const long long item = (long long)blockIdx.x * 256 + threadIdx.x;
  if (item >= count) return;
  float4 a = make_float4(0.f, 0.f, 0.f, 0.f), b = a;
#pragma unroll 4
  for (int part = 0; part < sharing; part++) {
    const float4* from = (const float4*)(parts + (part * count + item) * 8);
    const float4 x = from[0], y = from[1];
    a.x += x.x, a.y += x.y, a.z += x.z, a.w += x.w, b.x += y.x, b.y += y.y, b.z += y.z, b.w += y.w;
  }
  const int chunk = item % chunks;
  const long long row = item / chunks / 2;
  const int kv_head = row / gathered % n.kv_heads, sequence = row / gathered / n.kv_heads;
  const KeyBlock all{n.keys, n.dilation, n.window, min(n.initial, n.keys), 0, true};
  const int key = all.key(row % gathered);
  u16* to = item / chunks % 2 == 0 ? dk : dv;
  *(uint4*)(to + (((size_t)sequence * n.keys + key) * n.kv_heads + kv_head) * n.head_dim + chunk * 8) =
      make_uint4(pack(a.x, a.y), pack(a.z, a.w), pack(b.x, b.y), pack(b.z, b.w));
}

// dq = scale * accumulator, eight elements to a thread.
extern "C" __global__ void __launch_bounds__(256)
    attention_backward_finish(const float* accumulator, u16* dq, float scale, long long count) {
  const long long i = ((long long)blockIdx.x * 256 + threadIdx.x) * 8;
  if (i >= count) return;
  const float4 a = *(const float4*)(accumulator + i), b = *(const float4*)(accumulator + i + 4);
  *(uint4*)(dq + i) = make_uint4(pack(a.x * scale, a.y * scale), pack(a.z * scale, a.w * scale),
                                 pack(b.x * scale, b.y * scale), pack(b.z * scale, b.w * scale));
}
