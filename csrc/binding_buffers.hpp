#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "checked_math.hpp"
#include "errors.hpp"

// Memory that Python names by its address: extents are checked, types are the caller's word.
namespace spinlock {

// (address, elements)
using Buffer = std::pair<std::uintptr_t, std::int64_t>;

// (address, rows, columns, elements from one row to the next)
using RowBuffer = std::tuple<std::uintptr_t, std::int64_t, std::int64_t, std::int64_t>;

template <typename Value>
Value* checked(const char* name, const Buffer& buffer, std::int64_t elements) {
  if (buffer.second != elements) {
    throw_layout_error(name, ": expected ", elements, " elements, got ", buffer.second,
                       "; allocate it for this layout and this number of rows");
  }
  // Empty tensors have no memory, but are not None.
  alignas(64) static std::byte nothing[64];
  if (elements == 0) return reinterpret_cast<Value*>(nothing);
  if (buffer.first == 0 || buffer.first % alignof(Value) != 0) {
    throw_layout_error(name, ": expected the address of ", elements, " elements of ",
                       sizeof(Value), " bytes, got ", buffer.first,
                       "; pass a tensor that has memory");
  }
  return reinterpret_cast<Value*>(buffer.first);
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

inline const float* checked_matrix(const char* name, const RowBuffer& matrix, std::int64_t rows,
                            std::int64_t width) {
  const auto& [address, given_rows, columns, stride] = matrix;
  if (given_rows != rows || rows < 0 || columns != width || (rows > 1 && stride < width)) {
    throw_layout_error(name, ": expected [", rows, ", ", width, "] of rows that lie one after the ",
                       "other, got [", given_rows, ", ", columns, "], ", stride,
                       " elements apart; copy it into that form");
  }
  if (rows > 0) cells(rows, std::max(stride, width));
  return checked<const float>(name, Buffer{address, rows * width}, rows * width);
}

// Elements from one row to the next; what stands there for a single row may be anything.
inline std::int64_t row_stride(const RowBuffer& matrix) {
  const auto& [address, rows, columns, stride] = matrix;
  return rows > 1 ? stride : columns;
}

}  // namespace spinlock
