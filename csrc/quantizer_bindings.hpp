#pragma once

#include <pybind11/pybind11.h>

namespace spinlock {

// Adds the quantizer's entry points, which take addresses and extents instead of arrays.
void bind_quantizer(pybind11::module_& module);

}  // namespace spinlock
