#include "codebook_panels.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "codebook_survey.hpp"
#include "turn_quads.hpp"

namespace spinlock {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kRoundoff = 0x1p-24;
// Bounds take D u << 1 for granted; codes of more dims are compared in float64 throughout.
constexpr std::int64_t kMaxCertifiedDim = 8192;

// The sum over each of kCodes quads.
template <int kCodes>
void sum_quads(const Quad (&quads)[kCodes], float* sums) {
  for (int first = 0; first < kCodes; first += 4) {
    const int last = kCodes - 1;
    const auto at = [&](int i) { return quads[std::min(first + i, last)]; };
    Quad z[4];
    turn_quads<Quad>({at(0), at(1), at(2), at(3)}, z);
    const Quad total = (z[0] + z[2]) + (z[1] + z[3]);
    const auto count = static_cast<std::size_t>(std::min(kCodes - first, 4));
    std::memcpy(sums + first, &total, count * sizeof(float));
  }
}

// Four dims of kCodes codes, side by side.
template <int kCodes>
void put_quads(const Quad (&v)[kCodes], float* to) {
  if constexpr (kCodes == 6) {
    const Quad a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
    const Quad b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
    const Quad c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
    const Quad e = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
    const Quad f = __builtin_shufflevector(v[4], v[5], 0, 4, 1, 5);
    const Quad g = __builtin_shufflevector(v[4], v[5], 2, 6, 3, 7);
    const Quad packed[6] = {
        __builtin_shufflevector(a, c, 0, 1, 4, 5), __builtin_shufflevector(f, a, 0, 1, 6, 7),
        __builtin_shufflevector(c, f, 2, 3, 6, 7), __builtin_shufflevector(b, e, 0, 1, 4, 5),
        __builtin_shufflevector(g, b, 0, 1, 6, 7), __builtin_shufflevector(e, g, 2, 3, 6, 7)};
    std::memcpy(to, packed, sizeof packed);
  } else if constexpr (kCodes == 1) {
    std::memcpy(to, v, sizeof v);
  } else {
    constexpr int kTurned = kCodes < 4 ? kCodes : 4;
    Quad z[4];
    turn_quads<Quad>({v[0], v[1], v[kTurned > 2 ? 2 : 0], v[kTurned > 3 ? 3 : 0]}, z);
    for (int j = 0; j < 4; ++j) {
      std::memcpy(to + j * kCodes, &z[j], kTurned * sizeof(float));
      if constexpr (kCodes == 5) to[j * kCodes + 4] = v[4][j];
    }
  }
}

// Panels of c * scale + offset with the norms and prints of the codes, 4 dims at a time.
template <int kCodes>
void pack_one(const float* const* codes, const CodebookPanels& panels, const CodebookParts& parts,
              std::int64_t first) {
  const std::int64_t dim = panels.dim;
  float* const out = parts.centred + first * dim;
  const Quad scale = {panels.scale, panels.scale, panels.scale, panels.scale};
  Quad norms[kCodes] = {}, prints[kCodes] = {};
  std::int64_t d = 0;
  for (; d + 4 <= dim; d += 4) {
    const Quad offset = load_quad(parts.offset + d), weight = load_quad(parts.weights + d);
    Quad v[kCodes];
    for (int i = 0; i < kCodes; ++i) {
      v[i] = load_quad(codes[i] + d) * scale + offset;
      norms[i] += v[i] * v[i];
      prints[i] += v[i] * weight;
    }
    put_quads<kCodes>(v, out + d * kCodes);
  }
  float* const norm = parts.half_norms + first;
  float* const print = parts.prints + first;
  sum_quads<kCodes>(norms, norm);
  sum_quads<kCodes>(prints, print);
  for (int i = 0; i < kCodes; ++i) {
    for (std::int64_t tail = d; tail < dim; ++tail) {
      const float v = codes[i][tail] * panels.scale + parts.offset[tail];
      out[tail * kCodes + i] = v;
      norm[i] += v * v;
      print[i] += v * parts.weights[tail];
    }
    norm[i] *= 0.5f;
  }
}

void pack_centred(const CodebookPanels& panels, const CodebookParts& parts) {
  for (std::int64_t first = 0; first < panels.kept; first += kPanelCodes) {
    const float* codes[kPanelCodes];
    const auto count = static_cast<int>(std::min(kPanelCodes, panels.kept - first));
    for (int i = 0; i < count; ++i) {
      codes[i] = panels.codes + panels.id(first + i) * panels.stride;
    }
    switch (count) {
      case 1: pack_one<1>(codes, panels, parts, first); break;
      case 2: pack_one<2>(codes, panels, parts, first); break;
      case 3: pack_one<3>(codes, panels, parts, first); break;
      case 4: pack_one<4>(codes, panels, parts, first); break;
      case 5: pack_one<5>(codes, panels, parts, first); break;
      default: pack_one<6>(codes, panels, parts, first);
    }
  }
}

// Few enough for all pairs to be compared.
constexpr std::int64_t kFewPrints = 64;

// Whether any two prints are equal.
bool any_equal(const float* prints, std::int64_t count) {
  float padded[kFewPrints + 4];
  std::fill(std::copy_n(prints, count, padded), padded + count + 4,
            std::numeric_limits<float>::quiet_NaN());
  typedef std::int32_t Mask __attribute__((vector_size(16)));
  Mask equal = {};
  for (std::int64_t apart = 1; apart < count; ++apart) {
    for (std::int64_t k = 0; k + apart < count; k += 4) {
      equal |= load_quad(padded + k) == load_quad(padded + k + apart);
    }
  }
  return (equal[0] | equal[1] | equal[2] | equal[3]) != 0;
}

// Drops codes that equal an earlier one from the list of kept ones; true if there are any. Equal
// codes have equal prints, so that few pairs are compared in full; a crowd of equal prints is given
// up, which costs time at lookup but no exactness.
bool drop_copies(CodebookPanels& panels, const CodebookParts& parts) {
  if (panels.kept <= kFewPrints && !any_equal(parts.prints, panels.kept)) return false;
  constexpr int kMaxProbes = 16;
  constexpr float kCopy = -1.0f;  // no half norm is negative
  const std::uint64_t slots = copy_slots(panels.num_codes);
  std::fill_n(parts.table, slots, -1);
  const auto bytes = static_cast<std::size_t>(panels.dim) * sizeof(float);
  std::int64_t copies = 0;
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    const std::uint32_t print = std::bit_cast<std::uint32_t>(parts.prints[k]);
    std::uint64_t slot = first_slot(print, slots);
    for (int probe = 0; probe < kMaxProbes; ++probe, slot = (slot + 1) & (slots - 1)) {
      const std::int32_t other = parts.table[slot];
      if (other < 0) {
        parts.table[slot] = static_cast<std::int32_t>(k);
        break;
      }
      if (std::bit_cast<std::uint32_t>(parts.prints[other]) == print &&
          std::memcmp(panels.codes + panels.id(k) * panels.stride,
                      panels.codes + panels.id(other) * panels.stride, bytes) == 0) {
        parts.half_norms[k] = kCopy;
        ++copies;
        break;
      }
    }
  }
  if (copies == 0) return false;
  std::int64_t distinct = 0;
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    if (parts.half_norms[k] != kCopy) parts.ids[distinct++] = static_cast<std::int32_t>(panels.id(k));
  }
  panels.ids = parts.ids;
  panels.kept = distinct;
  return true;
}

void set_bounds(CodebookPanels& panels) {
  const auto dim = static_cast<double>(panels.dim);
  float largest = 0.0f;
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    largest = panels.half_norms[k] > largest ? panels.half_norms[k] : largest;
  }
  const double square = 2.0 * largest * 1.001, radius = std::sqrt(square);
  panels.direct_relative = static_cast<float>(2.2 * (dim + 8.0) * kRoundoff);
  panels.direct_absolute = static_cast<float>((dim + 8.0) * 0x1p-140);
  panels.bound_constant = static_cast<float>(1.02 * kRoundoff * (1.25 * dim + 16.0) * square);
  panels.bound_linear = static_cast<float>(2.04 * kRoundoff * (dim + 10.0) * radius);
  panels.bound_square = static_cast<float>((dim + 8.0) * 0x1p-50);
  // |y| <= (|y|^2 / radius + radius) / 2
  const double linear = 0.501 * static_cast<double>(panels.bound_linear);
  panels.bound_rootless_constant = static_cast<float>(1.001 * panels.bound_constant + linear * radius);
  panels.bound_rootless = static_cast<float>(1.001 * panels.bound_square + linear / radius);
  // Outside this range underflow or overflow could outgrow the roundings that are counted.
  if (!(radius >= 0.25 && radius <= 0x1p40) || panels.dim > kMaxCertifiedDim) {
    panels.bound_constant = panels.bound_rootless_constant = kInfinity;
  }
  if (panels.dim > kMaxCertifiedDim) panels.direct_absolute = kInfinity;
}

// Panels of the kept codes; `copies`: there may be copies among them.
void pack_surveyed(CodebookPanels& panels, const CodebookParts& parts, bool copies) {
  if (panels.kept <= 1) return;
  panels.offset = parts.offset;
  panels.centred = parts.centred;
  panels.half_norms = parts.half_norms;
  panels.direct = parts.direct;
  choose_centre(panels, parts);
  pack_centred(panels, parts);
  if (copies && drop_copies(panels, parts)) pack_centred(panels, parts);
  set_bounds(panels);
  if (parts.brief != nullptr && panels.bound_constant < kInfinity) pack_brief(parts.brief, panels);
}

}  // namespace

std::uint64_t copy_slots(std::int64_t num_codes) {
  return std::bit_ceil(2 * static_cast<std::uint64_t>(num_codes));
}

std::uint64_t first_slot(std::uint32_t print, std::uint64_t slots) {
  return (print * 0x9E3779B9u) >> (32 - std::countr_zero(slots));
}

CodebookPanels unpacked_panels(const float* codes, std::int64_t stride, std::int64_t num_codes,
                               std::int64_t dim) {
  CodebookPanels panels;
  panels.codes = codes;
  panels.stride = stride;
  panels.num_codes = num_codes;
  panels.dim = dim;
  return panels;
}

std::int64_t panel_floats(std::int64_t num_codes, std::int64_t dim, bool brief) {
  const auto slots = static_cast<std::int64_t>(copy_slots(num_codes));
  return 5 * whole_lines(dim) + 3 * whole_lines(num_codes) + whole_lines(slots) +
         2 * whole_lines(num_codes * dim) + (brief ? whole_lines(num_codes * ((dim + 1) / 2)) : 0);
}

void pack_panels(const float* codes, std::int64_t stride, std::int64_t num_codes, std::int64_t dim,
                 bool brief, float* memory, CodebookPanels& panels) {
  const CodebookParts parts(memory, num_codes, dim, brief);
  panels = unpacked_panels(codes, stride, num_codes, dim);
  panels.kept = num_codes;
  if (!survey(panels, parts)) {
    std::int64_t kept = 0;
    for (std::int64_t k = 0; k < num_codes; ++k) {
      if (is_finite(codes + k * stride, dim)) parts.ids[kept++] = static_cast<std::int32_t>(k);
    }
    panels.kept = kept;
    panels.ids = parts.ids;
    survey(panels, parts);
  }
  pack_surveyed(panels, parts, true);
}

void pack_some(const CodebookPanels& of, const std::int32_t* ids, std::int64_t count, bool brief,
               float* memory, CodebookPanels& panels) {
  const CodebookParts parts(memory, count, of.dim, brief);
  panels = unpacked_panels(of.codes, of.stride, of.num_codes, of.dim);
  std::copy_n(ids, count, parts.ids);
  panels.ids = parts.ids;
  panels.kept = count;
  survey(panels, parts);
  pack_surveyed(panels, parts, false);
}

}  // namespace spinlock
