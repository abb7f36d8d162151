#include "quantizer_jobs.hpp"

#include <algorithm>
#include <limits>

#include "errors.hpp"

namespace spinlock {
namespace {

// One chunk takes some hundred microseconds; less is not worth a thread of its own.
constexpr double kChunkCost = 8e6;
constexpr double kParallelCost = 3e6;
// Tables of sums grow with the chunks; plain lookups can be cut finer.
constexpr std::int64_t kMaxTableChunks = 16;
constexpr std::int64_t kMaxLookupChunks = 256;

// Multiply-adds per row and quantizer, loading and gathering included.
double row_cost(std::int64_t num_codes, std::int64_t dim) {
  return static_cast<double>(dim) * (static_cast<double>(num_codes) + 12.0) + 20.0;
}

QuantizerJob plan_job(const QuantizeRequest& request, bool statistics, std::int64_t q) {
  const auto at = static_cast<std::size_t>(q);
  const std::int64_t num_codes = request.plan.codebook_sizes[at], dim = request.plan.dims[at];
  if (num_codes > std::numeric_limits<std::int32_t>::max()) {
    throw_layout_error("codebook_sizes[", q, "]: expected fewer than 2^31 codes, got ", num_codes,
                       "; split the codebook");
  }
  const std::int64_t rows = request.num_rows;
  QuantizerJob job{};
  job.quantizer = q;
  // Packing costs about as much as a tile; each row without it about 0.1 + 4 / D of that.
  job.few_rows = rows == 1 || rows * (dim + 40) <= 16 * dim;
  const double cost = static_cast<double>(rows) * row_cost(request.given ? 0 : num_codes, dim);
  const std::int64_t most = statistics ? kMaxTableChunks : kMaxLookupChunks;
  const auto wanted = std::clamp(static_cast<std::int64_t>(std::min(cost / kChunkCost, 1e6)),
                                 std::int64_t{1}, most);
  const std::int64_t per_chunk = (rows + wanted - 1) / wanted;
  job.chunk_rows = std::max(kTileRows, (per_chunk + kTileRows - 1) / kTileRows * kTileRows);
  job.chunks = (rows + job.chunk_rows - 1) / job.chunk_rows;
  job.cost = cost / static_cast<double>(std::max<std::int64_t>(job.chunks, 1));
  if (statistics) {
    const bool outweigh = job.chunks * num_codes > rows &&
                          rows < std::numeric_limits<std::int32_t>::max();
    job.statistics = outweigh ? Statistics::kSorted : Statistics::kTables;
  }
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
    jobs.push_back(plan_job(request, outputs.counts != nullptr, q));
    const QuantizerJob& job = jobs.back();
    total += job.cost * static_cast<double>(job.chunks);
    chunks += static_cast<std::size_t>(job.chunks);
    max_chunk_rows_ = std::max(max_chunk_rows_, std::min(job.chunk_rows, request.num_rows));
  }
  threads = total < kParallelCost ? 1 : std::max(request.threads, 1);
  tasks.reserve(chunks);
  std::vector<std::int32_t> heaviest(jobs.size());
  for (std::size_t j = 0; j < jobs.size(); ++j) heaviest[j] = static_cast<std::int32_t>(j);
  std::stable_sort(heaviest.begin(), heaviest.end(), [this](std::int32_t a, std::int32_t b) {
    return jobs[static_cast<std::size_t>(a)].cost > jobs[static_cast<std::size_t>(b)].cost;
  });
  for (const std::int32_t j : heaviest) {
    const auto end = static_cast<std::int32_t>(jobs[static_cast<std::size_t>(j)].chunks);
    for (std::int32_t chunk = 0; chunk < end; ++chunk) tasks.push_back({j, chunk});
  }
  direct_ = std::make_unique<LazyDirect[]>(jobs.size());
  workspace_ = std::make_unique<Workspace>(place(request, nullptr));
  place(request, workspace_.get());
}

// Hands out the workspace, or only counts its floats where there is none yet.
std::int64_t QuantizerJobs::place(const QuantizeRequest& request, Workspace* workspace) {
  std::int64_t total = 0;
  const auto take = [&total, workspace](std::int64_t floats) -> float* {
    total += Workspace::rounded(floats);
    return workspace == nullptr ? nullptr : workspace->take(floats);
  };
  std::int64_t widest = 0;
  for (std::size_t j = 0; j < jobs.size(); ++j) {
    QuantizerJob& job = jobs[j];
    const std::int64_t num_codes = request.plan.codebook_sizes[j], dim = request.plan.dims[j];
    widest = std::max(widest, job.few_rows ? num_codes : kTileRows * dim);
    job.direct = &direct_[j];
    if (!job.few_rows && request.given == nullptr) {
      job.panel_memory = take(panel_floats(num_codes, dim));
    }
    job.errors = reinterpret_cast<double*>(take(2 * job.chunks));
    job.skipped = reinterpret_cast<std::int64_t*>(take(2 * job.chunks));
    if (job.statistics == Statistics::kTables) {
      job.counts = reinterpret_cast<std::int32_t*>(take(job.chunks * num_codes));
      job.sums = take(job.chunks * num_codes * job.sums_stride);
    } else if (job.statistics == Statistics::kSorted) {
      job.counts = reinterpret_cast<std::int32_t*>(take(num_codes + 1));
      job.chosen = reinterpret_cast<std::int32_t*>(take(request.num_rows));
      job.order = reinterpret_cast<std::int32_t*>(take(request.num_rows));
    }
  }
  tile_floats_ = Workspace::rounded(widest);
  scratch_floats_ = tile_floats_ + Workspace::rounded(max_chunk_rows_);
  scratch_ = take(scratch_floats_ * threads);
  return total;
}

}  // namespace spinlock
