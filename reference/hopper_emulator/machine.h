// A CPU model of what the Hopper attention kernels use of a GPU: the threads of blocks as fibers,
// shuffles, named barriers, mbarriers with phases, bulk tensor copies with the 128-byte swizzle, and
// wgmma with its descriptors. It replaces mma.cuh and hopper.cuh.
//
// Asynchronous work is adversarial: copies happen at random times after their start, products either
// at once or as late as the wait allows, and threads run in random order, warps falling behind. It stops at: a deadlock,
// a product or copy that reads shared memory nobody wrote or that was written by ordinary stores
// without a proxy fence, a product without wgmma.fence, threads of a warpgroup that disagree, a kernel
// that ends with unread stores. Registers that a pending product will write hold NaN.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

typedef unsigned int u32;
typedef unsigned long long u64;
typedef unsigned short u16;

#define DEVICE inline
#define __global__
#define __shared__
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __launch_bounds__(...)

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct uint4 { u32 x, y, z, w; };
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint4 make_uint4(u32 x, u32 y, u32 z, u32 w) { return {x, y, z, w}; }
struct Dim { u32 x, y, z; };
inline Dim threadIdx, blockIdx, gridDim, blockDim;
template <class A, class B>
constexpr auto min(A a, B b) { return a < b ? a : b; }
template <class A, class B>
constexpr auto max(A a, B b) { return a > b ? a : b; }
inline float __int_as_float(int x) { float y; memcpy(&y, &x, 4); return y; }
inline float __uint_as_float(u32 x) { float y; memcpy(&y, &x, 4); return y; }
inline u32 __float_as_uint(float x) { u32 y; memcpy(&y, &x, 4); return y; }

namespace machine {

// Not a multiple of 1024, as a kernel may find it.
constexpr u32 SHARED_BASE = 1552;
constexpr u32 SHARED_LIMIT = 227 << 10;

inline std::mt19937_64 generator(1);
inline u32 random(u32 n) { return generator() % n; }

[[noreturn]] inline void fail(const std::string& what) {
  fprintf(stderr, "emulator: %s (block %u, thread %u)\n", what.c_str(), blockIdx.x, threadIdx.x);
  exit(1);
}

struct Mbarrier { int arrivals = 0, pending = 0; long bytes = 0; u32 phase = 0; };
struct Named { int expected = 0, arrived = 0; u64 generation = 0; };

// One product of a warpgroup.
struct Product {
  float* d[128];
  const u32* a[128][4];
  std::vector<float> before[128];
  bool chained[128] = {};
  u64 a_tile = 0, b_tile = 0;
  bool a_registers = false, a_transposed = false, b_transposed = false;
  int add = 0, columns = 0, issued = 0;
  bool done[4] = {};
};

struct Warpgroup { std::vector<std::unique_ptr<Product>> products; };

// A store or addition of a thread, from shared to global memory.
struct Store { std::function<void()> act; bool committed = false, done = false; };

// A copy to shared memory; some take long.
struct Load {
  std::function<void()> act;
  u32 rounds = random(4) == 0 ? random(200) : random(4);
};

struct Warp {
  u32 values[2][32];
  int arrived = 0;
  u64 round = 0;
  // Rounds for which it stands still.
  u32 frozen = 0;
};

struct Block;
struct Fiber {
  Block* block = nullptr;
  int thread = 0;
  ucontext_t context;
  std::vector<char> stack;
  std::function<bool()> ready;
  const char* reason = "";
  bool finished = false;
  // wgmma: products issued, ends of committed groups, whether a fence was passed since the last wait.
  size_t issued = 0;
  std::vector<size_t> groups;
  bool fenced = false;
  std::vector<Store> stores;
  std::vector<u32> dirty;
};

struct Block {
  Dim index;
  std::vector<unsigned char> memory;
  // For each byte: 0 unwritten, 1 written, 2 + thread: written by that thread without a proxy fence.
  std::vector<u16> state;
  std::map<u32, Mbarrier> mbarriers;
  Named named[16];
  std::vector<Warpgroup> warpgroups;
  std::vector<Warp> warps;
  std::vector<Load> loads;
  std::vector<std::unique_ptr<Fiber>> fibers;
  int running = 0;
};

inline Fiber* current;
inline ucontext_t scheduler;
inline std::function<void()> kernel;

inline void block_until(const char* reason, std::function<bool()> ready) {
  if (random(4) != 0 && ready()) return;
  current->reason = reason;
  current->ready = std::move(ready);
  swapcontext(&current->context, &scheduler);
}

inline Block& block() { return *current->block; }
inline Warpgroup& warpgroup() { return block().warpgroups[current->thread / 128]; }

// ---- shared memory ----

inline u32 inside(u32 address, u32 bytes) {
  const u32 at = address - SHARED_BASE;
  if (address < SHARED_BASE || at + bytes > block().memory.size()) fail("shared memory out of bounds");
  if (address % (bytes > 16 ? 16 : bytes)) fail("misaligned shared memory");
  return at;
}

inline void write_ordinary(u32 address, const void* from, u32 bytes) {
  const u32 at = inside(address, bytes);
  memcpy(&block().memory[at], from, bytes);
  for (u32 i = 0; i < bytes; i++) block().state[at + i] = 2 + current->thread;
  current->dirty.push_back(at);
  current->dirty.push_back(bytes);
}

inline void read_ordinary(u32 address, void* to, u32 bytes) {
  const u32 at = inside(address, bytes);
  for (u32 i = 0; i < bytes; i++)
    if (block().state[at + i] == 0) fail("read of shared memory that nobody wrote");
  memcpy(to, &block().memory[at], bytes);
}

// What a copy or product reads, in block `b`.
inline void check_async(Block& b, u32 at, u32 bytes, const char* who) {
  for (u32 i = 0; i < bytes; i++) {
    if (b.state[at + i] == 0) fail(std::string(who) + " reads shared memory that nobody wrote");
    if (b.state[at + i] >= 2) fail(std::string(who) + " reads ordinary stores without a proxy fence");
  }
}

inline u32 swizzled(u32 address) { return address ^ ((address >> 7 & 7) << 4); }

inline void complete(Block& b, u32 address, int arrivals, long bytes) {
  auto found = b.mbarriers.find(address);
  if (found == b.mbarriers.end()) fail("mbarrier that was not initialized");
  Mbarrier& m = found->second;
  m.pending -= arrivals;
  m.bytes += bytes;
  if (m.pending < 0) fail("too many arrivals at an mbarrier");
  if (m.pending == 0 && m.bytes == 0) m.phase ^= 1, m.pending = m.arrivals;
}

// ---- products ----

inline float bf16(u16 bits) { return __uint_as_float((u32)bits << 16); }

// Element (row, k) of a matrix of 16 k described by `tile`: row is the M or N index.
inline float element(Block& b, u64 tile, bool transposed, int row, int k) {
  if (tile >> 62 != 1 || (tile >> 49 & 7) != 0) fail("a matrix descriptor that is not 128-byte swizzled");
  const u32 start = (tile & 0x3fff) << 4, leading = (tile >> 16 & 0x3fff) << 4, stride = (tile >> 32 & 0x3fff) << 4;
  const u32 offset = transposed ? row / 64 * leading + k / 8 * stride + k % 8 * 128 + row % 64 * 2
                                : row / 8 * stride + row % 8 * 128 + k * 2;
  if (transposed && row >= 64 && leading < 1024) fail("a descriptor without the distance of its slabs");
  const u32 at = swizzled(start + offset) - SHARED_BASE;
  if (at + 2 > b.memory.size()) fail("a product reads out of bounds");
  check_async(b, at, 2, "a product");
  u16 bits;
  memcpy(&bits, &b.memory[at], 2);
  return bf16(bits);
}

// The 16 rows of warp `warp`.
inline void multiply(Block& b, Product& x, int warp) {
  float a[16][16];
  std::vector<float> columns(x.columns * 16);
  for (int n = 0; n < x.columns; n++)
    for (int k = 0; k < 16; k++) columns[n * 16 + k] = element(b, x.b_tile, x.b_transposed, n, k);
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++) {
      if (x.a_registers) {
        const int lane = row % 8 * 4 + k % 8 / 2;
        const u32 word = *x.a[warp * 32 + lane][row / 8 + k / 8 * 2];
        a[row][k] = bf16(k & 1 ? word >> 16 : word & 0xffff);
      } else {
        a[row][k] = element(b, x.a_tile, x.a_transposed, warp * 16 + row, k);
      }
    }
  for (int lane = 0; lane < 32; lane++) {
    const int thread = warp * 32 + lane;
    for (int i = 0; i < x.columns / 2; i++) {
      const int row = lane / 4 + (i >> 1 & 1) * 8, column = i / 4 * 8 + lane % 4 * 2 + (i & 1);
      float sum = !x.add ? 0.f : x.chained[thread] ? x.d[thread][i] : x.before[thread][i];
      for (int k = 0; k < 16; k++) sum += a[row][k] * columns[column * 16 + k];
      x.d[thread][i] = sum;
    }
  }
  x.done[warp] = true;
}

inline void issue(float* d, int registers, const u32* const (&a)[4], u64 a_tile, u64 b_tile, bool a_registers,
                  bool a_transposed, bool b_transposed, int add) {
  Fiber& f = *current;
  if (!f.fenced) fail("a product without wgmma.fence");
  auto& products = warpgroup().products;
  if (f.issued == products.size()) products.push_back(std::make_unique<Product>());
  Product& x = *products[f.issued];
  const int thread = f.thread % 128;
  if (x.issued == 0) {
    x.a_tile = a_tile, x.b_tile = b_tile, x.add = add, x.columns = registers * 2;
    x.a_registers = a_registers, x.a_transposed = a_transposed, x.b_transposed = b_transposed;
  } else if (x.a_tile != a_tile || x.b_tile != b_tile || x.add != add || x.columns != registers * 2 ||
             x.a_registers != a_registers) {
    fail("threads of a warpgroup issue different products");
  }
  x.d[thread] = d;
  for (int i = 0; i < 4; i++) x.a[thread][i] = a[i];
  for (size_t i = f.issued; i-- > 0 && !products[i]->done[thread / 32];) x.chained[thread] |= products[i]->d[thread] == d;
  if (!x.chained[thread]) {
    x.before[thread].assign(d, d + registers);
    for (int i = 0; i < registers; i++) d[i] = NAN;
  }
  x.issued++;
  f.issued++;
  if (x.issued == 128 && random(2)) {
    // As early as possible: everything before it, too.
    for (auto& earlier : products) {
      if (earlier->issued < 128) break;
      for (int warp = 0; warp < 4; warp++)
        if (!earlier->done[warp]) multiply(block(), *earlier, warp);
    }
  }
}

inline void wait_products(int groups_left) {
  Fiber& f = *current;
  f.fenced = false;
  const int groups = (int)f.groups.size() - groups_left;
  const size_t end = groups > 0 ? f.groups[groups - 1] : 0;
  auto& products = warpgroup().products;
  block_until("products", [&, end] { return end == 0 || products[end - 1]->issued == 128; });
  const int warp = f.thread % 128 / 32;
  for (size_t i = 0; i < end; i++)
    if (!products[i]->done[warp]) multiply(block(), *products[i], warp);
}

// ---- running ----

inline void enter() {
  kernel();
  current->finished = true;
  current->block->running--;
  for (auto& store : current->stores)
    if (!store.done) fail("a thread ends before its stores were read");
  swapcontext(&current->context, &scheduler);
}

// Runs `body` on `blocks` blocks of `threads`, at most `resident` of them at a time.
inline void launch(int blocks, int threads, u32 shared, int resident, std::function<void()> body) {
  if (shared > SHARED_LIMIT) fail("too much shared memory: " + std::to_string(shared));
  kernel = std::move(body);
  std::vector<std::unique_ptr<Block>> alive;
  int next = 0;
  while (next < blocks || !alive.empty()) {
    while (next < blocks && (int)alive.size() < resident) {
      auto b = std::make_unique<Block>();
      b->index = {(u32)next++, 0, 0};
      b->memory.assign(shared, 0xff);
      b->state.assign(shared, 0);
      b->warpgroups.resize((threads + 127) / 128);
      b->warps.resize((threads + 31) / 32);
      b->running = threads;
      for (int thread = 0; thread < threads; thread++) {
        auto f = std::make_unique<Fiber>();
        f->block = b.get(), f->thread = thread, f->stack.resize(64 << 10);
        getcontext(&f->context);
        f->context.uc_stack.ss_sp = f->stack.data(), f->context.uc_stack.ss_size = f->stack.size();
        f->context.uc_link = nullptr;
        makecontext(&f->context, (void (*)())enter, 0);
        b->fibers.push_back(std::move(f));
      }
      alive.push_back(std::move(b));
    }
    bool progress = false;
    for (auto& b : alive) {
      gridDim = {(u32)blocks, 1, 1}, blockDim = {(u32)threads, 1, 1}, blockIdx = b->index;
      // Now and then a warp or a warpgroup falls behind.
      for (size_t warp = 0; warp < b->warps.size(); warp++) {
        u32& frozen = b->warps[warp].frozen;
        if (frozen > 0) {
          frozen--;
          progress = true;
        } else if (random(200) == 0) {
          frozen = random(100);
          if (random(2))
            for (size_t other = warp / 4 * 4; other < std::min(warp / 4 * 4 + 4, b->warps.size()); other++) b->warps[other].frozen = frozen;
        }
      }
      // Whole warps in random order, so that their collectives gather quickly.
      const int start = random(threads / 32) * 32;
      for (int i = 0; i < threads; i++) {
        Fiber& f = *b->fibers[(start + i) % threads];
        if (f.finished || b->warps[f.thread / 32].frozen > 0 || random(8) == 0) continue;
        current = &f, threadIdx = {(u32)f.thread, 0, 0};
        if (f.ready && !f.ready()) continue;
        f.ready = nullptr;
        progress = true;
        swapcontext(&scheduler, &f.context);
        for (auto& store : f.stores)
          if (store.committed && !store.done && random(4) == 0) store.act(), store.done = true;
      }
      for (size_t i = 0; i < b->loads.size();) {
        current = b->fibers[0].get();
        progress = true;
        if (b->loads[i].rounds-- == 0) {
          auto load = std::move(b->loads[i].act);
          b->loads.erase(b->loads.begin() + i);
          load();
        } else {
          i++;
        }
      }
    }
    std::erase_if(alive, [](auto& b) { return b->running == 0; });
    static int idle = 0;
    idle = progress || alive.empty() ? 0 : idle + 1;
    if (idle > 50) {
      for (auto& f : alive[0]->fibers)
        if (!f->finished && f->thread % 32 == 0) fprintf(stderr, "thread %d waits for %s\n", f->thread, f->reason);
      fail("deadlock");
    }
  }
}

}  // namespace machine
