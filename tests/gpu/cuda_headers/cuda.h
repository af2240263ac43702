// What TVM's CUDA source needs of CUDA, on one thread of a processor.
//
// Blocks run one after the other, and a block's threads as fibers in turn, from one
// __syncthreads to the next. Warps do not run in step: no kernel may count on that.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static
#define __align__(n) alignas(n)

struct Place { unsigned x, y, z; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
struct alignas(8) uint2 { unsigned x, y; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) int2 { int x, y; };
struct alignas(16) int4 { int x, y, z, w; };
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

using std::max;
using std::min;
template <class T> T __ldg(const T* p) { return *p; }
inline float __expf(float x) { return std::exp(x); }

inline Place threadIdx, blockIdx, blockDim, gridDim;

namespace fibers {
constexpr std::size_t kStack = 1 << 17;
struct Fiber {
  ucontext_t context;
  Place place;
  bool done = false;
  std::vector<char> stack;
};
inline std::vector<Fiber> all;
inline ucontext_t scheduler;
inline std::size_t running;
inline void (*body)();

inline void yield() {
  Fiber& mine = all[running];
  swapcontext(&mine.context, &scheduler);
  threadIdx = mine.place;
}
inline void begin() {
  body();
  all[running].done = true;
}
inline unsigned lane() {
  return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}

// Runs a kernel on every thread of every block; false where threads part at a barrier.
inline bool run(void (*kernel)(), const unsigned* grid, const unsigned* block) {
  body = kernel;
  gridDim = {grid[0], grid[1], grid[2]};
  blockDim = {block[0], block[1], block[2]};
  all.resize(block[0] * block[1] * block[2]);
  for (unsigned b = 0; b < grid[0] * grid[1] * grid[2]; ++b) {
    blockIdx = {b % grid[0], b / grid[0] % grid[1], b / grid[0] / grid[1]};
    for (unsigned t = 0; t < all.size(); ++t) {
      Fiber& fiber = all[t];
      fiber.place = {t % block[0], t / block[0] % block[1], t / block[0] / block[1]};
      fiber.done = false;
      fiber.stack.resize(kStack);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.data();
      fiber.context.uc_stack.ss_size = kStack;
      fiber.context.uc_link = &scheduler;
      makecontext(&fiber.context, begin, 0);
    }
    for (std::size_t done = 0; done < all.size();) {
      done = 0;
      for (running = 0; running < all.size(); ++running) {
        threadIdx = all[running].place;
        swapcontext(&scheduler, &all[running].context);
        done += all[running].done;
      }
      if (done != 0 && done != all.size()) return false;
    }
  }
  return true;
}
}  // namespace fibers

inline void __syncthreads() { fibers::yield(); }
