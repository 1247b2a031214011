// Attention of a prompt over selected blocks of keys (needs mma.cuh, tile.cuh, forward.cuh).
//
// For each block of keys a bit per query says who selected it; tiles of keys that no query of the
// tile selected are not read, and the others are masked with these bits and causally.

constexpr int MASK_WORDS = QUERY_ROWS / 32;

struct SelectedPolicy {
  int query0, position0, keys, tiles, block;
  // [blocks, MASK_WORDS]: bit q of word w is query 32 w + q. Word w serves warp w.
  const u32* masks;

  DEVICE u32 any(int key_block) const {
    const u32* m = masks + key_block * MASK_WORDS;
    return m[0] | m[1] | m[2] | m[3];
  }

  DEVICE int next(int index) const {
    for (; index < tiles; index++) {
      const int last = (min((index + 1) * KEY_ROWS, keys) - 1) / block;
      for (int b = index * KEY_ROWS / block; b <= last; b++)
        if (any(b)) return index;
    }
    return tiles;
  }

  DEVICE KeyTile tile(int index) const {
    const int first = index * KEY_ROWS;
    return {first, 1, min(KEY_ROWS, keys - first), false};
  }

  DEVICE bool skips(const KeyTile& tile, int warp) const {
    if (tile.first > position0 + warp * 32 + 31) return true;
    const int last = (tile.first + tile.count - 1) / block;
    for (int b = tile.first / block; b <= last; b++)
      if (masks[b * MASK_WORDS + warp]) return false;
    return true;
  }

  struct Column {
    int lowest;
    u32 mask;
    DEVICE bool operator()(int row) const { return row >= lowest && ((mask >> (row & 31)) & 1); }
  };
  DEVICE Column column(const KeyTile& tile, int c, int warp) const {
    if (c >= tile.count) return {QUERY_ROWS, 0};
    const int key = tile.first + c;
    return {key - position0, masks[key / block * MASK_WORDS + warp]};
  }
};

// indices [heads * queries, width], counts [heads * queries].
extern "C" __global__ void __launch_bounds__(FORWARD_THREADS)
    block_attention_prefill(const u16* q, const u16* k, const u16* v, u16* output, const int* indices, const int* counts,
                            int width, int block, const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  u32* masks = (u32*)(attention_shared + FORWARD_SHARED);
  const int query_tile = gridDim.x - 1 - blockIdx.x;
  SelectedPolicy policy;
  policy.query0 = query_tile * QUERY_ROWS;
  policy.position0 = n.keys - n.queries + policy.query0;
  policy.keys = min(policy.position0 + QUERY_ROWS, n.keys);
  policy.tiles = ceil_div(policy.keys, KEY_ROWS);
  policy.block = block;
  policy.masks = masks;
  const int blocks = ceil_div(policy.keys, block);
  for (int i = threadIdx.x; i < blocks * MASK_WORDS; i += FORWARD_THREADS) masks[i] = 0;
  __syncthreads();
  const int rows = min(QUERY_ROWS, n.queries - policy.query0);
  const size_t first_row = (size_t)blockIdx.y * n.queries + policy.query0;
  for (int i = threadIdx.x; i < rows * width; i += FORWARD_THREADS) {
    const int row = i / width, entry = i % width;
    const int selected = indices[(first_row + row) * width + entry];
    if (entry < counts[first_row + row] && selected >= 0 && selected < blocks)
      atomicOr(&masks[selected * MASK_WORDS + (row >> 5)], 1u << (row & 31));
  }
  __syncthreads();
  attention_forward_block({q, k, v, output, nullptr}, n, shared_address(attention_shared), policy);
}
