#include "nested_bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "binding_buffers.hpp"
#include "errors.hpp"
#include "nested_levels.hpp"
#include "simd/isa.hpp"
#include "state_buffers.hpp"
#include "tensor_memory.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

void step_at(const NestedLevels& shape, const RowBuffer& rows, const Buffer& weight,
             const Buffer& seen, const Buffer& codes, const Buffer& indices, const Buffer& losses,
             const Buffer& counts, const Buffer& total, const std::optional<StateBuffers>& state,
             int threads, const std::string& isa) {
  const float* const from = checked_matrix("rows", rows, rows.rows, shape.latent_width);
  const std::int64_t num_rows = rows.rows;
  std::optional<CodeState> moved;
  if (state) {
    moved = checked_state(*state, shape.total_codes, shape.weight_size, shape.num_quantizers);
  }
  const std::int64_t level_values = cells(num_rows, shape.input_width);
  const NestedStep step{from,
                        num_rows,
                        row_stride(rows),
                        checked<const float>("weight", weight, shape.weight_size),
                        checked<float>("seen", seen, level_values),
                        checked<float>("codes", codes, level_values),
                        checked<std::int64_t>("indices", indices,
                                              cells(num_rows, shape.num_quantizers)),
                        checked<float>("losses", losses, shape.num_quantizers),
                        checked<std::int64_t>("counts", counts, shape.total_codes),
                        checked<float>("total", total, cells(num_rows, shape.latent_width)),
                        moved ? &*moved : nullptr};
  const Isa set = resolve_isa(isa);
  const py::gil_scoped_release unlocked;
  quantize_nested(shape, step, threads, set);
}

void backward_at(const NestedLevels& shape, std::int64_t num_rows, const Buffer& seen,
                 const Buffer& codes, const Buffer& counts,
                 const std::optional<RowBuffer>& grad_total,
                 const std::optional<Buffer>& grad_losses, const Buffer& grad_rows, int threads) {
  const std::int64_t level_values = cells(num_rows, shape.input_width);
  const NestedBackward call{
      num_rows,
      checked<const float>("seen", seen, level_values),
      checked<const float>("codes", codes, level_values),
      checked<const std::int64_t>("counts", counts, shape.total_codes),
      grad_total ? checked_matrix("grad_total", *grad_total, num_rows, shape.latent_width)
                 : nullptr,
      grad_total ? row_stride(*grad_total) : 0,
      checked<const float>("grad_losses", grad_losses, shape.num_quantizers),
      checked<float>("grad_rows", grad_rows, cells(num_rows, shape.latent_width))};
  const py::gil_scoped_release unlocked;
  nested_backward(shape, call, threads);
}

}  // namespace

void bind_nested(py::module_& module) {
  const py::none none;
  py::class_<NestedLevels>(module, "NestedLevels")
      .def(py::init<std::vector<PackingPlan>, std::vector<std::int64_t>>(), py::arg("levels"),
           py::arg("widths"))
      .def_readonly("latent_width", &NestedLevels::latent_width)
      .def_readonly("input_width", &NestedLevels::input_width)
      .def_readonly("total_codes", &NestedLevels::total_codes)
      .def_readonly("num_quantizers", &NestedLevels::num_quantizers)
      .def_property_readonly("num_levels", [](const NestedLevels& self) { return self.levels.size(); })
      .def("step", &step_at, py::arg("rows"), py::arg("weight"), py::kw_only(), py::arg("seen"),
           py::arg("codes"), py::arg("indices"), py::arg("losses"), py::arg("counts"),
           py::arg("total"), py::arg("state") = none, py::arg("threads") = 1, py::arg("isa") = "")
      .def("backward", &backward_at, py::arg("num_rows"), py::kw_only(), py::arg("seen"),
           py::arg("codes"), py::arg("counts"), py::arg("grad_total") = none,
           py::arg("grad_losses") = none, py::arg("grad_rows"), py::arg("threads") = 1);
}

}  // namespace spinlock
