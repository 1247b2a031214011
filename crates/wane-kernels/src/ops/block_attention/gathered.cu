// Attention of a prompt over selected blocks of keys, the queries gathered by block (needs mma.cuh,
// tile.cuh, forward.cuh).
//
// A pass takes some query heads (whole groups that share a KV head) and some queries. Its rows are
// (head, query), its entries (row, slot of the selection), its lists (KV head, block of keys). A list
// holds the entries that selected the block, in any order: an entry's result depends on nothing
// else in its list. `attend` computes up to QUERY_ROWS entries of a list over the keys of its block and
// writes a normalized output and a log-sum-exp for each; `merge` joins the entries of a row by slots.

struct GatherPass {
  // First head and query, and how many of each.
  int head0, heads, query0, queries;
  int width, block, blocks;

  DEVICE int position(int query, const AttentionSizes& n) const { return n.keys - n.queries + query0 + query; }
};

// Queries of one head whose entries a block of threads counts, and then puts into the lists.
constexpr int SPAN = 128;
constexpr int LIST_THREADS = 512;
constexpr int OFFSET_THREADS = 1024;
constexpr int MERGE_THREADS = 256;

// Calls `visit(entry, block)` for the entries of the thread's share of a span; `block` is -1 where the
// selection has no block that begins before the query's position.
template <class Visit>
DEVICE void visit_entries(const int* indices, const int* counts, const GatherPass& pass, const AttentionSizes& n,
                          Visit visit) {
  const int head = blockIdx.y, query0 = blockIdx.x * SPAN;
  const int entries = min(SPAN, pass.queries - query0) * pass.width;
#pragma unroll 4
  for (int i = threadIdx.x; i < entries; i += LIST_THREADS) {
    const int query = query0 + i / pass.width, slot = i % pass.width;
    const size_t row = (size_t)(pass.head0 + head) * n.queries + pass.query0 + query;
    const int selected = __ldg(indices + row * pass.width + slot);
    const bool reads = slot < __ldg(counts + row) && selected >= 0 && selected <= pass.position(query, n) / pass.block;
    visit((head * pass.queries + query) * pass.width + slot, reads ? selected : -1);
  }
}

DEVICE int first_list(const GatherPass& pass, const AttentionSizes& n) {
  return (int)blockIdx.y / (n.heads / n.kv_heads) * pass.blocks;
}

DEVICE size_t first_base(const GatherPass& pass) {
  return ((size_t)blockIdx.y * gridDim.x + blockIdx.x) * pass.blocks;
}

// Grid (spans, heads). Adds a span's entries to the lengths of the lists (zero before) and takes a range of
// each list for them: bases [heads, spans, blocks].
extern "C" __global__ void __launch_bounds__(LIST_THREADS)
    block_attention_count(const int* indices, const int* counts, int* lengths, int* bases, const GatherPass pass,
                          const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  int* found = (int*)attention_shared;
  for (int b = threadIdx.x; b < pass.blocks; b += LIST_THREADS) found[b] = 0;
  __syncthreads();
  visit_entries(indices, counts, pass, n, [&](int, int b) {
    if (b >= 0) atomicAdd(&found[b], 1);
  });
  __syncthreads();
  for (int b = threadIdx.x; b < pass.blocks; b += LIST_THREADS)
    if (found[b] > 0) bases[first_base(pass) + b] = atomicAdd(&lengths[first_list(pass, n) + b], found[b]);
}

// Where a list begins: its first entry, and its first tile of QUERY_ROWS entries.
struct __align__(8) ListStart {
  int entry, tile;
};

// One block of threads: starts [lists + 1], the last one the totals.
extern "C" __global__ void __launch_bounds__(OFFSET_THREADS)
    block_attention_offsets(const int* lengths, ListStart* starts, int lists) {
  __shared__ ListStart warps[OFFSET_THREADS / 32];
  const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
  ListStart total = {0, 0};
  for (int first = 0; first < lists; first += OFFSET_THREADS) {
    const int list = first + threadIdx.x;
    const int length = list < lists ? lengths[list] : 0, tiles = ceil_div(length, QUERY_ROWS);
    ListStart sum = {length, tiles};
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const int entry = __shfl_up_sync(0xffffffffu, sum.entry, offset);
      const int tile = __shfl_up_sync(0xffffffffu, sum.tile, offset);
      if (lane >= offset) sum.entry += entry, sum.tile += tile;
    }
    if (lane == 31) warps[warp] = sum;
    __syncthreads();
    ListStart start = {total.entry + sum.entry - length, total.tile + sum.tile - tiles};
    for (int w = 0; w < OFFSET_THREADS / 32; w++) {
      if (w < warp) start.entry += warps[w].entry, start.tile += warps[w].tile;
      total.entry += warps[w].entry, total.tile += warps[w].tile;
    }
    if (list < lists) starts[list] = start;
    __syncthreads();
  }
  if (threadIdx.x == 0) starts[lists] = total;
}

// Up to QUERY_ROWS entries of a list.
struct __align__(16) EntryTile {
  int list, first, count, unused;
};

// Grid (spans, heads). Fills the lists and their tiles; entries that no list holds get their log-sum-exp.
extern "C" __global__ void __launch_bounds__(LIST_THREADS)
    block_attention_lists(const int* indices, const int* counts, const int* bases, const ListStart* starts,
                          int* entries, EntryTile* tiles, float* lse, const GatherPass pass, const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  int* next = (int*)attention_shared;
  for (int b = threadIdx.x; b < pass.blocks; b += LIST_THREADS) next[b] = bases[first_base(pass) + b];
  __syncthreads();
  visit_entries(indices, counts, pass, n, [&](int entry, int b) {
    if (b < 0) {
      lse[entry] = minus_infinity();
      return;
    }
    const int list = first_list(pass, n) + b, at = atomicAdd(&next[b], 1);
    const ListStart start = starts[list];
    entries[start.entry + at] = entry;
    if (at % QUERY_ROWS == 0) {
      const int left = starts[list + 1].entry - start.entry - at;
      tiles[start.tile + at / QUERY_ROWS] = {list, start.entry + at, min(QUERY_ROWS, left), 0};
    }
  });
}

// Rows of forward.cuh: entry r of a tile is row sources[r] of `q`, rows of `head_dim` elements. -1: none.
struct EntryRows {
  const u16* q;
  u16* out;
  float* statistics;
  int head_dim;
  const int *sources, *entries;

  DEVICE void load(u32 tile) const {
    load_rows<HD, QUERY_ROWS, FORWARD_THREADS>(tile, q, head_dim, head_dim, [&](int r) { return sources[r]; });
  }
  DEVICE u16* output(int row) const { return entries[row] < 0 ? nullptr : out + (size_t)entries[row] * head_dim; }
  DEVICE float* lse(int row) const { return entries[row] < 0 ? nullptr : statistics + entries[row]; }
};

// Policy of forward.cuh: the keys first..end.
struct EntryPolicy {
  int first, end, tiles;
  // Whether every entry's query stands at the last key or behind it.
  bool behind;
  const int* positions;

  DEVICE int next(int index) const { return index; }
  DEVICE KeyTile tile(int index) const {
    const int from = first + index * KEY_ROWS, count = min(KEY_ROWS, end - from);
    return {from, 1, count, behind && count == KEY_ROWS};
  }
  DEVICE bool skips(const KeyTile&, int) const { return false; }

  struct Column {
    int key;
    const int* positions;
    DEVICE bool operator()(int row) const { return positions[row] >= key; }
  };
  DEVICE Column column(const KeyTile& tile, int c, int) const {
    return {c < tile.count ? tile.first + c : 0x7fffffff, positions};
  }
};

// Grid: as many tiles as there can be. Three words per row behind FORWARD_SHARED. partial [entries, head_dim], lse [entries].
extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, FORWARD_BLOCKS)
    block_attention_attend(const u16* q, const u16* k, const u16* v, u16* partial, float* lse, const ListStart* starts,
                           const EntryTile* tiles, const int* entries, int lists, const GatherPass pass,
                           const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  int* tile_sources = (int*)(attention_shared + FORWARD_SHARED);
  int *tile_entries = tile_sources + QUERY_ROWS, *tile_positions = tile_entries + QUERY_ROWS;
  if ((int)blockIdx.x >= starts[lists].tile) return;
  const EntryTile tile = tiles[blockIdx.x];
  const int first = tile.list % pass.blocks * pass.block, end = min(first + pass.block, n.keys);
  static_assert(QUERY_ROWS == FORWARD_THREADS, "a thread to a row");
  int source = -1, entry = -1, position = -1;
  if ((int)threadIdx.x < tile.count) {
    entry = entries[tile.first + threadIdx.x];
    const int row = entry / pass.width, query = row % pass.queries;
    source = (pass.query0 + query) * n.heads + pass.head0 + row / pass.queries;
    position = pass.position(query, n);
  }
  tile_sources[threadIdx.x] = source, tile_entries[threadIdx.x] = entry, tile_positions[threadIdx.x] = position;
  EntryPolicy policy = {first, end, ceil_div(end - first, KEY_ROWS), false, tile_positions};
  policy.behind = __syncthreads_and(entry < 0 || position >= end - 1);
  const int kv_head = pass.head0 / (n.heads / n.kv_heads) + tile.list / pass.blocks;
  const EntryRows rows = {q, partial, lse, n.head_dim, tile_sources, tile_entries};
  const size_t kv_from = (size_t)kv_head * n.head_dim;
  attention_forward_rows(rows, k + kv_from, v + kv_from, n, shared_address(attention_shared), policy);
}

// A thread to eight columns of a row.
extern "C" __global__ void __launch_bounds__(MERGE_THREADS)
    block_attention_merge(const u16* partial, const float* lse, u16* output, const GatherPass pass,
                          const AttentionSizes n) {
  const int chunks = n.head_dim / 8, i = blockIdx.x * MERGE_THREADS + threadIdx.x;
  const int row = i / chunks, chunk = i % chunks;
  if (row >= pass.heads * pass.queries) return;
  lse += (size_t)row * pass.width;
  partial += (size_t)row * pass.width * n.head_dim + chunk * 8;
  float most = minus_infinity();
#pragma unroll 8
  for (int slot = 0; slot < pass.width; slot++) most = fmaxf(most, lse[slot]);
  // A row that selected nothing keeps its zeros.
  const float base = most == minus_infinity() ? 0.f : most;
  float total = 0.f, sum[8] = {};
#pragma unroll 8
  for (int slot = 0; slot < pass.width; slot++) {
    const float weight = exp2_fast((lse[slot] - base) * 1.4426950408889634f);
    const uint4 values = load_16(partial + (size_t)slot * n.head_dim);
    // Outputs of entries that no list holds were never written; read all the same, to keep loads in flight.
    const u32 held = lse[slot] == minus_infinity() ? 0u : 0xffffffffu;
    const u32 pairs[4] = {values.x & held, values.y & held, values.z & held, values.w & held};
    total += weight;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      sum[2 * j] = fmaf(weight, low_float(pairs[j]), sum[2 * j]);
      sum[2 * j + 1] = fmaf(weight, high_float(pairs[j]), sum[2 * j + 1]);
    }
  }
  const float inverse = total > 0.f ? 1.f / total : 0.f;
  u32 packed[4];
#pragma unroll
  for (int j = 0; j < 4; j++) packed[j] = pack(sum[2 * j] * inverse, sum[2 * j + 1] * inverse);
  const size_t query = pass.query0 + row % pass.queries, head = pass.head0 + row / pass.queries;
  *(uint4*)(output + (query * n.heads + head) * n.head_dim + chunk * 8) =
      make_uint4(packed[0], packed[1], packed[2], packed[3]);
}
