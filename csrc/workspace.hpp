#pragma once

#include <cstdint>

#include "aligned_buffer.hpp"

namespace spinlock {

// Working memory that the calling thread keeps from call to call, so that small calls allocate no
// more than their lists of jobs. What is larger than kKept is given back with the Workspace; a
// thread has one of them at a time.
class Workspace {
 public:
  static constexpr std::int64_t kKept = std::int64_t{1} << 24;  // floats: 64 MiB

  explicit Workspace(std::int64_t floats) {
    if (floats > kKept) {
      large_ = allocate_floats(floats);
      data_ = large_.get();
      return;
    }
    Kept& kept = kept_here();
    if (floats > kept.size) {
      kept.memory.reset();
      kept.size = 0;
      kept.memory = allocate_floats(floats);
      kept.size = floats;
    }
    data_ = kept.memory.get();
  }

  // From a 64-byte boundary on.
  float* data() const { return data_; }

  static std::int64_t rounded(std::int64_t floats) { return (floats + 15) / 16 * 16; }

 private:
  struct Kept {
    AlignedFloats memory;
    std::int64_t size = 0;
  };
  static Kept& kept_here() {
    static thread_local Kept kept;
    return kept;
  }

  AlignedFloats large_;
  float* data_ = nullptr;
};

}  // namespace spinlock
