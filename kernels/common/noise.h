/* Noise: a function of (seed, step, stream, element), never stored, so that going back draws what
 * going forward drew. Keras's GaussianNoise adds it, GaussianDropout multiplies by it, AlphaDropout
 * replaces elements (Klambauer et al. 2017, "Self-normalizing neural networks"). */
#ifndef WML_COMMON_NOISE_H
#define WML_COMMON_NOISE_H

#include "dropout.h"

#include <math.h>

/* n: a standard normal number, drawn for each element of x. */
typedef enum wml_noise_kind {
  WML_NOISE_ADD,      /* x + a * n */
  WML_NOISE_MULTIPLY, /* x * (1 + a * n) */
  WML_NOISE_ALPHA     /* a * x + b where the mask of DROPOUT keeps x, else c */
} wml_noise_kind;

typedef struct wml_noise {
  wml_noise_kind kind;
  uint32_t stream; /* which noise of the model */
  float a, b, c;
  float rate; /* of ALPHA: the share that is not kept */
} wml_noise;

/* What is drawn for elements 4 * group to 4 * group + 3: standard normal numbers, by Box and
 * Muller's transform ("A note on the generation of random normal deviates", 1958) of each two of
 * the four words; for ALPHA the uniform numbers that DROPOUT draws. */
typedef struct wml_noise_draw {
  float number[4];
} wml_noise_draw;

WML_FN wml_noise_draw wml_noise_draw_at(const wml_noise *noise, uint64_t seed, int64_t step,
                                        uint64_t group) {
  bool alpha = noise->kind == WML_NOISE_ALPHA;
  uint32_t lane = wml_random_lane(alpha ? WML_RANDOM_DROPOUT : WML_RANDOM_NOISE, noise->stream);
  wml_philox r = wml_philox_at(seed, lane, (uint32_t)step, group);
  wml_noise_draw draw;
  for (int k = 0; k < 4; k += 2) {
    float u = wml_uniform(r.word[k]), v = wml_uniform(r.word[k + 1]);
    /* 1 - u is exact and never 0 */
    float radius = sqrtf(-2.0f * logf(1.0f - u)), angle = 6.2831853f * v;
    draw.number[k] = alpha ? u : radius * cosf(angle);
    draw.number[k + 1] = alpha ? v : radius * sinf(angle);
  }
  return draw;
}

/* The noisy x, from what was drawn for it. */
WML_FN float wml_noise_value(const wml_noise *noise, float x, float drawn) {
  switch (noise->kind) {
  case WML_NOISE_MULTIPLY: return x * (1.0f + noise->a * drawn);
  case WML_NOISE_ALPHA: return drawn >= noise->rate ? noise->a * x + noise->b : noise->c;
  default: return x + noise->a * drawn;
  }
}

/* Elements [4 * first, 4 * first + n). */
WML_FN void wml_noise_apply(const wml_noise *noise, uint64_t seed, int64_t step, uint64_t first,
                            const float *x, float *y, int64_t n) {
  for (int64_t i = 0; i < n; i += 4) {
    wml_noise_draw draw = wml_noise_draw_at(noise, seed, step, first + (uint64_t)i / 4);
    for (int64_t j = 0; j < 4 && i + j < n; j++)
      y[i + j] = wml_noise_value(noise, x[i + j], draw.number[j]);
  }
}

#endif
