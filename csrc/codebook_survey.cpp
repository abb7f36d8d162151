#include "codebook_survey.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace spinlock {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Sum and range of 4 x kQuads dims of the codes listed, kept in registers.
template <int kQuads>
void survey_dims(const CodebookPanels& panels, const CodebookParts& parts, std::int64_t first) {
  Quad sum[kQuads] = {}, low[kQuads], high[kQuads];
  for (int i = 0; i < kQuads; ++i) {
    low[i] = Quad{} + kInfinity;
    high[i] = Quad{} - kInfinity;
  }
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    const float* const code = panels.codes + panels.id(k) * panels.stride + first;
    for (int i = 0; i < kQuads; ++i) {
      const Quad v = load_quad(code + 4 * i);
      sum[i] += v;
      low[i] = v < low[i] ? v : low[i];
      high[i] = v > high[i] ? v : high[i];
    }
  }
  std::memcpy(parts.sums + first, sum, sizeof sum);
  std::memcpy(parts.low + first, low, sizeof low);
  std::memcpy(parts.high + first, high, sizeof high);
}

template <typename Value>
Value half_range(Value low, Value high) {
  return high * 0.5f - low * 0.5f;
}

Quad greater(Quad a, Quad b) { return a > b ? a : b; }

// The power of two that brings the widest dim to 1..2, but no code above 2^100.
float choose_scale(const CodebookParts& parts, std::int64_t dim, std::int64_t& widest) {
  Quad ranges = {}, extremes = {};
  std::int64_t d = 0;
  for (; d + 4 <= dim; d += 4) {
    const Quad low = load_quad(parts.low + d), high = load_quad(parts.high + d);
    ranges = greater(half_range(low, high), ranges);
    extremes = greater(greater(high, -low), extremes);
  }
  float range = 0.0f, largest = 0.0f;
  for (int i = 0; i < 4; ++i) {
    range = std::max(range, ranges[i]);
    largest = std::max(largest, extremes[i]);
  }
  for (; d < dim; ++d) {
    range = std::max(range, half_range(parts.low[d], parts.high[d]));
    largest = std::max({largest, parts.high[d], -parts.low[d]});
  }
  if (!(range > 0.0f)) return 1.0f;
  widest = 0;
  while (widest + 1 < dim && half_range(parts.low[widest], parts.high[widest]) != range) ++widest;
  const int exponent = std::min(-std::ilogb(range), 100 - std::ilogb(largest));
  return std::ldexp(1.0f, std::clamp(exponent, -126, 126));
}

}  // namespace

// Four at a time: one chain of additions takes longer than all that is done with the values.
bool is_finite(const float* values, std::int64_t count) {
  Quad zeros = {};
  std::int64_t d = 0;
  for (; d + 4 <= count; d += 4) zeros += load_quad(values + d) * 0.0f;
  float sum = (zeros[0] + zeros[1]) + (zeros[2] + zeros[3]);
  for (; d < count; ++d) sum += values[d] * 0.0f;
  return sum == 0.0f;
}

bool survey(const CodebookPanels& panels, const CodebookParts& parts) {
  const std::int64_t dim = panels.dim;
  std::int64_t d = 0;
  for (; d + 16 <= dim; d += 16) survey_dims<4>(panels, parts, d);
  switch ((dim - d) / 4) {
    case 1: survey_dims<1>(panels, parts, d); break;
    case 2: survey_dims<2>(panels, parts, d); break;
    case 3: survey_dims<3>(panels, parts, d); break;
    default: break;
  }
  d = dim / 4 * 4;
  for (; d < dim; ++d) {
    float sum = 0.0f, low = kInfinity, high = -kInfinity;
    for (std::int64_t k = 0; k < panels.kept; ++k) {
      const float v = panels.codes[panels.id(k) * panels.stride + d];
      sum += v;
      low = v < low ? v : low;
      high = v > high ? v : high;
    }
    parts.sums[d] = sum;
    parts.low[d] = low;
    parts.high[d] = high;
  }
  if (is_finite(parts.sums, dim)) return true;  // no sum with such a term is finite
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    if (!is_finite(panels.codes + panels.id(k) * panels.stride, dim)) return false;
  }
  return true;  // only the sums overflowed
}

void choose_centre(CodebookPanels& panels, const CodebookParts& parts) {
  panels.scale = choose_scale(parts, panels.dim, panels.widest);
  const float share = 1.0f / static_cast<float>(panels.kept);
  std::uint32_t state = 1;
  for (std::int64_t d = 0; d < panels.dim; ++d) {
    float mean = parts.sums[d] * share;
    if (!std::isfinite(mean)) mean = 0.5f * parts.low[d] + 0.5f * parts.high[d];
    parts.offset[d] = -mean * panels.scale;
    state = state * 1664525u + 1013904223u;
    parts.weights[d] = static_cast<float>(state >> 8) * 0x1p-24f + 0.5f;
  }
}

}  // namespace spinlock
