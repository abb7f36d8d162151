#pragma once

#include <sstream>
#include <stdexcept>

namespace spinlock {

// What the core throws for unusable input: the message names the thing, what was expected, what
// came and the remedy. The Python module turns them into the classes of spinlock.errors of these names.
class LayoutError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// A tensor of another type or form in memory.
class InputError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

template <typename Error, typename... Parts>
[[noreturn]] void throw_error(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(message.str());
}

// Throws LayoutError with the parts written one after the other.
template <typename... Parts>
[[noreturn]] void throw_layout_error(const Parts&... parts) {
  throw_error<LayoutError>(parts...);
}

// Throws InputError, likewise.
template <typename... Parts>
[[noreturn]] void throw_input_error(const Parts&... parts) {
  throw_error<InputError>(parts...);
}

}  // namespace spinlock
