// The quantizer for Python: tensors come as tensor_memory.hpp reads them.

#include "quantizer_bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "binding_buffers.hpp"
#include "codebook_layout.hpp"
#include "errors.hpp"
#include "quantize_backward.hpp"
#include "quantize_rows.hpp"
#include "refresh_codes.hpp"
#include "simd/isa.hpp"
#include "state_buffers.hpp"
#include "tensor_memory.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

const float* checked_rows(const PackingPlan& plan, const RowBuffer& latents) {
  const std::int64_t rows = latents.rows, columns = latents.columns, stride = latents.stride;
  if (rows < 0 || columns != plan.input_width) {
    throw_layout_error("latents: expected [rows, ", plan.input_width, "], got [", rows, ", ",
                       columns, "]; put the dims of all quantizers side by side");
  }
  if (rows > 0) cells(rows, std::max(stride, columns));
  if (rows > 1 && stride < 0) {
    throw_layout_error("latents: expected rows that ascend in memory, got a stride of ", stride,
                       " elements; copy them");
  }
  return row_memory("latents", latents);
}

void quantize_rows_at(const PackingPlan& plan, const RowBuffer& latents,
                      const std::optional<Buffer>& weight, const std::optional<Buffer>& given,
                      const std::optional<Buffer>& indices, const std::optional<Buffer>& quantized,
                      const std::optional<Buffer>& squared_error,
                      const std::optional<Buffer>& losses, const std::optional<Buffer>& mean_loss,
                      const std::optional<Buffer>& counts, const std::optional<Buffer>& sums,
                      const std::optional<Buffer>& skipped,
                      const std::optional<StateBuffers>& state, int threads,
                      const std::string& isa) {
  const auto count = static_cast<std::int64_t>(plan.num_quantizers());
  const float* const rows = checked_rows(plan, latents);
  const std::int64_t num_rows = latents.rows;
  const std::int64_t chosen = cells(num_rows, count);
  const QuantizeRequest request{
      plan,
      rows,
      num_rows,
      row_stride(latents),
      checked<const float>("weight", weight, plan.weight_size),
      checked<const std::int64_t>("given", given, chosen),
      threads,
      resolve_isa(isa)};
  std::optional<CodeState> moved;
  if (state) moved = checked_state(*state, plan.total_codes, plan.weight_size, count);
  QuantizeOutputs outputs;
  outputs.indices = checked<std::int64_t>("indices", indices, chosen);
  outputs.quantized = checked<float>("quantized", quantized, cells(num_rows, plan.input_width));
  outputs.squared_error = checked<double>("squared_error", squared_error, count);
  outputs.losses = checked<float>("losses", losses, count);
  outputs.counts = checked<std::int64_t>("counts", counts, plan.total_codes);
  outputs.mean_loss = checked<float>("mean_loss", mean_loss, 1);
  outputs.sums = checked<float>("sums", sums, plan.weight_size);
  outputs.skipped = checked<std::int64_t>("skipped", skipped, count);
  outputs.state = moved ? &*moved : nullptr;
  if (request.weight == nullptr &&
      (request.given == nullptr || outputs.quantized != nullptr ||
       outputs.squared_error != nullptr || outputs.losses != nullptr ||
       outputs.mean_loss != nullptr)) {
    throw_layout_error("weight: expected the codes, got None; only statistics of given indices do "
                       "without them");
  }
  if (outputs.counts == nullptr && (outputs.sums != nullptr || outputs.state != nullptr)) {
    throw_layout_error("counts: expected a buffer beside sums or state, got None; pass one");
  }
  const py::gil_scoped_release unlocked;
  quantize_rows(request, outputs);
}

void quantize_backward_at(const PackingPlan& plan, const RowBuffer& latents,
                          const std::optional<Buffer>& quantized,
                          const std::optional<Buffer>& weight,
                          const std::optional<Buffer>& indices, const Buffer& counts,
                          const std::optional<RowBuffer>& grad_quantized,
                          const Buffer& grad_losses, const Buffer& grad_latents, int threads,
                          const std::string& isa) {
  const float* const rows = checked_rows(plan, latents);
  const std::int64_t num_rows = latents.rows, values = cells(num_rows, plan.input_width);
  const auto count = static_cast<std::int64_t>(plan.num_quantizers());
  if (quantized.has_value() == weight.has_value() || weight.has_value() != indices.has_value()) {
    throw_layout_error("quantized: expected rows of codes, or the weight and indices they come from, "
                       "got both or neither; pass one of them");
  }
  std::int64_t losses_stride = 1;
  const auto* const losses =
      checked<const float>("grad_losses", grad_losses, count, &losses_stride);
  const BackwardRequest request{
      plan,
      num_rows,
      rows,
      row_stride(latents),
      checked<const float>("quantized", quantized, values),
      checked<const float>("weight", weight, plan.weight_size),
      checked<const std::int64_t>("indices", indices, cells(num_rows, count)),
      checked<const std::int64_t>("counts", counts, plan.total_codes),
      grad_quantized ? checked_matrix("grad_quantized", *grad_quantized, num_rows, plan.input_width)
                     : nullptr,
      grad_quantized ? row_stride(*grad_quantized) : 0,
      losses,
      losses_stride,
      threads,
      resolve_isa(isa)};
  auto* const out = checked<float>("grad_latents", grad_latents, values);
  const py::gil_scoped_release unlocked;
  quantize_backward(request, out);
}

void refresh_codes_at(const PackingPlan& plan, const Buffer& counts, const Buffer& sums,
                      const StateBuffers& state, int threads) {
  const CodeState moved =
      checked_state(state, plan.total_codes, plan.weight_size,
                    static_cast<std::int64_t>(plan.num_quantizers()));
  const auto* const batch_counts = checked<const float>("counts", counts, plan.total_codes);
  const auto* const batch_sums = checked<const float>("sums", sums, plan.weight_size);
  const py::gil_scoped_release unlocked;
  refresh_codes(plan, batch_counts, batch_sums, moved, threads);
}

std::vector<std::string> instruction_sets() {
  std::vector<std::string> names;
  for (const Isa isa : available_isas()) names.emplace_back(isa_name(isa));
  return names;
}

}  // namespace

void bind_quantizer(py::module_& module) {
  const py::none none;
  module.def("quantize_rows", &quantize_rows_at, py::arg("plan"), py::arg("latents"),
             py::arg("weight"), py::kw_only(), py::arg("given") = none, py::arg("indices") = none,
             py::arg("quantized") = none, py::arg("squared_error") = none,
             py::arg("losses") = none, py::arg("mean_loss") = none, py::arg("counts") = none,
             py::arg("sums") = none, py::arg("skipped") = none, py::arg("state") = none,
             py::arg("threads") = 1, py::arg("isa") = "");
  module.def("quantize_backward", &quantize_backward_at, py::arg("plan"), py::arg("latents"),
             py::kw_only(), py::arg("quantized") = none, py::arg("weight") = none,
             py::arg("indices") = none, py::arg("counts"),
             py::arg("grad_quantized") = none, py::arg("grad_losses"),
             py::arg("grad_latents"), py::arg("threads") = 1, py::arg("isa") = "");
  module.def("refresh_codes", &refresh_codes_at, py::arg("plan"), py::arg("counts"),
             py::arg("sums"), py::arg("state"), py::kw_only(), py::arg("threads") = 1);
  module.def("instruction_sets", &instruction_sets);
}

}  // namespace spinlock
