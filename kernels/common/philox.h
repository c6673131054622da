/* Philox4x32-10, a counter-based generator: the same (key, counter) gives the same four words on
 * every device and for every number of threads. Salmon, Moraes, Dror, Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC'11. */
#ifndef WML_COMMON_PHILOX_H
#define WML_COMMON_PHILOX_H

#include "kinds.h"

#include <stdint.h>

typedef struct wml_philox {
  uint32_t word[4];
} wml_philox;

/* What a stream of random numbers is for: one part of the counter, so that no two uses meet. */
typedef enum wml_random_use {
  WML_RANDOM_INITIALIZER = 1,
  WML_RANDOM_PERMUTATION = 2,
  WML_RANDOM_DROPOUT = 3,
  WML_RANDOM_AUGMENTATION = 4,
  WML_RANDOM_SPLIT = 5,
  WML_RANDOM_NOISE = 6
} wml_random_use;

WML_FN uint32_t wml_mulhi(uint32_t a, uint32_t b) {
  return (uint32_t)(((uint64_t)a * b) >> 32);
}

/* key: the seed. counter: `index` of the element (or of its group of four), `stream` (step or
 * epoch) and `lane` (use and layer). */
WML_FN wml_philox wml_philox_at(uint64_t key, uint32_t lane, uint32_t stream, uint64_t index) {
  uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = stream, c3 = lane;
  uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
  wml_philox result;
  for (int round = 0; round < 10; round++) {
    uint32_t lo0 = 0xD2511F53u * c0, hi0 = wml_mulhi(0xD2511F53u, c0);
    uint32_t lo1 = 0xCD9E8D57u * c2, hi1 = wml_mulhi(0xCD9E8D57u, c2);
    c0 = hi1 ^ c1 ^ k0;
    c1 = lo1;
    c2 = hi0 ^ c3 ^ k1;
    c3 = lo0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  result.word[0] = c0;
  result.word[1] = c1;
  result.word[2] = c2;
  result.word[3] = c3;
  return result;
}

WML_FN uint32_t wml_random_lane(wml_random_use use, uint32_t which) {
  return ((uint32_t)use << 24) | (which & 0xFFFFFFu);
}

/* Uniform in [0, 1) with 24 bits: every value is exact in float32. */
WML_FN float wml_uniform(uint32_t word) {
  return (float)(word >> 8) * (1.0f / 16777216.0f);
}

#endif
