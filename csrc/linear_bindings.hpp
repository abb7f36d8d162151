#pragma once

#include <pybind11/pybind11.h>

namespace spinlock {

// Adds the ragged linear maps, which take addresses and extents as the quantizer does.
void bind_linear(pybind11::module_& module);

}  // namespace spinlock
