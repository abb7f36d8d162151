// The machine's limits: multiply-add peaks and bandwidths, at a given number of threads.
//
// Every burst is one piece of work per thread between two meetings of all threads.  At one thread
// its time is the processor time of that thread, which does not run while another process has the
// core; at several it is the wall time from the first start to the last end.

#include <algorithm>
#include <atomic>
#include <barrier>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <time.h>
#include <vector>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "multiply_add.hpp"
#include "streams.hpp"

namespace {

double seconds_on(clockid_t clock) {
  timespec now;
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

using Task = std::function<void(long repeats)>;

double alone(const Task& task, long repeats) {
  const double start = seconds_on(CLOCK_THREAD_CPUTIME_ID);
  task(repeats);
  return seconds_on(CLOCK_THREAD_CPUTIME_ID) - start;
}

// Repeats of the task that take about `seconds`.
long repeats_for(const Task& task, double seconds) {
  for (long repeats = 1;; repeats *= 2) {
    const double took = std::max(alone(task, repeats), 1e-9);
    if (took >= 0.25 * seconds || repeats >= 1L << 40)
      return std::max(1L, static_cast<long>(static_cast<double>(repeats) * seconds / took));
  }
}

// Seconds of each burst, every thread doing `repeats` of its own task; `repeats` is found once.
// `make` runs on the thread that owns the task, so that its memory is touched first there.
std::vector<double> bursts(int threads, int count, double seconds,
                           const std::function<Task()>& make, long& repeats) {
  std::vector<double> times(static_cast<std::size_t>(count));
  std::vector<double> starts(static_cast<std::size_t>(threads)), ends(starts);
  std::barrier meeting(threads);
  const auto body = [&](int rank) {
    const Task task = make();
    meeting.arrive_and_wait();
    if (rank == 0) repeats = repeats_for(task, seconds);
    meeting.arrive_and_wait();
    for (int burst = 0; burst < count; ++burst) {
      if (threads == 1) {
        times[static_cast<std::size_t>(burst)] = alone(task, repeats);
        continue;
      }
      meeting.arrive_and_wait();
      const auto mine = static_cast<std::size_t>(rank);
      starts[mine] = seconds_on(CLOCK_MONOTONIC);
      task(repeats);
      ends[mine] = seconds_on(CLOCK_MONOTONIC);
      meeting.arrive_and_wait();
      if (rank == 0)
        times[static_cast<std::size_t>(burst)] =
            *std::max_element(ends.begin(), ends.end()) -
            *std::min_element(starts.begin(), starts.end());
    }
  };
  std::vector<std::thread> pool;
  for (int rank = 0; rank < threads; ++rank) pool.emplace_back(body, rank);
  for (std::thread& thread : pool) thread.join();
  std::sort(times.begin(), times.end());
  return times;
}

double best_gflops(const Peak& peak, int threads, int count, double seconds) {
  long steps = 0;
  const auto make = [&] { return Task([&](long n) { peak.work(n); }); };
  const std::vector<double> times = bursts(threads, count, seconds, make, steps);
  return 1e-9 * peak.flops_per_step * static_cast<double>(steps) * threads / times.front();
}

struct Free {
  void operator()(char* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<char, Free>;

Buffer filled(std::size_t bytes) {
  void* memory = nullptr;
  const std::size_t page = std::size_t{1} << 21;
  if (posix_memalign(&memory, bytes >= page ? page : 4096, bytes) != 0) return nullptr;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  if (bytes >= page) madvise(memory, bytes, MADV_HUGEPAGE);
#endif
  std::memset(memory, 1, bytes);
  return Buffer(static_cast<char*>(memory));
}

// Median GB/s of all threads together; negative where memory ran out.
double median_rate(int threads, std::size_t bytes, int count, double seconds, Stream stream,
                   bool copies) {
  bytes = std::max(bytes / kBlock, std::size_t{1}) * kBlock;
  std::atomic<bool> failed = false;
  long passes = 0;
  const auto make = [&]() -> Task {
    std::shared_ptr<char> from = filled(bytes), to = copies ? filled(bytes) : nullptr;
    if (!from || (copies && !to)) {
      failed = true;
      return [](long) {};
    }
    return [=](long n) { stream(from.get(), to.get(), bytes, n); };
  };
  const std::vector<double> times = bursts(threads, count, seconds, make, passes);
  if (failed) return -1.0;
  const double moved = static_cast<double>(bytes) * (copies ? 2.0 : 1.0) * threads;
  return 1e-9 * moved * static_cast<double>(passes) / times[times.size() / 2];
}

}  // namespace

extern "C" {

const char* limits_float_name() { return float_peak().name; }

double limits_float_gflops(int threads, int count, double seconds) {
  return best_gflops(float_peak(), threads, count, seconds);
}

// Negative where the machine or the compiler has no such instruction.
double limits_bf16_gflops(int threads, int count, double seconds) {
  const Peak peak = bf16_peak();
  return peak.work == nullptr ? -1.0 : best_gflops(peak, threads, count, seconds);
}

// `bytes` per thread.
double limits_read_rate(int threads, std::uint64_t bytes, int count, double seconds) {
  return median_rate(threads, bytes, count, seconds, read_stream(), false);
}

// `bytes` per thread and buffer, of which there are two; read and written bytes both count.
double limits_copy_rate(int threads, std::uint64_t bytes, int count, double seconds,
                        int past_caches) {
#if ON_X86
  if (past_caches != 0)
    return median_rate(threads, bytes, count, seconds, streaming_copy, true);
#else
  if (past_caches != 0) return -1.0;
#endif
  return median_rate(threads, bytes, count, seconds, copy_stream(), true);
}
}
