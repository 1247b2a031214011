// mma.cuh and hopper.cuh on the emulated machine: the same functions, the same contracts.
#pragma once
#include "machine.h"

struct alignas(64) TensorMap {
  u16* base;
  // Elements; [column, head, row, sequence].
  u64 sizes[4], strides[4];
  u32 box_rows;
};

inline u32 shared_address(const void*) { return machine::SHARED_BASE; }

inline u16 round_bf16(float x) {
  u32 u = __float_as_uint(x);
  return std::isnan(x) ? 0x7fff : (u16)((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}
inline u32 pack(float low, float high) { return round_bf16(low) | (u32)round_bf16(high) << 16; }
inline float exp2_fast(float x) { return exp2f(x); }
inline float low_float(u32 pair) { return __uint_as_float(pair << 16); }
inline float high_float(u32 pair) { return __uint_as_float(pair & 0xffff0000u); }

inline void store_shared(u32 address, u32 value) { machine::write_ordinary(address, &value, 4); }
inline void load_shared_16(u32 (&r)[4], u32 address) { machine::read_ordinary(address, r, 16); }
inline u32 load_shared(u32 address) {
  u32 value;
  machine::read_ordinary(address, &value, 4);
  return value;
}
inline float2 load_shared_pair(u32 address) {
  float2 value;
  machine::read_ordinary(address, &value, 8);
  return value;
}
inline void store_shared_16(u32 address, float a, float b, float c, float d) {
  const float x[4] = {a, b, c, d};
  machine::write_ordinary(address, x, 16);
}

// ---- barriers ----

inline void barrier_init(u32 barrier, u32 arrivals) {
  machine::inside(barrier, 8);
  machine::block().mbarriers[barrier] = {(int)arrivals, (int)arrivals, 0, 0};
}
inline void barrier_init_done() {}
inline void barrier_arrive(u32 barrier) { machine::complete(machine::block(), barrier, 1, 0); }
inline void barrier_expect(u32 barrier, u32 bytes) {
  // The bytes first: the phase must not complete in between.
  machine::block().mbarriers.at(barrier).bytes -= bytes;
  machine::complete(machine::block(), barrier, 1, 0);
}
inline void barrier_wait(u32 barrier, u32 parity) {
  if (parity > 1) machine::fail("a parity above 1");
  auto& m = machine::block().mbarriers.at(barrier);
  machine::block_until("an mbarrier", [&m, parity] { return m.phase != parity; });
}

inline void named_arrive(int id, int threads) {
  auto& b = machine::block().named[id];
  if (b.arrived > 0 && b.expected != threads) machine::fail("a named barrier with two counts");
  b.expected = threads;
  if (++b.arrived == threads) b.arrived = 0, b.generation++;
}
inline void named_sync(int id, int threads) {
  auto& b = machine::block().named[id];
  const u64 before = b.generation;
  named_arrive(id, threads);
  machine::block_until("a named barrier", [&b, before] { return b.generation != before; });
}
inline void __syncthreads() { named_sync(0, blockDim.x); }

// All 32 lanes give a value, and get everyone's.
inline const u32* exchange(u32 value) {
  auto& w = machine::block().warps[machine::current->thread / 32];
  const u64 round = w.round;
  w.values[round & 1][machine::current->thread % 32] = value;
  if (++w.arrived == 32) w.arrived = 0, w.round++;
  machine::block_until("its warp", [&w, round] { return w.round != round; });
  return w.values[round & 1];
}
inline void __syncwarp() { exchange(0); }
inline float __shfl_xor_sync(u32, float value, int mask) {
  return __uint_as_float(exchange(__float_as_uint(value))[(machine::current->thread % 32) ^ mask]);
}
inline u32 atomicAdd(u32* p, u32 x) { return std::exchange(*p, *p + x); }
inline u32 atomicExch(u32* p, u32 x) { return std::exchange(*p, x); }

// ---- bulk copies ----

inline void fence_async() {
  auto& f = *machine::current;
  for (size_t i = 0; i < f.dirty.size(); i += 2)
    for (u32 j = 0; j < f.dirty[i + 1]; j++) {
      u16& state = f.block->state[f.dirty[i] + j];
      if (state == 2 + f.thread) state = 1;
    }
  f.dirty.clear();
}

// Until it lands, the target of a copy is nobody's.
inline void forget(u32 at, u32 bytes) {
  auto& b = machine::block();
  memset(&b.memory[at], 0xff, bytes);
  std::fill_n(b.state.begin() + at, bytes, 0);
}

inline void load_box(u32 to, const TensorMap& map, u32 barrier, int column, int head, int row, int sequence) {
  if (to % 128) machine::fail("a box at an address that is no multiple of 128");
  const u32 bytes = map.box_rows * 128;
  forget(machine::inside(to, bytes), bytes);
  auto* b = &machine::block();
  b->loads.push_back({[=, &map] {
    for (u32 r = 0; r < map.box_rows; r++)
      for (u32 c = 0; c < 64; c++) {
        const u64 at[4] = {(u64)column + c, (u64)head, (u64)row + r, (u64)sequence};
        u16 value = 0;
        u64 offset = 0;
        bool exists = true;
        for (int i = 0; i < 4; i++) exists &= at[i] < map.sizes[i], offset += at[i] * map.strides[i];
        if (exists) value = map.base[offset];
        const u32 address = machine::swizzled(to + r * 128 + c * 2) - machine::SHARED_BASE;
        memcpy(&b->memory[address], &value, 2);
        b->state[address] = b->state[address + 1] = 1;
      }
    machine::complete(*b, barrier, 0, bytes);
  }});
}

inline void load_bulk(u32 to, const void* from, u32 bytes, u32 barrier) {
  if (to % 16 || (u64)from % 16 || bytes % 16) machine::fail("a bulk copy that is not aligned to 16");
  const u32 at = machine::inside(to, bytes);
  forget(at, bytes);
  auto* b = &machine::block();
  b->loads.push_back({[=] {
    memcpy(&b->memory[at], from, bytes);
    std::fill_n(b->state.begin() + at, bytes, 1);
    machine::complete(*b, barrier, 0, bytes);
  }});
}

inline void store_box(const TensorMap& map, u32 from, int column, int head, int row, int sequence) {
  if (from % 128) machine::fail("a box at an address that is no multiple of 128");
  machine::inside(from, map.box_rows * 128);
  auto* b = &machine::block();
  machine::current->stores.push_back({[=, &map] {
    for (u32 r = 0; r < map.box_rows; r++)
      for (u32 c = 0; c < 64; c++) {
        const u32 address = machine::swizzled(from + r * 128 + c * 2) - machine::SHARED_BASE;
        machine::check_async(*b, address, 2, "a store");
        const u64 at[4] = {(u64)column + c, (u64)head, (u64)row + r, (u64)sequence};
        u64 offset = 0;
        bool exists = true;
        for (int i = 0; i < 4; i++) exists &= at[i] < map.sizes[i], offset += at[i] * map.strides[i];
        if (exists) memcpy(&map.base[offset], &b->memory[address], 2);
      }
  }});
}

inline void add_bulk(float* to, u32 from, u32 bytes) {
  if (from % 16 || (u64)to % 16 || bytes % 16) machine::fail("a bulk addition that is not aligned to 16");
  const u32 at = machine::inside(from, bytes);
  auto* b = &machine::block();
  machine::current->stores.push_back({[=] {
    machine::check_async(*b, at, bytes, "an addition");
    for (u32 i = 0; i < bytes / 4; i++) {
      float x;
      memcpy(&x, &b->memory[at + i * 4], 4);
      to[i] += x;
    }
  }});
}

inline void store_commit() {
  for (auto& store : machine::current->stores) store.committed = true;
}
template <int N>
void store_wait_read() {
  static_assert(N == 0);
  for (auto& store : machine::current->stores)
    if (store.committed && !store.done) store.act(), store.done = true;
  std::erase_if(machine::current->stores, [](auto& store) { return store.done; });
}

// ---- wgmma ----

template <int N>
void registers_grow() {}
template <int N>
void registers_shrink() {}
inline void compute_first(u32 x) {
  if ((int)x < 0) machine::fail("compute_first of a negative number");
}
inline void products_begin() { machine::current->fenced = true; }
inline void products_commit() { machine::current->groups.push_back(machine::current->issued); }
template <int N, class... Arrays>
void products_wait(Arrays&...) {
  machine::wait_products(N);
}

template <int A_TRANSPOSED, int B_TRANSPOSED, int N>
void multiply_tiles(float (&d)[N], u64 a, u64 b, int add) {
  machine::issue(d, N, {}, a, b, false, A_TRANSPOSED, B_TRANSPOSED, add);
}
template <int B_TRANSPOSED, int N>
void multiply_registers(float (&d)[N], const u32& a0, const u32& a1, const u32& a2, const u32& a3, u64 b, int add) {
  machine::issue(d, N, {&a0, &a1, &a2, &a3}, 0, b, true, false, B_TRANSPOSED, add);
}
