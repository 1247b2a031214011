// Causal attention backward on Hopper (FlashAttention-2's recomputation, arXiv 2307.08691, with
// FlashAttention-3's asynchrony, arXiv 2407.08608): a block owns 128 keys of one KV head and loops over
// the query tiles that see them, of every query head of the group; one warp copies tiles, two
// warpgroups own 64 keys each (needs mma.cuh, hopper.cuh, hopper_tiles.cuh).
//
// Scores are transposed, [keys, queries]: S^T = K Q^T, dP^T = V dO^T, so that P^T and dS^T are already
// in the registers that dV += P^T dO and dK += dS^T Q read. dS^T also goes to shared memory, for
// dQ = dS K, which both warpgroups share: each computes 64 x 64 of it over all 128 keys (half the
// columns at head size 128, half the queries at 64). Behind dK, whose product runs while dQ is written, the
// next tile's S (and dP) are queued, so that the tensor cores wait only for dS. dQ is added to an f32
// accumulator in global memory by bulk additions, whose order, and so the last bits of dQ, vary between
// runs; dK and dV are exact sums in order.
//
// The accumulator holds, for each (lane, query tile), eight pieces of 4 KB, one of each warp, in the
// order of its registers: [8 n tiles][32 lanes][4]. `hopper_backward_finish` puts them in place.

constexpr int KEY_ROWS = 128;
constexpr int QUERY_ROWS = HD == 64 ? 128 : 64;
constexpr int BACKWARD_THREADS = 384;
constexpr int STAGES = 2;
constexpr int CONSUMER_WARPS = 8;
// Whether dP of the next tile is multiplied ahead too, not only S; at head size 64 registers do not suffice.
constexpr bool BOTH_AHEAD = HD == 128;

constexpr int KEY_BYTES = tile_bytes(KEY_ROWS), QUERY_BYTES = tile_bytes(QUERY_ROWS);
// dS^T: [keys, 64 queries] slabs.
constexpr int DS_SLABS = QUERY_ROWS / 64, DS_SLAB_BYTES = KEY_ROWS * ROW_BYTES, DS_BYTES = DS_SLABS * DS_SLAB_BYTES;
constexpr int PIECE = 1024, PIECE_BYTES = PIECE * 4;
constexpr int STATISTICS_BYTES = QUERY_ROWS * 4;
// Offsets of shared memory.
constexpr int AT_VALUES = KEY_BYTES;
constexpr int AT_QUERIES = AT_VALUES + KEY_BYTES;
constexpr int AT_DOUTPUTS = AT_QUERIES + STAGES * QUERY_BYTES;
constexpr int AT_DS = AT_DOUTPUTS + STAGES * QUERY_BYTES;
constexpr int AT_PIECES = AT_DS + 2 * DS_BYTES;
constexpr int AT_LSE = AT_PIECES + CONSUMER_WARPS * PIECE_BYTES;
constexpr int AT_DELTA = AT_LSE + STAGES * STATISTICS_BYTES;
constexpr int AT_BARRIERS = AT_DELTA + STAGES * STATISTICS_BYTES;

struct BackwardBarriers {
  u32 base;
  DEVICE u32 keys() const { return base; }
  DEVICE u32 values() const { return base + 8; }
  DEVICE u32 query_full(int stage) const { return base + 16 + stage * 8; }
  DEVICE u32 query_empty(int stage) const { return query_full(stage) + STAGES * 8; }
  DEVICE u32 doutput_full(int stage) const { return query_full(stage) + 2 * STAGES * 8; }
  DEVICE u32 doutput_empty(int stage) const { return query_full(stage) + 3 * STAGES * 8; }
};

// A tile of keys of one KV head, and the query tiles that see it.
struct KeyBlock {
  int key0, kv_head, sequence, first_tile, tiles, query_tiles, iterations;

  DEVICE KeyBlock(int index, const HopperSizes& n) {
    const Item item(index, n.batch * n.kv_heads, ceil_div(n.keys, KEY_ROWS), n.section);
    key0 = item.tile * KEY_ROWS;
    sequence = item.lane / n.kv_heads;
    kv_head = item.lane - sequence * n.kv_heads;
    query_tiles = ceil_div(n.queries, QUERY_ROWS);
    first_tile = max(key0 - (n.keys - n.queries), 0) / QUERY_ROWS;
    tiles = query_tiles - first_tile;
    iterations = tiles * (n.heads / n.kv_heads);
  }
};

// Walks over (query head, query tile).
struct QueryWalk {
  int head, tile;

  DEVICE QueryWalk(const KeyBlock& block, const HopperSizes& n)
      : head(block.kv_head * (n.heads / n.kv_heads)), tile(block.first_tile) {}

  DEVICE void next(const KeyBlock& block) {
    if (++tile == block.query_tiles) tile = block.first_tile, head++;
  }

  // Index of the tile among those of all lanes.
  DEVICE size_t global(const KeyBlock& block, const HopperSizes& n) const {
    return ((size_t)block.sequence * n.heads + head) * block.query_tiles + tile;
  }
};

struct BackwardTensors {
  const TensorMap &q, &k, &v, &doutput, &dk, &dv;
  // f32 [lanes, query tiles * QUERY_ROWS]: log2-sum-exp2 (infinite outside), and D = do . o.
  const float *lse2, *delta;
  float* dq;
};

DEVICE void backward_producer(const BackwardTensors& x, const HopperSizes& n, u32 shared) {
  const BackwardBarriers barriers{shared + AT_BARRIERS};
  const KeyBlock block(blockIdx.x, n);
  barrier_expect(barriers.keys(), KEY_BYTES);
  load_tile(shared, x.k, barriers.keys(), KEY_ROWS, block.kv_head, block.key0, block.sequence);
  QueryWalk walk(block, n);
  for (int i = 0; i < block.iterations; i++, walk.next(block)) {
    const Ring<STAGES> ring(i);
    const int query0 = walk.tile * QUERY_ROWS;
    const size_t statistics = walk.global(block, n) * QUERY_ROWS;
    barrier_wait(barriers.query_empty(ring.stage), ring.parity ^ 1);
    barrier_expect(barriers.query_full(ring.stage), QUERY_BYTES + STATISTICS_BYTES);
    load_tile(shared + AT_QUERIES + ring.stage * QUERY_BYTES, x.q, barriers.query_full(ring.stage), QUERY_ROWS, walk.head,
              query0, block.sequence);
    load_bulk(shared + AT_LSE + ring.stage * STATISTICS_BYTES, x.lse2 + statistics, STATISTICS_BYTES,
              barriers.query_full(ring.stage));
    if (i == 0) {
      barrier_expect(barriers.values(), KEY_BYTES);
      load_tile(shared + AT_VALUES, x.v, barriers.values(), KEY_ROWS, block.kv_head, block.key0, block.sequence);
    }
    barrier_wait(barriers.doutput_empty(ring.stage), ring.parity ^ 1);
    barrier_expect(barriers.doutput_full(ring.stage), QUERY_BYTES + STATISTICS_BYTES);
    load_tile(shared + AT_DOUTPUTS + ring.stage * QUERY_BYTES, x.doutput, barriers.doutput_full(ring.stage), QUERY_ROWS,
              walk.head, query0, block.sequence);
    load_bulk(shared + AT_DELTA + ring.stage * STATISTICS_BYTES, x.delta + statistics, STATISTICS_BYTES,
              barriers.doutput_full(ring.stage));
  }
}

DEVICE void backward_consumer(const BackwardTensors& x, const HopperSizes& n, u32 shared, int group_index) {
  const BackwardBarriers barriers{shared + AT_BARRIERS};
  const KeyBlock block(blockIdx.x, n);
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5 & 3;
  const int group = lane >> 2, pair = lane & 3;
  const int row0 = group_index * 64 + warp * 16;
  const float scale2 = n.scale * 1.4426950408889634f;
  const int past = n.keys - n.queries;
  // This thread's first key, and the warpgroup's last.
  const int key = block.key0 + row0 + group, last_key = block.key0 + group_index * 64 + 63;
  const u64 k_rows = describe(shared + group_index * 64 * ROW_BYTES);
  const u64 v_rows = describe(shared + AT_VALUES + group_index * 64 * ROW_BYTES);
  // For dQ: the queries or the head's columns of this warpgroup.
  const u64 ds_columns = describe(shared + AT_DS + (DS_SLABS == 2 ? group_index * DS_SLAB_BYTES : 0), DS_SLAB_BYTES);
  const u64 k_columns = describe(shared + (SLABS == 2 ? group_index * KEY_ROWS * ROW_BYTES : 0), KEY_ROWS * ROW_BYTES);
  const u32 piece = shared + AT_PIECES + (group_index * 4 + warp) * PIECE_BYTES;

  float dk[HD / 2], dv[HD / 2], s[QUERY_ROWS / 2], dp[QUERY_ROWS / 2], dq[32];
  u32 p[QUERY_ROWS / 4], ds[QUERY_ROWS / 4];
#pragma unroll
  for (int i = 0; i < HD / 2; i++) dk[i] = 0.f, dv[i] = 0.f;
  auto release = [&](u32 barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };
  // Starts S^T, or dP^T, of the `i`-th query tile.
  auto start_scores = [&](int i) {
    const Ring<STAGES> ring(i);
    barrier_wait(barriers.query_full(ring.stage), ring.parity);
    products_begin();
    multiply_heads<KEY_ROWS, QUERY_ROWS>(s, k_rows, describe(shared + AT_QUERIES + ring.stage * QUERY_BYTES));
    products_commit();
  };
  auto start_gradients = [&](int i) {
    const Ring<STAGES> ring(i);
    barrier_wait(barriers.doutput_full(ring.stage), ring.parity);
    products_begin();
    multiply_heads<KEY_ROWS, QUERY_ROWS>(dp, v_rows, describe(shared + AT_DOUTPUTS + ring.stage * QUERY_BYTES));
    products_commit();
  };
  // Scores to probabilities; the tile's first query stands at position0.
  auto make_probabilities = [&](int stage, int position0) {
    if (last_key > position0) {
      // Column c is a query that sees this thread's keys from column `lowest` (+ 8 for the second) on.
      const int lowest = key - position0 - pair * 2;
#pragma unroll
      for (int e = 0; e < QUERY_ROWS / 2; e++)
        if (e / 4 * 8 + (e & 1) < lowest + (e >> 1 & 1) * 8) s[e] = minus_infinity();
    }
    const u32 lse2 = shared + AT_LSE + stage * STATISTICS_BYTES + pair * 8;
    u32 all = 0;
#pragma unroll
    for (int j = 0; j < QUERY_ROWS / 8; j++) {
      const float2 l = load_shared_pair(lse2 + j * 32);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        float &s0 = s[4 * j + 2 * r], &s1 = s[4 * j + 2 * r + 1];
        s0 = exp2_fast(s0 * scale2 - l.x);
        s1 = exp2_fast(s1 * scale2 - l.y);
        all |= __float_as_uint(s0) | __float_as_uint(s1);
      }
    }
    compute_first(all);
  };

  QueryWalk walk(block, n);
  barrier_wait(barriers.keys(), 0);
  barrier_wait(barriers.values(), 0);
  start_scores(0);
  if constexpr (BOTH_AHEAD) {
    start_gradients(0);
    products_wait<1>(s);
    make_probabilities(0, past + walk.tile * QUERY_ROWS);
    products_wait<0>(dp);
  } else {
    products_wait<0>(s);
  }
  for (int i = 0; i < block.iterations; i++) {
    const Ring<STAGES> ring(i);
    const u32 q_tile = shared + AT_QUERIES + ring.stage * QUERY_BYTES, do_tile = shared + AT_DOUTPUTS + ring.stage * QUERY_BYTES;
    const u32 delta = shared + AT_DELTA + ring.stage * STATISTICS_BYTES + pair * 8;
    const u32 ds_at = AT_DS + (i & 1) * DS_BYTES;
    if constexpr (!BOTH_AHEAD) {
      start_gradients(i);
      make_probabilities(ring.stage, past + walk.tile * QUERY_ROWS);
      products_wait<0>(dp);
    }
#pragma unroll
    for (int j = 0; j < QUERY_ROWS / 8; j++) {
      const float2 d = load_shared_pair(delta + j * 32);
      const u32 at = shared + ds_at + j / 8 * DS_SLAB_BYTES + (row0 + group) * ROW_BYTES + ((j % 8 ^ group) << 4) + pair * 4;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int e = 4 * j + 2 * r;
        p[2 * j + r] = pack(s[e], s[e + 1]);
        ds[2 * j + r] = pack(s[e] * (dp[e] - d.x), s[e + 1] * (dp[e + 1] - d.y));
        store_shared(at + r * 8 * ROW_BYTES, ds[2 * j + r]);
      }
    }
    fence_async();

    products_begin();
    multiply_rows(dv, p, describe(do_tile, QUERY_ROWS * ROW_BYTES), 1);
    products_commit();
    // dS of both warpgroups is there, and both have left the products that read the other buffer.
    named_sync(1, 256);
#pragma unroll
    for (int step = 0; step < KEY_ROWS / 16; step++)
      multiply_tiles<1, 1>(dq, ds_columns + ((i & 1) * DS_BYTES >> 4) + along_rows(step), k_columns + along_rows(step), step > 0);
    products_commit();
    multiply_rows(dk, ds, describe(q_tile, QUERY_ROWS * ROW_BYTES), 1);
    products_commit();

    products_wait<1>(dq);
    release(barriers.doutput_empty(ring.stage));
    // The previous piece must have left before this one takes its place.
    if (lane == 0) store_wait_read<0>();
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 8; j++)
      store_shared_16(piece + (j * 32 + lane) * 16, dq[4 * j], dq[4 * j + 1], dq[4 * j + 2], dq[4 * j + 3]);
    fence_async();
    __syncwarp();
    if (lane == 0) {
      float* to = x.dq + walk.global(block, n) * (QUERY_ROWS * HD) + (group_index * 4 + warp) * PIECE;
      add_bulk(to, piece, PIECE_BYTES);
      store_commit();
    }

    // The last tile is multiplied once more, for nothing: a branch here makes ptxas serialize the products.
    const int next = min(i + 1, block.iterations - 1);
    start_scores(next);
    walk.next(block);
    if constexpr (BOTH_AHEAD) {
      start_gradients(next);
      products_wait<2>(dk);
      if (next > i) release(barriers.query_empty(ring.stage));
      products_wait<1>(s);
      make_probabilities(next % STAGES, past + walk.tile * QUERY_ROWS);
      products_wait<0>(dp);
    } else {
      products_wait<1>(dk);
      if (next > i) release(barriers.query_empty(ring.stage));
      products_wait<0>(s);
    }
  }
  products_wait<0>(dk, dv);

  // dk and dv leave through this warp's own rows of the K and V tiles, which no product reads any more.
  named_sync(1, 256);
  stage_rows(shared, KEY_ROWS, row0, dk, lane, [&](int) { return n.scale; });
  stage_rows(shared + AT_VALUES, KEY_ROWS, row0, dv, lane, [](int) { return 1.f; });
  fence_async();
  __syncwarp();
  if (lane == 0) {
    const int row = block.key0 + row0;
    if (row < n.keys) {
      store_staged(x.dk, shared, KEY_ROWS, row0, block.kv_head, row, block.sequence);
      store_staged(x.dv, shared + AT_VALUES, KEY_ROWS, row0, block.kv_head, row, block.sequence);
    }
    store_commit();
    store_wait_read<0>();
  }
}

extern "C" __global__ void __launch_bounds__(BACKWARD_THREADS, 1)
    hopper_backward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                    const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap doutput,
                    const __grid_constant__ TensorMap dk, const __grid_constant__ TensorMap dv, const float* lse2,
                    const float* delta, float* dq, const HopperSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  const u32 shared = (shared_address(attention_shared) + 1023u) & ~1023u;
  if (threadIdx.x == 0) {
    const BackwardBarriers barriers{shared + AT_BARRIERS};
    barrier_init(barriers.keys(), 1);
    barrier_init(barriers.values(), 1);
    for (int stage = 0; stage < STAGES; stage++) {
      barrier_init(barriers.query_full(stage), 1);
      barrier_init(barriers.doutput_full(stage), 1);
      barrier_init(barriers.query_empty(stage), CONSUMER_WARPS);
      barrier_init(barriers.doutput_empty(stage), CONSUMER_WARPS);
    }
    barrier_init_done();
  }
  __syncthreads();
  const BackwardTensors tensors{q, k, v, doutput, dk, dv, lse2, delta, dq};
  const int warpgroup = threadIdx.x >> 7;
  if (warpgroup == 0) {
    registers_shrink<24>();
    if (threadIdx.x == 0) backward_producer(tensors, n, shared);
  } else {
    registers_grow<240>();
    backward_consumer(tensors, n, shared, warpgroup - 1);
  }
}

// For each row of the padded [lanes, query tiles * QUERY_ROWS]: lse in units of log 2, delta = do . o, and
// zeros in as much of the accumulator of dq. HD / 8 lanes of a warp to a row; heads fastest, as in memory.
extern "C" __global__ void __launch_bounds__(256)
    hopper_backward_prepare(const u16* output, const u16* doutput, const float* lse, float* lse2, float* delta, float* dq,
                            const HopperSizes n) {
  constexpr int LANES = HD / 8;
  const int padded = ceil_div(n.queries, QUERY_ROWS) * QUERY_ROWS;
  const long long row = ((long long)blockIdx.x * 256 + threadIdx.x) / LANES;
  const int chunk = threadIdx.x % LANES;
  const bool exists = row < (long long)n.batch * padded * n.heads;
  const int head = row % n.heads;
  const long long token = row / n.heads;
  const int query = token % padded;
  const long long sequence = token / padded;
  const bool inside = exists && query < n.queries;
  float sum = 0.f;
  if (inside) {
    const size_t at = (((size_t)sequence * n.queries + query) * n.heads + head) * HD + chunk * 8;
    const uint4 o = *(const uint4*)(output + at), d = *(const uint4*)(doutput + at);
    sum = low_float(o.x) * low_float(d.x) + high_float(o.x) * high_float(d.x) + low_float(o.y) * low_float(d.y) +
          high_float(o.y) * high_float(d.y) + low_float(o.z) * low_float(d.z) + high_float(o.z) * high_float(d.z) +
          low_float(o.w) * low_float(d.w) + high_float(o.w) * high_float(d.w);
  }
  if (exists) {
    float4* zero = (float4*)(dq + (size_t)row * HD + chunk * 8);
    zero[0] = make_float4(0.f, 0.f, 0.f, 0.f);
    zero[1] = make_float4(0.f, 0.f, 0.f, 0.f);
  }
#pragma unroll
  for (int offset = LANES / 2; offset; offset >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  if (exists && chunk == 0) {
    const size_t lane = (size_t)sequence * n.heads + head;
    lse2[lane * padded + query] = inside ? lse[lane * n.queries + query] * 1.4426950408889634f : -minus_infinity();
    delta[lane * padded + query] = sum;
  }
}

// dq = scale * accumulator; a warp to a piece: 16 queries, 64 columns.
extern "C" __global__ void __launch_bounds__(256)
    hopper_backward_finish(const float* accumulator, u16* dq, const HopperSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int group = lane >> 2, pair = lane & 3;
  const u32 rows = shared_address(attention_shared) + warp * 16 * ROW_BYTES;
  const int query_tiles = ceil_div(n.queries, QUERY_ROWS);
  const int head_lane = blockIdx.x / query_tiles, sequence = head_lane / n.heads, head = head_lane % n.heads;
  const int query0 = (int)(blockIdx.x % query_tiles) * QUERY_ROWS + (SLABS == 2 ? 0 : warp / 4 * 64) + warp % 4 * 16;
  const int column0 = SLABS == 2 ? warp / 4 * 64 : 0;
  const float4* from = (const float4*)(accumulator + ((size_t)blockIdx.x * CONSUMER_WARPS + warp) * PIECE);
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const float4 x = from[j * 32 + lane];
    const u32 at = rows + group * ROW_BYTES + ((j ^ group) << 4) + pair * 4;
    store_shared(at, pack(x.x * n.scale, x.y * n.scale));
    store_shared(at + 8 * ROW_BYTES, pack(x.z * n.scale, x.w * n.scale));
  }
  __syncwarp();
#pragma unroll
  for (int round = 0; round < 4; round++) {
    const int row = round * 4 + (lane >> 3), chunk = lane & 7, query = query0 + row;
    if (query >= n.queries) continue;
    u32 x[4];
    load_shared_16(x, rows + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4));
    *(uint4*)(dq + (((size_t)sequence * n.queries + query) * n.heads + head) * HD + column0 + chunk * 8) =
        make_uint4(x[0], x[1], x[2], x[3]);
  }
}
