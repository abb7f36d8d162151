#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace spinlock {

// Asks for large pages under a buffer that is about to be written for the first time: faults of 4 KiB
// pages took a third of a large train step. A hint: nothing depends on whether it is heard.
inline void prefer_large_pages(float* data, std::int64_t count) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kPage = std::uintptr_t{1} << 21;
  const auto first = reinterpret_cast<std::uintptr_t>(data);
  const std::uintptr_t begin = (first + kPage - 1) / kPage * kPage;
  const auto bytes = static_cast<std::uintptr_t>(count) * sizeof(float);
  const std::uintptr_t end = (first + bytes) / kPage * kPage;
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data;
  (void)count;
#endif
}

}  // namespace spinlock
