#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>

#include "codebook_layout.hpp"

namespace spinlock {

struct AlignedDelete {
  void operator()(float* data) const {
    ::operator delete(data, std::align_val_t{kBufferAlignmentBytes});
  }
};

using AlignedFloats = std::unique_ptr<float[], AlignedDelete>;

// `count` uninitialised floats on a 64-byte boundary. Throws std::bad_alloc.
inline AlignedFloats allocate_floats(std::int64_t count) {
  const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(float);
  return AlignedFloats(
      static_cast<float*>(::operator new(bytes, std::align_val_t{kBufferAlignmentBytes})));
}

}  // namespace spinlock
