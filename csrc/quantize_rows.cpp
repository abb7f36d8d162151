#include "quantize_rows.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <new>

#include "errors.hpp"
#include "fetch_ahead.hpp"
#include "large_pages.hpp"
#include "quantizer_jobs.hpp"
#include "record_codes.hpp"
#include "row_kernels.hpp"
#include "simd/float_mode.hpp"
#include "simd/parallel_for.hpp"
#include "step_results.hpp"
#include "workspace.hpp"

namespace spinlock {
namespace {

// Rows looked up before their codes are gathered: few enough to be still in cache.
constexpr std::int64_t kStepFloats = std::int64_t{1} << 17;
constexpr std::int64_t kMinStep = 256;
constexpr std::int64_t kMaxStep = 1024;
// Ranges of codes that the statistics of a large quantizer are split into.
constexpr std::int64_t kCodeRanges = 8;

std::int64_t rows_per_step(std::int64_t dim) {
  const std::int64_t rows = kStepFloats / dim / kTileRows * kTileRows;
  return std::clamp(rows, kMinStep, kMaxStep);
}

class Run {
 public:
  Run(const QuantizeRequest& request, const QuantizeOutputs& outputs)
      : request_(request),
        outputs_(outputs),
        kernels_(row_kernels(request.isa)),
        results_(request, outputs),
        work_(request, outputs),
        ahead_(request, outputs, work_.step_rows > 0) {}

  std::int64_t floats() const { return work_.floats; }

  void all(float* memory) {
    const DefaultFloatMode mode;  // for what this thread does alone
    if (outputs_.quantized != nullptr) {
      prefer_large_pages(outputs_.quantized, request_.num_rows * request_.plan.input_width);
    }
    work_.place(request_, memory);
    if (work_.step_rows > 0) return in_step();
    const auto count = static_cast<std::int64_t>(work_.order.size());
    // Nothing moves before all given indices have been checked.
    const bool at_once = request_.given == nullptr;
    each(count, [this, at_once](std::int64_t t, int thread) {
      QuantizerJob& job = ordered(t);
      prepare(job);
      if (!job.whole()) return;
      if (job.chunks == 1) run_chunk(job, 0, thread);
      if (at_once) complete(job, thread);
    });
    each(static_cast<std::int64_t>(work_.tasks.size()), [this](std::int64_t t, int thread) {
      const ChunkTask task = work_.tasks[static_cast<std::size_t>(t)];
      run_chunk(work_.jobs[static_cast<std::size_t>(task.job)], task.chunk, thread);
    });
    if (outside_.load() >= 0) throw_outside();
    const std::int64_t first = count - work_.cut;
    if (!at_once) each(first, [this](std::int64_t t, int thread) { complete(ordered(t), thread); });
    each(work_.cut, [this, first](std::int64_t t, int) { results_.finish(ordered(first + t)); });
    each(work_.cut * kCodeRanges, [this, first](std::int64_t t, int thread) {
      QuantizerJob& job = ordered(first + t / kCodeRanges);
      const std::int64_t range = t % kCodeRanges, codes = job.panels.num_codes;
      results_.write_codes(job, codes * range / kCodeRanges, codes * (range + 1) / kCodeRanges,
                           work_.tile(thread));
    });
    results_.average(work_.jobs);
  }

 private:
  template <typename Body>
  void each(std::int64_t count, const Body& body) {
    parallel_for(count, work_.threads, body);
  }

  QuantizerJob& ordered(std::int64_t t) {
    return work_.jobs[static_cast<std::size_t>(work_.order[static_cast<std::size_t>(t)])];
  }
  bool wants_error() const {
    return outputs_.squared_error != nullptr || outputs_.losses != nullptr ||
           outputs_.mean_loss != nullptr;
  }
  static std::size_t at(const QuantizerJob& job) { return static_cast<std::size_t>(job.quantizer); }

  void prepare(QuantizerJob& job) {
    const PackingPlan& plan = request_.plan;
    const std::size_t q = at(job);
    const float* const codes =
        request_.weight == nullptr ? nullptr : request_.weight + plan.weight_offsets[q];
    if (job.panel_memory != nullptr) {
      pack_panels(codes, plan.padded_dims[q], plan.codebook_sizes[q], plan.dims[q],
                  job.brief, job.panel_memory, job.panels);
      job.groups = groups_of(job);
    } else {
      job.panels =
          unpacked_panels(codes, plan.padded_dims[q], plan.codebook_sizes[q], plan.dims[q]);
    }
  }

  void complete(QuantizerJob& job, int thread) {
    results_.finish(job);
    results_.write_codes(job, 0, job.panels.num_codes, work_.tile(thread));
  }

  // Clusters only save time: where memory is short there are none.
  std::unique_ptr<CodeGroups> groups_of(const QuantizerJob& job) const {
    try {
      return CodeGroups::find(job.panels, request_.num_rows, job.brief);
    } catch (const std::bad_alloc&) {
      return nullptr;
    }
  }

  void in_step() {
    const std::int64_t step = work_.step_rows;
    for (QuantizerJob& job : work_.jobs) {
      ahead_.fetch_first(job.quantizer);
      prepare(job);
    }
    for (std::int64_t first = 0; first < request_.num_rows; first += step) {
      const std::int64_t end = std::min(first + step, request_.num_rows);
      step_begin_ = first;
      for (QuantizerJob& job : work_.jobs) {
        for (std::int64_t begin = first; begin < end;) {
          const std::int64_t chunk = job.chunks == 1 ? 0 : begin / job.chunk_rows;
          const std::int64_t stop = std::min(end, (chunk + 1) * job.chunk_rows);
          if (begin == chunk * job.chunk_rows) begin_chunk(job, chunk);
          run_rows(job, chunk, begin, stop, 0);
          begin = stop;
        }
      }
      if (writes_together()) {
        write_rows(work_.chosen(0), step, end - first, outputs_.indices + first * width(), width());
      }
    }
    if (outside_.load() >= 0) throw_outside();
    for (QuantizerJob& job : work_.jobs) complete(job, 0);
    results_.average(work_.jobs);
  }

  void run_chunk(QuantizerJob& job, std::int64_t chunk, int thread) {
    const std::int64_t begin = chunk * job.chunk_rows;
    begin_chunk(job, chunk);
    run_rows(job, chunk, begin, std::min(begin + job.chunk_rows, request_.num_rows), thread);
  }

  static bool counts_codes(const QuantizerJob& job) {
    return job.statistics == Statistics::kCounts || job.statistics == Statistics::kTables;
  }

  void begin_chunk(QuantizerJob& job, std::int64_t chunk) const {
    const std::int64_t num_codes = job.panels.num_codes;
    if (counts_codes(job)) std::fill_n(job.counts + chunk * num_codes, num_codes, 0);
    if (job.statistics == Statistics::kTables) {
      const std::int64_t floats = num_codes * job.sums_stride;
      std::fill_n(job.sums + chunk * floats, floats, 0.0f);
    }
    job.errors[chunk] = 0.0;
    job.skipped[chunk] = 0;
  }

  // Rows begin .. end - 1 of a chunk that has begun; begin is a multiple of a tile.
  void run_rows(QuantizerJob& job, std::int64_t chunk, std::int64_t begin, std::int64_t end,
                int thread) {
    const bool tables = job.statistics == Statistics::kTables;
    const bool settles = tables || outputs_.quantized != nullptr || wants_error();
    const std::int64_t num_codes = job.panels.num_codes;
    std::int32_t* const counts = counts_codes(job) ? job.counts + chunk * num_codes : nullptr;
    RowOutputs out;
    if (tables) {
      out.sums_stride = job.sums_stride;
      out.sums = job.sums + chunk * num_codes * job.sums_stride;
    }
    const std::int64_t step = rows_per_step(job.panels.dim) * (settles ? 1 : 8);
    for (std::int64_t first = begin; first < end; first += step) {
      const std::int64_t stop = std::min(first + step, end);
      const Rows rows{request_.latents + first * request_.row_stride +
                          request_.plan.input_offsets[at(job)],
                      request_.row_stride, stop - first, ahead_.rows(job.quantizer, stop)};
      std::int32_t* const chosen = chosen_of(job, first, thread);
      choose(job, rows, first, work_.tile(thread), chosen);
      job.skipped[chunk] += count_skipped(chosen, rows.count);
      if (counts != nullptr) kernels_.count(chosen, rows.count, num_codes, counts);
      record(job, first, rows.count, chosen);
      if (!settles) continue;
      if (outputs_.quantized != nullptr) {
        out.quantized_stride = request_.plan.input_width;
        out.quantized = outputs_.quantized + first * out.quantized_stride +
                        request_.plan.input_offsets[at(job)];
        out.next = ahead_.codes(job.quantizer, stop);
      }
      job.errors[chunk] = kernels_.settle(job.panels, rows, chosen, out, job.errors[chunk]);
    }
  }

  std::int64_t width() const { return static_cast<std::int64_t>(request_.plan.num_quantizers()); }

  // Whether indices are written once all quantizers have chosen for the rows of a step.
  bool writes_together() const {
    return work_.step_rows > 0 && outputs_.indices != nullptr && width() > 1;
  }

  // Where the codes of rows from `first` on go.
  std::int32_t* chosen_of(const QuantizerJob& job, std::int64_t first, int thread) const {
    if (writes_together()) {
      return work_.chosen(0) + job.quantizer * work_.step_rows + (first - step_begin_);
    }
    return job.chosen != nullptr ? job.chosen + first : work_.chosen(thread);
  }

  // The code of each row, or kSkipped.
  void choose(QuantizerJob& job, const Rows& rows, std::int64_t first, float* memory,
              std::int32_t* chosen) {
    if (request_.given != nullptr) return take_given(job, rows, first, chosen);
    if (job.unpacked) return kernels_.nearest_unpacked(job.panels, rows, memory, chosen);
    if (job.groups != nullptr) {
      try {
        return job.groups->nearest(kernels_, job.panels, *job.direct, rows, memory, chosen);
      } catch (const std::bad_alloc&) {
        // Thrown before anything was looked up.
      }
    }
    kernels_.nearest(job.panels, *job.direct, rows, memory, chosen);
  }

  void take_given(const QuantizerJob& job, const Rows& rows, std::int64_t first,
                  std::int32_t* chosen) {
    kernels_.find_skipped(job.panels.dim, rows, chosen);
    const std::int64_t* const given = request_.given + first * width() + job.quantizer;
    for (std::int64_t i = 0; i < rows.count; ++i) {
      const std::int64_t code = given[i * width()];
      if (code < 0 || code >= job.panels.num_codes) {
        outside_.store(job.quantizer);
        chosen[i] = kSkipped;
      } else if (chosen[i] != kSkipped) {
        chosen[i] = static_cast<std::int32_t>(code);
      }
    }
  }

  void record(const QuantizerJob& job, std::int64_t first, std::int64_t count,
              const std::int32_t* chosen) {
    if (outputs_.indices == nullptr) return;
    ahead_.fetch_indices(job.quantizer, first + count);
    if (writes_together()) {
      if (job.chosen != nullptr) std::copy_n(chosen, count, job.chosen + first);
    } else {
      write_column(chosen, count, outputs_.indices + first * width() + job.quantizer, width());
    }
  }

  [[noreturn]] void throw_outside() const {
    const std::int64_t q = outside_.load();
    throw_layout_error("indices[:, ", q, "]: expected values in 0..",
                       request_.plan.codebook_sizes[static_cast<std::size_t>(q)] - 1,
                       ", got others; were they made with another layout?");
  }

  const QuantizeRequest& request_;
  const QuantizeOutputs& outputs_;
  const RowKernels& kernels_;
  const StepResults results_;
  QuantizerJobs work_;
  const FetchAhead ahead_;
  std::int64_t step_begin_ = 0;
  std::atomic<std::int64_t> outside_{-1};
};

}  // namespace

struct QuantizeCall::Held {
  Held(const QuantizeRequest& asked, const QuantizeOutputs& written)
      : request(asked), outputs(written), run(request, outputs) {}

  const QuantizeRequest request;
  const QuantizeOutputs outputs;
  Run run;
};

QuantizeCall::QuantizeCall(const QuantizeRequest& request, const QuantizeOutputs& outputs)
    : held_(std::make_unique<Held>(request, outputs)) {}
QuantizeCall::QuantizeCall(QuantizeCall&&) noexcept = default;
QuantizeCall::~QuantizeCall() = default;

std::int64_t QuantizeCall::floats() const { return held_->run.floats(); }

void QuantizeCall::run(float* memory) const { held_->run.all(memory); }

void quantize_rows(const QuantizeRequest& request, const QuantizeOutputs& outputs) {
  const QuantizeCall call(request, outputs);
  const Workspace memory(call.floats());
  call.run(memory.data());
}

}  // namespace spinlock
