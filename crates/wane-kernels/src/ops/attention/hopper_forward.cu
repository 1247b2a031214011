// Causal attention forward on Hopper (the scheme of FlashAttention-3, arXiv 2407.08608): one warp
// copies tiles, two or three warpgroups own 64 queries each (needs mma.cuh, hopper.cuh, hopper_tiles.cuh).
//
// - A persistent grid takes items (a tile of queries of one head) from a counter, the longest first,
//   so the next tile's copies run during this one's last steps.
// - Inside a warpgroup, the scores of the next keys are multiplied while the softmax of the current
//   ones is computed: S(n) = Q K(n)^T, then O += P(n + 1) V(n + 1), then the softmax of S(n) beside it.
// - The warpgroups take turns at issuing products (a ring of named barriers), so that one's softmax
//   falls on another's products.
// Keys are read from the diagonal down, so that only the first tiles have a mask.

constexpr int KEY_ROWS = 128;
#ifndef CONSUMERS
#define CONSUMERS (HEAD_DIM == 64 ? 3 : 2)
#endif
constexpr int QUERY_ROWS = 64 * CONSUMERS;
constexpr int FORWARD_THREADS = 128 * (CONSUMERS + 1);
#ifndef FORWARD_STAGES
#define FORWARD_STAGES 2
#endif
constexpr int STAGES = FORWARD_STAGES;
// Every so many exponentials one is a polynomial, which takes load off the special function units; 0: none.
#ifndef POLYNOMIAL
#define POLYNOMIAL 0
#endif
constexpr int PRODUCER_REGISTERS = CONSUMERS == 3 ? 32 : 24, CONSUMER_REGISTERS = CONSUMERS == 3 ? 160 : 240;

constexpr int KEY_BYTES = tile_bytes(KEY_ROWS), QUERY_BYTES = tile_bytes(QUERY_ROWS);
// Offsets of shared memory: Q, O, K stages, V stages, barriers, the item's index.
constexpr int AT_OUTPUT = QUERY_BYTES;
constexpr int AT_KEYS = AT_OUTPUT + QUERY_BYTES;
constexpr int AT_VALUES = AT_KEYS + STAGES * KEY_BYTES;
constexpr int AT_BARRIERS = AT_VALUES + STAGES * KEY_BYTES;
constexpr int FORWARD_BARRIERS = 2 + 4 * STAGES;
constexpr int AT_INDEX = AT_BARRIERS + FORWARD_BARRIERS * 8;

struct ForwardBarriers {
  u32 base;
  DEVICE u32 query_full() const { return base; }
  DEVICE u32 query_empty() const { return base + 8; }
  DEVICE u32 key_full(int stage) const { return base + 16 + stage * 8; }
  DEVICE u32 key_empty(int stage) const { return key_full(stage) + STAGES * 8; }
  DEVICE u32 value_full(int stage) const { return key_full(stage) + 2 * STAGES * 8; }
  DEVICE u32 value_empty(int stage) const { return key_full(stage) + 3 * STAGES * 8; }
};

// A tile of queries of one head.
struct QueryTile {
  int query0, position0, head, kv_head, sequence, last_keys;

  DEVICE QueryTile(int index, const HopperSizes& n) {
    const int tiles = ceil_div(n.queries, QUERY_ROWS);
    const Item item(index, n.batch * n.heads, tiles, n.section);
    query0 = (tiles - 1 - item.tile) * QUERY_ROWS;
    position0 = n.keys - n.queries + query0;
    sequence = item.lane / n.heads;
    head = item.lane - sequence * n.heads;
    kv_head = head / (n.heads / n.kv_heads);
    // The last tile of keys that some query sees.
    last_keys = (min(position0 + QUERY_ROWS, n.keys) - 1) / KEY_ROWS;
  }
};

DEVICE void forward_producer(const TensorMap& q, const TensorMap& k, const TensorMap& v, u32* counter,
                             const HopperSizes& n, u32 shared) {
  const ForwardBarriers barriers{shared + AT_BARRIERS};
  const int items = ceil_div(n.queries, QUERY_ROWS) * n.batch * n.heads;
  int filled = 0;
  u32 parity = 1;
  for (int index = blockIdx.x; index < items; parity ^= 1) {
    // Every block fails once at the end, so `items` tickets are drawn; the last one rewinds the counter.
    const u32 ticket = atomicAdd(counter, 1u);
    if (ticket == (u32)items - 1) atomicExch(counter, 0u);
    const QueryTile tile(index, n);
    barrier_wait(barriers.query_empty(), parity);
    store_shared(shared + AT_INDEX, index);
    barrier_expect(barriers.query_full(), QUERY_BYTES);
    load_tile(shared, q, barriers.query_full(), QUERY_ROWS, tile.head, tile.query0, tile.sequence);
    for (int keys = tile.last_keys; keys >= 0; keys--, filled++) {
      const Ring<STAGES> ring(filled);
      barrier_wait(barriers.key_empty(ring.stage), ring.parity ^ 1);
      barrier_expect(barriers.key_full(ring.stage), KEY_BYTES);
      load_tile(shared + AT_KEYS + ring.stage * KEY_BYTES, k, barriers.key_full(ring.stage), KEY_ROWS, tile.kv_head,
                keys * KEY_ROWS, tile.sequence);
      barrier_wait(barriers.value_empty(ring.stage), ring.parity ^ 1);
      barrier_expect(barriers.value_full(ring.stage), KEY_BYTES);
      load_tile(shared + AT_VALUES + ring.stage * KEY_BYTES, v, barriers.value_full(ring.stage), KEY_ROWS, tile.kv_head,
                keys * KEY_ROWS, tile.sequence);
    }
    index = (int)(ticket + gridDim.x);
  }
  barrier_wait(barriers.query_empty(), parity);
  store_shared(shared + AT_INDEX, 0xffffffffu);
  barrier_arrive(barriers.query_full());
}

// Hides scores of keys after the row's own position: column c of row g + 8 r is visible up to limit + 8 r.
DEVICE void mask_scores(float (&s)[KEY_ROWS / 2], int limit, int pair) {
  limit -= pair * 2;
#pragma unroll
  for (int i = 0; i < KEY_ROWS / 2; i++) {
    const int column = i / 4 * 8 + (i & 1), r = i >> 1 & 1;
    if (column > limit + r * 8) s[i] = minus_infinity();
  }
}

// 2^x for x <= 0 by a polynomial of degree 4 (relative error 3e-6); 2^-126 instead of 0.
DEVICE float exp2_polynomial(float x) {
  x = fmaxf(x, -126.f);
  // The nearest integer lies in the low bits of the sum.
  const float shifted = x + 12582912.f, f = x - (shifted - 12582912.f);
  const float y = fmaf(fmaf(fmaf(fmaf(0.00957010206f, f, 0.0559178632f), f, 0.240247448f), f, 0.693121814f), f, 0.999999261f);
  return __uint_as_float(__float_as_uint(y) + (__float_as_uint(shifted) << 23));
}

struct SoftmaxRows {
  float largest[2], sum[2];

  DEVICE SoftmaxRows() : largest{minus_infinity(), minus_infinity()}, sum{0.f, 0.f} {}

  // Scores to probabilities relative to the largest score so far; returns the factors by which
  // everything before shrinks. Sums are of this thread's columns only.
  DEVICE void add(float (&s)[KEY_ROWS / 2], float (&shrink)[2], float scale2) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float m[2] = {largest[r], s[2 * r]};
#pragma unroll
      for (int j = 0; j < KEY_ROWS / 8; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) m[i] = fmaxf(m[i], s[4 * j + 2 * r + i]);
      float now = fmaxf(m[0], m[1]);
      now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 1));
      now = fmaxf(now, __shfl_xor_sync(0xffffffffu, now, 2));
      // A row that has seen nothing yet: any finite base keeps its zeros.
      const float base = now == minus_infinity() ? 0.f : now * scale2;
      shrink[r] = exp2_fast(largest[r] * scale2 - base);
      largest[r] = now;
      float total[2] = {sum[r] * shrink[r], 0.f};
#pragma unroll
      for (int j = 0; j < KEY_ROWS / 8; j++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float& x = s[4 * j + 2 * r + i];
          x = x * scale2 - base;
          const bool polynomial = POLYNOMIAL != 0 && (2 * j + i) % max(POLYNOMIAL, 1) == 0;
          x = polynomial ? exp2_polynomial(x) : exp2_fast(x);
          total[i] += x;
        }
      sum[r] = total[0] + total[1];
    }
  }

  // Sums over all columns.
  DEVICE void finish() {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 1);
      sum[r] += __shfl_xor_sync(0xffffffffu, sum[r], 2);
    }
  }
};

DEVICE void forward_consumer(const TensorMap& output, float* lse, const HopperSizes& n, u32 shared, int group_index) {
  const ForwardBarriers barriers{shared + AT_BARRIERS};
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5 & 3;
  const int group = lane >> 2, pair = lane & 3;
  const int row0 = group_index * 64 + warp * 16;
  const float scale2 = n.scale * 1.4426950408889634f;
  const u64 q_rows = describe(shared + group_index * 64 * ROW_BYTES);
  // Turns: barrier 1 + i lets warpgroup i issue its products.
  const int my_turn = 1 + group_index, next_turn = 1 + (group_index + 1) % CONSUMERS;
  if (group_index == CONSUMERS - 1) named_arrive(1, 256);

  float o[HD / 2], s[KEY_ROWS / 2];
  u32 p[KEY_ROWS / 4];
  auto release = [&](u32 barrier) {
    if (lane == 0) barrier_arrive(barrier);
  };
  auto pack_scores = [&] {
#pragma unroll
    for (int i = 0; i < KEY_ROWS / 4; i++) p[i] = pack(s[2 * i], s[2 * i + 1]);
  };
  auto key_tile = [&](int stage) { return describe(shared + AT_KEYS + stage * KEY_BYTES); };
  auto value_tile = [&](int stage) { return describe(shared + AT_VALUES + stage * KEY_BYTES, KEY_ROWS * ROW_BYTES); };

  int used = 0;
  for (u32 parity = 0;; parity ^= 1) {
    barrier_wait(barriers.query_full(), parity);
    const int index = (int)load_shared(shared + AT_INDEX);
    if (index < 0) break;
    const QueryTile tile(index, n);
    // Of this thread's first row, and of the warpgroup's.
    const int position = tile.position0 + row0 + group, lowest = tile.position0 + group_index * 64;

    SoftmaxRows rows;
    float shrink[2];
    int keys = tile.last_keys;
    {
      const Ring<STAGES> ring(used);
      barrier_wait(barriers.key_full(ring.stage), ring.parity);
      products_begin();
      multiply_heads<QUERY_ROWS, KEY_ROWS>(s, q_rows, key_tile(ring.stage));
      products_commit();
      products_wait<0>(s);
      release(barriers.key_empty(ring.stage));
      if (keys == 0) release(barriers.query_empty());
      mask_scores(s, position - keys * KEY_ROWS, pair);
      rows.add(s, shrink, scale2);
      pack_scores();
    }
#pragma unroll
    for (int i = 0; i < HD / 2; i++) o[i] = 0.f;

    for (keys--; keys >= 0; keys--, used++) {
      const Ring<STAGES> before(used), ring(used + 1);
      barrier_wait(barriers.key_full(ring.stage), ring.parity);
      named_sync(my_turn, 256);
      products_begin();
      multiply_heads<QUERY_ROWS, KEY_ROWS>(s, q_rows, key_tile(ring.stage));
      products_commit();
      barrier_wait(barriers.value_full(before.stage), before.parity);
      multiply_rows(o, p, value_tile(before.stage), 1);
      products_commit();
      named_arrive(next_turn, 256);
      products_wait<1>(s);
      release(barriers.key_empty(ring.stage));
      if (keys == 0) release(barriers.query_empty());
      if (keys * KEY_ROWS + KEY_ROWS - 1 > lowest) mask_scores(s, position - keys * KEY_ROWS, pair);
      rows.add(s, shrink, scale2);
      compute_first(__float_as_uint(rows.sum[0] + rows.sum[1]));
      products_wait<0>(o);
      release(barriers.value_empty(before.stage));
      pack_scores();
#pragma unroll
      for (int i = 0; i < HD / 2; i++) o[i] *= shrink[i >> 1 & 1];
    }
    {
      const Ring<STAGES> ring(used);
      barrier_wait(barriers.value_full(ring.stage), ring.parity);
      products_begin();
      multiply_rows(o, p, value_tile(ring.stage), 1);
      products_commit();
      rows.finish();
      products_wait<0>(o);
      release(barriers.value_empty(ring.stage));
      used++;
    }

    // The previous item's rows must have left before these take their place.
    if (lane == 0) store_wait_read<0>();
    __syncwarp();
    stage_rows(shared + AT_OUTPUT, QUERY_ROWS, row0, o, lane, [&](int r) { return 1.f / rows.sum[r]; });
    fence_async();
    __syncwarp();
    if (lane == 0) {
      const int query = tile.query0 + row0;
      if (query < n.queries)
        store_staged(output, shared + AT_OUTPUT, QUERY_ROWS, row0, tile.head, query, tile.sequence);
      store_commit();
    }
    if (pair == 0) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const int query = tile.query0 + row0 + r * 8 + group;
        if (query < n.queries)
          lse[((size_t)tile.sequence * n.heads + tile.head) * n.queries + query] = rows.largest[r] * n.scale + logf(rows.sum[r]);
      }
    }
  }
  if (lane == 0) store_wait_read<0>();
}

extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, 1)
    hopper_forward(const __grid_constant__ TensorMap q, const __grid_constant__ TensorMap k,
                   const __grid_constant__ TensorMap v, const __grid_constant__ TensorMap output, float* lse, u32* counter,
                   const HopperSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  const u32 shared = (shared_address(attention_shared) + 1023u) & ~1023u;
  if (threadIdx.x == 0) {
    const ForwardBarriers barriers{shared + AT_BARRIERS};
    barrier_init(barriers.query_full(), 1);
    barrier_init(barriers.query_empty(), 4 * CONSUMERS);
    for (int stage = 0; stage < STAGES; stage++) {
      barrier_init(barriers.key_full(stage), 1);
      barrier_init(barriers.value_full(stage), 1);
      barrier_init(barriers.key_empty(stage), 4 * CONSUMERS);
      barrier_init(barriers.value_empty(stage), 4 * CONSUMERS);
    }
    barrier_init_done();
  }
  __syncthreads();
  const int warpgroup = threadIdx.x >> 7;
  if (warpgroup == 0) {
    registers_shrink<PRODUCER_REGISTERS>();
    if (threadIdx.x == 0) forward_producer(q, k, v, counter, n, shared);
  } else {
    registers_grow<CONSUMER_REGISTERS>();
    forward_consumer(output, lse, n, shared, warpgroup - 1);
  }
}
