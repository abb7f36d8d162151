#include "tensor_memory.hpp"

#include <array>
#include <cstdint>

#include "dlpack_table.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

constexpr int kMostDims = 8;

struct View {
  std::uintptr_t address = 0;
  int ndim = 0;
  std::array<std::int64_t, kMostDims> shape{}, strides{};
  ElementType type;
};

const dlpack::ExchangeTable* find_table(PyTypeObject* type) {
  PyObject* const capsule =
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), dlpack::kAttribute);
  if (capsule == nullptr) {
    if (PyErr_ExceptionMatches(PyExc_AttributeError) == 0) throw py::error_already_set();
    PyErr_Clear();
    return nullptr;
  }
  const auto* header =
      static_cast<const dlpack::TableHeader*>(PyCapsule_GetPointer(capsule, dlpack::kCapsule));
  Py_DECREF(capsule);  // the type keeps it
  if (header == nullptr) PyErr_Clear();  // a capsule of another kind
  while (header != nullptr && header->major != dlpack::kMajorVersion) header = header->previous;
  return reinterpret_cast<const dlpack::ExchangeTable*>(header);
}

// What the type of the tensor before said, for most calls pass tensors of one type; under the GIL.
const dlpack::ExchangeTable* table_of(PyTypeObject* type) {
  static PyTypeObject* known = nullptr;
  static const dlpack::ExchangeTable* table = nullptr;
  if (type != known) {
    table = find_table(type);
    Py_INCREF(type);  // no other type may come to its address
    Py_XDECREF(known);
    known = type;
  }
  return table;
}

bool read_table(const dlpack::ExchangeTable& table, PyObject* source, View& view) {
  dlpack::Tensor tensor{};
  if (table.tensor_from_object(source, &tensor) != 0) throw py::error_already_set();
  if (tensor.ndim > kMostDims || tensor.type_lanes != 1) return false;
  view.address = reinterpret_cast<std::uintptr_t>(tensor.data) + tensor.byte_offset;
  view.ndim = tensor.ndim;
  std::int64_t packed = 1;
  for (int dim = tensor.ndim - 1; dim >= 0; --dim) {
    view.shape[dim] = tensor.shape[dim];
    view.strides[dim] = tensor.strides != nullptr ? tensor.strides[dim] : packed;
    packed *= tensor.shape[dim];
  }
  const auto device = tensor.device_type;
  view.type = {tensor.type_code, tensor.type_bits,
               device == dlpack::kCpu || device == dlpack::kPinnedHost ||
                   device == dlpack::kRocmHost};
  return true;
}

// Tensors of torch before 2.10, whose type has no such table.
bool read_methods(py::handle source, View& view) {
  if (!py::hasattr(source, "data_ptr")) return false;
  const auto shape = source.attr("shape").cast<py::tuple>();
  const auto strides = source.attr("stride")().cast<py::tuple>();
  if (shape.size() > kMostDims) return false;
  view.address = source.attr("data_ptr")().cast<std::uintptr_t>();
  view.ndim = static_cast<int>(shape.size());
  for (std::size_t dim = 0; dim < shape.size(); ++dim) {
    view.shape[dim] = shape[dim].cast<std::int64_t>();
    view.strides[dim] = strides[dim].cast<std::int64_t>();
  }
  const auto is = [&](const char* kind) { return source.attr(kind)().cast<bool>(); };
  view.type = {is("is_floating_point") ? ElementType::kFloat
               : is("is_complex")      ? ElementType::kComplex
                                       : ElementType::kInteger,
               8 * source.attr("element_size")().cast<int>(), source.attr("is_cpu").cast<bool>()};
  return true;
}

bool read_view(py::handle source, View& view) {
  const auto* const table = table_of(Py_TYPE(source.ptr()));
  return table != nullptr ? read_table(*table, source.ptr(), view) : read_methods(source, view);
}

// The whole numbers of a tuple; false where it holds something else, or another number of them.
template <std::size_t kCount>
bool read_numbers(py::handle tuple, std::array<std::int64_t, kCount>& found) {
  if (PyTuple_GET_SIZE(tuple.ptr()) != static_cast<Py_ssize_t>(kCount)) return false;
  for (std::size_t i = 0; i < kCount; ++i) {
    found[i] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple.ptr(), static_cast<Py_ssize_t>(i)));
    if (found[i] == -1 && PyErr_Occurred() != nullptr) {
      PyErr_Clear();
      return false;
    }
  }
  return true;
}

}  // namespace

bool read_buffer(py::handle source, Buffer& found) {
  if (PyTuple_CheckExact(source.ptr())) {
    std::array<std::int64_t, 2> numbers{};
    if (!read_numbers(source, numbers)) return false;
    found = {static_cast<std::uintptr_t>(numbers[0]), numbers[1], 1, {}};
    return true;
  }
  View view;
  if (!read_view(source, view)) return false;
  std::int64_t elements = 1;
  bool packed = true;
  for (int dim = view.ndim - 1; dim >= 0; --dim) {
    packed = packed && (view.shape[dim] == 1 || view.strides[dim] == elements);
    elements *= view.shape[dim];
  }
  const std::int64_t stride = view.ndim == 1 ? view.strides[0] : Buffer::kScattered;
  found = {view.address, elements, packed ? 1 : stride, view.type};
  return true;
}

bool read_rows(py::handle source, RowBuffer& found) {
  if (PyTuple_CheckExact(source.ptr())) {
    std::array<std::int64_t, 4> numbers{};
    if (!read_numbers(source, numbers)) return false;
    found = {static_cast<std::uintptr_t>(numbers[0]), numbers[1], numbers[2], numbers[3], 1, {}};
    return true;
  }
  View view;
  if (!read_view(source, view) || view.ndim != 2) return false;
  found = {view.address, view.shape[0], view.shape[1], view.strides[0], view.strides[1], view.type};
  return true;
}

}  // namespace spinlock
