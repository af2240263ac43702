// Halves: the compiler's own, rounded to nearest even after every operation, as a GPU's.
#pragma once
#include "cuda.h"

using half = _Float16;
using __half = _Float16;
struct alignas(4) __half2 { half x, y; };
using half2 = __half2;
inline bool __hgt(half a, half b) { return a > b; }
inline bool __hlt(half a, half b) { return a < b; }
inline float __half2float(half x) { return x; }
inline half __float2half(float x) { return x; }
inline half __float2half_rn(float x) { return x; }
