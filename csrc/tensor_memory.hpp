#pragma once

#include <pybind11/pybind11.h>

#include "binding_buffers.hpp"

// Tensors as arguments: no tensor library is needed here, one that is there says where they lie.
namespace spinlock {

// Reads a tensor, or (address, elements). False: neither.
bool read_buffer(pybind11::handle source, Buffer& found);

// Reads a tensor [rows, columns], or (address, rows, columns, elements from one row to the next).
bool read_rows(pybind11::handle source, RowBuffer& found);

}  // namespace spinlock

namespace pybind11::detail {

template <>
struct type_caster<spinlock::Buffer> {
  PYBIND11_TYPE_CASTER(spinlock::Buffer, const_name("Tensor"));
  bool load(handle source, bool) { return spinlock::read_buffer(source, value); }
};

template <>
struct type_caster<spinlock::RowBuffer> {
  PYBIND11_TYPE_CASTER(spinlock::RowBuffer, const_name("Tensor"));
  bool load(handle source, bool) { return spinlock::read_rows(source, value); }
};

}  // namespace pybind11::detail
