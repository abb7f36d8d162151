#include "norm_bindings.hpp"

#include <pybind11/stl.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "binding_buffers.hpp"
#include "ragged_norm.hpp"
#include "simd/isa.hpp"
#include "tensor_memory.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

void forward_at(const RaggedNorm& shape, const RowBuffer& input, const Buffer& weight,
                const Buffer& bias, float epsilon, const Buffer& output, const Buffer& moments,
                int threads, const std::string& isa) {
  const std::int64_t rows = input.rows;
  const NormForward call{checked_matrix("input", input, rows, shape.width),
                         row_stride(input),
                         rows,
                         checked<const float>("weight", weight, shape.weight_size()),
                         checked<const float>("bias", bias, shape.weight_size()),
                         epsilon,
                         checked<float>("output", output, cells(rows, shape.width)),
                         checked<float>("moments", moments, cells(rows, shape.moments_width()))};
  const Isa set = resolve_isa(isa);
  const py::gil_scoped_release unlocked;
  ragged_norm_forward(shape, call, threads, set);
}

void backward_at(const RaggedNorm& shape, const RowBuffer& input, const Buffer& moments,
                 const Buffer& weight, const RowBuffer& grad,
                 const std::optional<Buffer>& grad_input, const std::optional<Buffer>& grad_weight,
                 const std::optional<Buffer>& grad_bias, int threads, const std::string& isa) {
  const std::int64_t rows = input.rows;
  const NormBackward call{
      checked_matrix("input", input, rows, shape.width),
      row_stride(input),
      rows,
      checked<const float>("moments", moments, cells(rows, shape.moments_width())),
      checked<const float>("weight", weight, shape.weight_size()),
      checked_matrix("grad", grad, rows, shape.width),
      row_stride(grad),
      checked<float>("grad_input", grad_input, cells(rows, shape.width)),
      checked<float>("grad_weight", grad_weight, shape.weight_size()),
      checked<float>("grad_bias", grad_bias, shape.weight_size())};
  const Isa set = resolve_isa(isa);
  const py::gil_scoped_release unlocked;
  ragged_norm_backward(shape, call, threads, set);
}

}  // namespace

void bind_norm(py::module_& module) {
  const py::none none;
  py::class_<RaggedNorm>(module, "RaggedNorm")
      .def(py::init<std::vector<std::int64_t>>(), py::arg("widths"))
      .def_property_readonly("num_segments", &RaggedNorm::num_segments)
      .def("forward", &forward_at, py::arg("input"), py::arg("weight"), py::kw_only(),
           py::arg("bias"), py::arg("epsilon"), py::arg("output"), py::arg("moments"),
           py::arg("threads") = 1, py::arg("isa") = "")
      .def("backward", &backward_at, py::arg("input"), py::arg("moments"), py::kw_only(),
           py::arg("weight"), py::arg("grad"), py::arg("grad_input") = none,
           py::arg("grad_weight") = none, py::arg("grad_bias") = none, py::arg("threads") = 1,
           py::arg("isa") = "");
}

}  // namespace spinlock
