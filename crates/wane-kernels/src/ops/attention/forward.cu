// Causal and dilated attention, forward (needs mma.cuh, tile.cuh, forward.cuh).

// Keys up to the query's own position.
struct CausalPolicy {
  int query0, position0, keys, tiles;

  DEVICE CausalPolicy(const AttentionSizes& n, int query_tile) {
    query0 = query_tile * QUERY_ROWS;
    position0 = n.keys - n.queries + query0;
    keys = min(position0 + QUERY_ROWS, n.keys);
    tiles = ceil_div(keys, KEY_ROWS);
  }

  DEVICE int next(int index) const { return index; }

  DEVICE KeyTile tile(int index) const {
    const int first = index * KEY_ROWS;
    return {first, 1, min(KEY_ROWS, keys - first), first + KEY_ROWS - 1 <= position0};
  }

  DEVICE bool skips(const KeyTile& tile, int warp) const { return tile.first > position0 + warp * 32 + 31; }

  struct Column {
    int lowest;
    DEVICE bool operator()(int row) const { return row >= lowest; }
  };
  DEVICE Column column(const KeyTile& tile, int c, int) const { return {tile.first + c - position0}; }
};

// Dilated attention reads, for one tile of queries: the initial keys before the tile's window, the
// strided keys before it (gathered into dense tiles), and the window with its own positions, the
// only part with a mask.
struct DilatedPolicy {
  int query0, position0, tiles;
  int dilation, window, initial;
  int window_start, window_end, initial_end, strided_start, strided_end, initial_tiles, strided_tiles;

  DEVICE DilatedPolicy(const AttentionSizes& n, int query_tile) {
    query0 = query_tile * QUERY_ROWS;
    position0 = n.keys - n.queries + query0;
    dilation = n.dilation, window = n.window, initial = n.initial;
    window_end = min(position0 + QUERY_ROWS, n.keys);
    window_start = max(0, position0 - window);
    initial_end = min(initial, window_start);
    // Strided key i is (i + 1) * dilation - 1.
    strided_start = dilation > 0 ? initial_end / dilation : 0;
    strided_end = dilation > 0 ? window_start / dilation : 0;
    initial_tiles = ceil_div(initial_end, KEY_ROWS);
    strided_tiles = ceil_div(strided_end - strided_start, KEY_ROWS);
    tiles = initial_tiles + strided_tiles + ceil_div(window_end - window_start, KEY_ROWS);
  }

  DEVICE int next(int index) const { return index; }

  DEVICE KeyTile tile(int index) const {
    if (index < initial_tiles) {
      const int first = index * KEY_ROWS, count = min(KEY_ROWS, initial_end - first);
      return {first, 1, count, count == KEY_ROWS};
    }
    index -= initial_tiles;
    if (index < strided_tiles) {
      const int i = strided_start + index * KEY_ROWS, count = min(KEY_ROWS, strided_end - i);
      return {(i + 1) * dilation - 1, dilation, count, count == KEY_ROWS};
    }
    const int first = window_start + (index - strided_tiles) * KEY_ROWS;
    return {first, 1, min(KEY_ROWS, window_end - first), false};
  }

  DEVICE bool skips(const KeyTile& tile, int warp) const { return tile.first > position0 + warp * 32 + 31; }

  // Rows lowest..=highest of the query tile see the column.
  struct Column {
    int lowest, highest;
    DEVICE bool operator()(int row) const { return row >= lowest && row <= highest; }
  };
  DEVICE Column column(const KeyTile& tile, int c, int) const {
    if (c >= tile.count) return {QUERY_ROWS, -1};
    const int key = tile.first + c * tile.stride;
    const bool always = key < initial || (dilation > 0 && (key + 1) % dilation == 0);
    return {key - position0, always ? QUERY_ROWS : key + window - position0};
  }
};

extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, FORWARD_BLOCKS)
    attention_forward_causal(const u16* q, const u16* k, const u16* v, u16* output, float* lse, const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  // Long rows first.
  attention_forward_block({q, k, v, output, lse}, n, shared_address(attention_shared),
                          CausalPolicy(n, gridDim.x - 1 - blockIdx.x));
}

extern "C" __global__ void __launch_bounds__(FORWARD_THREADS, FORWARD_BLOCKS)
    attention_forward_dilated(const u16* q, const u16* k, const u16* v, u16* output, float* lse, const AttentionSizes n) {
  extern __shared__ __align__(1024) unsigned char attention_shared[];
  attention_forward_block({q, k, v, output, lse}, n, shared_address(attention_shared),
                          DilatedPolicy(n, gridDim.x - 1 - blockIdx.x));
}
