/* What the files that are compiled once for each instruction set (vec*.c) have in common: values in
 * float32 or bfloat16, and vectors. VEC_TABLE names the table of such a compilation. */
#ifndef WML_CPU_LANES_H
#define WML_CPU_LANES_H

#define WML_FN static inline __attribute__((always_inline))

#include "vec.h"

#include "../common/bfloat16.h"

#include <string.h>

#define VEC_STRING2(x) #x
#define VEC_STRING(x) VEC_STRING2(x)
/* The name of a further table of the same instruction set. */
#define VEC_JOIN2(a, b) a##_##b
#define VEC_JOIN(a, b) VEC_JOIN2(a, b)
#define VEC_PART(part) VEC_JOIN(VEC_TABLE, part)

/* ---- values; with a constant `narrow` the choice is gone before a loop is compiled ---- */

WML_FN float get(const void *x, int64_t i, bool narrow) {
  return narrow ? wml_bf16_to_float(((const uint16_t *)x)[i]) : ((const float *)x)[i];
}

WML_FN void set(void *y, int64_t i, float v, bool narrow) {
  if (narrow)
    ((uint16_t *)y)[i] = wml_bf16_from_float(v);
  else
    ((float *)y)[i] = v;
}

/* v where it is kept, else 0. By bits, because the compiler turns `keeps ? x[i] : 0` into a
 * conditional load, and vectorises those only with AVX2 and AVX-512, which have masked loads. */
WML_FN float keep_if(bool keeps, float v) {
  return wml_float_of_bits(wml_bits_of_float(v) & (keeps ? UINT32_MAX : 0u));
}

/* name(...) as name_of(..., false) or name_of(..., true) */
#define BY_TYPE(is_narrow, name, ...)                                                              \
  do {                                                                                             \
    if (is_narrow)                                                                                 \
      name##_of(__VA_ARGS__, true);                                                                \
    else                                                                                           \
      name##_of(__VA_ARGS__, false);                                                               \
  } while (0)

/* Before a loop that may write over what it reads, element for element. */
#if defined(__GNUC__) && !defined(__clang__)
#define IN_PLACE _Pragma("GCC ivdep")
#else
#define IN_PLACE
#endif

/* Before a short inner loop, which the compiler would otherwise unroll before its vectoriser sees
 * it. */
#if defined(__GNUC__) && !defined(__clang__)
#define KEEP_LOOP _Pragma("GCC unroll 1")
#else
#define KEEP_LOOP
#endif

/* ---- vectors ---- */

#if defined(__AVX512F__)
enum { WIDTH = 16 };
#elif defined(__AVX__)
enum { WIDTH = 8 };
#else
enum { WIDTH = 4 };
#endif
typedef float lanes_f __attribute__((vector_size(4 * WIDTH)));
typedef int32_t lanes_i __attribute__((vector_size(4 * WIDTH)));
typedef uint32_t lanes_u __attribute__((vector_size(4 * WIDTH)));
typedef uint16_t lanes_half __attribute__((vector_size(2 * WIDTH)));

WML_FN lanes_f load_lanes(const float *p) {
  lanes_f v;
  memcpy(&v, p, sizeof v);
  return v;
}

WML_FN void store_lanes(float *p, lanes_f v) {
  memcpy(p, &v, sizeof v);
}

/* By a loop: the compiler's vectoriser does it in one instruction, its __builtin_convertvector in
 * forty. */
WML_FN lanes_f load_values(const void *p, int64_t at, const bool narrow) {
  if (!narrow) return load_lanes((const float *)p + at);
  float v[WIDTH];
  for (int i = 0; i < WIDTH; i++) v[i] = get(p, at + i, true);
  return load_lanes(v);
}

/* A loop over set() would be unrolled before the compiler's vectoriser sees it. */
WML_FN void store_values(void *p, int64_t at, lanes_f v, const bool narrow) {
  if (!narrow) {
    store_lanes((float *)p + at, v);
    return;
  }
  lanes_u u = (lanes_u)v, rounded = (u + 0x7FFFu + (u >> 16 & 1u)) >> 16;
  lanes_u nan = (lanes_u)(v != v);
  lanes_half half = __builtin_convertvector((nan & 0x7FFFu) | (~nan & rounded), lanes_half);
  memcpy((uint16_t *)p + at, &half, sizeof half);
}

WML_FN lanes_f either_lanes(lanes_i mask, lanes_f a, lanes_f b) {
  return (lanes_f)((mask & (lanes_i)a) | (~mask & (lanes_i)b));
}

#endif
