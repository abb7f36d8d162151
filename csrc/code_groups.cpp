#include "code_groups.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

namespace spinlock {
namespace {

// Fewer rows gain less than looking for clusters costs.
constexpr std::int64_t kLeastRows = 1024;
// The codes' values in their widest dim are counted in bins; clusters lie between runs of empty ones.
constexpr int kBins = 64;
constexpr int kEmptyBins = 4;
constexpr std::size_t kMostGroups = 8;
// Distances are float32 sums of up to so many squares: off by 2^-10, and by 2^-68 where squares
// underflow.
constexpr std::int64_t kMostDims = 8192;
constexpr float kRelative = 0x1p-9f;
constexpr float kAbsolute = 0x1p-60f;
constexpr double kLeastGap = 0x1p-40;
constexpr double kMostGap = 0x1p60;

constexpr int kAmbiguous = -1;

// Whether scoring `most` instead of `all` codes saves a row more than finding its cluster and moving
// it costs: codes are scored 16 at a time, centres one by one.
bool pays(std::int64_t all, std::int64_t most, std::int64_t clusters, std::int64_t dim) {
  return (all - most) * dim > 32 * (clusters * dim + 60);
}

typedef float Quad __attribute__((vector_size(16)));

double distance(const float* a, const float* b, std::int64_t dim) {
  double sum = 0.0;
  for (std::int64_t d = 0; d < dim; ++d) {
    const double difference = static_cast<double>(a[d]) - static_cast<double>(b[d]);
    sum += difference * difference;
  }
  return std::sqrt(sum);
}

float rough_distance(const float* a, const float* b, std::int64_t dim) {
  Quad sums[2] = {};
  std::int64_t d = 0;
  for (; d + 8 <= dim; d += 8) {
    Quad x[2], c[2];
    std::memcpy(x, a + d, sizeof x);
    std::memcpy(c, b + d, sizeof c);
    for (int i = 0; i < 2; ++i) sums[i] += (x[i] - c[i]) * (x[i] - c[i]);
  }
  const Quad both = sums[0] + sums[1];
  float sum = (both[0] + both[2]) + (both[1] + both[3]);
  for (; d < dim; ++d) sum += (a[d] - b[d]) * (a[d] - b[d]);
  return std::sqrt(sum);
}

// Where the values split: the first bin behind each of the longest runs of empty ones, ascending.
std::vector<int> cuts(const bool (&filled)[kBins]) {
  std::vector<std::pair<int, int>> runs;  // (length, first bin behind it)
  int length = 0;
  for (int bin = 0; bin < kBins; ++bin) {
    if (filled[bin] && length >= kEmptyBins) runs.emplace_back(length, bin);
    length = filled[bin] ? 0 : length + 1;
  }
  std::sort(runs.rbegin(), runs.rend());
  if (runs.size() > kMostGroups - 1) runs.resize(kMostGroups - 1);
  std::vector<int> found;
  for (const auto& run : runs) found.push_back(run.second);
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

std::unique_ptr<CodeGroups> CodeGroups::find(const CodebookPanels& panels, std::int64_t num_rows,
                                             bool brief) {
  const bool worth = num_rows >= kLeastRows && pays(panels.kept, panels.kept / 2, 2, panels.dim);
  if (!worth || panels.dim > kMostDims) return nullptr;
  const auto value = [&panels](std::int64_t position) {
    return panels.codes[panels.id(position) * panels.stride + panels.widest];
  };
  float low = value(0), high = low;
  for (std::int64_t k = 1; k < panels.kept; ++k) {
    low = std::min(low, value(k));
    high = std::max(high, value(k));
  }
  const float bins = static_cast<float>(kBins) / (high - low);
  if (!(bins > 0.0f && std::isfinite(bins))) return nullptr;
  const auto bin_of = [&](std::int64_t position) {
    return std::min(kBins - 1, static_cast<int>((value(position) - low) * bins));
  };
  bool filled[kBins] = {};
  for (std::int64_t k = 0; k < panels.kept; ++k) filled[bin_of(k)] = true;
  const std::vector<int> at = cuts(filled);
  if (at.empty()) return nullptr;

  std::unique_ptr<CodeGroups> found(new CodeGroups(at.size() + 1));
  for (std::int64_t k = 0; k < panels.kept; ++k) {
    const auto group = std::upper_bound(at.begin(), at.end(), bin_of(k)) - at.begin();
    found->groups_[static_cast<std::size_t>(group)].ids.push_back(
        static_cast<std::int32_t>(panels.id(k)));
  }
  std::size_t most = 0;
  for (const Group& group : found->groups_) most = std::max(most, group.ids.size());
  const auto clusters = static_cast<std::int64_t>(found->groups_.size());
  if (!pays(panels.kept, static_cast<std::int64_t>(most), clusters, panels.dim)) return nullptr;
  found->measure(panels);
  if (!found->far_apart(panels.dim)) return nullptr;
  for (Group& group : found->groups_) {
    const auto count = static_cast<std::int64_t>(group.ids.size());
    const std::int64_t expected = num_rows * count / panels.kept;
    const bool with_brief = brief && brief_pays(expected, count, panels.dim);
    group.memory = allocate_floats(panel_floats(count, panels.dim, with_brief));
    pack_some(panels, group.ids.data(), count, with_brief, group.memory.get(), group.panels);
  }
  return found;
}

void CodeGroups::measure(const CodebookPanels& panels) {
  const auto dim = static_cast<std::size_t>(panels.dim);
  for (Group& group : groups_) {
    std::vector<double> sum(dim);
    for (const std::int32_t id : group.ids) {
      const float* const code = panels.codes + id * panels.stride;
      for (std::size_t d = 0; d < dim; ++d) sum[d] += static_cast<double>(code[d]);
    }
    const double share = 1.0 / static_cast<double>(group.ids.size());
    for (std::size_t d = 0; d < dim; ++d) group.centre.push_back(static_cast<float>(sum[d] * share));
    double radius = 0.0;
    for (const std::int32_t id : group.ids) {
      const float* const code = panels.codes + id * panels.stride;
      radius = std::max(radius, distance(code, group.centre.data(), panels.dim));
    }
    // 1e-6 covers the rounding to float32 (2^-24) and of the sum (D 2^-53); 2^-60 denormals.
    group.radius = static_cast<float>(radius * 1.000001 + static_cast<double>(kAbsolute));
  }
}

// Whether a row within a cluster's radius of its centre is sure to belong to it.
bool CodeGroups::far_apart(std::int64_t dim) const {
  for (const Group& one : groups_) {
    for (const Group& other : groups_) {
      if (&one == &other) continue;
      const double gap = distance(one.centre.data(), other.centre.data(), dim);
      const double reach =
          3.0 * static_cast<double>(one.radius) + static_cast<double>(other.radius);
      if (!(gap >= kLeastGap && gap <= kMostGap && gap > 1.02 * reach)) return false;
    }
  }
  return true;
}

// The cluster that surely holds the row's nearest code.
int CodeGroups::group_of(const float* row, std::int64_t dim) const {
  float from[kMostGroups] = {};  // no code of the group is nearer
  std::size_t best = 0;
  float to = std::numeric_limits<float>::infinity();  // the nearest code of the best one is not farther
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    const float radius = groups_[g].radius * (1.0f + kRelative) + kAbsolute;
    const float centre = rough_distance(row, groups_[g].centre.data(), dim);
    if (!std::isfinite(centre)) return kAmbiguous;
    from[g] = centre * (1.0f - kRelative) - radius;
    if (centre * (1.0f + kRelative) + radius < to) {
      to = centre * (1.0f + kRelative) + radius;
      best = g;
    }
  }
  for (std::size_t g = 0; g < groups_.size(); ++g) {
    if (g != best && !(from[g] > to)) return kAmbiguous;
  }
  return static_cast<int>(best);
}

void CodeGroups::nearest(const RowKernels& kernels, const CodebookPanels& all, LazyDirect& direct,
                         const Rows& rows, float* memory, std::int32_t* out) const {
  // Kept for as long as the thread lives: its rows of a step, group after group.
  static thread_local std::vector<float> copies;
  static thread_local std::vector<std::int32_t> groups, places, chosen;
  const auto count = static_cast<std::size_t>(rows.count), dim = static_cast<std::size_t>(all.dim);
  copies.resize(std::max(copies.size(), count * dim));
  for (auto* const list : {&groups, &places, &chosen}) list->resize(std::max(list->size(), count));
  for (std::size_t i = 0; i < count; ++i) {
    groups[i] = group_of(rows.data + static_cast<std::int64_t>(i) * rows.stride, all.dim);
  }
  for (int g = kAmbiguous; g < static_cast<int>(groups_.size()); ++g) {
    std::size_t taken = 0;
    for (std::size_t i = 0; i < count; ++i) {
      if (groups[i] != g) continue;
      const float* const row = rows.data + static_cast<std::int64_t>(i) * rows.stride;
      std::copy_n(row, dim, copies.data() + taken * dim);
      places[taken++] = static_cast<std::int32_t>(i);
    }
    if (taken == 0) continue;
    const bool alone = g != kAmbiguous;
    const Rows part{copies.data(), all.dim, static_cast<std::int64_t>(taken)};
    kernels.nearest(alone ? groups_[static_cast<std::size_t>(g)].panels : all,
                    alone ? direct_[static_cast<std::size_t>(g)] : direct, part, memory,
                    chosen.data());
    for (std::size_t i = 0; i < taken; ++i) out[places[i]] = chosen[i];
  }
}

}  // namespace spinlock
