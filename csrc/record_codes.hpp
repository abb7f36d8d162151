#pragma once

#include <algorithm>
#include <cstdint>

namespace spinlock {

// The codes of `count` rows, negative for one that is skipped: as indices `width` elements apart, 0
// for a skipped row, and added to the counts of their codes; each null where it is not wanted. Returns
// how many are skipped. Both in one loop: a count waits for the one before it, indices do not.
inline std::int64_t record_codes(const std::int32_t* chosen, std::int64_t count,
                                 std::int64_t* indices, std::int64_t width, std::int32_t* counts) {
  std::int64_t skipped = 0;
  const auto each = [&](const auto& take) {
    for (std::int64_t i = 0; i < count; ++i) {
      skipped += chosen[i] < 0;
      take(i, chosen[i]);
    }
  };
  const auto index = [=](std::int64_t i, std::int32_t k) { indices[i * width] = std::max(k, 0); };
  const auto add = [=](std::int64_t, std::int32_t k) {
    if (k >= 0) ++counts[k];
  };
  if (indices != nullptr && counts != nullptr) {
    each([&](std::int64_t i, std::int32_t k) {
      index(i, k);
      add(i, k);
    });
  } else if (indices != nullptr) {
    each(index);
  } else if (counts != nullptr) {
    each(add);
  } else {
    each([](std::int64_t, std::int32_t) {});
  }
  return skipped;
}

}  // namespace spinlock
