/* bfloat16: the upper half of a float32, rounded to nearest even. */
#ifndef WML_COMMON_BFLOAT16_H
#define WML_COMMON_BFLOAT16_H

#include "kinds.h"

#include <stdint.h>

WML_FN float wml_float_of_bits(uint32_t bits) {
  union {
    uint32_t u;
    float f;
  } v;
  v.u = bits;
  return v.f;
}

WML_FN uint32_t wml_bits_of_float(float x) {
  union {
    float f;
    uint32_t u;
  } v;
  v.f = x;
  return v.u;
}

WML_FN float wml_bf16_to_float(uint16_t bits) {
  return wml_float_of_bits((uint32_t)bits << 16);
}

/* Every NaN becomes the same one. */
WML_FN uint16_t wml_bf16_from_float(float x) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint16_t bits;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
  return bits;
#else
  uint32_t u = wml_bits_of_float(x);
  uint32_t rounded = (u + 0x7FFFu + (u >> 16 & 1)) >> 16;
  return (uint16_t)(x != x ? 0x7FFFu : rounded);
#endif
}

#endif
