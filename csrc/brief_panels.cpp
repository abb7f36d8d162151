#include <algorithm>
#include <bit>
#include <cmath>

#include "codebook_panels.hpp"

namespace spinlock {
namespace {

// To the nearest bfloat16, ties to even; values are finite and far from the largest.
std::uint32_t bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return (bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16;
}

template <int kCodes>
float pack_brief_panel(const float* values, std::int64_t dim, std::uint32_t* out) {
  float lost[kCodes] = {};
  for (std::int64_t d = 0; d < dim; ++d, values += kCodes) {
    std::uint32_t* const pair = out + d / 2 * kCodes;
    const int shift = d % 2 == 0 ? 0 : 16;
    for (int i = 0; i < kCodes; ++i) {
      const std::uint32_t half = bfloat16(values[i]);
      const float rest = values[i] - std::bit_cast<float>(half << 16);
      lost[i] += rest * rest;
      pair[i] = shift == 0 ? half : pair[i] | (half << 16);
    }
  }
  return *std::max_element(lost, lost + kCodes);
}

}  // namespace

void pack_brief(std::uint32_t* memory, CodebookPanels& panels) {
  const std::int64_t dim = panels.dim, pairs = (dim + 1) / 2;
  float lost = 0.0f, largest = 0.0f;
  for (std::int64_t first = 0; first < panels.kept; first += kPanelCodes) {
    const float* const from = panels.centred + first * dim;
    std::uint32_t* const to = memory + first * pairs;
    switch (std::min(kPanelCodes, panels.kept - first)) {
      case 1: lost = std::max(lost, pack_brief_panel<1>(from, dim, to)); break;
      case 2: lost = std::max(lost, pack_brief_panel<2>(from, dim, to)); break;
      case 3: lost = std::max(lost, pack_brief_panel<3>(from, dim, to)); break;
      case 4: lost = std::max(lost, pack_brief_panel<4>(from, dim, to)); break;
      case 5: lost = std::max(lost, pack_brief_panel<5>(from, dim, to)); break;
      default: lost = std::max(lost, pack_brief_panel<6>(from, dim, to));
    }
  }
  for (std::int64_t k = 0; k < panels.kept; ++k) largest = std::max(largest, panels.half_norms[k]);
  panels.brief_radius = 2.04f * std::sqrt(2.0f * largest);
  panels.brief_residual = 2.04f * std::sqrt(lost);
  panels.brief = memory;
}

bool brief_pays(std::int64_t num_rows, std::int64_t num_codes, std::int64_t dim) {
  return num_rows >= 128 && dim >= 8 && num_codes >= 128 && num_codes * dim >= 32768;
}

}  // namespace spinlock
