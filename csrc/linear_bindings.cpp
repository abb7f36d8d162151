#include "linear_bindings.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "binding_buffers.hpp"
#include "errors.hpp"
#include "ragged_linear.hpp"
#include "simd/isa.hpp"
#include "tensor_memory.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

void forward_at(const RaggedLinear& shape, const RowBuffer& input, const Buffer& weight,
                const std::optional<Buffer>& bias, const std::optional<Buffer>& addend,
                bool positive, const Buffer& output, int threads, const std::string& isa) {
  if (bias && addend) {
    throw_layout_error("bias and addend: expected one of them at most, got both; add them up");
  }
  const std::int64_t rows = input.rows;
  const std::int64_t written = cells(rows, shape.out_width);
  const LinearForward call{checked_matrix("input", input, rows, shape.in_width),
                           row_stride(input),
                           rows,
                           checked<const float>("weight", weight, shape.weight_size()),
                           checked<const float>("bias", bias, shape.bias_size()),
                           checked<const float>("addend", addend, written),
                           positive,
                           checked<float>("output", output, written)};
  const Isa set = resolve_isa(isa);
  const py::gil_scoped_release unlocked;
  ragged_linear_forward(shape, call, threads, set);
}

void backward_at(const RaggedLinear& shape, const RowBuffer& input, const Buffer& weight,
                 const std::optional<Buffer>& output, const RowBuffer& grad,
                 const std::optional<Buffer>& grad_input, const std::optional<Buffer>& grad_weight,
                 const std::optional<Buffer>& grad_bias, int threads, const std::string& isa) {
  const std::int64_t rows = input.rows;
  const LinearBackward call{
      checked_matrix("input", input, rows, shape.in_width),
      row_stride(input),
      rows,
      checked<const float>("weight", weight, shape.weight_size()),
      checked<const float>("output", output, cells(rows, shape.out_width)),
      checked_matrix("grad", grad, rows, shape.out_width),
      row_stride(grad),
      checked<float>("grad_input", grad_input, cells(rows, shape.in_width)),
      checked<float>("grad_weight", grad_weight, shape.weight_size()),
      checked<float>("grad_bias", grad_bias, shape.bias_size())};
  const Isa set = resolve_isa(isa);
  const py::gil_scoped_release unlocked;
  ragged_linear_backward(shape, call, threads, set);
}

}  // namespace

void bind_linear(py::module_& module) {
  const py::none none;
  py::class_<RaggedLinear>(module, "RaggedLinear")
      .def(py::init<std::vector<std::int64_t>, std::vector<std::int64_t>, bool>(),
           py::arg("in_widths"), py::arg("out_widths"), py::arg("transposed"))
      .def_readonly("out_width", &RaggedLinear::out_width)
      .def_readonly("most_out", &RaggedLinear::most_out)
      .def("forward", &forward_at, py::arg("input"), py::arg("weight"), py::kw_only(),
           py::arg("bias") = none, py::arg("addend") = none, py::arg("positive") = false,
           py::arg("output"), py::arg("threads") = 1, py::arg("isa") = "")
      .def("backward", &backward_at, py::arg("input"), py::arg("weight"), py::kw_only(),
           py::arg("output") = none, py::arg("grad"), py::arg("grad_input") = none,
           py::arg("grad_weight") = none, py::arg("grad_bias") = none, py::arg("threads") = 1,
           py::arg("isa") = "");
}

}  // namespace spinlock
