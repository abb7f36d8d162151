#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

namespace spinlock {

// Codes that one pass of the micro-kernel takes; a panel holds their dims side by side.
inline constexpr std::int64_t kPanelCodes = 6;
// Rows of one tile: what the micro-kernel keeps in SIMD lanes.
inline constexpr std::int64_t kTileRows = 64;

// One codebook as the lookup reads it. A panel is [D][n] for n consecutive kept codes, n = 6 except
// in the last one; the panel of kept code k (a multiple of 6) begins at element k * D. Codes that
// can never be chosen, non-finite ones and later copies of a code, are not kept. docs/kernels-cpu.md
// derives the bounds.
struct CodebookPanels {
  const float* codes = nullptr;  // [num_codes, stride], as the caller holds them
  std::int64_t stride = 0;
  std::int64_t num_codes = 0;
  std::int64_t dim = 0;

  std::int64_t kept = 0;
  const std::int32_t* ids = nullptr;  // of the kept codes, ascending; null if all are kept

  std::int64_t widest = 0;            // the dim with the largest range
  float scale = 1.0f;                 // a power of two
  const float* offset = nullptr;      // [D], minus the mean of the codes, times scale
  const float* centred = nullptr;     // panels of c * scale + offset
  const float* half_norms = nullptr;  // [kept], |.|^2 / 2 of those
  float* direct = nullptr;            // panels of c * scale, written by need_direct

  // For a first pass in bfloat16, null where that does not pay: panels of the centred codes, two dims
  // in one element, [ceil(D / 2)][n]; 2 max |z| and 2 max |z - bf16(z)|, rounded up.
  std::uint32_t* brief = nullptr;
  float brief_radius = 0.0f;
  float brief_residual = 0.0f;

  // The score of the expanded form is safe within bound_constant + bound_linear |y| +
  // bound_square |y|^2 of the best one, and so within bound_rootless_constant + bound_rootless |y|^2;
  // that of the direct form within relative * best + absolute. Infinite where nothing can be promised.
  float bound_constant = 0.0f;
  float bound_linear = 0.0f;
  float bound_square = 0.0f;
  float bound_rootless_constant = 0.0f;
  float bound_rootless = 0.0f;
  float direct_relative = 0.0f;
  float direct_absolute = 0.0f;

  std::int64_t id(std::int64_t position) const { return ids ? ids[position] : position; }
};

// Whether a bfloat16 first pass is faster than float32: measured, with its re-check.
bool brief_pays(std::int64_t num_rows, std::int64_t num_codes, std::int64_t dim);

// Fills panels.brief from the centred panels; `memory` holds K * ceil(D / 2) elements.
void pack_brief(std::uint32_t* memory, CodebookPanels& panels);

// Panels whose least score is kept together: few where a look into a group is dear.
inline constexpr std::int64_t brief_panels_per_group(std::int64_t dim) {
  return dim >= 128 ? 1 : dim >= 32 ? 2 : 4;
}

// Codes as the caller holds them, none of them packed.
CodebookPanels unpacked_panels(const float* codes, std::int64_t stride, std::int64_t num_codes,
                               std::int64_t dim);

// Slots of the table that finds copies among so many codes: a power of two, 2^32 at most.
std::uint64_t copy_slots(std::int64_t num_codes);

// Where the search for a print begins: the high bits of its hash.
std::uint64_t first_slot(std::uint32_t print, std::uint64_t slots);

// Floats of working memory that pack_panels needs for one codebook, a multiple of 16.
std::int64_t panel_floats(std::int64_t num_codes, std::int64_t dim, bool brief);

// Fills everything but the direct panels. `memory` is 64-byte aligned, of panel_floats elements,
// and lives as long as the result is used.
void pack_panels(const float* codes, std::int64_t stride, std::int64_t num_codes, std::int64_t dim,
                 bool brief, float* memory, CodebookPanels& panels);

// The same for `count` of the codes of other panels, by ascending id; `memory` for so many codes.
void pack_some(const CodebookPanels& of, const std::int32_t* ids, std::int64_t count, bool brief,
               float* memory, CodebookPanels& panels);

// Writes panels.direct; few codebooks ever need it.
void pack_direct(const CodebookPanels& panels);

// A count that threads change without order: a lost change costs time only.
class TilesToPass {
 public:
  bool take() {
    const int left = __atomic_load_n(&left_, __ATOMIC_RELAXED);
    if (left > 0) __atomic_store_n(&left_, left - 1, __ATOMIC_RELAXED);
    return left > 0;
  }
  void set(int tiles) { __atomic_store_n(&left_, tiles, __ATOMIC_RELAXED); }

 private:
  int left_ = 0;
};

// What the chunks of one lookup share of one codebook: the direct panels, made by the first thread
// that asks, and how many more tiles pass over a form that did not pay. Any form gives the same codes.
class LazyDirect {
 public:
  void need(const CodebookPanels& panels);

  TilesToPass expanded;
  TilesToPass brief;

 private:
  std::atomic<bool> ready_{false};
  std::mutex lock_;
};

}  // namespace spinlock
