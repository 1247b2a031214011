// The memory scan in one pass over the data, parallel over channels and over time.
//
// A step is the map h -> g h + (1 - g) x, and maps compose: (a, b) after (a', b') is (a a', a b' + b).
// A block owns a tile: TEAMS * STEPS consecutive tokens of STRIP channels. Each thread loads STEPS tokens of
// V channels into registers and composes their maps; the block scans the maps of its teams; then it needs the
// state at the tile's beginning. Tiles publish the composition of their maps at once and the state at their
// end as soon as they know it; a tile looks back to the nearest published state and applies the maps between
// (Merrill and Garland, "Single-pass parallel prefix scan with decoupled look-back", 2016). It applies them one
// after the other with the same operations as the tiles themselves, so the result does not depend on how far
// it looked. Tiles are numbered by a ticket, so every tile waits only for tiles that already run.
#include "common.cuh"

// V elements as they lie in memory.
template <class T, int V>
struct Raw {
    uint4 word;
    __device__ __forceinline__ void fetch(const T* p) { word = *reinterpret_cast<const uint4*>(p); }
    __device__ __forceinline__ void open(float (&x)[V]) const {
        u32 w[4] = {word.x, word.y, word.z, word.w};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            if constexpr (V == 8) {
                x[2 * i] = low_bf16(w[i]), x[2 * i + 1] = high_bf16(w[i]);
            } else {
                x[i] = __uint_as_float(w[i]);
            }
        }
    }
};
template <class T>
struct Raw<T, 1> {
    T word;
    __device__ __forceinline__ void fetch(const T* p) { word = *p; }
    __device__ __forceinline__ void open(float (&x)[1]) const { x[0] = widen(word); }
};

// The maps of V channels for keys and values, which share their gates.
template <int V>
struct Maps {
    float a[V], k[V], v[V];

    __device__ __forceinline__ void identity() {
#pragma unroll
        for (int j = 0; j < V; j++) a[j] = 1.f, k[j] = 0.f, v[j] = 0.f;
    }
};

// What tiles tell each other; [tile, chain] major, chain = (sequence, strip).
struct Board {
    u32* flags;         // 0 nothing, 1 maps, 2 state
    float* maps;        // [.., 3, STRIP]
    float* states;      // [.., 2, STRIP]
    int chains;
};

// `maps`: composition of the calling thread's steps. Returns the state before its first step in k0, v0.
// first_state and last_state: f32 [2, width] of this sequence at the strip's first channel, or null.
template <int LANES, int V, int THREADS>
__device__ __forceinline__ void resolve(Maps<V>& maps, Board board, int tile, int chain, bool last,
                                        const float* first_state, float* last_state, int width, int channels,
                                        float (&k0)[V], float (&v0)[V]) {
    constexpr int STRIP = LANES * V, WARPS = THREADS / 32;
    __shared__ float totals[WARPS][3][STRIP];
    __shared__ float carry[2][STRIP];
    __shared__ int depth;
    int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, c0 = (threadIdx.x % LANES) * V, c = threadIdx.x;

    // Inclusive scan over the teams of a warp.
#pragma unroll
    for (int o = LANES; o < 32; o <<= 1) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            float a = __shfl_up_sync(FULL_WARP, maps.a[j], o);
            float k = __shfl_up_sync(FULL_WARP, maps.k[j], o);
            float v = __shfl_up_sync(FULL_WARP, maps.v[j], o);
            if (lane >= o) {
                maps.k[j] = fmaf(maps.a[j], k, maps.k[j]);
                maps.v[j] = fmaf(maps.a[j], v, maps.v[j]);
                maps.a[j] *= a;
            }
        }
    }
    if (lane >= 32 - LANES) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            totals[warp][0][c0 + j] = maps.a[j];
            totals[warp][1][c0 + j] = maps.k[j];
            totals[warp][2][c0 + j] = maps.v[j];
        }
    }
    // Exclusive within the warp.
    if constexpr (LANES < 32) {
#pragma unroll
        for (int j = 0; j < V; j++) {
            maps.a[j] = __shfl_up_sync(FULL_WARP, maps.a[j], LANES);
            maps.k[j] = __shfl_up_sync(FULL_WARP, maps.k[j], LANES);
            maps.v[j] = __shfl_up_sync(FULL_WARP, maps.v[j], LANES);
        }
        if (lane < LANES) maps.identity();
    } else {
        maps.identity();
    }
    __syncthreads();

    // One thread per channel: exclusive scan over the warps, and the tile's map.
    float a = 1.f, k = 0.f, v = 0.f;
    i64 here = (i64)tile * board.chains + chain;
    if (c < STRIP) {
#pragma unroll
        for (int w = 0; w < WARPS; w++) {
            float wa = totals[w][0][c], wk = totals[w][1][c], wv = totals[w][2][c];
            totals[w][0][c] = a, totals[w][1][c] = k, totals[w][2][c] = v;
            k = fmaf(wa, k, wk), v = fmaf(wa, v, wv), a *= wa;
        }
        float* to = board.maps + here * 3 * STRIP + c;
        to[0] = a, to[STRIP] = k, to[2 * STRIP] = v;
        __threadfence();
    }
    __syncthreads();
    if (tile > 0 && warp == 0) {
        volatile u32* flags = board.flags;
        if (lane == 0) {
            __threadfence();
            flags[here] = 1;
        }
        // Lane l watches the tile l + 1 before this one.
        for (;;) {
            int t = tile - 1 - lane;
            u32 flag = t >= 0 ? flags[(i64)t * board.chains + chain] : 0;
            u32 with_state = __ballot_sync(FULL_WARP, flag == 2), with_maps = __ballot_sync(FULL_WARP, flag >= 1);
            if (with_state) {
                int nearest = __ffs(with_state) - 1;
                u32 between = (1u << nearest) - 1;
                if ((with_maps & between) == between) {
                    if (lane == 0) depth = nearest;
                    break;
                }
            }
        }
        __threadfence();
    }
    __syncthreads();
    if (c < STRIP) {
        float hk = 0.f, hv = 0.f;
        if (tile > 0) {
            int t = tile - 1 - depth;
            const float* state = board.states + ((i64)t * board.chains + chain) * 2 * STRIP + c;
            hk = __ldcg(state), hv = __ldcg(state + STRIP);
// The loads do not depend on each other: eight maps in flight, so that their latencies overlap.
#pragma unroll 8
            for (t++; t < tile; t++) {
                const float* map = board.maps + ((i64)t * board.chains + chain) * 3 * STRIP + c;
                float ta = __ldcg(map), tk = __ldcg(map + STRIP), tv = __ldcg(map + 2 * STRIP);
                hk = fmaf(ta, hk, tk), hv = fmaf(ta, hv, tv);
            }
        } else if (first_state && c < channels) {
            hk = first_state[c], hv = first_state[width + c];
        }
        carry[0][c] = hk, carry[1][c] = hv;
        hk = fmaf(a, hk, k), hv = fmaf(a, hv, v);
        float* state = board.states + here * 2 * STRIP + c;
        state[0] = hk, state[STRIP] = hv;
        if (last && last_state && c < channels) last_state[c] = hk, last_state[width + c] = hv;
        __threadfence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        *(volatile u32*)(board.flags + here) = 2;
    }
#pragma unroll
    for (int j = 0; j < V; j++) {
        float wa = totals[warp][0][c0 + j];
        float wk = fmaf(wa, carry[0][c0 + j], totals[warp][1][c0 + j]);
        float wv = fmaf(wa, carry[1][c0 + j], totals[warp][2][c0 + j]);
        k0[j] = fmaf(maps.a[j], wk, maps.k[j]);
        v0[j] = fmaf(maps.a[j], wv, maps.v[j]);
    }
}

// Everything a scan reads and writes; passed by value.
struct Scan {
    const void *keys, *values, *gates;
    void *out_keys, *out_values;
    const float* initial;
    float* state;
    u32* ticket;
    Board board;
    int tokens, width, strips, tiles;
    int key_stride, value_stride, gate_stride;
};

__device__ __forceinline__ u32 take_ticket(u32* counter) {
    __shared__ u32 ticket;
    if (threadIdx.x == 0) ticket = atomicAdd(counter, 1u);
    __syncthreads();
    return ticket;
}

template <class T, int V, int LANES, int THREADS, int STEPS>
__device__ __forceinline__ void forward(const Scan& s) {
    constexpr int STRIP = LANES * V, TILE = THREADS / LANES * STEPS;
    u32 ticket = take_ticket(s.ticket);
    int tile = ticket / s.board.chains, chain = ticket % s.board.chains;
    int sequence = chain / s.strips, strip = chain % s.strips * STRIP;
    int channel = strip + threadIdx.x % LANES * V, first = tile * TILE + threadIdx.x / LANES * STEPS;
    bool active = channel < s.width;
    i64 row = (i64)sequence * s.tokens + first;
    const T* keys = (const T*)s.keys + row * s.key_stride + channel;
    const T* values = (const T*)s.values + row * s.value_stride + channel;
    const T* gates = (const T*)s.gates + row * s.gate_stride + channel;
    Raw<T, V> rk[STEPS], rv[STEPS], rg[STEPS];
    int steps = active ? min(max(s.tokens - first, 0), STEPS) : 0;
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            rg[l].fetch(gates + (i64)l * s.gate_stride);
            rk[l].fetch(keys + (i64)l * s.key_stride);
            rv[l].fetch(values + (i64)l * s.value_stride);
        }
    }
    Maps<V> maps;
    maps.identity();
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            float g[V], k[V], v[V];
            rg[l].open(g), rk[l].open(k), rv[l].open(v);
#pragma unroll
            for (int j = 0; j < V; j++) {
                float gate = sigmoid(g[j]);
                maps.a[j] *= gate;
                maps.k[j] = fmaf(gate, maps.k[j] - k[j], k[j]);
                maps.v[j] = fmaf(gate, maps.v[j] - v[j], v[j]);
            }
        }
    }
    float hk[V], hv[V];
    i64 state = (i64)sequence * 2 * s.width + strip;
    resolve<LANES, V, THREADS>(maps, s.board, tile, chain, tile == s.tiles - 1, s.initial ? s.initial + state : nullptr,
                               s.state + state, s.width, min(STRIP, s.width - strip), hk, hv);
    T* out_keys = (T*)s.out_keys + row * s.width + channel;
    T* out_values = (T*)s.out_values + row * s.width + channel;
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            float g[V], k[V], v[V];
            rg[l].open(g), rk[l].open(k), rv[l].open(v);
#pragma unroll
            for (int j = 0; j < V; j++) {
                float gate = sigmoid(g[j]);
                hk[j] = fmaf(gate, hk[j] - k[j], k[j]);
                hv[j] = fmaf(gate, hv[j] - v[j], v[j]);
            }
            store(out_keys + (i64)l * s.width, hk);
            store(out_values + (i64)l * s.width, hv);
        }
    }
}

// A few tokens: one thread walks through them. Decoding is one token of many sequences.
template <class T, int V>
__device__ __forceinline__ void steps(const Scan& s, int batch) {
    auto i = flat_index<V>();
    u32 per_row = s.width / V;
    if (i >= (u64)batch * per_row) return;
    i64 sequence = i / per_row;
    int channel = (int)(i % per_row) * V;
    i64 state = sequence * 2 * s.width + channel;
    float hk[V], hv[V];
#pragma unroll
    for (int j = 0; j < V; j++) hk[j] = 0.f, hv[j] = 0.f;
    if (s.initial) load(s.initial + state, hk), load(s.initial + state + s.width, hv);
    for (int t = 0; t < s.tokens; t++) {
        i64 row = sequence * s.tokens + t;
        float g[V], k[V], v[V];
        load((const T*)s.gates + row * s.gate_stride + channel, g);
        load((const T*)s.keys + row * s.key_stride + channel, k);
        load((const T*)s.values + row * s.value_stride + channel, v);
#pragma unroll
        for (int j = 0; j < V; j++) {
            float gate = sigmoid(g[j]);
            hk[j] = fmaf(gate, hk[j] - k[j], k[j]);
            hv[j] = fmaf(gate, hv[j] - v[j], v[j]);
        }
        store((T*)s.out_keys + row * s.width + channel, hk);
        store((T*)s.out_values + row * s.width + channel, hv);
    }
    store(s.state + state, hk);
    store(s.state + state + s.width, hv);
}

struct Backward {
    const void *dkeys, *dvalues, *keys, *values, *gates, *scanned_keys, *scanned_values;
    const float* initial;
    float* dinitial;
    // [.., 3 * width]: gradients of keys, values and gate logits.
    void* out;
    u32* ticket;
    Board board;
    int tokens, width, strips, tiles;
    int key_stride, value_stride, gate_stride, out_stride;
};

// Backward in time: with c_t = g_t a_t, the step is c_t = g_t c_{t+1} + g_t dy_t.
template <class T, int V, int LANES, int THREADS, int STEPS>
__device__ __forceinline__ void backward(const Backward& s) {
    constexpr int STRIP = LANES * V, TILE = THREADS / LANES * STEPS;
    u32 ticket = take_ticket(s.ticket);
    int tile = ticket / s.board.chains, chain = ticket % s.board.chains;
    int sequence = chain / s.strips, strip = chain % s.strips * STRIP;
    int channel = strip + threadIdx.x % LANES * V, first = tile * TILE + threadIdx.x / LANES * STEPS;
    bool active = channel < s.width;
    // Step l of this thread is token newest - l.
    int newest = s.tokens - 1 - first, steps = active ? min(max(newest + 1, 0), STEPS) : 0;
    i64 row = (i64)sequence * s.tokens + newest;
    const T* dkeys = (const T*)s.dkeys + row * s.width + channel;
    const T* dvalues = (const T*)s.dvalues + row * s.width + channel;
    const T* gates = (const T*)s.gates + row * s.gate_stride + channel;
    Raw<T, V> rdk[STEPS], rdv[STEPS], rg[STEPS];
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            rg[l].fetch(gates - (i64)l * s.gate_stride);
            rdk[l].fetch(dkeys - (i64)l * s.width);
            rdv[l].fetch(dvalues - (i64)l * s.width);
        }
    }
    // Needed after the scan; asked for now, so that they arrive meanwhile.
    const T* keys = (const T*)s.keys + row * s.key_stride + channel;
    const T* values = (const T*)s.values + row * s.value_stride + channel;
    const T* before_keys = (const T*)s.scanned_keys + (row - 1) * s.width + channel;
    const T* before_values = (const T*)s.scanned_values + (row - 1) * s.width + channel;
    Raw<T, V> rk[STEPS], rv[STEPS], rhk[STEPS], rhv[STEPS];
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            rk[l].fetch(keys - (i64)l * s.key_stride);
            rv[l].fetch(values - (i64)l * s.value_stride);
            if (newest - l > 0) {
                rhk[l].fetch(before_keys - (i64)l * s.width);
                rhv[l].fetch(before_values - (i64)l * s.width);
            }
        }
    }
    Maps<V> maps;
    maps.identity();
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            float g[V], k[V], v[V];
            rg[l].open(g), rdk[l].open(k), rdv[l].open(v);
#pragma unroll
            for (int j = 0; j < V; j++) {
                float gate = sigmoid(g[j]);
                maps.a[j] *= gate;
                maps.k[j] = gate * (maps.k[j] + k[j]);
                maps.v[j] = gate * (maps.v[j] + v[j]);
            }
        }
    }
    float ck[V], cv[V];
    i64 state = (i64)sequence * 2 * s.width + strip;
    resolve<LANES, V, THREADS>(maps, s.board, tile, chain, tile == s.tiles - 1, nullptr,
                               s.dinitial ? s.dinitial + state : nullptr, s.width, min(STRIP, s.width - strip), ck, cv);
    T* out = (T*)s.out + row * s.out_stride + channel;
#pragma unroll
    for (int l = 0; l < STEPS; l++) {
        if (l < steps) {
            float g[V], d[V], x[V], h[V], dg[V];
            rg[l].open(g);
#pragma unroll
            for (int j = 0; j < V; j++) g[j] = sigmoid(g[j]), dg[j] = 0.f, h[j] = 0.f;
            const float* initial = s.initial + (state - strip) + channel;
            bool oldest = newest - l == 0;
            rdk[l].open(d), rk[l].open(x);
            if (!oldest) {
                rhk[l].open(h);
            } else if (s.initial) {
                load(initial, h);
            }
#pragma unroll
            for (int j = 0; j < V; j++) {
                float a = d[j] + ck[j];
                ck[j] = g[j] * a;
                dg[j] = a * (h[j] - x[j]);
                d[j] = a - ck[j];
                h[j] = 0.f;
            }
            store(out - (i64)l * s.out_stride, d);
            rdv[l].open(d), rv[l].open(x);
            if (!oldest) {
                rhv[l].open(h);
            } else if (s.initial) {
                load(initial + s.width, h);
            }
#pragma unroll
            for (int j = 0; j < V; j++) {
                float a = d[j] + cv[j];
                cv[j] = g[j] * a;
                dg[j] = fmaf(a, h[j] - x[j], dg[j]) * (g[j] * (1.f - g[j]));
                d[j] = a - cv[j];
            }
            store(out - (i64)l * s.out_stride + s.width, d);
            store(out - (i64)l * s.out_stride + 2 * s.width, dg);
        }
    }
}

#define KERNELS(SUFFIX, T, V, LANES)                                                              \
    extern "C" __global__ void __launch_bounds__(256, 2) forward_##SUFFIX(Scan s) {               \
        forward<T, V, LANES, 256, 4>(s);                                                          \
    }                                                                                             \
    extern "C" __global__ void __launch_bounds__(128, 3) backward_##SUFFIX(Backward s) {          \
        backward<T, V, LANES, 128, 4>(s);                                                         \
    }                                                                                             \
    extern "C" __global__ void __launch_bounds__(128) steps_##SUFFIX(Scan s, int batch) { steps<T, V>(s, batch); }

KERNELS(bf16_wide, bf16, 8, 8)
KERNELS(bf16_1, bf16, 1, 32)
KERNELS(f32_wide, float, 4, 8)
KERNELS(f32_1, float, 1, 32)
