// Shared-memory tiles of bf16 rows and the sizes of an attention call (needs mma.cuh).
//
// A tile is [rows, D] with D in {32, 64, 96, 128}; the 16-byte chunks of a row are permuted by an
// XOR with bits of the row, so that eight rows of one chunk column (what ldmatrix reads) lie in
// eight different bank groups. Head dimensions between these sizes are padded with zeros.
//
// Fragments of mma.m16n8k16, lane l, g = l / 4, t = l % 4: A holds (row g and g + 8, columns 2t and
// 2t + 8, two each), B (rows 2t and 2t + 8, two each, column g), C (row g and g + 8, columns 2t, 2t + 1).

struct AttentionSizes {
  int batch, queries, keys, heads, kv_heads, head_dim;
  // Visible: the first `initial`, the last `window` before the own, every `dilation`-th (0: none).
  int dilation, window, initial;
  float scale;
};

// Masked scores. Finite arithmetic on it stays -inf or becomes 0 after exp2.
DEVICE float minus_infinity() { return __int_as_float(0xff800000); }

DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }

template <int D>
DEVICE int swizzle(int row) {
  return D % 64 == 0 ? row & 7 : (row >> 1) & 3;
}

// Address of a 16-byte chunk.
template <int D>
DEVICE u32 chunk_at(u32 tile, int row, int chunk) {
  return tile + row * (D * 2) + ((chunk ^ swizzle<D>(row)) << 4);
}

// Where a lane points ldmatrix in a tile [rows, D]: `row` + `row0`, chunk `first` or `first` + 1.
template <int D>
struct LaneRow {
  u32 offset, chunk;

  DEVICE LaneRow(int row, int upper) {
    offset = row * (D * 2);
    chunk = (upper ^ swizzle<D>(row)) << 4;
  }

  // `row0` a multiple of 8, `first` even.
  DEVICE u32 at(u32 tile, int row0, int first) const {
    return tile + offset + (chunk ^ (first << 4)) + row0 * (D * 2);
  }
};

// A[m, k] from a tile stored [m, k].
template <int D>
DEVICE LaneRow<D> lane_for_a(int lane) {
  return LaneRow<D>(lane & 15, lane >> 4);
}

// A[m, k] from a tile stored [k, m], with the transposing load.
template <int D>
DEVICE LaneRow<D> lane_for_a_transposed(int lane) {
  return LaneRow<D>((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
}

// B[k, n], two neighbouring n tiles, from a tile stored [n, k].
template <int D>
DEVICE LaneRow<D> lane_for_b(int lane) {
  return LaneRow<D>((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
}

// B[k, n], two neighbouring n tiles, from a tile stored [k, n], with the transposing load.
template <int D>
DEVICE LaneRow<D> lane_for_b_transposed(int lane) {
  return LaneRow<D>(lane & 15, lane >> 4);
}

// Starts copying ROWS rows of `head_dim` elements; `row_of(r)` is the row of `source`, or -1 for zeros.
template <int D, int ROWS, int THREADS, class RowOf>
DEVICE void load_rows(u32 tile, const u16* source, size_t stride, int head_dim, RowOf row_of) {
  constexpr int CHUNKS = D / 8;
  static_assert(ROWS * CHUNKS % THREADS == 0, "whole rounds");
#pragma unroll
  for (int round = 0; round < ROWS * CHUNKS / THREADS; round++) {
    int i = round * THREADS + threadIdx.x;
    int r = i / CHUNKS, c = i % CHUNKS;
    int row = row_of(r);
    bool inside = row >= 0 && c * 8 < head_dim;
    copy_async(chunk_at<D>(tile, r, c), source + (inside ? (size_t)row * stride + c * 8 : 0), inside ? 16 : 0);
  }
}

// The same for rows first, first + step, ..., of which `count` exist: one pointer per thread moves along.
template <int D, int ROWS, int THREADS>
DEVICE void load_stepped_rows(u32 tile, const u16* source, size_t stride, int head_dim, int first, int step, int count) {
  constexpr int CHUNKS = D / 8, ROUND_ROWS = THREADS / CHUNKS;
  if constexpr (THREADS % CHUNKS == 0 && ROUND_ROWS % 8 == 0) {
    static_assert(ROWS % ROUND_ROWS == 0, "whole rounds");
    const int row = threadIdx.x / CHUNKS, c = threadIdx.x % CHUNKS;
    // Rows of a round are a multiple of 8 apart, so the swizzle of a thread does not change.
    const u32 to = chunk_at<D>(tile, row, c);
    const u16* from = source + (size_t)(first + row * step) * stride + c * 8;
    const size_t advance = (size_t)step * stride * ROUND_ROWS;
    const int rows = c * 8 < head_dim ? count - row : 0;
#pragma unroll
    for (int round = 0; round < ROWS / ROUND_ROWS; round++) {
      const bool inside = round * ROUND_ROWS < rows;
      copy_async(to + round * ROUND_ROWS * (D * 2), inside ? from : source, inside ? 16 : 0);
      from += advance;
    }
  } else {
    load_rows<D, ROWS, THREADS>(tile, source, stride, head_dim, [&](int r) { return r < count ? first + r * step : -1; });
  }
}
