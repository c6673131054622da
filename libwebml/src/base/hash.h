/* A fast 64-bit hash of bytes, to tell data apart and to find what was damaged; not against
 * attackers. The same on every machine of this byte order. */
#ifndef WML_BASE_HASH_H
#define WML_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WML_HASH_SEED 0xCBF29CE484222325u

/* The finaliser of MurmurHash3: every bit of x counts in every bit of the result. */
static inline uint64_t wml_scramble(uint64_t x) {
  x = (x ^ (x >> 33)) * 0xFF51AFD7ED558CCDu;
  x = (x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53u;
  return x ^ (x >> 33);
}

/* Continues `hash` (begin with WML_HASH_SEED). Four independent lanes keep up with memory. */
static inline uint64_t wml_hash(uint64_t hash, const void *data, size_t n) {
  const uint64_t odd = 0x9FB21C651E98DF25u;
  const uint8_t *p = data;
  hash ^= n * 0x9E3779B97F4A7C15u;
  if (n >= 32) {
    uint64_t lane[4] = {hash, hash ^ 0x9E3779B97F4A7C15u, hash + 0xBF58476D1CE4E5B9u, ~hash};
    for (; n >= 32; p += 32, n -= 32)
      for (int i = 0; i < 4; i++) {
        uint64_t word;
        memcpy(&word, p + 8 * i, 8);
        lane[i] = (lane[i] ^ word) * odd;
        lane[i] ^= lane[i] >> 32;
      }
    hash = ((lane[0] ^ (lane[1] << 17)) * 31u + lane[2]) ^ (lane[3] >> 7) ^ lane[3];
  }
  for (; n >= 8; p += 8, n -= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    hash = (hash ^ word) * odd;
    hash ^= hash >> 29;
  }
  uint64_t rest = 0;
  if (n) memcpy(&rest, p, n);
  return wml_scramble(hash ^ rest);
}

#endif
