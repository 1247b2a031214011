// What the Hopper kernels of attention share (needs mma.cuh, hopper.cuh; -D HEAD_DIM, 64 or 128).
//
// A tile [rows, HEAD_DIM] is one slab of 64 columns or two, one after the other. A slab has 128 bytes
// to a row, and the 16-byte chunks of row r are permuted by an XOR with r % 8: the 128-byte swizzle
// of bulk tensor copies and of wgmma. Slabs begin at multiples of 1024 bytes.

constexpr int HD = HEAD_DIM;
static_assert(HD == 64 || HD == 128, "head sizes of the Hopper kernels");
constexpr int SLABS = HD / 64;
constexpr int ROW_BYTES = 128;

DEVICE constexpr int tile_bytes(int rows) { return SLABS * rows * ROW_BYTES; }

struct HopperSizes {
  int batch, queries, keys, heads, kv_heads;
  // Lanes (a head of a sequence) that are worked on at the same time, so that what they share stays in
  // the L2 cache.
  int section;
  float scale;
};

// Which lane and tile an item of work is: sections of lanes one after the other, within a section all
// lanes of tile 0 first, then tile 1, ...
struct Item {
  int lane, tile;

  DEVICE Item(int index, int lanes, int tiles, int section) {
    const int first = index / (section * tiles) * section;
    const int width = min(section, lanes - first), rest = index - first * tiles;
    tile = rest / width;
    lane = first + rest - tile * width;
  }
};

DEVICE float minus_infinity() { return __int_as_float(0xff800000); }

DEVICE int ceil_div(int a, int b) { return (a + b - 1) / b; }

// The matrix descriptor of swizzled slabs at `address`: eight rows are 1024 bytes from the next eight.
// `slab_bytes` leads from 64 columns to the next in a transposed matrix (k runs over the rows), and means
// nothing where k is contiguous (CUTLASS writes 16 there).
DEVICE u64 describe(u32 address, u32 slab_bytes = 16) {
  return (u64)((address & 0x3ffff) >> 4) | (u64)(slab_bytes >> 4) << 16 | (u64)(1024 >> 4) << 32 | (u64)1 << 62;
}

// Added to a descriptor: k step `step` (16 columns) of a tile of `rows` rows whose k is contiguous.
DEVICE constexpr u32 along_columns(int step, int rows) { return (step / 4 * rows * ROW_BYTES + step % 4 * 32) >> 4; }

// Added to a descriptor: k step `step` (16 rows) of a transposed tile.
DEVICE constexpr u32 along_rows(int step) { return (step * 16 * ROW_BYTES) >> 4; }

// d (+)= A[64, HD] B[2 * N, HD]^T from tiles of a_rows and b_rows rows (descriptors of their first rows).
template <int A_ROWS, int B_ROWS, int N>
DEVICE void multiply_heads(float (&d)[N], u64 a, u64 b) {
#pragma unroll
  for (int step = 0; step < HD / 16; step++)
    multiply_tiles<0, 0>(d, a + along_columns(step, A_ROWS), b + along_columns(step, B_ROWS), step > 0);
}

// d (+)= A[64, 4 * WORDS] B[4 * WORDS, HD], A in registers.
template <int WORDS, int N>
DEVICE void multiply_rows(float (&d)[N], const u32 (&a)[WORDS], u64 b, int add) {
#pragma unroll
  for (int step = 0; step < WORDS / 4; step++)
    multiply_registers<1>(d, a[4 * step], a[4 * step + 1], a[4 * step + 2], a[4 * step + 3], b + along_rows(step),
                          step > 0 || add);
}

// Stage and parity of the `index`-th filling of a ring of STAGES buffers.
template <int STAGES>
struct Ring {
  int stage;
  u32 parity;

  DEVICE Ring(int index) : stage(index % STAGES), parity(index / STAGES & 1) {}
};

// Accumulators [64, HD] of a warpgroup times factor(row, 0 or 1: row g or g + 8) as bf16 into rows
// `row0`.. of a tile of `rows` rows. `lane` and `warp` are those within the warpgroup.
template <int N, class Factor>
DEVICE void stage_rows(u32 tile, int rows, int row0, const float (&d)[N], int lane, Factor factor) {
  const int group = lane >> 2, pair = lane & 3;
#pragma unroll
  for (int r = 0; r < 2; r++) {
    const float f = factor(r);
    const u32 row = tile + (row0 + r * 8 + group) * ROW_BYTES + pair * 4;
#pragma unroll
    for (int j = 0; j < N / 4; j++)
      store_shared(row + j / 8 * rows * ROW_BYTES + ((j % 8 ^ group) << 4), pack(d[4 * j + 2 * r] * f, d[4 * j + 2 * r + 1] * f));
  }
}

// Lane 0 of each warp: its 16 staged rows to global memory.
DEVICE void store_staged(const TensorMap& map, u32 tile, int rows, int row0, int head, int row, int sequence) {
#pragma unroll
  for (int slab = 0; slab < SLABS; slab++)
    store_box(map, tile + (slab * rows + row0) * ROW_BYTES, slab * 64, head, row, sequence);
}

// Lane 0 of each warp, after a swizzled tile of `rows` rows was asked for: its copies.
DEVICE void load_tile(u32 tile, const TensorMap& map, u32 barrier, int rows, int head, int row, int sequence) {
#pragma unroll
  for (int slab = 0; slab < SLABS; slab++)
    load_box(tile + slab * rows * ROW_BYTES, map, barrier, slab * 64, head, row, sequence);
}
