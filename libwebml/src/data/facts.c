/* Statistics of the training rows, over the typed blocks, by several threads. Sums are made block
 * by block in their order, so that any number of threads gives the same bits. */
#include "base/threads.h"
#include "data/table/distinct.h"
#include "data/table/moments.h"
#include "data/table_samples.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Of one column in one block. */
typedef struct piece {
  wml_moments moments;
  double min, max;
  int64_t missing, first_missing;
} piece;

typedef struct survey {
  const wml_table *table;
  const wml_row_split *split;
  const int *columns;
  const bool *values;
  int n;
  int64_t limit;
  atomic_llong next;
  pthread_mutex_t mutex;
  piece *blocks;          /* [blocks, n] */
  wml_distinct *distinct; /* [n] */
} survey;

/* Keeps the numbers of training rows; counts the others. */
static int64_t training_cells(const survey *s, int64_t block, double *x, piece *m) {
  const wml_block *b = &s->table->blocks[block];
  int64_t n = 0;
  for (int64_t r = 0; r < b->rows; r++) {
    if (wml_row_part(s->split, b->first + r) != WML_PART_TRAINING) continue;
    if (x[r] == x[r])
      x[n++] = x[r];
    else if (m->missing++ == 0)
      m->first_missing = b->first + r;
  }
  return n;
}

static void measure(const double *x, int64_t n, piece *m) {
  double sum = 0.0;
  m->min = INFINITY, m->max = -INFINITY;
  for (int64_t i = 0; i < n; i++) {
    sum += x[i];
    m->min = x[i] < m->min ? x[i] : m->min;
    m->max = x[i] > m->max ? x[i] : m->max;
  }
  m->moments = wml_moments_of(x, n, sum, n);
}

static webml_status survey_block(survey *s, int64_t block, const uint8_t *bytes, double *x,
                                 wml_distinct *mine) {
  for (int i = 0; i < s->n; i++) {
    piece *m = &s->blocks[block * s->n + i];
    wml_block_column(s->table, block, bytes, s->columns[i], x);
    m->first_missing = -1;
    int64_t n = training_cells(s, block, x, m);
    measure(x, n, m);
    for (int64_t r = 0; s->values[i] && r < n; r++)
      WML_TRY(wml_distinct_add(&mine[i], wml_distinct_key_of_number(x[r]), 1, NULL));
  }
  return WEBML_OK;
}

static webml_status survey_blocks(void *arg, int helper) {
  survey *s = arg;
  wml_scratch scratch = {0};
  (void)helper;
  size_t rows = (size_t)wml_table_block_rows(s->table);
  double *x = wml_alloc(rows * sizeof *x + 1);
  wml_distinct *mine = wml_calloc((size_t)s->n, sizeof *mine);
  webml_status status = x && mine ? WEBML_OK : wml_no_memory(rows * sizeof *x, "statistics");
  for (int i = 0; i < s->n && status == WEBML_OK; i++)
    if (s->values[i]) status = wml_distinct_init(&mine[i], (size_t)s->limit, false);
  while (status == WEBML_OK) {
    int64_t block = atomic_fetch_add(&s->next, 1);
    const uint8_t *bytes;
    if (block >= s->table->n_blocks) break;
    status = wml_table_block(s->table, block, &scratch, &bytes);
    if (status == WEBML_OK) status = survey_block(s, block, bytes, x, mine);
  }
  if (status != WEBML_OK) atomic_store(&s->next, s->table->n_blocks); /* the others stop, too */
  pthread_mutex_lock(&s->mutex);
  for (int i = 0; i < s->n && mine; i++) {
    if (status == WEBML_OK && s->values[i]) status = wml_distinct_merge(&s->distinct[i], &mine[i]);
    wml_distinct_free(&mine[i]);
  }
  pthread_mutex_unlock(&s->mutex);
  wml_free(mine);
  wml_free(x);
  wml_free(scratch.bytes);
  return status;
}

typedef struct counted {
  double value;
  int64_t count;
} counted;

static int by_value(const void *a, const void *b) {
  double x = ((const counted *)a)->value, y = ((const counted *)b)->value;
  return x < y ? -1 : x > y;
}

static webml_status keep_values(const survey *s, int i, wml_facts *f) {
  const wml_distinct *d = &s->distinct[i];
  const wml_column *col = &s->table->columns[s->columns[i]];
  if (wml_distinct_is_estimate(d))
    return wml_fail(
        WEBML_ERROR_DATA,
        "column \"%s\" has about %lld values: too many to one-hot encode or to take the most "
        "frequent of (at most %lld)",
        col->name, (long long)wml_distinct_count(d), (long long)s->limit);
  counted *list = wml_alloc((d->used + 1) * sizeof *list);
  f->values = wml_alloc((d->used + 1) * sizeof *f->values);
  f->counts = wml_alloc((d->used + 1) * sizeof *f->counts);
  if (!list || !f->values || !f->counts) {
    wml_free(list);
    return wml_no_memory(d->used * sizeof *list, "counting values");
  }
  size_t n = 0;
  for (size_t k = 0; k < d->slots; k++)
    if (d->keys[k]) list[n++] = (counted){wml_distinct_number_of_key(d->keys[k]), d->counts[k]};
  qsort(list, n, sizeof *list, by_value);
  for (size_t k = 0; k < n; k++) f->values[k] = list[k].value, f->counts[k] = list[k].count;
  f->n_values = (int64_t)n;
  wml_free(list);
  return WEBML_OK;
}

static void combine(const survey *s, int i, wml_facts *f) {
  wml_moments all = {0};
  *f = (wml_facts){.first_missing = -1, .min = INFINITY, .max = -INFINITY};
  for (int64_t b = 0; b < s->table->n_blocks; b++) {
    const piece *m = &s->blocks[b * s->n + i];
    if (m->missing && f->first_missing < 0) f->first_missing = m->first_missing;
    f->missing += m->missing;
    wml_moments_add(&all, &m->moments);
    f->min = m->min < f->min ? m->min : f->min;
    f->max = m->max > f->max ? m->max : f->max;
  }
  f->n = (int64_t)all.n;
  f->mean = all.mean;
  f->variance = all.n > 0.0 ? all.square / all.n : 0.0;
}

webml_status wml_table_facts(const wml_table *t, const wml_row_split *split, const int *columns,
                             const bool *values, int n, int64_t limit, wml_facts *facts) {
  survey s = {
      .table = t, .split = split, .columns = columns, .values = values, .n = n, .limit = limit};
  atomic_init(&s.next, 0);
  memset(facts, 0, (size_t)n * sizeof *facts);
  s.blocks = wml_calloc((size_t)(t->n_blocks * n), sizeof *s.blocks);
  s.distinct = wml_calloc((size_t)n, sizeof *s.distinct);
  webml_status status =
      s.blocks && s.distinct
          ? WEBML_OK
          : wml_no_memory((size_t)(t->n_blocks * n) * sizeof *s.blocks, "statistics");
  for (int i = 0; i < n && status == WEBML_OK; i++)
    if (values[i]) status = wml_distinct_init(&s.distinct[i], (size_t)limit, false);
  pthread_mutex_init(&s.mutex, NULL);
  int helpers = t->n_blocks < wml_helper_count() ? (int)t->n_blocks : wml_helper_count();
  if (status == WEBML_OK) status = wml_parallel(helpers, survey_blocks, &s);
  for (int i = 0; i < n && status == WEBML_OK; i++) {
    combine(&s, i, &facts[i]);
    if (values[i]) status = keep_values(&s, i, &facts[i]);
  }
  pthread_mutex_destroy(&s.mutex);
  for (int i = 0; s.distinct && i < n; i++) wml_distinct_free(&s.distinct[i]);
  wml_free(s.distinct);
  wml_free(s.blocks);
  if (status != WEBML_OK) wml_facts_free(facts, n);
  return status;
}

void wml_facts_free(wml_facts *facts, int n) {
  for (int i = 0; facts && i < n; i++) {
    wml_free(facts[i].values);
    wml_free(facts[i].counts);
    facts[i].values = NULL;
    facts[i].counts = NULL;
  }
}

/* ---- the median ---- */

enum { DIGIT_BITS = 16, DIGITS = 1 << DIGIT_BITS };

/* Bits that order like the numbers. */
static uint64_t rank_bits(double x) {
  uint64_t bits, sign = (uint64_t)1 << 63;
  memcpy(&bits, &x, sizeof bits);
  return bits & sign ? ~bits : bits | sign;
}

static double number_of_bits(uint64_t bits) {
  uint64_t sign = (uint64_t)1 << 63;
  double x;
  bits = bits & sign ? bits & ~sign : ~bits;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/* Counts the next digit of all numbers that begin with `prefix`, of `shift` bits less. */
static webml_status count_digits(const survey *s, int column, uint64_t prefix, int shift, double *x,
                                 wml_scratch *scratch, int64_t *counts) {
  memset(counts, 0, DIGITS * sizeof *counts);
  for (int64_t b = 0; b < s->table->n_blocks; b++) {
    const uint8_t *bytes;
    piece m = {0};
    WML_TRY(wml_table_block(s->table, b, scratch, &bytes));
    wml_block_column(s->table, b, bytes, column, x);
    int64_t n = training_cells(s, b, x, &m);
    for (int64_t i = 0; i < n; i++) {
      uint64_t bits = rank_bits(x[i]);
      bool inside = shift + DIGIT_BITS == 64 || bits >> (shift + DIGIT_BITS) == prefix;
      if (inside) counts[(bits >> shift) & (DIGITS - 1)]++;
    }
  }
  return WEBML_OK;
}

/* The number of rank `rank` from 0, digit by digit: exact, in four passes and little memory. */
static webml_status select_rank(const survey *s, int column, int64_t rank, double *x,
                                wml_scratch *scratch, int64_t *counts, double *result) {
  uint64_t prefix = 0;
  for (int shift = 64 - DIGIT_BITS; shift >= 0; shift -= DIGIT_BITS) {
    uint64_t digit = 0;
    WML_TRY(count_digits(s, column, prefix, shift, x, scratch, counts));
    while (digit < DIGITS - 1 && rank >= counts[digit]) rank -= counts[digit++];
    prefix = prefix << DIGIT_BITS | digit;
  }
  *result = number_of_bits(prefix);
  return WEBML_OK;
}

webml_status wml_table_median(const wml_table *t, const wml_row_split *split, int column,
                              const wml_facts *f, double *median) {
  survey s = {.table = t, .split = split};
  wml_scratch scratch = {0};
  size_t rows = (size_t)wml_table_block_rows(t);
  double *x = wml_alloc(rows * sizeof *x + 1), low = 0.0, high = 0.0;
  int64_t *counts = wml_alloc(DIGITS * sizeof *counts);
  webml_status status = x && counts ? WEBML_OK : wml_no_memory(rows * sizeof *x, "a median");
  if (status == WEBML_OK && f->n > 0)
    status = select_rank(&s, column, (f->n - 1) / 2, x, &scratch, counts, &low);
  high = low;
  if (status == WEBML_OK && f->n > 0 && f->n % 2 == 0)
    status = select_rank(&s, column, f->n / 2, x, &scratch, counts, &high);
  *median = low + (high - low) / 2.0;
  wml_free(counts);
  wml_free(x);
  wml_free(scratch.bytes);
  return status;
}
