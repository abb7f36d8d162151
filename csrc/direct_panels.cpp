#include <algorithm>

#include "codebook_panels.hpp"

namespace spinlock {

void pack_direct(const CodebookPanels& panels) {
  const std::int64_t dim = panels.dim;
  for (std::int64_t first = 0; first < panels.kept; first += kPanelCodes) {
    const std::int64_t count = std::min(kPanelCodes, panels.kept - first);
    float* const out = panels.direct + first * dim;
    for (std::int64_t i = 0; i < count; ++i) {
      const float* const code = panels.codes + panels.id(first + i) * panels.stride;
      for (std::int64_t d = 0; d < dim; ++d) out[d * count + i] = code[d] * panels.scale;
    }
  }
}

void LazyDirect::need(const CodebookPanels& panels) {
  if (ready_.load(std::memory_order_acquire)) return;
  const std::lock_guard<std::mutex> guard(lock_);
  if (ready_.load(std::memory_order_relaxed)) return;
  pack_direct(panels);
  ready_.store(true, std::memory_order_release);
}

}  // namespace spinlock
