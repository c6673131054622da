#include "vnni.h"

#include <string.h>

/* Filters that are summed at a time: as many groups of 16 as divide them, at most four. */
static int64_t groups_of(int64_t f) {
  return f % 64 == 0 ? 4 : f % 32 == 0 ? 2 : 1;
}

void vnni_pack(const int8_t *kernel, int64_t kh, int64_t kw_c, int64_t f, int8_t *packed) {
  int64_t words = (kw_c + 3) / 4, width = 16 * groups_of(f);
  memset(packed, 0, (size_t)(kh * words * f * 4));
  for (int64_t h = 0; h < kh; h++)
    for (int64_t i = 0; i < kw_c; i++)
      for (int64_t k = 0; k < f; k++) {
        int64_t block = k / width, word = i / 4;
        packed[(((block * kh + h) * words + word) * width + k % width) * 4 + i % 4] =
            kernel[(h * kw_c + i) * f + k];
      }
}

#if defined(__AVX512VNNI__)
#include <immintrin.h>

enum { PIXELS = 4 };

#define INLINE static inline __attribute__((always_inline))

/* Sums of `groups` times 16 filters for four pixels. */
INLINE void sum_pixels(const vnni_conv *v, const int groups, const uint8_t *const *x,
                       const int8_t *weights, __m512i sum[PIXELS][4]) {
  for (int p = 0; p < PIXELS; p++)
    for (int g = 0; g < groups; g++) sum[p][g] = _mm512_setzero_si512();
  for (int64_t h = 0; h < v->kh; h++)
    for (int64_t word = 0; word < v->words; word++, weights += 64 * groups) {
      int64_t at = h * v->row + 4 * word;
      __m512i w[4];
      for (int g = 0; g < groups; g++) w[g] = _mm512_loadu_si512(weights + 64 * g);
      for (int p = 0; p < PIXELS; p++) {
        int32_t four;
        memcpy(&four, x[p] + at, sizeof four);
        __m512i bytes = _mm512_set1_epi32(four);
        for (int g = 0; g < groups; g++) sum[p][g] = _mm512_dpbusd_epi32(sum[p][g], bytes, w[g]);
      }
    }
}

INLINE void store(const vnni_conv *v, __m512i sum, int64_t filter, uint8_t *y) {
  __m512 value = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(v->scale + filter),
                                 _mm512_loadu_ps(v->bias + filter));
  __m512i whole = _mm512_cvtps_epi32(value);
  if (v->relu || !v->is_signed) whole = _mm512_max_epi32(whole, _mm512_setzero_si512());
  __m128i bytes = v->is_signed ? _mm512_cvtsepi32_epi8(whole) : _mm512_cvtusepi32_epi8(whole);
  _mm_storeu_si128((__m128i *)(void *)(y + filter), bytes);
}

INLINE void run_filters(const vnni_conv *v, const int groups, int64_t first, const uint8_t *x,
                        uint8_t *y) {
  const int8_t *weights = v->weights + first * v->kh * v->words * 4;
  __m512i sum[PIXELS][4];
  for (int64_t h = 0; h < v->oh; h++)
    for (int64_t w = 0; w < v->ow; w += v->pooled ? 1 : PIXELS) {
      const uint8_t *at[PIXELS];
      if (v->pooled) {
        const uint8_t *corner = x + 2 * h * v->row + 2 * w * v->c;
        at[0] = corner, at[1] = corner + v->c;
        at[2] = at[0] + v->row, at[3] = at[1] + v->row;
      } else
        for (int p = 0; p < PIXELS; p++)
          at[p] = x + h * v->row + (w + p < v->ow ? w + p : v->ow - 1) * v->c;
      sum_pixels(v, groups, at, weights, sum);
      uint8_t *to = y + (h * v->ow + w) * v->f;
      for (int g = 0; g < groups; g++) {
        if (v->pooled)
          store(v,
                _mm512_max_epi32(_mm512_max_epi32(sum[0][g], sum[1][g]),
                                 _mm512_max_epi32(sum[2][g], sum[3][g])),
                first + 16 * g, to);
        else
          for (int p = 0; p < PIXELS && w + p < v->ow; p++)
            store(v, sum[p][g], first + 16 * g, to + p * v->f);
      }
    }
}

void vnni_conv_run(const vnni_conv *v, const uint8_t *x, uint8_t *y) {
  for (int64_t first = 0; first < v->f; first += 16 * groups_of(v->f)) switch (groups_of(v->f)) {
    case 4: run_filters(v, 4, first, x, y); break;
    case 2: run_filters(v, 2, first, x, y); break;
    default: run_filters(v, 1, first, x, y); break;
    }
}

#else /* never called: cpu_can_int8() is false */

void vnni_conv_run(const vnni_conv *v, const uint8_t *x, uint8_t *y) {
  (void)v;
  (void)x;
  (void)y;
}
#endif
