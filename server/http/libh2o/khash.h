/* libh2o's http2_internal.h, which Debian installs, includes a "khash.h" that it does not. This is
 * what is needed of it: how klib's hash table (khash 0.2.8, as libh2o 2.2.5 was built with) lies in
 * memory, finding, and going over all. Nothing here changes a table. */
#ifndef SERVER_HTTP_KHASH_H
#define SERVER_HTTP_KHASH_H

#include <stdint.h>

typedef uint32_t khiter_t;

/* Two bits of each bucket: it was never used, or its entry was deleted. */
static inline int kh_bucket_is(const uint32_t *flags, khiter_t i, uint32_t bits) {
  return (int)(flags[i / 16] >> (i % 16 * 2) & bits);
}

#define khash_t(name) kh_##name##_t

/* Buckets are probed at distances 1, 3, 6, 10 ... from where the hash of the key points. */
#define KHASH_MAP_INIT_INT64(name, value_type)                                                     \
  typedef struct {                                                                                 \
    uint32_t n_buckets, size, n_occupied, upper_bound;                                             \
    uint32_t *flags;                                                                               \
    uint64_t *keys;                                                                                \
    value_type *vals;                                                                              \
  } kh_##name##_t;                                                                                 \
  static inline khiter_t kh_find_##name(const kh_##name##_t *h, uint64_t key) {                    \
    uint32_t mask = h->n_buckets - 1, step = 0,                                                    \
             i = (uint32_t)(key >> 33 ^ key ^ key << 11) & mask, first = i;                        \
    if (!h->n_buckets) return 0;                                                                   \
    while (!kh_bucket_is(h->flags, i, 2) && (kh_bucket_is(h->flags, i, 1) || h->keys[i] != key)) { \
      i = (i + ++step) & mask;                                                                     \
      if (i == first) return h->n_buckets;                                                         \
    }                                                                                              \
    return kh_bucket_is(h->flags, i, 3) ? h->n_buckets : i;                                        \
  }

#define kh_get(name, h, key) kh_find_##name(h, key)
#define kh_end(h) ((h)->n_buckets)
#define kh_val(h, i) ((h)->vals[i])

/* value: a variable that the code sees. */
#define kh_foreach_value(h, value, code)                                                           \
  for (khiter_t kh_i = 0; kh_i < (h)->n_buckets; kh_i++) {                                         \
    if (kh_bucket_is((h)->flags, kh_i, 3)) continue;                                               \
    (value) = (h)->vals[kh_i];                                                                     \
    code                                                                                           \
  }

#endif
