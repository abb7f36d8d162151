#include "tile_schedule.hpp"

#include <algorithm>
#include <limits>
#include <new>

#include "checked_math.hpp"
#include "errors.hpp"

namespace spinlock {
namespace {

constexpr std::int64_t kMaxIndex = std::numeric_limits<std::int32_t>::max();

// All tiles of one quantizer that hold the same number of rows, and so cost the same.
struct TileGroup {
  std::int64_t cost;
  std::int64_t quantizer;
  std::int64_t first_row;
  std::int64_t end_row;
};

void require_indexable(const PackingPlan& plan, std::int64_t num_rows, std::int64_t block_rows) {
  if (num_rows < 0) {
    throw_layout_error("num_rows: expected 0 or more, got ", num_rows,
                       "; pass the number of rows of the latents");
  }
  if (block_rows < 1) {
    throw_layout_error("block_rows: expected at least 1, got ", block_rows,
                       "; pass the rows that one tile takes, for example 64");
  }
  // Kernels form row0 + i for every i < block_rows in 32 bits, also in the last, partial block.
  const auto too_many = [num_rows, block_rows] {
    throw_layout_error("num_rows: expected at most ", kMaxIndex,
                       " rows after rounding up to whole blocks of block_rows = ", block_rows,
                       " (tiles are indexed in 32 bits), got ", num_rows,
                       " rows; split the batch or use smaller blocks");
  };
  if (checked_round_up(num_rows, block_rows, too_many) > kMaxIndex) too_many();
  if (plan.num_quantizers() > static_cast<std::size_t>(kMaxIndex)) {
    throw_layout_error("tile_schedule: expected at most ", kMaxIndex,
                       " quantizers (tiles are indexed in 32 bits), got ", plan.num_quantizers(),
                       "; schedule slices of the layout");
  }
}

std::vector<TileGroup> tile_groups(const PackingPlan& plan, std::int64_t num_rows,
                                   std::int64_t block_rows) {
  const std::int64_t tail = num_rows % block_rows;
  const std::int64_t whole = num_rows - tail;
  std::vector<TileGroup> groups;
  groups.reserve(2 * plan.num_quantizers());
  for (std::size_t q = 0; q < plan.num_quantizers(); ++q) {
    const auto too_heavy = [&plan, q, block_rows] {
      throw_layout_error(
          "block_rows: expected tiles whose cost K * padded D * rows fits 64 bits, got ",
          block_rows, " rows against K = ", plan.codebook_sizes[q],
          ", padded D = ", plan.padded_dims[q], " of quantizer ", q, "; use smaller blocks");
    };
    const std::int64_t row_cost = plan.codebook_sizes[q] * plan.padded_dims[q];
    const auto quantizer = static_cast<std::int64_t>(q);
    if (whole > 0) {
      groups.push_back({checked_multiply(row_cost, block_rows, too_heavy), quantizer, 0, whole});
    }
    if (tail > 0) {
      groups.push_back({checked_multiply(row_cost, tail, too_heavy), quantizer, whole, num_rows});
    }
  }
  return groups;
}

}  // namespace

std::vector<Tile> tile_schedule(const PackingPlan& plan, std::int64_t num_rows,
                                std::int64_t block_rows) {
  require_indexable(plan, num_rows, block_rows);
  std::vector<TileGroup> groups = tile_groups(plan, num_rows, block_rows);
  // At most two costs per quantizer: sorting groups, not tiles, keeps this linear in the tiles.
  std::stable_sort(groups.begin(), groups.end(),
                   [](const TileGroup& a, const TileGroup& b) { return a.cost > b.cost; });

  const auto blocks = static_cast<std::size_t>((num_rows + block_rows - 1) / block_rows);
  const std::size_t count = blocks * plan.num_quantizers();
  std::vector<Tile> tiles;
  const auto out_of_memory = [count] {
    throw_layout_error("tile_schedule: expected a table that fits the memory, got ", count,
                       " tiles; use larger blocks or split the batch");
  };
  if (count > tiles.max_size()) out_of_memory();
  try {
    tiles.reserve(count);
  } catch (const std::bad_alloc&) {
    out_of_memory();
  }
  for (const TileGroup& group : groups) {
    for (std::int64_t row = group.first_row; row < group.end_row; row += block_rows) {
      tiles.push_back({static_cast<std::int32_t>(group.quantizer), static_cast<std::int32_t>(row)});
    }
  }
  return tiles;
}

}  // namespace spinlock
