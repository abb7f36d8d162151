#pragma once

#include <cstdint>

// The binary interface of DLPack 1.3 (github.com/dmlc/dlpack), as far as the core reads it: how a
// tensor library's type tells, in one call, where a tensor lies. Members that are not read are
// addresses here.
namespace spinlock::dlpack {

constexpr std::int32_t kCpu = 1, kPinnedHost = 3, kRocmHost = 11;
constexpr std::uint32_t kMajorVersion = 1;

struct Tensor {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t ndim;
  std::uint8_t type_code, type_bits;
  std::uint16_t type_lanes;
  std::int64_t* shape;
  std::int64_t* strides;  // in elements; null: rows one after the other
  std::uint64_t byte_offset;
};

struct TableHeader {
  std::uint32_t major, minor;
  const TableHeader* previous;
};

struct ExchangeTable {
  TableHeader header;
  void* allocate;
  void* managed_from_object;
  void* object_from_managed;
  int (*tensor_from_object)(void* object, Tensor* found);  // 0, or -1 with a Python error set
  void* current_stream;
};

// The attribute of a tensor's type, a capsule of this name.
constexpr const char* kAttribute = "__dlpack_c_exchange_api__";
constexpr const char* kCapsule = "dlpack_exchange_api";

}  // namespace spinlock::dlpack
