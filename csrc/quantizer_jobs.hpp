#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "code_groups.hpp"
#include "codebook_panels.hpp"
#include "quantize_rows.hpp"
#include "workspace.hpp"

namespace spinlock {

// How rows are added up by code: not at all; counted only; in one table per chunk of rows, which are
// then added in the order of the chunks; or, where such tables would outweigh the rows, code by code
// over sorted rows.
enum class Statistics { kNone, kCounts, kTables, kSorted };

// The work of one quantizer. How it is cut and added up follows from shapes and from what is asked
// for, the first pass also from the instruction set, and nothing from the number of threads: that
// is what makes results bitwise reproducible.
struct QuantizerJob {
  std::int64_t quantizer;
  bool unpacked;  // no panels: packing would cost more than it saves
  bool brief;     // a first pass in bfloat16
  std::int64_t chunk_rows;
  std::int64_t chunks;
  double cost;  // multiply-adds of one chunk, roughly
  Statistics statistics;

  CodebookPanels panels;
  LazyDirect* direct;
  std::unique_ptr<CodeGroups> groups;  // null unless codes lie in clusters far apart
  float* panel_memory;
  double* errors;           // [chunks]
  std::int64_t* skipped;    // [chunks]
  float loss;
  std::int32_t* counts;     // [chunks, K], or [K + 1] starts of sorted codes
  float* sums;              // [chunks, K, sums_stride], tables only
  std::int64_t sums_stride;
  std::int32_t* chosen;     // [num_rows], sorted only
  std::int32_t* order;      // [num_rows], sorted only: rows by code
  std::optional<CodeRefresh> refresh;

  // One thread does all of it at one go.
  bool whole() const { return chunks <= 1; }
};

struct ChunkTask {
  std::int32_t job;
  std::int32_t chunk;
};

// All jobs of a request.
class QuantizerJobs {
 public:
  QuantizerJobs(const QuantizeRequest& request, const QuantizeOutputs& outputs);

  // Hands out the working memory, of `floats` elements on a 64-byte boundary.
  void place(const QuantizeRequest& request, float* memory) { (void)placed(request, memory); }

  std::vector<QuantizerJob> jobs;
  // Of jobs that threads share out; empty in step.
  std::vector<std::int32_t> order;  // whole jobs first, the heaviest first among them
  std::vector<ChunkTask> tasks;     // chunks of the other jobs, the heaviest first
  std::int64_t cut = 0;             // number of those jobs, the last ones of `order`
  int threads = 1;                  // 1 for small problems
  // On one thread all quantizers of a small bank take so many rows before any takes the next ones: a
  // cache line that two of them share is brought in once. 0: each takes all rows at a go.
  std::int64_t step_rows = 0;
  std::int64_t floats = 0;

  // Of one thread: a tile of rows or distances of all codes, then a code per row of a chunk; of several
  // quantizers in step, per quantizer and row of a step.
  float* tile(int thread) const { return scratch_ + thread * scratch_floats_; }
  std::int32_t* chosen(int thread) const {
    return reinterpret_cast<std::int32_t*>(tile(thread) + tile_floats_);
  }

 private:
  void share_out(std::size_t chunks);
  std::int64_t placed(const QuantizeRequest& request, float* memory);

  std::unique_ptr<LazyDirect[]> direct_;
  float* scratch_ = nullptr;
  std::int64_t scratch_floats_ = 0;
  std::int64_t tile_floats_ = 0;
  std::int64_t max_codes_ = 0;
};

}  // namespace spinlock
