// Flash attention forward (arXiv 2205.14135, 2307.08691): one block computes QUERY_ROWS queries that
// share a KV head over the key tiles that its policy names (needs mma.cuh, tile.cuh; -D HEAD_DIM, padded).
//
// Rows say where the queries come from and where their results go. A policy says which tiles there are
// (`next`, `tile`), which a warp may skip and which scores of a tile are visible. Keys of a tile may be
// strided rows. Each of the four warps owns 32 queries; the next tile's K and V are copied while the
// current one is used. Tiles have 64 keys, or KEY_TILE.

constexpr int HD = HEAD_DIM;
constexpr int QUERY_ROWS = 128;
#ifdef KEY_TILE
constexpr int KEY_ROWS = KEY_TILE;
#else
constexpr int KEY_ROWS = 64;
#endif
constexpr int FORWARD_THREADS = 128;
// Blocks of a multiprocessor that the registers are rationed for, at the price of a few spills.
constexpr int FORWARD_BLOCKS = HD <= 32 ? 4 : HD <= 64 ? 3 : 2;
// m16 tiles of a warp, n8 tiles of the scores, n8 tiles of the output, k16 steps over the head.
constexpr int M_TILES = 2;
constexpr int S_TILES = KEY_ROWS / 8;
constexpr int O_TILES = HD / 8;
constexpr int D_STEPS = HD / 16;
constexpr int KEY_TILE_BYTES = KEY_ROWS * HD * 2;
// Q, then two stages of K and V.
constexpr int FORWARD_SHARED = QUERY_ROWS * HD * 2 + 4 * KEY_TILE_BYTES;

// Keys first, first + stride, ...: `count` of them, at most KEY_ROWS.
struct KeyTile {
  int first, stride, count;
  // Whether every key is visible to every query of the block.
  bool whole;
};

struct ForwardTensors {
  const u16* q;
  const u16* k;
  const u16* v;
  u16* output;
  // Null: not wanted.
  float* lse;
};

// Consecutive queries of one head, `count` of them.
struct ConsecutiveRows {
  const u16* q;
  u16* out;
  float* statistics;
  size_t stride;
  int head_dim, count;

  DEVICE void load(u32 tile) const {
    load_stepped_rows<HD, QUERY_ROWS, FORWARD_THREADS>(tile, q, stride, head_dim, 0, 1, count);
  }
  // Null: nothing is stored.
  DEVICE u16* output(int row) const { return row < count ? out + row * stride : nullptr; }
  DEVICE float* lse(int row) const { return statistics != nullptr && row < count ? statistics + row : nullptr; }
};

// `k` and `v` are those of the KV head.
template <class Rows, class Policy>
DEVICE void attention_forward_rows(const Rows rows, const u16* k, const u16* v, const AttentionSizes n, u32 shared,
                                   const Policy policy) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  const int group = lane >> 2, pair = lane & 3;
  const size_t kv_stride = (size_t)n.kv_heads * n.head_dim;
  const u32 q_tile = shared, kv_tiles = shared + QUERY_ROWS * HD * 2;

  auto load_keys = [&](const KeyTile& tile, int stage) {
    const u32 to = kv_tiles + stage * 2 * KEY_TILE_BYTES;
    load_stepped_rows<HD, KEY_ROWS, FORWARD_THREADS>(to, k, kv_stride, n.head_dim, tile.first, tile.stride, tile.count);
    load_stepped_rows<HD, KEY_ROWS, FORWARD_THREADS>(to + KEY_TILE_BYTES, v, kv_stride, n.head_dim, tile.first,
                                                     tile.stride, tile.count);
  };

  rows.load(q_tile);
  int index = policy.next(0);
  KeyTile tile = policy.tile(index);
  if (index < policy.tiles) load_keys(tile, 0);
  copy_commit();

  const LaneRow<HD> lane_q = lane_for_a<HD>(lane), lane_k = lane_for_b<HD>(lane), lane_v = lane_for_b_transposed<HD>(lane);
  const float scale2 = n.scale * 1.4426950408889634f;
  float o[M_TILES][O_TILES][4], row_max[M_TILES][2], row_sum[M_TILES][2];
#pragma unroll
  for (int m = 0; m < M_TILES; m++) {
#pragma unroll
    for (int d = 0; d < O_TILES; d++)
#pragma unroll
      for (int i = 0; i < 4; i++) o[m][d][i] = 0.f;
#pragma unroll
    for (int i = 0; i < 2; i++) row_max[m][i] = minus_infinity(), row_sum[m][i] = 0.f;
  }

  int stage = 0;
  while (index < policy.tiles) {
    copy_wait<0>();
    __syncthreads();
    const int next_index = policy.next(index + 1);
    const KeyTile next_tile = policy.tile(next_index);
    if (next_index < policy.tiles) load_keys(next_tile, stage ^ 1);
    copy_commit();

    if (!policy.skips(tile, warp)) {
      const u32 k_tile = kv_tiles + stage * 2 * KEY_TILE_BYTES, v_tile = k_tile + KEY_TILE_BYTES;
      float s[M_TILES][S_TILES][4];
#pragma unroll
      for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int j = 0; j < S_TILES; j++)
#pragma unroll
          for (int i = 0; i < 4; i++) s[m][j][i] = 0.f;
#pragma unroll
      for (int step = 0; step < D_STEPS; step++) {
        u32 a[M_TILES][4];
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
          load_matrices(a[m], lane_q.at(q_tile + warp * 32 * (HD * 2), m * 16, step * 2));
#pragma unroll
        for (int j = 0; j < S_TILES / 2; j++) {
          u32 b[4];
          load_matrices(b, lane_k.at(k_tile, j * 16, step * 2));
#pragma unroll
          for (int m = 0; m < M_TILES; m++) {
            multiply(s[m][2 * j], a[m], b[0], b[1]);
            multiply(s[m][2 * j + 1], a[m], b[2], b[3]);
          }
        }
      }

      if (!tile.whole) {
#pragma unroll
        for (int j = 0; j < S_TILES; j++)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            const int column = j * 8 + pair * 2 + i;
            const auto visible = policy.column(tile, column, warp);
#pragma unroll
            for (int m = 0; m < M_TILES; m++)
#pragma unroll
              for (int r = 0; r < 2; r++)
                if (!visible(warp * 32 + m * 16 + r * 8 + group)) s[m][j][2 * r + i] = minus_infinity();
          }
      }

#pragma unroll
      for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) {
          float largest = row_max[m][r];
#pragma unroll
          for (int j = 0; j < S_TILES; j++) largest = fmaxf(largest, fmaxf(s[m][j][2 * r], s[m][j][2 * r + 1]));
          largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 1));
          largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, 2));
          // A row that has seen nothing yet: any finite base keeps its zeros.
          const float base = largest == minus_infinity() ? 0.f : largest * scale2;
          const float shrink = exp2_fast(row_max[m][r] * scale2 - base);
          row_max[m][r] = largest;
          float sum = 0.f;
#pragma unroll
          for (int j = 0; j < S_TILES; j++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
              const float p = exp2_fast(s[m][j][2 * r + i] * scale2 - base);
              s[m][j][2 * r + i] = p;
              sum += p;
            }
          row_sum[m][r] = row_sum[m][r] * shrink + sum;
#pragma unroll
          for (int d = 0; d < O_TILES; d++) o[m][d][2 * r] *= shrink, o[m][d][2 * r + 1] *= shrink;
        }

#pragma unroll
      for (int step = 0; step < KEY_ROWS / 16; step++) {
        u32 a[M_TILES][4];
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float(&c)[4] = s[m][2 * step + (i >> 1)];
            a[m][i] = pack(c[2 * (i & 1)], c[2 * (i & 1) + 1]);
          }
#pragma unroll
        for (int d = 0; d < O_TILES / 2; d++) {
          u32 b[4];
          load_matrices_transposed(b, lane_v.at(v_tile, step * 16, d * 2));
#pragma unroll
          for (int m = 0; m < M_TILES; m++) {
            multiply(o[m][2 * d], a[m], b[0], b[1]);
            multiply(o[m][2 * d + 1], a[m], b[2], b[3]);
          }
        }
      }
    }
    index = next_index;
    tile = next_tile;
    stage ^= 1;
  }

  // Outputs pass through this warp's own rows of the Q tile, for 16-byte stores.
  copy_wait<0>();
  __syncthreads();
#pragma unroll
  for (int m = 0; m < M_TILES; m++)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      float sum = row_sum[m][r];
      sum += __shfl_xor_sync(0xffffffffu, sum, 1);
      sum += __shfl_xor_sync(0xffffffffu, sum, 2);
      const float inverse = sum > 0.f ? 1.f / sum : 0.f;
      const int row = warp * 32 + m * 16 + r * 8 + group;
#pragma unroll
      for (int d = 0; d < O_TILES; d++)
        store_shared(chunk_at<HD>(q_tile, row, d) + pair * 4, pack(o[m][d][2 * r] * inverse, o[m][d][2 * r + 1] * inverse));
      float* lse = pair == 0 ? rows.lse(row) : nullptr;
      if (lse != nullptr) *lse = row_max[m][r] * n.scale + logf(sum);
    }
  __syncwarp();
#pragma unroll
  for (int round = 0; round < O_TILES; round++) {
    const int i = round * 32 + lane, row = warp * 32 + i / O_TILES, chunk = i % O_TILES;
    u32 values[4];
    load_shared_16(values, chunk_at<HD>(q_tile, row, chunk));
    u16* output = rows.output(row);
    if (output != nullptr && chunk * 8 < n.head_dim)
      *(uint4*)(output + chunk * 8) = make_uint4(values[0], values[1], values[2], values[3]);
  }
}

// The block's queries start at the policy's `query0`, of head blockIdx.y and sequence blockIdx.z.
template <class Policy>
DEVICE void attention_forward_block(const ForwardTensors x, const AttentionSizes n, u32 shared, const Policy policy) {
  const int query0 = policy.query0, head = blockIdx.y, sequence = blockIdx.z;
  const int kv_head = head / (n.heads / n.kv_heads);
  const size_t q_stride = (size_t)n.heads * n.head_dim;
  const size_t from = ((size_t)sequence * n.queries + query0) * q_stride + (size_t)head * n.head_dim;
  const size_t kv_from = ((size_t)sequence * n.keys * n.kv_heads + kv_head) * n.head_dim;
  float* lse = x.lse == nullptr ? nullptr : x.lse + ((size_t)sequence * n.heads + head) * n.queries + query0;
  const ConsecutiveRows rows = {x.q + from, x.output + from, lse, q_stride, n.head_dim, n.queries - query0};
  attention_forward_rows(rows, x.k + kv_from, x.v + kv_from, n, shared, policy);
}
