// Runs the Hopper attention kernels' own source on the emulated machine and compares outputs and
// gradients with plain loops in f64, at sizes that end inside tiles.
//
//   run.sh [SEEDS]
//
// The argument is the seed of schedules and inputs; a second one ends after that many cases.
// `-DCONSUMERS=2` or 3 chooses the forward's warpgroups. mutations.sh shows that faults are found.
#include "instructions.h"

namespace forward {
unsigned char attention_shared[1];
#include "hopper_tiles.cuh"
#include "hopper_forward.cu"
constexpr int SHARED = AT_INDEX + 8 + 1024;
}  // namespace forward
namespace backward {
unsigned char attention_shared[1];
#include "hopper_tiles.cuh"
#include "hopper_backward.cu"
constexpr int SHARED = AT_BARRIERS + (2 + 4 * STAGES) * 8 + 1024;
}  // namespace backward

constexpr int D = HEAD_DIM;
constexpr u16 UNWRITTEN = 0xffff;

struct Case { int batch, queries, keys, heads, kv_heads, section, blocks; };

// A matrix [batch * rows, heads * D] between guards.
struct Matrix {
  int batch, rows, heads;
  std::vector<u16> data;
  static constexpr int GUARD = 4096;

  Matrix(int batch, int rows, int heads) : batch(batch), rows(rows), heads(heads), data(2 * GUARD + size(), UNWRITTEN) {}
  size_t size() const { return (size_t)batch * rows * heads * D; }
  u16* begin() { return data.data() + GUARD; }
  Matrix& fill(float factor) {
    std::normal_distribution<float> normal(0.f, factor);
    for (size_t i = 0; i < size(); i++) begin()[i] = round_bf16(normal(machine::generator));
    return *this;
  }
  float at(int sequence, int row, int head, int i) {
    return machine::bf16(begin()[(((size_t)sequence * rows + row) * heads + head) * D + i]);
  }
  TensorMap map(int box_rows) {
    return {begin(), {D, (u64)heads, (u64)rows, (u64)batch}, {1, D, (u64)heads * D, (u64)rows * heads * D}, (u32)box_rows};
  }
  void check_guards(const char* name) {
    for (int i = 0; i < GUARD; i++)
      if (data[i] != UNWRITTEN || data[data.size() - 1 - i] != UNWRITTEN) machine::fail(std::string("a write outside ") + name);
  }
};

static double worst = 0;
template <class Got, class Want>
void compare(const char* name, const Case& c, size_t n, Got got, Want want, double tolerance) {
  double difference = 0, total = 0;
  for (size_t i = 0; i < n; i++) {
    const double g = got(i), w = want(i);
    if (std::isnan(g)) machine::fail(std::string(name) + ": NaN or unwritten at " + std::to_string(i));
    difference += (g - w) * (g - w), total += w * w;
  }
  // Gradients of a single visible key are zero up to rounding.
  const double error = std::sqrt(difference / (total + 1e-8 * n));
  worst = std::max(worst, error / tolerance);
  if (error > tolerance) {
    fprintf(stderr, "%s: error %.2e, batch %d queries %d keys %d heads %d/%d\n", name, error, c.batch, c.queries, c.keys, c.heads, c.kv_heads);
    exit(1);
  }
}

void check(const Case& c) {
  const float scale = 1.f / std::sqrt((float)D);
  const int past = c.keys - c.queries, group = c.heads / c.kv_heads;
  Matrix q(c.batch, c.queries, c.heads), k(c.batch, c.keys, c.kv_heads), v = k, output = q, doutput = q, dq = q, dk = k, dv = k;
  q.fill(1.5f), k.fill(1.5f), v.fill(1.f), doutput.fill(1.f);
  const int rows = c.batch * c.heads * c.queries;
  std::vector<float> lse(rows, NAN);

  {
    using namespace forward;
    HopperSizes n{c.batch, c.queries, c.keys, c.heads, c.kv_heads, c.section, scale};
    const TensorMap mq = q.map(QUERY_ROWS), mk = k.map(KEY_ROWS), mv = v.map(KEY_ROWS), mo = output.map(16);
    const int items = ceil_div(c.queries, QUERY_ROWS) * c.batch * c.heads, blocks = std::min(items, c.blocks);
    u32 counter = 0;
    machine::launch(blocks, FORWARD_THREADS, forward::SHARED, blocks,
                    [&] { hopper_forward(mq, mk, mv, mo, lse.data(), &counter, n); });
    if (counter) machine::fail("the counter was not rewound");
  }

  // The reference, from the rounded inputs; gradients from the kernel's own output and lse.
  std::vector<double> want_o(q.size()), want_lse(rows), want_dq(q.size()), want_dk(k.size()), want_dv(k.size());
  auto at = [](const Matrix& m, int b, int row, int head) { return (((size_t)b * m.rows + row) * m.heads + head) * D; };
  auto dot = [](const u16* a, const u16* b) {
    double sum = 0;
    for (int i = 0; i < D; i++) sum += (double)machine::bf16(a[i]) * machine::bf16(b[i]);
    return sum;
  };
  for (int b = 0; b < c.batch; b++)
    for (int h = 0; h < c.heads; h++)
      for (int i = 0; i < c.queries; i++) {
        const int g = h / group;
        const size_t row = at(q, b, i, h);
        std::vector<double> s(past + i + 1);
        double largest = -1e300, total = 0;
        for (size_t j = 0; j < s.size(); j++) largest = std::max(largest, s[j] = scale * dot(q.begin() + row, k.begin() + at(k, b, j, g)));
        for (double& x : s) total += x = std::exp(x - largest);
        double delta = 0;
        for (size_t j = 0; j < s.size(); j++) {
          s[j] /= total;
          for (int e = 0; e < D; e++) want_o[row + e] += s[j] * machine::bf16(v.begin()[at(v, b, j, g) + e]);
        }
        for (int e = 0; e < D; e++) delta += want_o[row + e] * machine::bf16(doutput.begin()[row + e]);
        want_lse[((size_t)b * c.heads + h) * c.queries + i] = largest + std::log(total);
        for (size_t j = 0; j < s.size(); j++) {
          const size_t key = at(k, b, j, g);
          const double ds = scale * s[j] * (dot(doutput.begin() + row, v.begin() + key) - delta);
          for (int e = 0; e < D; e++) {
            want_dq[row + e] += ds * machine::bf16(k.begin()[key + e]);
            want_dk[key + e] += ds * machine::bf16(q.begin()[row + e]);
            want_dv[key + e] += s[j] * machine::bf16(doutput.begin()[row + e]);
          }
        }
      }
  auto values = [](Matrix& m) { return [&m](size_t i) { return machine::bf16(m.begin()[i]); }; };
  auto wanted = [](const std::vector<double>& x) { return [&x](size_t i) { return x[i]; }; };
  compare("output", c, q.size(), values(output), wanted(want_o), 6e-3);
  compare("lse", c, rows, [&](size_t i) { return lse[i]; }, wanted(want_lse), 1e-5);
  output.check_guards("the output");

  {
    using namespace backward;
    HopperSizes n{c.batch, c.queries, c.keys, c.heads, c.kv_heads, c.section, scale};
    const int tiles = ceil_div(c.queries, QUERY_ROWS), padded = tiles * QUERY_ROWS, lanes = c.batch * c.heads;
    // Sixteen bytes of alignment, as bulk copies need.
    std::vector<float4> lse2(lanes * padded / 4, float4{NAN, NAN, NAN, NAN}), delta = lse2, sum((size_t)lanes * padded * D / 4, lse2[0]);
    float *lse2_p = &lse2[0].x, *delta_p = &delta[0].x, *sum_p = &sum[0].x;
    machine::launch(ceil_div(lanes * padded * (D / 8), 256), 256, 1024, 4,
                    [&] { hopper_backward_prepare(output.begin(), doutput.begin(), lse.data(), lse2_p, delta_p, sum_p, n); });
    const TensorMap mq = q.map(QUERY_ROWS), mk = k.map(KEY_ROWS), mv = v.map(KEY_ROWS), mdo = doutput.map(QUERY_ROWS);
    const TensorMap mdk = dk.map(16), mdv = dv.map(16);
    machine::launch(ceil_div(c.keys, KEY_ROWS) * c.batch * c.kv_heads, BACKWARD_THREADS, backward::SHARED, 3,
                    [&] { hopper_backward(mq, mk, mv, mdo, mdk, mdv, lse2_p, delta_p, sum_p, n); });
    machine::launch(lanes * tiles, 256, 16 << 10, 2, [&] { hopper_backward_finish(sum_p, dq.begin(), n); });
  }
  compare("dq", c, q.size(), values(dq), wanted(want_dq), 1.5e-2);
  compare("dk", c, k.size(), values(dk), wanted(want_dk), 1.5e-2);
  compare("dv", c, k.size(), values(dv), wanted(want_dv), 1e-2);
  dq.check_guards("dq"), dk.check_guards("dk"), dv.check_guards("dv");
  printf("d %d batch %d queries %d keys %d heads %d/%d: ok (worst error %.2f of its tolerance)\n", D, c.batch, c.queries, c.keys, c.heads, c.kv_heads, worst);
  fflush(stdout);
}

int main(int count, char** arguments) {
  machine::generator.seed(count > 1 ? atoi(arguments[1]) : 1);
  const std::vector<Case> cases = {{1, 130, 130, 2, 1, 1, 1}, {2, 65, 65, 2, 2, 3, 2},   {1, 1, 1, 1, 1, 1, 1},
                                   {1, 64, 64, 1, 1, 1, 1},   {1, 5, 131, 2, 1, 2, 2},   {1, 257, 257, 1, 1, 1, 2},
                                   {1, 200, 263, 2, 1, 2, 3}, {2, 300, 421, 4, 2, 3, 4}, {1, 513, 513, 2, 2, 1, 2}};
  const size_t wanted = count > 2 ? atoi(arguments[2]) : cases.size();
  for (size_t i = 0; i < std::min(wanted, cases.size()); i++) check(cases[i]);
}
