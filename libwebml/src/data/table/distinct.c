#include "data/table/distinct.h"

#include "base/hash.h"

#include <math.h>
#include <string.h>

enum { INDEX_BITS = 12, REGISTERS = 1 << INDEX_BITS, RANKS = 64 - INDEX_BITS };

static const uint64_t a_nan = 0x7FF0DEADBEEF0001u; /* its bits: so no number becomes 0 */

uint64_t wml_distinct_key_of_number(double value) {
  uint64_t bits;
  if (value == 0.0) value = 0.0; /* -0 and 0 are one value */
  memcpy(&bits, &value, sizeof bits);
  return bits ^ a_nan;
}

double wml_distinct_number_of_key(uint64_t key) {
  double value;
  key ^= a_nan;
  memcpy(&value, &key, sizeof value);
  return value;
}

uint64_t wml_distinct_key_of_text(const char *text, size_t length) {
  uint64_t hash = wml_hash(WML_HASH_SEED, text, length);
  return hash ? hash : 1;
}

static webml_status resize(wml_distinct *d, size_t slots, bool labels) {
  wml_distinct next = *d;
  next.slots = slots;
  next.keys = wml_calloc(slots, sizeof *next.keys);
  next.counts = wml_alloc(slots * sizeof *next.counts);
  next.codes = labels ? wml_alloc(slots * sizeof *next.codes) : NULL;
  if (!next.keys || !next.counts || (labels && !next.codes)) {
    wml_free(next.keys);
    wml_free(next.counts);
    wml_free(next.codes);
    return wml_no_memory(slots * 20, "counting values");
  }
  for (size_t i = 0; i < d->slots; i++) {
    if (!d->keys[i]) continue;
    size_t at = wml_scramble(d->keys[i]) & (slots - 1);
    while (next.keys[at]) at = (at + 1) & (slots - 1);
    next.keys[at] = d->keys[i];
    next.counts[at] = d->counts[i];
    if (labels) next.codes[at] = d->codes[i];
  }
  wml_free(d->keys);
  wml_free(d->counts);
  wml_free(d->codes);
  *d = next;
  return WEBML_OK;
}

webml_status wml_distinct_init(wml_distinct *d, size_t limit, bool labels) {
  *d = (wml_distinct){.limit = limit};
  return resize(d, 16, labels);
}

void wml_distinct_free(wml_distinct *d) {
  wml_free(d->keys);
  wml_free(d->counts);
  wml_free(d->codes);
  wml_free(d->registers);
  *d = (wml_distinct){0};
}

static void observe(wml_distinct *d, uint64_t hash) {
  size_t at = hash >> RANKS;
  uint64_t rest = hash << INDEX_BITS;
  uint8_t rank = (uint8_t)(rest ? __builtin_clzll(rest) + 1 : RANKS + 1);
  if (rank > d->registers[at]) d->registers[at] = rank;
}

/* Place of the key, or of the empty slot where it belongs. */
static size_t find(const wml_distinct *d, uint64_t key, uint64_t hash) {
  size_t at = hash & (d->slots - 1);
  while (d->keys[at] && d->keys[at] != key) at = (at + 1) & (d->slots - 1);
  return at;
}

static int by_count(const void *a, const void *b) {
  const wml_frequent *x = a, *y = b;
  if (x->count != y->count) return x->count < y->count ? 1 : -1;
  return x->key < y->key ? -1 : x->key > y->key;
}

int wml_distinct_top(const wml_distinct *d, int n, wml_frequent *top) {
  int have = 0;
  for (size_t i = 0; i < d->slots; i++) {
    if (!d->keys[i] || d->counts[i] < 1) continue;
    wml_frequent f = {d->keys[i], d->counts[i]};
    if (have == n && by_count(&f, &top[n - 1]) >= 0) continue;
    int at = have < n ? have++ : n - 1;
    for (; at > 0 && by_count(&f, &top[at - 1]) < 0; at--) top[at] = top[at - 1];
    top[at] = f;
  }
  return have;
}

void wml_distinct_settle(wml_distinct *d) {
  wml_frequent top[WML_FREQUENT];
  if (d->settled) return;
  int n = wml_distinct_top(d, WML_FREQUENT, top);
  d->settled = true;
  for (int i = 0; i < n && top[i].count > 1; i++) d->frequent[d->n_frequent++] = top[i].key;
}

/* The limit is reached: all keys so far go into the estimate, only the frequent ones stay. */
static webml_status overflow(wml_distinct *d) {
  wml_distinct_settle(d);
  wml_distinct small = {.limit = d->limit, .n_frequent = d->n_frequent, .settled = true};
  memcpy(small.frequent, d->frequent, sizeof small.frequent);
  WML_TRY(resize(&small, 4 * WML_FREQUENT, d->codes != NULL));
  if (!(small.registers = wml_calloc(REGISTERS, 1))) {
    wml_distinct_free(&small);
    return wml_no_memory(REGISTERS, "counting values");
  }
  for (size_t i = 0; i < d->slots; i++)
    if (d->keys[i]) observe(&small, wml_scramble(d->keys[i]));
  for (int i = 0; i < d->n_frequent; i++) {
    uint64_t hash = wml_scramble(d->frequent[i]);
    size_t from = find(d, d->frequent[i], hash), to = find(&small, d->frequent[i], hash);
    small.keys[to] = d->frequent[i];
    small.counts[to] = d->keys[from] ? d->counts[from] : 0;
    if (d->codes) small.codes[to] = d->keys[from] ? d->codes[from] : -1;
    small.used++;
  }
  wml_distinct_free(d);
  *d = small;
  return WEBML_OK;
}

webml_status wml_distinct_add(wml_distinct *d, uint64_t key, int64_t times, int64_t *slot) {
  uint64_t hash = wml_scramble(key);
  size_t at = find(d, key, hash);
  if (slot) *slot = -1;
  if (!d->keys[at] && !d->registers) {
    if (d->used == d->limit) {
      WML_TRY(overflow(d));
      at = find(d, key, hash);
    } else {
      if ((d->used + 1) * 4 > d->slots * 3) {
        WML_TRY(resize(d, d->slots * 2, d->codes != NULL));
        at = find(d, key, hash);
      }
      d->keys[at] = key;
      d->counts[at] = 0;
      if (d->codes) d->codes[at] = -1;
      d->used++;
    }
  }
  if (d->registers) observe(d, hash);
  if (!d->keys[at]) return WEBML_OK;
  d->counts[at] += times;
  if (slot) *slot = (int64_t)at;
  return WEBML_OK;
}

webml_status wml_distinct_start_like(const wml_distinct *from, wml_distinct *d, bool labels) {
  WML_TRY(wml_distinct_init(d, from->limit, labels));
  d->n_frequent = from->n_frequent;
  d->settled = from->settled;
  memcpy(d->frequent, from->frequent, sizeof d->frequent);
  return WEBML_OK;
}

webml_status wml_distinct_merge(wml_distinct *to, const wml_distinct *from) {
  if (from->registers && !to->registers) WML_TRY(overflow(to));
  for (size_t i = 0; i < from->slots; i++)
    if (from->keys[i] && (from->counts[i] > 0))
      WML_TRY(wml_distinct_add(to, from->keys[i], from->counts[i], NULL));
  for (int i = 0; from->registers && i < REGISTERS; i++)
    if (from->registers[i] > to->registers[i]) to->registers[i] = from->registers[i];
  return WEBML_OK;
}

int32_t wml_distinct_code(const wml_distinct *d, uint64_t key) {
  size_t at = find(d, key, wml_scramble(key));
  return d->keys[at] ? d->codes[at] : -1;
}

bool wml_distinct_is_estimate(const wml_distinct *d) {
  return d->registers != NULL;
}

/* The estimator of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
 * (arXiv:1702.01284), section 4: no thresholds, no tables of bias. */
static double sigma(double x) {
  double y = 1.0, z = x, before;
  if (x == 1.0) return INFINITY;
  do {
    x *= x;
    before = z;
    z += x * y;
    y += y;
  } while (z != before);
  return z;
}

static double tau(double x) {
  if (x == 0.0 || x == 1.0) return 0.0;
  double y = 1.0, z = 1.0 - x, before;
  do {
    x = sqrt(x);
    before = z;
    y *= 0.5;
    z -= (1.0 - x) * (1.0 - x) * y;
  } while (z != before);
  return z / 3.0;
}

int64_t wml_distinct_count(const wml_distinct *d) {
  if (!d->registers) return (int64_t)d->used;
  int64_t ranks[RANKS + 2] = {0};
  double m = REGISTERS;
  for (int i = 0; i < REGISTERS; i++) ranks[d->registers[i]]++;
  double z = m * tau(1.0 - (double)ranks[RANKS + 1] / m);
  for (int k = RANKS; k >= 1; k--) z = 0.5 * (z + (double)ranks[k]);
  z += m * sigma((double)ranks[0] / m);
  return (int64_t)llround(m * m / (2.0 * 0.69314718055994531 * z));
}
