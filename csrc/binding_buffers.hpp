#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "checked_math.hpp"
#include "errors.hpp"

// Memory that Python names, by a tensor or by its address: extents and, of tensors, types are checked.
namespace spinlock {

// What the elements of a tensor are, in the codes of DLPack; nobody says so of a bare address.
struct ElementType {
  static constexpr int kUnsaid = -1, kInteger = 0, kFloat = 2, kComplex = 5;
  int code = kUnsaid;
  int bits = 0;
  bool on_cpu = true;

  std::string text() const;
};

struct Buffer {
  static constexpr std::int64_t kScattered = -1;
  std::uintptr_t address = 0;
  std::int64_t elements = 0;
  std::int64_t stride = 1;  // from one element to the next, or kScattered
  ElementType type;
};

struct RowBuffer {
  std::uintptr_t address = 0;
  std::int64_t rows = 0, columns = 0;
  std::int64_t stride = 0;         // elements from one row to the next
  std::int64_t column_stride = 1;  // from one column to the next
  ElementType type;
};

inline std::string ElementType::text() const {
  const auto with_bits = [this](const char* kind) { return kind + std::to_string(bits); };
  std::string said = "elements of DLPack's type " + std::to_string(code);
  if (code == kInteger) said = with_bits("int");
  if (code == 1) said = with_bits("uint");
  if (code == kFloat) said = with_bits("float");
  if (code == 4) said = with_bits("bfloat");
  if (code == kComplex) said = with_bits("complex");
  if (code == 6) said = "bool";
  return said + (on_cpu ? " on the CPU" : " on another device");
}

template <typename Value>
void check_type(const char* name, const ElementType& type) {
  static_assert(std::is_floating_point_v<Value> || std::is_signed_v<Value>);
  constexpr int kCode =
      std::is_floating_point_v<Value> ? ElementType::kFloat : ElementType::kInteger;
  constexpr int kBits = 8 * sizeof(Value);
  if (type.code == ElementType::kUnsaid) return;
  if (type.code == kCode && type.bits == kBits && type.on_cpu) return;
  throw_input_error(name, ": expected ", ElementType{kCode, kBits, true}.text(), ", got ",
                    type.text(), "; convert it");
}

// Elements side by side; or one for all, if `stride` is given to hold which of both.
template <typename Value>
Value* checked(const char* name, const Buffer& buffer, std::int64_t elements,
               std::int64_t* stride = nullptr) {
  check_type<std::remove_const_t<Value>>(name, buffer.type);
  if (buffer.elements != elements) {
    throw_layout_error(name, ": expected ", elements, " elements, got ", buffer.elements,
                       "; allocate it for this layout and this number of rows");
  }
  const bool repeated = stride != nullptr && buffer.stride == 0;
  if (buffer.stride != 1 && elements > 1 && !repeated) {
    throw_input_error(name, ": expected contiguous ", buffer.type.text(),
                      ", got elements with gaps between them; copy it with contiguous()");
  }
  if (stride != nullptr) *stride = repeated ? 0 : 1;
  // Empty tensors have no memory, but are not None.
  alignas(64) static std::byte nothing[64];
  if (elements == 0) return reinterpret_cast<Value*>(nothing);
  if (buffer.address == 0 || buffer.address % alignof(Value) != 0) {
    throw_layout_error(name, ": expected the address of ", elements, " elements of ",
                       sizeof(Value), " bytes, got ", buffer.address,
                       "; pass a tensor that has memory");
  }
  return reinterpret_cast<Value*>(buffer.address);
}

template <typename Value>
Value* checked(const char* name, const std::optional<Buffer>& buffer, std::int64_t elements) {
  return buffer ? checked<Value>(name, *buffer, elements) : nullptr;
}

inline std::int64_t cells(std::int64_t rows, std::int64_t columns) {
  return checked_multiply(rows, columns, [rows, columns] {
    throw_layout_error("rows: expected a matrix of at most 2^63 - 1 elements, got ", rows, " x ",
                       columns, "; pass fewer rows at a time");
  });
}

// The memory of rows whose form has been checked.
inline const float* row_memory(const char* name, const RowBuffer& matrix) {
  if (matrix.column_stride != 1 && matrix.columns > 1 && matrix.rows > 0) {
    throw_input_error(name, ": expected columns that lie side by side, got ",
                      matrix.column_stride, " elements from one to the next; copy it with "
                      "contiguous()");
  }
  const std::int64_t elements = matrix.rows * matrix.columns;
  return checked<const float>(name, Buffer{matrix.address, elements, 1, matrix.type}, elements);
}

inline const float* checked_matrix(const char* name, const RowBuffer& matrix, std::int64_t rows,
                                   std::int64_t width) {
  if (matrix.rows != rows || rows < 0 || matrix.columns != width ||
      (rows > 1 && matrix.stride < width)) {
    throw_layout_error(name, ": expected [", rows, ", ", width, "] of rows that lie one after the ",
                       "other, got [", matrix.rows, ", ", matrix.columns, "], ", matrix.stride,
                       " elements apart; copy it into that form");
  }
  if (rows > 0) cells(rows, std::max(matrix.stride, width));
  return row_memory(name, matrix);
}

// Elements from one row to the next; what stands there for a single row may be anything.
inline std::int64_t row_stride(const RowBuffer& matrix) {
  return matrix.rows > 1 ? matrix.stride : matrix.columns;
}

}  // namespace spinlock
