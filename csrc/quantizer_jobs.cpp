#include "quantizer_jobs.hpp"

#include <algorithm>
#include <limits>

#include "accumulate_codes.hpp"
#include "errors.hpp"
#include "row_kernels.hpp"

namespace spinlock {
namespace {

// One chunk takes some hundred microseconds; less is not worth a thread of its own.
constexpr double kChunkCost = 8e6;
constexpr double kParallelCost = 3e6;
constexpr std::int64_t kMaxChunks = 128;
// Chunks of many rows have so many at least, for rows of several clusters to fill a tile each.
constexpr std::int64_t kManyRows = 2048;
constexpr std::int64_t kLeastOfMany = 256;
// Rows that one float32 table adds up: enough to outweigh its codes, few enough to stay accurate.
constexpr std::int64_t kRowsPerCode = 4;
constexpr std::int64_t kMinTableRows = 1024;
constexpr std::int64_t kMaxTableRows = 4096;

// Banks whose codes stay in a cache beside the rows take a step at a time.
constexpr std::int64_t kSmallBank = std::int64_t{1} << 15;
// Rows of a step: a tile, of which this step's and the next one's stay in the L2 cache, or so many that
// the step is worth its calls where rows are too wide for that.
constexpr std::int64_t kStepInAll = std::int64_t{1} << 17;
constexpr std::int64_t kWidestAhead = 640;
constexpr std::int64_t kLeastInStep = 128;
constexpr std::int64_t kMostInStep = 1024;

// Multiply-adds per row and quantizer, loading and gathering included.
double row_cost(std::int64_t num_codes, std::int64_t dim) {
  return static_cast<double>(dim) * (static_cast<double>(num_codes) + 12.0) + 20.0;
}

// Whether codes are read as they lie. Panels save a third of the work per row and cost, by
// measurement, as much as it takes to score 96 rows, or more where a code is short.
bool reads_unpacked(std::int64_t num_rows, std::int64_t dim) {
  return num_rows <= 96 + 768 / std::max<std::int64_t>(dim, 1);
}

std::int64_t rows_in_step(const QuantizeRequest& request) {
  const PackingPlan& plan = request.plan;
  if (plan.num_quantizers() == 1) return std::max<std::int64_t>(1, request.num_rows);
  if (std::max(plan.input_width, request.row_stride) <= kWidestAhead) return kTileRows;
  const std::int64_t rows = kStepInAll / plan.input_width / kTileRows * kTileRows;
  return std::clamp(rows, kLeastInStep, kMostInStep);
}

Statistics wanted_statistics(const QuantizeOutputs& outputs) {
  if (outputs.sums != nullptr || outputs.state != nullptr) return Statistics::kTables;
  return outputs.counts != nullptr ? Statistics::kCounts : Statistics::kNone;
}

QuantizerJob plan_job(const QuantizeRequest& request, Statistics statistics, std::int64_t q) {
  const auto at = static_cast<std::size_t>(q);
  const std::int64_t num_codes = request.plan.codebook_sizes[at], dim = request.plan.dims[at];
  if (num_codes > std::numeric_limits<std::int32_t>::max()) {
    throw_layout_error("codebook_sizes[", q, "]: expected fewer than 2^31 codes, got ", num_codes,
                       "; split the codebook");
  }
  const std::int64_t rows = request.num_rows;
  QuantizerJob job{};
  job.quantizer = q;
  job.unpacked = reads_unpacked(rows, dim);
  job.brief = row_kernels(request.isa).brief && !request.given && brief_pays(rows, num_codes, dim);
  const double cost = static_cast<double>(rows) * row_cost(request.given ? 0 : num_codes, dim);
  const auto wanted = std::clamp(static_cast<std::int64_t>(std::min(cost / kChunkCost, 1e6)),
                                 std::int64_t{1}, kMaxChunks);
  std::int64_t per_chunk = (rows + wanted - 1) / wanted;
  if (rows >= kManyRows) per_chunk = std::max(per_chunk, kLeastOfMany);
  job.statistics = statistics;
  if (statistics == Statistics::kTables) {
    const std::int64_t least = std::min(kRowsPerCode * num_codes, kMaxTableRows);
    const std::int64_t in_table = std::clamp(per_chunk, least, std::max(least, kMinTableRows));
    const bool outweighed = std::min(in_table, rows) < num_codes;
    if (outweighed && rows < std::numeric_limits<std::int32_t>::max()) {
      job.statistics = Statistics::kSorted;
    } else {
      per_chunk = in_table;
    }
  }
  job.chunk_rows = std::max(kTileRows, (per_chunk + kTileRows - 1) / kTileRows * kTileRows);
  job.chunks = (rows + job.chunk_rows - 1) / job.chunk_rows;
  job.cost = cost / static_cast<double>(std::max<std::int64_t>(job.chunks, 1));
  job.sums_stride = Workspace::rounded(dim);
  return job;
}

}  // namespace

QuantizerJobs::QuantizerJobs(const QuantizeRequest& request, const QuantizeOutputs& outputs) {
  const auto count = static_cast<std::int64_t>(request.plan.num_quantizers());
  double total = 0.0;
  std::size_t chunks = 0;
  jobs.reserve(static_cast<std::size_t>(count));
  for (std::int64_t q = 0; q < count; ++q) {
    jobs.push_back(plan_job(request, wanted_statistics(outputs), q));
    const QuantizerJob& job = jobs.back();
    total += job.cost * static_cast<double>(job.chunks);
    chunks += static_cast<std::size_t>(job.chunks);
    max_codes_ = std::max(max_codes_, std::min(job.chunk_rows, request.num_rows));
  }
  threads = total < kParallelCost ? 1 : std::max(request.threads, 1);
  direct_ = std::make_unique<LazyDirect[]>(jobs.size());
  if (threads == 1 && request.plan.weight_size <= kSmallBank) {
    step_rows = rows_in_step(request);
    if (count > 1) max_codes_ = count * step_rows;
  } else {
    share_out(chunks);
  }
  floats = placed(request, nullptr);
}

// Orders the jobs and lists the chunks of those that are cut.
void QuantizerJobs::share_out(std::size_t chunks) {
  order.resize(jobs.size());
  for (std::size_t j = 0; j < jobs.size(); ++j) order[j] = static_cast<std::int32_t>(j);
  std::stable_sort(order.begin(), order.end(), [this](std::int32_t a, std::int32_t b) {
    const QuantizerJob &left = jobs[static_cast<std::size_t>(a)],
                       &right = jobs[static_cast<std::size_t>(b)];
    if (left.whole() != right.whole()) return left.whole();
    return left.cost > right.cost;
  });
  tasks.reserve(chunks);
  for (const std::int32_t j : order) {
    const QuantizerJob& job = jobs[static_cast<std::size_t>(j)];
    if (job.whole()) continue;
    ++cut;
    for (std::int32_t c = 0; c < static_cast<std::int32_t>(job.chunks); ++c) tasks.push_back({j, c});
  }
}

// Hands out the memory, or only counts its floats where there is none yet.
std::int64_t QuantizerJobs::placed(const QuantizeRequest& request, float* memory) {
  std::int64_t total = 0;
  const auto take = [&total, memory](std::int64_t count) -> float* {
    float* const part = memory == nullptr ? nullptr : memory + total;
    total += Workspace::rounded(count);
    return part;
  };
  std::int64_t widest = 0;
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    QuantizerJob& job = jobs[j];
    const std::int64_t num_codes = request.plan.codebook_sizes[j], dim = request.plan.dims[j];
    widest = std::max({widest, lookup_floats(num_codes, dim, job.brief), sum_floats(dim)});
    job.direct = &direct_[j];
    if (!job.unpacked && request.given == nullptr) {
      job.panel_memory = take(panel_floats(num_codes, dim, job.brief));
    }
    job.errors = reinterpret_cast<double*>(take(2 * job.chunks));
    job.skipped = reinterpret_cast<std::int64_t*>(take(2 * job.chunks));
    if (job.statistics == Statistics::kCounts || job.statistics == Statistics::kTables) {
      job.counts = reinterpret_cast<std::int32_t*>(take(job.chunks * num_codes));
    }
    if (job.statistics == Statistics::kTables) {
      job.sums = take(job.chunks * num_codes * job.sums_stride);
    } else if (job.statistics == Statistics::kSorted) {
      job.counts = reinterpret_cast<std::int32_t*>(take(num_codes + 1));
      job.chosen = reinterpret_cast<std::int32_t*>(take(request.num_rows));
      job.order = reinterpret_cast<std::int32_t*>(take(request.num_rows));
    }
  }
  tile_floats_ = Workspace::rounded(widest);
  scratch_floats_ = tile_floats_ + Workspace::rounded(max_codes_);
  scratch_ = take(scratch_floats_ * threads);
  return total;
}

}  // namespace spinlock
