#include "simd/parallel_for.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace spinlock {
namespace {

std::atomic<bool> forked{false};

#if defined(__unix__) || defined(__APPLE__)
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { forked.store(true, std::memory_order_relaxed); });
#endif

}  // namespace

int usable_threads(int wanted) { return forked.load(std::memory_order_relaxed) ? 1 : wanted; }

}  // namespace spinlock
