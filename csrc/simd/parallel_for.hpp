#pragma once

#include <atomic>
#include <cstdint>

#if defined(_OPENMP)
#include <omp.h>
#endif

#include "simd/float_mode.hpp"

namespace spinlock {

// 1 in a forked child: the threads of its parent's OpenMP pool do not exist there, and a parallel
// region would wait for them for ever.
int usable_threads(int wanted);

// body(task, thread) for every task 0 .. count - 1, each once, taken in ascending order by up to
// `threads` threads, numbered from 0. One thread, or a build without OpenMP, runs them in a loop.
// `body` must not throw. Nothing may depend on which thread runs a task: each rounds alike, whatever
// it has been set to.
template <typename Body>
void parallel_for(std::int64_t count, int threads, const Body& body) {
#if defined(_OPENMP)
  if (threads > count) threads = static_cast<int>(count);
  threads = usable_threads(threads);
  if (threads > 1) {
    std::atomic<std::int64_t> next{0};
#pragma omp parallel num_threads(threads)
    {
      const DefaultFloatMode mode;
      const int thread = omp_get_thread_num();
      for (;;) {
        const std::int64_t task = next.fetch_add(1, std::memory_order_relaxed);
        if (task >= count) break;
        body(task, thread);
      }
    }
    return;
  }
#else
  (void)threads;
#endif
  const DefaultFloatMode mode;
  for (std::int64_t task = 0; task < count; ++task) body(task, 0);
}

}  // namespace spinlock
