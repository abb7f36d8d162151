#pragma once

#include <cstdint>
#include <limits>
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
  // Codes are divided by counts in float32, where a smaller epsilon is 0 and a larger one infinite.
  constexpr double kLeast = std::numeric_limits<float>::denorm_min() / 2.0;
  constexpr double kMost = std::numeric_limits<float>::max();
  if (!(decay >= 0.0 && decay < 1.0) || !(epsilon > kLeast && epsilon <= kMost)) {
    throw_layout_error("decay and epsilon: expected 0 <= decay < 1 and epsilon > 0 as float32 too",
                       ", got ", decay, " and ", epsilon, "; 0.99 and 1e-5 are usual");
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
