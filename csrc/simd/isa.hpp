#pragma once

#include <string>
#include <vector>

namespace spinlock {

// The instruction sets that kernels are compiled for. Each has translation units of its own with
// flags of their own, so that nothing else in the core needs more than the platform's baseline.
enum class Isa { kPortable, kAvx2, kAvx512, kAvx512Bf16 };

const char* isa_name(Isa isa);

// What this build holds and this machine runs, the fastest last; never empty.
const std::vector<Isa>& available_isas();

// "avx512_bf16", "avx512", "avx2" or "portable"; the empty string means the fastest available. Throws LayoutError
// for an unknown name and for an instruction set that this machine or this build lacks.
Isa resolve_isa(const std::string& name);

}  // namespace spinlock
