#pragma once

#include <sstream>
#include <stdexcept>

namespace spinlock {

// What the core throws for unusable input: the message names the thing, what was expected, what
// came and the remedy. The Python module turns it into spinlock.errors.LayoutError.
class LayoutError : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

// Throws LayoutError with the parts written one after the other.
template <typename... Parts>
[[noreturn]] void throw_layout_error(const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw LayoutError(message.str());
}

}  // namespace spinlock
