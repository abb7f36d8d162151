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

#if defined(__x86_64__) || defined(__i386__)
#define ON_X86 1
#include <immintrin.h>
#if defined(__clang__) ? __clang_major__ >= 10 : __GNUC__ >= 11
#define KNOWS_BF16 1
#endif
#endif

namespace {

// ---- multiply-add: independent chains, as many as hide the latency and fit the registers

#define CHAINS12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define CHAINS24(X)                                                                      \
  CHAINS12(X) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

constexpr double kUnroll = 8;

volatile float g_factor = 0.999f, g_term = 1e-3f;  // unknown to the compiler
volatile float g_sink;

#define START(i) Vector c##i = b + static_cast<float>(i);
#define STEP(i) c##i = c##i * a + b;
#define GATHER(i) total += c##i;
#define REPEAT8(X) X X X X X X X X

// Compilers contract `c * a + b` to one instruction where the target has it (-ffp-contract=fast).
#define DEFINE_MULTIPLY_ADD(NAME, TARGET, WIDTH, CHAINS)                                 \
  TARGET void NAME(long steps) {                                                         \
    typedef float Vector __attribute__((vector_size(4 * WIDTH)));                        \
    Vector a = Vector{} + g_factor, b = Vector{} + g_term;                               \
    CHAINS(START)                                                                        \
    for (long s = 0; s < steps; ++s) {                                                   \
      REPEAT8(CHAINS(STEP))                                                              \
    }                                                                                    \
    Vector total = Vector{};                                                             \
    CHAINS(GATHER)                                                                       \
    g_sink = total[0];                                                                   \
  }

using Work = void (*)(long steps);

struct Peak {
  const char* name;
  Work work;
  double flops_per_step;
};

#if ON_X86
DEFINE_MULTIPLY_ADD(fma_avx512, __attribute__((target("avx512f"))), 16, CHAINS24)
DEFINE_MULTIPLY_ADD(fma_avx2, __attribute__((target("avx2,fma"))), 8, CHAINS12)
DEFINE_MULTIPLY_ADD(fma_plain, , 4, CHAINS12)
#else
DEFINE_MULTIPLY_ADD(fma_plain, , 4, CHAINS24)
#endif

#if ON_X86
bool has_avx512() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f");
}

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#endif

Peak float_peak() {
#if ON_X86
  if (has_avx512()) return {"AVX-512", fma_avx512, 2.0 * 16 * 24 * kUnroll};
  if (has_avx2()) return {"AVX2 and FMA", fma_avx2, 2.0 * 8 * 12 * kUnroll};
  return {"SSE2 multiply and add", fma_plain, 2.0 * 4 * 12 * kUnroll};
#else
  return {"128-bit vectors", fma_plain, 2.0 * 4 * 24 * kUnroll};
#endif
}

#if KNOWS_BF16
#define START_BF16(i) __m512 c##i = _mm512_set1_ps(static_cast<float>(i));
#define STEP_BF16(i) c##i = _mm512_dpbf16_ps(c##i, a, b);
#define GATHER_BF16(i) total = _mm512_add_ps(total, c##i);

__attribute__((target("avx512f,avx512bf16"))) void dot_bf16(long steps) {
  const __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(g_factor), _mm512_set1_ps(g_factor));
  const __m512bh b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(g_term), _mm512_set1_ps(-g_term));
  CHAINS24(START_BF16)
  for (long s = 0; s < steps; ++s) {
    REPEAT8(CHAINS24(STEP_BF16))
  }
  __m512 total = _mm512_setzero_ps();
  CHAINS24(GATHER_BF16)
  float lanes[16];
  _mm512_storeu_ps(lanes, total);
  g_sink = lanes[0];
}
#endif

Peak bf16_peak() {
#if KNOWS_BF16
  if (has_avx512() && __builtin_cpu_supports("avx512bf16"))
    return {"AVX-512 BF16", dot_bf16, 2.0 * 32 * 24 * kUnroll};
#endif
  return {"", nullptr, 0.0};
}

// ---- streams: blocks of 512 bytes, read alone or copied

constexpr std::size_t kBlock = 512;

// Eight independent vectors per step, so that neither latency nor the loop itself counts.  After
// each pass the compiler has to believe that memory changed.
#define DEFINE_STREAMS(NAME, TARGET, WIDTH)                                              \
  TARGET void NAME##_read(const char* from, char*, std::size_t bytes, long passes) {     \
    typedef long long Vector __attribute__((vector_size(WIDTH)));                        \
    Vector s0{}, s1{}, s2{}, s3{}, s4{}, s5{}, s6{}, s7{};                               \
    for (long pass = 0; pass < passes; ++pass) {                                         \
      for (std::size_t at = 0; at < bytes; at += 8 * WIDTH) {                            \
        const Vector* in = reinterpret_cast<const Vector*>(from + at);                   \
        s0 ^= in[0], s1 ^= in[1], s2 ^= in[2], s3 ^= in[3];                              \
        s4 ^= in[4], s5 ^= in[5], s6 ^= in[6], s7 ^= in[7];                              \
      }                                                                                  \
      asm volatile("" ::: "memory");                                                     \
    }                                                                                    \
    s0 ^= s1 ^ s2 ^ s3 ^ s4 ^ s5 ^ s6 ^ s7;                                              \
    g_sink = static_cast<float>(s0[0]);                                                  \
  }                                                                                      \
  TARGET void NAME##_copy(const char* from, char* to, std::size_t bytes, long passes) {  \
    typedef long long Vector __attribute__((vector_size(WIDTH)));                        \
    for (long pass = 0; pass < passes; ++pass) {                                         \
      for (std::size_t at = 0; at < bytes; at += 8 * WIDTH) {                            \
        const Vector* in = reinterpret_cast<const Vector*>(from + at);                   \
        Vector* out = reinterpret_cast<Vector*>(to + at);                                \
        const Vector v0 = in[0], v1 = in[1], v2 = in[2], v3 = in[3];                     \
        const Vector v4 = in[4], v5 = in[5], v6 = in[6], v7 = in[7];                     \
        out[0] = v0, out[1] = v1, out[2] = v2, out[3] = v3;                              \
        out[4] = v4, out[5] = v5, out[6] = v6, out[7] = v7;                              \
      }                                                                                  \
      asm volatile("" ::: "memory");                                                     \
    }                                                                                    \
  }

using Stream = void (*)(const char* from, char* to, std::size_t bytes, long passes);

#if ON_X86
DEFINE_STREAMS(avx512, __attribute__((target("avx512f"))), 64)
DEFINE_STREAMS(avx2, __attribute__((target("avx2"))), 32)
#endif
DEFINE_STREAMS(plain, , 16)

Stream read_stream() {
#if ON_X86
  if (has_avx512()) return avx512_read;
  if (has_avx2()) return avx2_read;
#endif
  return plain_read;
}

Stream copy_stream() {
#if ON_X86
  if (has_avx512()) return avx512_copy;
  if (has_avx2()) return avx2_copy;
#endif
  return plain_copy;
}

#if ON_X86
// Past the caches: the destination's lines are not read first.
void streaming_copy(const char* from, char* to, std::size_t bytes, long passes) {
  for (long pass = 0; pass < passes; ++pass) {
    for (std::size_t at = 0; at < bytes; at += 64) {
      const __m128i* in = reinterpret_cast<const __m128i*>(from + at);
      __m128i* out = reinterpret_cast<__m128i*>(to + at);
      const __m128i v0 = _mm_load_si128(in), v1 = _mm_load_si128(in + 1);
      const __m128i v2 = _mm_load_si128(in + 2), v3 = _mm_load_si128(in + 3);
      _mm_stream_si128(out, v0), _mm_stream_si128(out + 1, v1);
      _mm_stream_si128(out + 2, v2), _mm_stream_si128(out + 3, v3);
    }
    _mm_sfence();
  }
}
#endif

// ---- bursts

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
