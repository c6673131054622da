/* The different values of one column, counted: exactly up to a limit, estimated past it. */
#ifndef WML_DATA_TABLE_DISTINCT_H
#define WML_DATA_TABLE_DISTINCT_H

#include "base/alloc.h"
#include "base/status.h"

enum { WML_FREQUENT = 64 }; /* values whose counts stay exact past the limit */

/* Up to `limit` keys are kept with their counts. One more, and only the frequent ones among the
 * first (see wml_distinct_settle) are still counted, beside a HyperLogLog of 4,096 registers
 * (standard error 1.6 %). Keys are bit patterns of numbers or 64-bit hashes of texts. */
typedef struct wml_distinct {
  size_t limit, used, slots; /* slots: a power of two */
  uint64_t *keys;            /* [slots]; 0 is an empty one, so keys are never 0 */
  int64_t *counts;           /* [slots] */
  int32_t *codes;            /* [slots], of labels */
  uint8_t *registers;        /* past the limit */
  uint64_t frequent[WML_FREQUENT];
  int n_frequent;
  bool settled;
} wml_distinct;

typedef struct wml_frequent {
  uint64_t key;
  int64_t count;
} wml_frequent;

webml_status wml_distinct_init(wml_distinct *d, size_t limit, bool labels);
void wml_distinct_free(wml_distinct *d);
uint64_t wml_distinct_key_of_number(double value);
double wml_distinct_number_of_key(uint64_t key);
uint64_t wml_distinct_key_of_text(const char *text, size_t length);
/* Counts one more. *slot (may be NULL): where the key is, -1 when it is not kept. */
webml_status wml_distinct_add(wml_distinct *d, uint64_t key, int64_t times, int64_t *slot);
/* Marks the keys that are most frequent so far, at most WML_FREQUENT that came at least twice, once
 * for all: by itself when the limit is reached, or earlier where this is called. */
void wml_distinct_settle(wml_distinct *d);
/* A second count with the same frequent ones, empty. */
webml_status wml_distinct_start_like(const wml_distinct *from, wml_distinct *d, bool labels);
/* Adds another count of the same limit to this one. */
webml_status wml_distinct_merge(wml_distinct *to, const wml_distinct *from);
/* The code of a key that is kept; -1. */
int32_t wml_distinct_code(const wml_distinct *d, uint64_t key);
bool wml_distinct_is_estimate(const wml_distinct *d);
int64_t wml_distinct_count(const wml_distinct *d);
/* The most frequent keys by falling count (equal counts by key); returns how many, at most n. */
int wml_distinct_top(const wml_distinct *d, int n, wml_frequent *top);

#endif
