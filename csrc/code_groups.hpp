#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "aligned_buffer.hpp"
#include "codebook_panels.hpp"
#include "row_kernels.hpp"

namespace spinlock {

// A codebook whose codes lie in clusters far apart. A row that is surely nearest to a code of one
// cluster is looked up in that one alone, around its own centre; all others among all codes. Which
// codes are found does not depend on it: docs/kernels-cpu.md has the proof.
class CodeGroups {
 public:
  // Null where the codes do not lie so, or where too few rows would gain by it. `brief`: a first pass
  // in bfloat16 is wanted where it pays. Throws std::bad_alloc.
  static std::unique_ptr<CodeGroups> find(const CodebookPanels& panels, std::int64_t num_rows,
                                          bool brief);

  // As RowKernels::nearest does with all codes, whose panels and direct form are given as well. Safe
  // to call from several threads, each with its own memory. Throws std::bad_alloc.
  void nearest(const RowKernels& kernels, const CodebookPanels& all, LazyDirect& direct,
               const Rows& rows, float* memory, std::int32_t* out) const;

 private:
  struct Group {
    std::vector<std::int32_t> ids;  // ascending
    std::vector<float> centre;
    float radius = 0.0f;  // no code is farther from the centre, for it is rounded up
    CodebookPanels panels;
    AlignedFloats memory;
  };

  explicit CodeGroups(std::size_t count) : groups_(count), direct_(new LazyDirect[count]) {}

  void measure(const CodebookPanels& panels);
  bool far_apart(std::int64_t dim) const;
  int group_of(const float* row, std::int64_t dim) const;

  std::vector<Group> groups_;
  std::unique_ptr<LazyDirect[]> direct_;
};

}  // namespace spinlock
