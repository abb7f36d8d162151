#include "simd/isa.hpp"

#include "errors.hpp"

namespace spinlock {
namespace {

std::vector<Isa> detect() {
  std::vector<Isa> found{Isa::kPortable};
#ifdef SPINLOCK_X86
  // The builtins ask the operating system as well, whether it saves the wide registers.
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    found.push_back(Isa::kAvx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq")) {
      found.push_back(Isa::kAvx512);
      if (__builtin_cpu_supports("avx512bf16")) found.push_back(Isa::kAvx512Bf16);
    }
  }
#endif
  return found;
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kPortable:
      break;
  }
  return "portable";
}

const std::vector<Isa>& available_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa resolve_isa(const std::string& name) {
  if (name.empty()) return available_isas().back();
  std::string listed;
  for (const Isa isa : available_isas()) {
    if (name == isa_name(isa)) return isa;
    listed += (listed.empty() ? "'" : ", '") + std::string(isa_name(isa)) + "'";
  }
  throw_layout_error("isa: expected one that this machine runs (", listed, "), got '", name,
                     "'; leave it out to take the fastest");
}

}  // namespace spinlock
