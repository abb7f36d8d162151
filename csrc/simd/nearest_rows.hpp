#pragma once

#include <cstdint>

#include "simd/expanded_rows.hpp"
#include "simd/few_rows.hpp"
#include "simd/row_tile.hpp"
#include "simd/truth.hpp"
#ifdef SPINLOCK_BRIEF
#include "simd/brief_rows.hpp"
#endif

// The certified lookup of one quantizer; docs/kernels-cpu.md proves that it returns the truth's codes.

namespace spinlock {
namespace {

// A tile with more undecided rows than this goes to the direct form, and so do the next ones.
constexpr int kMaxUndecided = kRows / 8;
constexpr int kDirectTiles = 32;

// Rows that wait until a tile of them is full. Less than a tile waits whenever the next tile is
// looked at, which adds a tile's rows at most: 2 kRows are enough.
struct Queue {
  const float* row[2 * kRows];
  std::int32_t* out[2 * kRows];
  float limit[2 * kRows];
  int count = 0;

  void push(const float* values, std::int32_t* to, float within) {
    row[count] = values;
    out[count] = to;
    limit[count++] = within;
  }
};

class NearestRows {
 public:
  // `memory`: lookup_floats: a tile, as much again for rows that do not lie as a tile wants them,
  // and what the bfloat16 pass needs.
  NearestRows(const CodebookPanels& panels, LazyDirect& direct, float* memory)
      : panels_(panels),
        direct_(direct),
        tile_(memory),
        copies_{memory + kRows * panels.dim, panels.dim},
        expanded_(panels, ranking_)
#ifdef SPINLOCK_BRIEF
        ,
        brief_(panels, memory + 2 * kRows * panels.dim)
#endif
  {
  }

  void run(const Rows& rows, std::int32_t* out) {
    if (rows.count <= kRows) {
      tile(rows, out);
    } else {
      for (std::int64_t first = 0; first < rows.count; first += kRows) {
        const std::int64_t left = rows.count - first;
        tile(rows.part(first, left < kRows ? left : kRows), out + first);
      }
    }
    while (undecided_.count > 0 && !few_alone(undecided_)) flush_undecided();
    while (close_.count > 0 && !few_alone(close_)) flush_close();
  }

 private:
  void tile(const Rows& rows, std::int32_t* out) {
#ifdef SPINLOCK_BRIEF
    if (panels_.brief != nullptr && rows.count == kRows && !direct_.brief.take()) {
      if (brief_tile(rows, out)) return flush_full();
      direct_.brief.set(kDirectTiles);
    }
#endif
    const bool passed = direct_.expanded.take();
    if (passed || !expanded_tile(rows, out)) {
      if (!passed) direct_.expanded.set(kDirectTiles);
      Rows copies;
      direct_tile(copies_.in_whole_vectors(rows, copies),
                  [&](int i) { return rows.data + i * rows.stride; },
                  [out](int i) { return out + i; });
    }
    flush_full();
  }

  void flush_full() {
    while (undecided_.count >= kRows) flush_undecided();
    while (close_.count >= kRows) flush_close();
  }

  // What comes next, if it is lines side by side for a scan that has room for them, and no longer for
  // who loads the rows.
  const float* lines_to_fetch(const Rows& rows) const {
    const bool side_by_side = rows.next.stride == 0 && rows.next.rows == kRows;
    const bool room = rows.count == kRows && panels_.kept < kManyCodes;
    return side_by_side && room ? rows.next.data : nullptr;
  }

  // The last rows of a queue one by one, where that costs less than a vector of them.
  __attribute__((noinline)) bool few_alone(Queue& queue) {
    if (queue.count * (panels_.dim + 40) > 16 * panels_.dim) return false;
    for (int i = 0; i < queue.count; ++i) {
      nearest_one(panels_, queue.row[i], tile_, queue.out[i]);
    }
    queue.count = 0;
    return true;
  }

  // Expanded form; false, with nothing kept, if too many rows are undecided.
  bool expanded_tile(const Rows& rows, std::int32_t* out) {
    alignas(64) float squares[kRows];
    const auto count = static_cast<int>(rows.count);
    Rows copies;
    const float* const next = lines_to_fetch(rows);
    load_tile<true>(copies_.in_whole_vectors(rows, copies), panels_, tile_, squares,
                    next == nullptr);
    std::uint64_t undecided = expanded_.rank(tile_, squares, count, next);
    if (__builtin_popcountll(undecided) > kMaxUndecided) return false;
    write(count, out);
    for (; undecided != 0; undecided &= undecided - 1) {
      const int i = __builtin_ctzll(undecided);
      const float* const row = rows.data + i * rows.stride;
      if (row_is_finite(row, panels_.dim)) {
        undecided_.push(row, out + i, 0.0f);
      } else {
        out[i] = kSkipped;
      }
    }
    return true;
  }

#ifdef SPINLOCK_BRIEF
  // A whole tile by the bfloat16 pass; false, with nothing kept, if that left too many groups.
  bool brief_tile(const Rows& rows, std::int32_t* out) {
    alignas(64) float squares[kRows];
    load_tile<true>(rows, panels_, tile_, squares);
    brief_.pack(tile_);
    const Floats radius = V::all(panels_.brief_radius), lost = V::all(panels_.brief_residual);
    for (int r = 0; r < kRows; r += V::kLanes) {
      const Floats s = V::load(squares + r), rest = V::load(brief_.residual + r);
      const Floats reach = V::add(V::square_root(s), rest);
      const Floats rounded = V::add_product(rest, radius, V::multiply(reach, lost));
      V::store(ranking_.margin + r, V::add(expanded_.margin(s), rounded));
    }
    const std::int64_t groups = brief_.scan(ranking_.margin);
    // Rows without a finite bound go elsewhere at once.
    for (int i = 0; i < kRows; ++i) {
      if (!(ranking_.margin[i] < kInfinity)) brief_.limit[i] = __builtin_nanf("");
    }
    if (!brief_.list(groups)) return false;
    for (int i = 0; i < kRows; ++i) {
      const float* const row = rows.data + i * rows.stride;
      if (brief_.count[i] > 0 && brief_.count[i] <= kMaxGroups) {
        out[i] = brief_.choose(i, row);
      } else if (row_is_finite(row, panels_.dim)) {
        undecided_.push(row, out + i, 0.0f);
      } else {
        out[i] = kSkipped;
      }
    }
    return true;
  }
#endif

  // Direct form; rows that it cannot decide are queued, from where row(i) says that they lie, with
  // the limit of their candidates.
  template <typename Row, typename Out>
  void direct_tile(const Rows& rows, const Row& row, const Out& out) {
    direct_.need(panels_);
    const auto count = static_cast<int>(rows.count);
    const float* const next = lines_to_fetch(rows);
    load_tile<false>(rows, panels_, tile_, nullptr, next == nullptr);
    ranking_.relative = panels_.direct_relative;
    for (int r = 0; r < kRows; r += V::kLanes) {
      V::store(ranking_.margin + r, V::all(panels_.direct_absolute));
    }
    rank_codes<true>(panels_, tile_, count, next, ranking_);
    for (int i = 0; i < count; ++i) {
      const float best = ranking_.best[i];
      const float within = best + (best * panels_.direct_relative + panels_.direct_absolute);
      if (ranking_.second[i] > within) {
        *out(i) = static_cast<std::int32_t>(panels_.id(ranking_.position[i]));
      } else if (row_is_finite(row(i), panels_.dim)) {
        close_.push(row(i), out(i), within);
      } else {
        *out(i) = kSkipped;
      }
    }
  }

  __attribute__((noinline)) void flush_undecided() {
    const int count = undecided_.count < kRows ? undecided_.count : kRows;
    undecided_.count -= count;
    const float* const* const row = undecided_.row + undecided_.count;
    std::int32_t* const* const to = undecided_.out + undecided_.count;
    direct_tile(copies_.of(row, count), [row](int i) { return row[i]; },
                [to](int i) { return to[i]; });
    while (close_.count >= kRows) flush_close();
  }

  // Lists the codes within each row's limit and compares them in the form of the truth.
  __attribute__((noinline)) void flush_close() {
    const int count = close_.count < kRows ? close_.count : kRows;
    close_.count -= count;
    const float* const* const row = close_.row + close_.count;
    std::int32_t* const* const out = close_.out + close_.count;
    candidates_.count = 0;
    candidates_.overflow = false;
    bool bounded = true;
    for (int i = 0; i < kRows; ++i) {
      candidates_.limit[i] = i < count ? close_.limit[close_.count + i] : -1.0f;
      if (i < count) bounded = bounded && candidates_.limit[i] < kInfinity;
    }
    if (bounded) {
      load_tile<false>(copies_.of(row, count), panels_, tile_, nullptr);
      scan<true, false>(panels_, tile_, count, nullptr, Collect{candidates_, count});
    }
    std::int64_t chosen[kRows];
    if (bounded && !candidates_.overflow) {
      compare_candidates(row, count, chosen);
    } else {
      true_nearest_rows(panels_, row, count, tile_, chosen);
    }
    for (int i = 0; i < count; ++i) *out[i] = static_cast<std::int32_t>(chosen[i]);
  }

  void compare_candidates(const float* const* row, int count, std::int64_t* chosen) {
    TrueNearest nearest[kRows];
    for (int i = 0; i < count; ++i) nearest[i] = {.row = row[i], .dim = panels_.dim};
    for (int c = 0; c < candidates_.count; ++c) {
      const std::int64_t id = panels_.id(candidates_.position[c]);
      nearest[candidates_.row[c]].offer(panels_.codes + id * panels_.stride, id);
    }
    for (int i = 0; i < count; ++i) {
      nearest[i].decide();
      chosen[i] = nearest[i].chosen;
    }
  }

  void write(int count, std::int32_t* out) const {
    if (panels_.ids != nullptr) {
      for (int i = 0; i < count; ++i) out[i] = panels_.ids[ranking_.position[i]];
    } else if (count < kRows) {
      for (int i = 0; i < count; ++i) out[i] = ranking_.position[i];
    } else {  // compilers take a loop for one long copy, which is slow to begin
      for (int r = 0; r < kRows; r += V::kLanes) {
        V::store_ints_any(out + r, V::load_ints(ranking_.position + r));
      }
    }
  }

  const CodebookPanels& panels_;
  LazyDirect& direct_;
  float* tile_;
  RowCopies copies_;
  Ranking ranking_;
  const ExpandedRows expanded_;
  Candidates candidates_;
  Queue undecided_;
  Queue close_;
#ifdef SPINLOCK_BRIEF
  BriefRows brief_;
#endif
};

void find_skipped(std::int64_t dim, const Rows& rows, std::int32_t* out) {
  for (std::int64_t i = 0; i < rows.count; ++i) {
    out[i] = row_is_finite(rows.data + i * rows.stride, dim) ? 0 : kSkipped;
  }
}

void nearest(const CodebookPanels& panels, LazyDirect& direct, const Rows& rows, float* memory,
             std::int32_t* out) {
  if (panels.kept > 1) {
    NearestRows(panels, direct, memory).run(rows, out);
    return;
  }
  // One finite code is nearest to everything; without any, all are infinitely far: index 0.
  find_skipped(panels.dim, rows, out);
  if (panels.kept == 0 || panels.id(0) == 0) return;
  for (std::int64_t i = 0; i < rows.count; ++i) {
    if (out[i] != kSkipped) out[i] = static_cast<std::int32_t>(panels.id(0));
  }
}

}  // namespace
}  // namespace spinlock
