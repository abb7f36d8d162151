// Runs the core on exactly sized heap buffers, for the sanitizers to watch every access:
//   cmake -S . -B build/sanitize -DSPINLOCK_SANITIZE=ON
//   cmake --build build/sanitize && ctest --test-dir build/sanitize --output-on-failure

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <limits>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "aligned_buffer.hpp"
#include "codebook_layout.hpp"
#include "codebook_panels.hpp"
#include "errors.hpp"
#include "nested_levels.hpp"
#include "ragged_copy.hpp"
#include "ragged_linear.hpp"
#include "tile_schedule.hpp"

namespace {

using spinlock::ConstMatrix;
using spinlock::Matrix;
using spinlock::PackingPlan;

constexpr float kPoison = std::numeric_limits<float>::quiet_NaN();

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "failed: %s\n", what);
  std::exit(1);
}

void require_error(const std::function<void()>& call, const std::string& part) {
  try {
    call();
  } catch (const spinlock::LayoutError& error) {
    require(std::string(error.what()).find(part) != std::string::npos, error.what());
    return;
  }
  require(false, part.c_str());
}

// Matrices [rows[q], cols[q]], every one in its own allocation, counting up from 1.
struct Matrices {
  Matrices(const std::vector<std::int64_t>& rows, const std::vector<std::int64_t>& cols,
           bool fill) {
    float next = 1.0f;
    for (std::size_t q = 0; q < cols.size(); ++q) {
      values.emplace_back(static_cast<std::size_t>(rows[q] * cols[q]), kPoison);
      for (float& value : values.back()) value = fill ? next++ : kPoison;
      writable.push_back({values.back().data(), rows[q], cols[q], cols[q]});
      readable.push_back({values.back().data(), rows[q], cols[q], cols[q]});
    }
  }

  std::vector<std::vector<float>> values;
  std::vector<Matrix> writable;
  std::vector<ConstMatrix> readable;
};

std::int64_t count_nonzero(const float* data, std::int64_t size) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < size; ++i) count += data[i] != 0.0f;  // NaN counts
  return count;
}

void check_codebooks(const PackingPlan& plan) {
  const Matrices codebooks(plan.codebook_sizes, plan.dims, true);
  Matrices unpacked(plan.codebook_sizes, plan.dims, false);
  spinlock::require_codebooks(plan, codebooks.readable);
  const spinlock::AlignedFloats weight = spinlock::allocate_floats(plan.weight_size);
  std::fill_n(weight.get(), plan.weight_size, kPoison);
  require(reinterpret_cast<std::uintptr_t>(weight.get()) % 64 == 0, "64-byte boundary");

  spinlock::pack_codebooks(plan, codebooks.readable, weight.get());
  spinlock::unpack_codebooks(plan, weight.get(), unpacked.writable);
  require(unpacked.values == codebooks.values, "codebooks round trip");
  std::int64_t values = 0;
  for (const auto& codebook : codebooks.values)
    values += static_cast<std::int64_t>(codebook.size());
  require(count_nonzero(weight.get(), plan.weight_size) == values, "zero padding of codebooks");
}

void check_latents(const PackingPlan& plan, std::int64_t num_rows) {
  const std::vector<std::int64_t> rows(plan.num_quantizers(), num_rows);
  const Matrices latents(rows, plan.dims, true);
  Matrices unpacked(rows, plan.dims, false);
  require(spinlock::require_latents(plan, latents.readable) == num_rows, "rows of latents");
  const std::int64_t size = num_rows * plan.latent_width;
  const spinlock::AlignedFloats packed = spinlock::allocate_floats(size);
  std::fill_n(packed.get(), size, kPoison);

  const std::int64_t width = plan.latent_width;
  spinlock::pack_latents(plan, latents.readable, {packed.get(), num_rows, width, width});
  spinlock::unpack_latents(plan, {packed.get(), num_rows, width, width}, unpacked.writable);
  require(unpacked.values == latents.values, "latents round trip");
  require(count_nonzero(packed.get(), size) == num_rows * plan.input_width,
          "zero padding of latents");
}

void check_schedule(const PackingPlan& plan, std::int64_t num_rows, std::int64_t block_rows) {
  std::set<std::pair<std::int32_t, std::int32_t>> seen;
  for (const spinlock::Tile& tile : spinlock::tile_schedule(plan, num_rows, block_rows)) {
    require(tile.row0 % block_rows == 0 && tile.row0 < num_rows, "row0 on a block");
    require(seen.emplace(tile.quantizer, tile.row0).second, "no tile twice");
  }
  const auto blocks = static_cast<std::size_t>((num_rows + block_rows - 1) / block_rows);
  require(seen.size() == blocks * plan.num_quantizers(), "every tile once");
}

void check_errors() {
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  require_error([] { PackingPlan({}, {}, 4); }, "at least one quantizer");
  require_error([] { PackingPlan({1}, {1, 2}, 4); }, "the same length");
  require_error([] { PackingPlan({0}, {1}, 4); }, "codebook_sizes[0]");
  require_error([] { PackingPlan({1}, {-1}, 4); }, "dims[0]");
  require_error([] { PackingPlan({1}, {1}, 3); }, "power of two");
  require_error([] { PackingPlan({1}, {1}, std::numeric_limits<std::int64_t>::min()); }, "power");
  require_error([] { PackingPlan({huge}, {huge}, 1); }, "quantizer 0");
  require_error([] { PackingPlan({1, 1}, {huge / 8, huge / 8}, 1); }, "quantizer 1");
  require_error([] { PackingPlan({1}, {huge}, 64); }, "quantizer 0");
  const PackingPlan plan({3}, {2}, 4);
  require_error([&] { spinlock::tile_schedule(plan, huge, 7); }, "num_rows");
  require_error([&] { spinlock::tile_schedule(plan, 1, huge); }, "num_rows");
  require_error([&] { spinlock::tile_schedule(plan, 1, 0); }, "block_rows");
}

// Sizes that follow from shapes alone are refused where they do not fit.
void check_totals() {
  using spinlock::RaggedLinear;
  constexpr std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  constexpr std::int64_t wide = std::int64_t{1} << 40, most = std::int64_t{1} << 61;
  for (const bool transposed : {false, true}) {
    require_error([=] { RaggedLinear({wide}, {wide}, transposed); }, "narrower maps");
    require_error([=] { RaggedLinear({1}, {huge}, transposed); }, "narrower maps");
    require_error([=] { RaggedLinear({most / 16, 1}, {1, 1}, transposed); }, "narrower maps");
  }
  const RaggedLinear large({most / 32}, {8}, true);
  require(large.in_width == most / 32 && large.weight_size() == most / 4, "a map that fits");
  const PackingPlan plan({1}, {most / 2}, 1);
  const std::vector<PackingPlan> plans(3, plan);
  require_error([&] { spinlock::NestedLevels(plans, {most / 2}); }, "use smaller ones");
  require_error([&] { spinlock::NestedLevels({plan}, {huge}); }, "widest level");
}

// The table that finds copies of codes, for as many as 32 bits number.
void check_copy_table() {
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();
  const std::vector<std::int64_t> sizes = {1, 2, 3, 4097, most / 2, most / 2 + 1, most / 2 + 2,
                                           most};
  for (const std::int64_t codes : sizes) {
    const std::uint64_t slots = spinlock::copy_slots(codes);
    require(std::has_single_bit(slots), "slots: a power of two");
    require(slots >= 2 * static_cast<std::uint64_t>(codes), "slots: half of them empty");
    for (const std::uint32_t print : {0u, 1u, 0x3F800000u, 0x80000000u, 0xFFFFFFFFu}) {
      require(spinlock::first_slot(print, slots) < slots, "a slot of the table");
    }
  }
}

}  // namespace

int main() {
  const std::vector<std::pair<std::vector<std::int64_t>, std::vector<std::int64_t>>> cases = {
      {{1}, {1}},
      {{5, 3}, {6, 3}},
      {{1, 17, 2, 16}, {16, 1, 33, 4}},
      {{28, 12, 6, 20, 8, 6, 1}, {8, 21, 46, 4, 5, 10, 129}},
  };
  for (const auto& [codebook_sizes, dims] : cases) {
    for (std::int64_t alignment = 1; alignment <= 64; alignment *= 2) {
      const PackingPlan plan(codebook_sizes, dims, alignment);
      check_codebooks(plan);
      for (const std::int64_t rows : {0, 1, 7}) check_latents(plan, rows);
      for (const std::int64_t rows : {0, 1, 64, 65, 200}) check_schedule(plan, rows, 64);
    }
  }
  check_errors();
  check_copy_table();
  check_totals();
  std::puts("native check: ok");
}
