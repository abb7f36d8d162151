// The layout for Python: numpy arrays in and out, errors translated, the GIL released while buffers
// are copied.

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "aligned_buffer.hpp"
#include "checked_math.hpp"
#include "codebook_layout.hpp"
#include "errors.hpp"
#include "linear_bindings.hpp"
#include "nested_bindings.hpp"
#include "norm_bindings.hpp"
#include "quantizer_bindings.hpp"
#include "ragged_copy.hpp"
#include "tile_schedule.hpp"

namespace py = pybind11;

namespace spinlock {
namespace {

using Float32Array = py::array_t<float, 0>;

Float32Array float32_array(const std::string& name, const py::array& array, py::ssize_t ndim) {
  if (py::isinstance<Float32Array>(array) && array.ndim() == ndim) {
    return py::reinterpret_borrow<Float32Array>(array);
  }
  throw_layout_error(name, ": expected a ", ndim, "-D float32 array, got a ", array.ndim(),
                     "-D array of ", std::string(py::str(array.dtype())),
                     "; reshape it, or convert it with .astype(numpy.float32)");
}

bool is_row_major(const Float32Array& array) {
  constexpr auto itemsize = static_cast<py::ssize_t>(sizeof(float));
  if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(float) != 0) return false;
  const py::ssize_t last = array.ndim() - 1;
  for (py::ssize_t axis = 0; axis < last; ++axis) {
    if (array.strides(axis) % itemsize != 0) return false;
  }
  return array.strides(last) == itemsize || array.shape(last) <= 1;
}

// The array itself where its last axis is contiguous and its elements aligned, such a copy of it
// elsewhere.
Float32Array row_major(const Float32Array& array) {
  if (is_row_major(array)) return array;
  constexpr int kForm = py::array::c_style | py::array::forcecast |
                        py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  return py::array_t<float, kForm>(array);
}

ConstMatrix view_of(const Float32Array& array) {
  constexpr auto itemsize = static_cast<py::ssize_t>(sizeof(float));
  return {array.data(), array.shape(0), array.shape(1), array.strides(0) / itemsize};
}

// Matrices from Python, kept alive for as long as C++ looks at them.
struct HeldMatrices {
  HeldMatrices(const std::string& name, const std::vector<py::array>& arrays) {
    for (const py::array& array : arrays) {
      const std::string label = name + "[" + std::to_string(owners.size()) + "]";
      owners.push_back(row_major(float32_array(label, array, 2)));
      views.push_back(view_of(owners.back()));
    }
  }

  std::vector<Float32Array> owners;
  std::vector<ConstMatrix> views;
};

// Uninitialised float32 on a 64-byte boundary; numpy frees it.
Float32Array new_array(const std::string& name, std::vector<py::ssize_t> shape) {
  const auto out_of_memory = [&name, &shape] {
    throw_layout_error(name, ": expected a buffer that fits the memory, got float32 ",
                       std::string(py::str(py::cast(shape))),
                       "; use fewer rows, smaller codebooks or dims, or a smaller alignment");
  };
  std::int64_t bytes = sizeof(float);
  for (const py::ssize_t extent : shape) bytes = checked_multiply(bytes, extent, out_of_memory);
  AlignedFloats buffer;
  try {
    buffer = allocate_floats(bytes / static_cast<std::int64_t>(sizeof(float)));
  } catch (const std::bad_alloc&) {
    out_of_memory();
  }
  const py::capsule owner(buffer.get(),
                          [](void* memory) { AlignedDelete{}(static_cast<float*>(memory)); });
  float* const data = buffer.release();
  return Float32Array(std::move(shape), data, owner);
}

// One fresh [rows, cols] array per quantizer.
struct NewMatrices {
  void add(const std::string& name, std::int64_t rows, std::int64_t cols) {
    Float32Array array = new_array(name, {rows, cols});
    views.push_back({array.mutable_data(), rows, cols, cols});
    arrays.append(std::move(array));
  }

  py::list arrays;
  std::vector<Matrix> views;
};

py::tuple as_tuple(const std::vector<std::int64_t>& values) { return py::tuple(py::cast(values)); }

Float32Array pack_codebooks_to_numpy(const PackingPlan& plan,
                                     const std::vector<py::array>& codebooks) {
  const HeldMatrices held("codebooks", codebooks);
  require_codebooks(plan, held.views);
  Float32Array weight = new_array("packed codebooks", {plan.weight_size});
  float* const data = weight.mutable_data();
  {
    const py::gil_scoped_release unlocked;
    pack_codebooks(plan, held.views, data);
  }
  return weight;
}

py::list unpack_codebooks_to_numpy(const PackingPlan& plan, const py::array& array) {
  const Float32Array weight = row_major(float32_array("weight", array, 1));
  if (weight.size() != plan.weight_size) {
    throw_layout_error("weight: expected the ", plan.weight_size,
                       " elements of this layout's flat buffer (weight_size), got ", weight.size(),
                       "; unpack with the layout that packed it, or with its slice");
  }
  NewMatrices codebooks;
  for (std::size_t q = 0; q < plan.num_quantizers(); ++q) {
    codebooks.add("codebooks[" + std::to_string(q) + "]", plan.codebook_sizes[q], plan.dims[q]);
  }
  const float* const data = weight.data();
  {
    const py::gil_scoped_release unlocked;
    unpack_codebooks(plan, data, codebooks.views);
  }
  return std::move(codebooks.arrays);
}

Float32Array pack_latents_to_numpy(const PackingPlan& plan, const std::vector<py::array>& latents) {
  const HeldMatrices held("latents", latents);
  const std::int64_t rows = require_latents(plan, held.views);
  Float32Array packed = new_array("packed latents", {rows, plan.latent_width});
  const Matrix view{packed.mutable_data(), rows, plan.latent_width, plan.latent_width};
  {
    const py::gil_scoped_release unlocked;
    pack_latents(plan, held.views, view);
  }
  return packed;
}

py::list unpack_latents_to_numpy(const PackingPlan& plan, const py::array& array) {
  const Float32Array packed = row_major(float32_array("packed", array, 2));
  if (packed.shape(1) != plan.latent_width) {
    throw_layout_error("packed: expected rows of ", plan.latent_width,
                       " elements (latent_width), got ", packed.shape(1),
                       "; unpack with the layout that packed it");
  }
  const ConstMatrix view = view_of(packed);
  NewMatrices latents;
  for (std::size_t q = 0; q < plan.num_quantizers(); ++q) {
    latents.add("latents[" + std::to_string(q) + "]", view.rows, plan.dims[q]);
  }
  {
    const py::gil_scoped_release unlocked;
    unpack_latents(plan, view, latents.views);
  }
  return std::move(latents.arrays);
}

// The tiles as int32 [T, 2]; numpy frees the vector that holds them.
py::array_t<std::int32_t> tile_schedule_to_numpy(const PackingPlan& plan, std::int64_t num_rows,
                                                 std::int64_t block_rows) {
  static_assert(sizeof(Tile) == 2 * sizeof(std::int32_t));
  auto tiles = std::make_unique<std::vector<Tile>>();
  {
    const py::gil_scoped_release unlocked;
    *tiles = tile_schedule(plan, num_rows, block_rows);
  }
  const auto count = static_cast<py::ssize_t>(tiles->size());
  const auto* const cells = reinterpret_cast<const std::int32_t*>(tiles->data());
  const py::capsule owner(tiles.get(),
                          [](void* memory) { delete static_cast<std::vector<Tile>*>(memory); });
  (void)tiles.release();
  return py::array_t<std::int32_t>({count, py::ssize_t{2}}, cells, owner);
}

// pybind11 tries the module's own translators before its general ones.
void translate_errors(std::exception_ptr thrown) {
  const auto set = [](const char* name, const std::exception& error) {
    py::set_error(py::module_::import("spinlock.errors").attr(name), error.what());
  };
  try {
    if (thrown) std::rethrow_exception(thrown);
  } catch (const LayoutError& error) {
    set("LayoutError", error);
  } catch (const InputError& error) {
    set("InputError", error);
  }
}

void bind_packing_plan(py::module_& module) {
  const auto tuple_of = [](std::vector<std::int64_t> PackingPlan::* member) {
    return [member](const PackingPlan& plan) { return as_tuple(plan.*member); };
  };
  py::class_<PackingPlan>(module, "PackingPlan",
                          "Where ragged codebooks and latents lie in flat, aligned buffers; "
                          "spinlock.layout.CodebookLayout documents every field.")
      .def(py::init<std::vector<std::int64_t>, std::vector<std::int64_t>, std::int64_t>(),
           py::arg("codebook_sizes"), py::arg("dims"), py::arg("alignment"))
      .def_property_readonly("padded_dims", tuple_of(&PackingPlan::padded_dims))
      .def_property_readonly("input_offsets", tuple_of(&PackingPlan::input_offsets))
      .def_property_readonly("latent_offsets", tuple_of(&PackingPlan::latent_offsets))
      .def_property_readonly("code_offsets", tuple_of(&PackingPlan::code_offsets))
      .def_property_readonly("weight_offsets", tuple_of(&PackingPlan::weight_offsets))
      .def_readonly("input_width", &PackingPlan::input_width)
      .def_readonly("latent_width", &PackingPlan::latent_width)
      .def_readonly("total_codes", &PackingPlan::total_codes)
      .def_readonly("weight_size", &PackingPlan::weight_size)
      .def("pack_codebooks", &pack_codebooks_to_numpy, py::arg("codebooks"))
      .def("unpack_codebooks", &unpack_codebooks_to_numpy, py::arg("weight"))
      .def("pack_latents", &pack_latents_to_numpy, py::arg("latents"))
      .def("unpack_latents", &unpack_latents_to_numpy, py::arg("packed"))
      .def("tile_schedule", &tile_schedule_to_numpy, py::arg("num_rows"), py::arg("block_rows"));
}

}  // namespace
}  // namespace spinlock

PYBIND11_MODULE(_C, module) {
  module.doc() = "The C++ core of spinlock, numpy-facing; its Python face is spinlock.layout.";
  py::register_local_exception_translator(&spinlock::translate_errors);
  spinlock::bind_packing_plan(module);
  spinlock::bind_quantizer(module);
  spinlock::bind_linear(module);
  spinlock::bind_norm(module);
  spinlock::bind_nested(module);
}
