#pragma once

#include <pybind11/pybind11.h>

namespace spinlock {

// Adds the ragged layer norms, which take addresses and extents as the quantizer does.
void bind_norm(pybind11::module_& module);

}  // namespace spinlock
