// Fuzzes the core without Python, every instruction set against plain loops:
//   cmake -S . -B build/sanitize -DSPINLOCK_SANITIZE=ON && cmake --build build/sanitize
//   build/sanitize/native_fuzz [seconds = 1] [first seed = 0]
// Buffers are exactly sized, so that the sanitizers see every access outside. A finding names its
// seed, which repeats it.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <vector>

#include "native_linear.hpp"
#include "native_norm.hpp"
#include "native_truth.hpp"
#include "quantize_backward.hpp"
#include "quantize_rows.hpp"
#include "simd/isa.hpp"

namespace {

using spinlock::Isa;
using spinlock::check::Problem;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

std::uint64_t seed = 0;

void require(bool condition, const char* what, Isa isa) {
  if (condition) return;
  std::fprintf(stderr, "seed %llu, %s: %s\n", static_cast<unsigned long long>(seed),
               spinlock::isa_name(isa), what);
  std::exit(1);
}

// Everything one call writes, poisoned beforehand.
struct Results {
  explicit Results(const Problem& problem)
      : indices(count(problem.num_rows) * problem.plan.num_quantizers(), -7),
        quantized(count(problem.num_rows * problem.plan.input_width), kPoison),
        errors(problem.plan.num_quantizers(), static_cast<double>(kPoison)),
        losses(problem.plan.num_quantizers(), kPoison),
        counts(count(problem.plan.total_codes), -7),
        sums(count(problem.plan.weight_size), kPoison),
        gradient(count(problem.num_rows * problem.plan.input_width), kPoison),
        skipped(problem.plan.num_quantizers(), -7),
        ema_counts(count(problem.plan.total_codes), 1.0f),
        ema_sums(problem.weight),
        weight(problem.weight),
        epoch_counts(count(problem.plan.total_codes), 5),
        epoch_skipped(problem.plan.num_quantizers(), 5) {}

  static std::size_t count(std::int64_t value) { return static_cast<std::size_t>(value); }

  bool operator==(const Results& other) const {
    const auto same = [](const auto& a, const auto& b) {
      return a.size() == b.size() &&
             (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(a[0])) == 0);
    };
    return same(indices, other.indices) && same(quantized, other.quantized) &&
           same(errors, other.errors) && same(losses, other.losses) && same(counts, other.counts) &&
           same(sums, other.sums) && same(skipped, other.skipped) &&
           same(gradient, other.gradient) &&
           std::memcmp(&mean_loss, &other.mean_loss, sizeof(mean_loss)) == 0 &&
           same(ema_counts, other.ema_counts) && same(ema_sums, other.ema_sums) &&
           same(weight, other.weight) && same(epoch_counts, other.epoch_counts) &&
           same(epoch_skipped, other.epoch_skipped);
  }

  std::vector<std::int64_t> indices;
  std::vector<float> quantized;
  std::vector<double> errors;
  std::vector<float> losses;
  std::vector<std::int64_t> counts;
  std::vector<float> sums, gradient;
  float mean_loss = kPoison;
  std::vector<std::int64_t> skipped;
  std::vector<float> ema_counts, ema_sums, weight;
  std::vector<std::int64_t> epoch_counts, epoch_skipped;
};

Results train_step(const Problem& problem, Isa isa, int threads) {
  Results results(problem);
  const std::vector<float> codebooks = results.weight;  // as the step finds them
  const spinlock::CodeState state{results.ema_counts.data(), results.ema_sums.data(),
                                  results.weight.data(), results.epoch_counts.data(),
                                  results.epoch_skipped.data(), 0.9, 1e-5};
  const spinlock::QuantizeRequest request{problem.plan, problem.latents.data(), problem.num_rows,
                                          problem.row_stride, results.weight.data(), nullptr,
                                          threads, isa};
  spinlock::QuantizeOutputs outputs;
  outputs.indices = results.indices.data();
  outputs.quantized = results.quantized.data();
  outputs.squared_error = results.errors.data();
  outputs.losses = results.losses.data();
  outputs.mean_loss = &results.mean_loss;
  outputs.counts = results.counts.data();
  outputs.sums = results.sums.data();
  outputs.skipped = results.skipped.data();
  outputs.state = &state;
  spinlock::quantize_rows(request, outputs);
  spinlock::BackwardRequest backward{problem.plan,
                                     problem.num_rows,
                                     problem.latents.data(),
                                     problem.row_stride,
                                     results.quantized.data(),
                                     nullptr,
                                     nullptr,
                                     results.counts.data(),
                                     results.quantized.data(),
                                     problem.plan.input_width,
                                     results.losses.data(),
                                     1,
                                     threads,
                                     isa};
  spinlock::quantize_backward(backward, results.gradient.data());
  backward.quantized = nullptr;
  backward.weight = codebooks.data();
  backward.indices = results.indices.data();
  std::vector<float> gathered(results.gradient.size(), kPoison);
  spinlock::quantize_backward(backward, gathered.data());
  require(gathered.empty() || std::memcmp(gathered.data(), results.gradient.data(),
                                          gathered.size() * sizeof(float)) == 0,
          "gradient from codebooks", isa);
  return results;
}

// Its gradient is the codes where rows were quantized, and each loss's is the loss itself.
void check_gradient(const Problem& problem, std::size_t q, const Results& found, Isa isa) {
  const auto& plan = problem.plan;
  const float terms = static_cast<float>(
      std::max<std::int64_t>((problem.num_rows - found.skipped[q]) * plan.dims[q], 1));
  const float factor = 2.0f * found.losses[q] / terms;
  for (std::int64_t i = 0; i < problem.num_rows; ++i) {
    const std::int64_t first = i * plan.input_width + plan.input_offsets[q];
    const bool usable = spinlock::check::finite_row(problem, i, q);
    for (std::int64_t d = 0; d < plan.dims[q]; ++d) {
      const float code = found.quantized[static_cast<std::size_t>(first + d)];
      const float expected = usable ? code + (problem.row(i, q)[d] - code) * factor : 0.0f;
      const float gradient = found.gradient[static_cast<std::size_t>(first + d)];
      require(gradient == expected || (std::isnan(gradient) && std::isnan(expected)), "gradient",
              isa);
    }
  }
}

std::vector<std::int64_t> lookup(const Problem& problem, Isa isa) {
  std::vector<std::int64_t> indices(Results(problem).indices.size(), -7);
  spinlock::QuantizeOutputs outputs;
  outputs.indices = indices.data();
  spinlock::quantize_rows({problem.plan, problem.latents.data(), problem.num_rows,
                           problem.row_stride, problem.weight.data(), nullptr, 1, isa},
                          outputs);
  return indices;
}

void check_quantizer(const Problem& problem, std::size_t q, const Results& found,
                     const std::vector<std::int64_t>& truth, Isa isa) {
  const auto& plan = problem.plan;
  const std::size_t width = plan.num_quantizers();
  const auto dim = static_cast<std::size_t>(plan.dims[q]);
  const auto codes = static_cast<std::size_t>(plan.codebook_sizes[q]);
  const auto stride = static_cast<std::size_t>(plan.padded_dims[q]);
  std::vector<double> counts(codes), sums(codes * dim), sizes(codes * dim);
  std::int64_t skipped = 0;
  double error = 0.0;
  for (std::int64_t i = 0; i < problem.num_rows; ++i) {
    const std::int64_t k = truth[static_cast<std::size_t>(i) * width + q];
    const float* const code = problem.code(k, q);
    const float* const quantized =
        found.quantized.data() + i * plan.input_width + plan.input_offsets[q];
    require(std::memcmp(quantized, code, dim * sizeof(float)) == 0, "quantized", isa);
    if (!spinlock::check::finite_row(problem, i, q)) {
      ++skipped;
      continue;
    }
    const auto at = static_cast<std::size_t>(k);
    counts[at] += 1.0;
    for (std::size_t d = 0; d < dim; ++d) {
      const double x = problem.row(i, q)[d];
      sums[at * dim + d] += x;
      sizes[at * dim + d] += std::abs(x);
      error += (x - static_cast<double>(code[d])) * (x - static_cast<double>(code[d]));
    }
  }
  require(found.skipped[q] == skipped && found.epoch_skipped[q] == 5 + skipped, "skipped", isa);
  const bool close = std::abs(found.errors[q] - error) <= 1e-4 * error + 1e-300;
  require(close || !std::isfinite(error), "squared error", isa);
  for (std::size_t k = 0; k < codes; ++k) {
    const std::size_t id = static_cast<std::size_t>(plan.code_offsets[q]) + k;
    require(static_cast<double>(found.counts[id]) == counts[k], "counts", isa);
    require(found.epoch_counts[id] == 5 + static_cast<std::int64_t>(counts[k]), "epoch", isa);
    for (std::size_t d = 0; d < stride; ++d) {
      const float sum = found.sums[static_cast<std::size_t>(plan.weight_offsets[q]) + k * stride + d];
      if (d >= dim) {
        require(sum == 0.0f, "padding of sums", isa);
        continue;
      }
      const double off = std::abs(static_cast<double>(sum) - sums[k * dim + d]);
      const double allowed = 1e-4 * sizes[k * dim + d] + 1e-43;
      require(off <= allowed || sizes[k * dim + d] > 1e38, "sums", isa);
    }
  }
}

void check_problem() {
  spinlock::check::Random random(seed);
  const Problem problem = spinlock::check::random_problem(random);
  const std::size_t width = problem.plan.num_quantizers();
  std::vector<std::int64_t> truth;
  for (std::int64_t i = 0; i < problem.num_rows; ++i) {
    for (std::size_t q = 0; q < width; ++q) {
      truth.push_back(spinlock::check::nearest_code(problem, i, q));
    }
  }
  for (const Isa isa : spinlock::available_isas()) {
    require(lookup(problem, isa) == truth, "lookup", isa);
    const Results found = train_step(problem, isa, 1);
    require(found.indices == truth, "indices of a train step", isa);
    for (std::size_t q = 0; q < width; ++q) {
      check_quantizer(problem, q, found, truth, isa);
      check_gradient(problem, q, found, isa);
    }
    if (seed % 4 == 0) require(train_step(problem, isa, 3) == found, "three threads", isa);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  const double seconds = argc > 1 ? std::atof(argv[1]) : 1.0;
  const std::uint64_t first = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 0;
  const Clock::time_point start = Clock::now();
  for (seed = first; std::chrono::duration<double>(Clock::now() - start).count() < seconds; ++seed) {
    check_problem();
    for (const Isa isa : spinlock::available_isas()) {
      for (const auto find : {spinlock::check::linear_finding, spinlock::check::norm_finding}) {
        const char* const finding = find(seed, isa);
        require(finding == nullptr, finding, isa);
      }
    }
  }
  std::printf("%llu problems, no finding; next seed %llu\n",
              static_cast<unsigned long long>(seed - first), static_cast<unsigned long long>(seed));
  return 0;
}
