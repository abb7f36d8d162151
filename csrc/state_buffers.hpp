#pragma once

#include <cmath>
#include <cstdint>
#include <optional>
#include <tuple>

#include "binding_buffers.hpp"
#include "errors.hpp"
#include "refresh_codes.hpp"

namespace spinlock {

// (EMA counts, EMA sums, weight, epoch counts, epoch skipped, decay, epsilon)
using StateBuffers = std::tuple<Buffer, Buffer, Buffer, std::optional<Buffer>,
                                std::optional<Buffer>, double, double>;

inline CodeState checked_state(const StateBuffers& buffers, std::int64_t codes,
                               std::int64_t elements, std::int64_t quantizers) {
  const auto& [counts, sums, weight, epoch_counts, epoch_skipped, decay, epsilon] = buffers;
  if (!(decay >= 0.0 && decay < 1.0) || !(epsilon > 0.0 && std::isfinite(epsilon))) {
    throw_layout_error("decay and epsilon: expected 0 <= decay < 1 and epsilon > 0, got ", decay,
                       " and ", epsilon, "; 0.99 and 1e-5 are usual");
  }
  return {checked<float>("ema_counts", counts, codes),
          checked<float>("ema_sums", sums, elements),
          checked<float>("weight", weight, elements),
          checked<std::int64_t>("epoch_counts", epoch_counts, codes),
          checked<std::int64_t>("epoch_skipped", epoch_skipped, quantizers),
          decay,
          epsilon};
}

}  // namespace spinlock
