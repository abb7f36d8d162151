#include "nested_levels.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "aligned_buffer.hpp"
#include "checked_math.hpp"
#include "errors.hpp"
#include "quantize_rows.hpp"
#include "simd/float_mode.hpp"
#include "simd/parallel_for.hpp"
#include "workspace.hpp"

namespace spinlock {
namespace {

constexpr std::int64_t kTaskRows = 128;

// body(row) for all rows, some of them at the same time.
template <typename Body>
void for_rows(std::int64_t rows, int threads, const Body& body) {
  parallel_for((rows + kTaskRows - 1) / kTaskRows, threads, [&](std::int64_t task, int) {
    const std::int64_t end = std::min(rows, (task + 1) * kTaskRows);
    for (std::int64_t row = task * kTaskRows; row < end; ++row) body(row);
  });
}

// What is left of each category, of the columns that the level sees.
void see(const NestedLevels& shape, const PackingPlan& level, const float* left, float* seen) {
  for (std::size_t c = 0; c < shape.widths.size(); ++c) {
    const float* const from = left + shape.offsets[c];
    std::copy(from, from + level.dims[c], seen + level.input_offsets[c]);
  }
}

void take_away(const NestedLevels& shape, const PackingPlan& level, const float* codes, float* left,
               float* total) {
  for (std::size_t c = 0; c < shape.widths.size(); ++c) {
    const float* const code = codes + level.input_offsets[c];
    float* const rest = left + shape.offsets[c];
    float* const sum = total + shape.offsets[c];
    for (std::int64_t d = 0; d < level.dims[c]; ++d) {
      rest[d] -= code[d];
      sum[d] += code[d];
    }
  }
}

// The lookups of all levels, made before the first of them moves its state: none fails after it.
struct LevelCalls {
  LevelCalls(const NestedLevels& shape, const NestedStep& step, int threads, Isa isa)
      : states(shape.levels.size()) {
    calls.reserve(shape.levels.size());
    const std::int64_t rows = step.num_rows;
    std::int64_t column = 0, code = 0, element = 0, quantizer = 0;
    for (const PackingPlan& level : shape.levels) {
      QuantizeOutputs outputs;
      outputs.indices = step.indices + rows * quantizer;
      outputs.quantized = step.codes + rows * column;
      outputs.losses = step.losses + quantizer;
      outputs.counts = step.counts + code;
      if (step.state != nullptr) {
        const CodeState& whole = *step.state;
        CodeState& state = states[calls.size()];
        state = {whole.counts + code,
                 whole.sums + element,
                 whole.weight + element,
                 whole.epoch_counts == nullptr ? nullptr : whole.epoch_counts + code,
                 whole.epoch_skipped == nullptr ? nullptr : whole.epoch_skipped + quantizer,
                 whole.decay,
                 whole.epsilon};
        outputs.state = &state;
      }
      calls.push_back({{level, step.seen + rows * column, rows, level.input_width,
                        step.weight + element, nullptr, threads, isa},
                       outputs});
      floats = std::max(floats, calls.back().floats());
      column += level.input_width;
      code += level.total_codes;
      element += level.weight_size;
      quantizer += static_cast<std::int64_t>(level.num_quantizers());
    }
  }

  std::vector<CodeState> states;
  std::vector<QuantizeCall> calls;
  std::int64_t floats = 0;  // of working memory, of the level that takes the most
};

bool all_finite(const float* values, std::int64_t count) {
  return std::all_of(values, values + count, [](float value) { return std::isfinite(value); });
}

// No gradient goes through the sum of codes to a category that is not finite: what its widest level
// saw tells.
void close_skipped(const NestedLevels& shape, const NestedBackward& call, std::int64_t row,
                   float* out) {
  for (std::size_t c = 0; c < shape.widths.size(); ++c) {
    std::int64_t column = 0;
    for (const PackingPlan& level : shape.levels) {
      if (level.dims[c] == shape.widths[c]) {
        const float* const seen = call.seen + call.num_rows * column + row * level.input_width;
        const bool usable = all_finite(seen + level.input_offsets[c], level.dims[c]);
        if (!usable) std::fill_n(out + shape.offsets[c], shape.widths[c], 0.0f);
        break;
      }
      column += level.input_width;
    }
  }
}

}  // namespace

NestedLevels::NestedLevels(std::vector<PackingPlan> plans,
                           std::vector<std::int64_t> category_widths)
    : levels(std::move(plans)), widths(std::move(category_widths)) {
  if (levels.empty() || widths.empty()) {
    throw_layout_error("levels and widths: expected at least one of each, got ", levels.size(),
                       " and ", widths.size(), "; give a plan per level, a width per category");
  }
  const auto too_large = [this] {
    throw_layout_error("levels: expected codebooks of at most ", kMaxElements,
                       " float32 elements (2^63 - 1 bytes) together, got more in ", levels.size(),
                       " levels of ", widths.size(), " categories; use smaller ones");
  };
  std::vector<std::int64_t> widest(widths.size(), 0);
  for (const PackingPlan& level : levels) {
    if (level.num_quantizers() != widths.size()) {
      throw_layout_error("levels: expected ", widths.size(), " codebooks each, one per category, ",
                         "got ", level.num_quantizers(), "; give every level all categories");
    }
    for (std::size_t c = 0; c < widths.size(); ++c) widest[c] = std::max(widest[c], level.dims[c]);
    weight_size = checked_add(weight_size, level.weight_size, too_large);
    if (weight_size > kMaxElements) too_large();
    // K and D being at least 1, no other total exceeds weight_size.
    input_width += level.input_width;
    total_codes += level.total_codes;
    num_quantizers += static_cast<std::int64_t>(widths.size());
  }
  if (widest != widths) {
    throw_layout_error("widths: expected of each category the dims of its widest level; give "
                       "those");
  }
  for (const std::int64_t width : widths) {
    offsets.push_back(latent_width);
    latent_width += width;
  }
}

void quantize_nested(const NestedLevels& shape, const NestedStep& step, int threads, Isa isa) {
  const std::int64_t rows = step.num_rows, width = shape.latent_width;
  const AlignedFloats left = allocate_floats(rows * width);
  const LevelCalls lookups(shape, step, threads, isa);
  const Workspace memory(lookups.floats);
  for_rows(rows, threads, [&](std::int64_t row) {
    const float* const from = step.rows + row * step.row_stride;
    std::copy(from, from + width, left.get() + row * width);
    std::fill_n(step.total + row * width, width, 0.0f);
  });
  std::int64_t column = 0;
  for (std::size_t l = 0; l < shape.levels.size(); ++l) {
    const PackingPlan& level = shape.levels[l];
    float* const seen = step.seen + rows * column;
    const float* const codes = step.codes + rows * column;
    for_rows(rows, threads, [&](std::int64_t row) {
      see(shape, level, left.get() + row * width, seen + row * level.input_width);
    });
    lookups.calls[l].run(memory.data());
    for_rows(rows, threads, [&](std::int64_t row) {
      take_away(shape, level, codes + row * level.input_width, left.get() + row * width,
                step.total + row * width);
    });
    column += level.input_width;
  }
}

void nested_backward(const NestedLevels& shape, const NestedBackward& call, int threads) {
  const DefaultFloatMode mode;  // for the scales
  const std::int64_t rows = call.num_rows, width = shape.latent_width;
  const std::size_t categories = shape.widths.size();
  std::vector<float> scales;
  bool skipped = false;
  const std::int64_t* counts = call.counts;
  for (const PackingPlan& level : shape.levels) {
    for (std::size_t c = 0; c < categories; ++c) {
      std::int64_t usable = 0;
      for (std::int64_t k = 0; k < level.codebook_sizes[c]; ++k) usable += *counts++;
      skipped |= usable != rows;
      const float loss = call.grad_losses == nullptr ? 0.0f : call.grad_losses[scales.size()];
      const std::int64_t terms = std::max<std::int64_t>(1, usable * level.dims[c]);
      scales.push_back(2.0f * loss / static_cast<float>(terms));
    }
  }
  for_rows(rows, threads, [&](std::int64_t row) {
    float* const out = call.grad_rows + row * width;
    if (call.grad_total == nullptr) {
      std::fill_n(out, width, 0.0f);
    } else {
      std::copy_n(call.grad_total + row * call.grad_stride, width, out);
    }
    if (skipped) close_skipped(shape, call, row, out);
    const float* scale = scales.data();
    std::int64_t column = 0;
    for (const PackingPlan& level : shape.levels) {
      const std::int64_t first = rows * column + row * level.input_width;
      for (std::size_t c = 0; c < categories; ++c, ++scale) {
        const float* const seen = call.seen + first + level.input_offsets[c];
        const float* const code = call.codes + first + level.input_offsets[c];
        if (skipped && !all_finite(seen, level.dims[c])) continue;
        float* const to = out + shape.offsets[c];
        for (std::int64_t d = 0; d < level.dims[c]; ++d) to[d] += *scale * (seen[d] - code[d]);
      }
      column += level.input_width;
    }
  });
}

}  // namespace spinlock
