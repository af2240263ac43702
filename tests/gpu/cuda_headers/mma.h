// Tensor cores: a warp's tile, which its first thread holds whole and multiplies.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda::wmma {
struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

template <class Use, int M, int N, int K, class T, class Layout = void> struct fragment {
  static constexpr int kRows = std::is_same_v<Use, matrix_b> ? K : M;
  static constexpr int kColumns = std::is_same_v<Use, matrix_a> ? K : N;
  std::vector<T> tile = std::vector<T>(fibers::lane() ? 0 : kRows * kColumns);
};

template <class F, class T> void fill_fragment(F& f, T value) {
  for (auto& x : f.tile) x = value;
}
inline void check_address(const void* p, unsigned stride, std::size_t item) {
  // CUDA C++ Programming Guide: 256-bit aligned addresses, strides of 16 bytes.
  if (reinterpret_cast<std::uintptr_t>(p) % 32 || stride * item % 16) {
    std::fprintf(stderr, "a tile for tensor cores is not aligned\n");
    std::abort();
  }
}
template <class Use, int M, int N, int K, class T, class Layout>
void load_matrix_sync(fragment<Use, M, N, K, T, Layout>& f, const T* p, unsigned stride) {
  check_address(p, stride, sizeof(T));
  if (f.tile.empty()) return;
  for (int i = 0; i < f.kRows; ++i)
    for (int j = 0; j < f.kColumns; ++j)
      f.tile[i * f.kColumns + j] =
          std::is_same_v<Layout, col_major> ? p[j * stride + i] : p[i * stride + j];
}
template <int M, int N, int K, class T>
void store_matrix_sync(T* p, const fragment<accumulator, M, N, K, T>& f, unsigned stride,
                       layout_t layout) {
  check_address(p, stride, sizeof(T));
  if (f.tile.empty()) return;
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j)
      p[layout == mem_row_major ? i * stride + j : j * stride + i] = f.tile[i * N + j];
}
template <int M, int N, int K, class D, class C, class A, class B>
void mma_sync(fragment<accumulator, M, N, K, D>& d, const A& a, const B& b,
              const fragment<accumulator, M, N, K, C>& c) {
  if (d.tile.empty()) return;
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) {
      float sum = c.tile[i * N + j];
      for (int k = 0; k < K; ++k) sum += float(a.tile[i * K + k]) * float(b.tile[k * N + j]);
      d.tile[i * N + j] = sum;
    }
}
}  // namespace nvcuda::wmma
