#pragma once

#include <pybind11/pybind11.h>

namespace spinlock {

// Adds the residual levels' entry points, which take addresses and extents as the quantizer does.
void bind_nested(pybind11::module_& module);

}  // namespace spinlock
