#pragma once

#include <cstdint>

#include "simd/score_tile.hpp"

// A tile of rows in the expanded form, |z|^2 / 2 - y.z: which code is nearest, and for which rows that
// cannot be told from it.

namespace spinlock {
namespace {

constexpr std::int64_t kManyCodes = 256;

// All kept codes against a tile, as Rank leaves them.
template <bool kDirect>
void rank_codes(const CodebookPanels& panels, const float* tile, int count, const float* next,
                Ranking& ranking) {
  ranking.clear();
  if (panels.kept >= kManyCodes) {
    scan<kDirect, false>(panels, tile, count, next, Rank<true, kDirect>{ranking});
  } else if (next == nullptr) {
    scan<kDirect, false>(panels, tile, count, next, Rank<false, kDirect>{ranking});
  } else {
    scan<kDirect, true>(panels, tile, count, next, Rank<false, kDirect>{ranking});
  }
}

class ExpandedRows {
 public:
  ExpandedRows(const CodebookPanels& panels, Ranking& ranking)
      : panels_(panels), ranking_(ranking) {}

  // What scores may be off by, for the best code and any other together; `squares`: |y|^2.
  Floats margin(Floats squares) const {
    const Floats linear = V::add_product(V::all(panels_.bound_linear), V::square_root(squares),
                                         V::all(panels_.bound_constant));
    return V::add_product(V::all(panels_.bound_square), squares, linear);
  }

  // Leaves the positions of the nearest codes in the ranking; bit i: row i is open. `next` as in
  // scan_rows.
  std::uint64_t rank(const float* tile, const float* squares, int count, const float* next) const {
    const std::uint64_t open = panels_.kept <= kFewCodes ? rank_few(tile, squares, count, next)
                                                         : rank_all(tile, squares, count, next);
    return count < kRows ? open & ((std::uint64_t{1} << count) - 1) : open;
  }

 private:
  std::uint64_t rank_all(const float* tile, const float* squares, int count,
                         const float* next) const {
    for (int r = 0; r < count; r += V::kLanes) {
      V::store(ranking_.margin + r, margin(V::load(squares + r)));
    }
    rank_codes<false>(panels_, tile, count, next, ranking_);
    std::uint64_t open = 0;
    for (int r = 0; r < count; r += V::kLanes) {
      const Floats within = V::add(V::load(ranking_.best + r), V::load(ranking_.margin + r));
      open |= not_beyond(within, r);
    }
    return open;
  }

  // Scores bring positions along.
  std::uint64_t rank_few(const float* tile, const float* squares, int count,
                         const float* next) const {
    ranking_.clear();
    if (next == nullptr) {
      scan<false, false>(panels_, tile, count, next, RankFew{ranking_});
    } else {
      scan<false, true>(panels_, tile, count, next, RankFew{ranking_});
    }
    std::uint64_t open = 0;
    for (int r = 0; r < count; r += V::kLanes) {
      const Floats best = V::load(ranking_.best + r), square = V::load(squares + r);
      V::store_ints(ranking_.position + r, V::last_bits<kFewCodes - 1>(best));
      const Floats from = V::add_product(V::magnitude(best), V::all(kPositionShare), best);
      // Without a root, and with one for what that leaves open.
      const Floats more = V::add_product(V::all(panels_.bound_rootless), square,
                                         V::all(panels_.bound_rootless_constant));
      if (not_beyond(V::add(from, more), r) != 0) {
        open |= not_beyond(V::add(from, margin(square)), r);
      }
    }
    return open;
  }

  // The rows from r on whose second best score is not above `within`.
  std::uint64_t not_beyond(Floats within, int r) const {
    const V::Mask open = V::not_above(V::load(ranking_.second + r), within);
    return static_cast<std::uint64_t>(V::bits(open)) << r;
  }

  const CodebookPanels& panels_;
  Ranking& ranking_;
};

}  // namespace
}  // namespace spinlock
