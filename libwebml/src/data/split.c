#include "data/split.h"

#include "base/alloc.h"
#include "kernels/common/philox.h"

#include <math.h>
#include <string.h>

webml_status wml_split_check(const wml_split_options *o) {
  if (!(o->validation >= 0.0 && o->validation < 1.0))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a validation split of %g is out of range; it must be from 0 to below 1",
                    o->validation);
  if (!(o->test >= 0.0 && o->test < 1.0))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a test split of %g is out of range; it must be from 0 to below 1", o->test);
  if (!(o->validation + o->test < 1.0))
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "validation and test split are %g together: nothing is left to train on",
                    o->validation + o->test);
  if (o->how > WEBML_SPLIT_STRATIFIED)
    return wml_fail(WEBML_ERROR_ARGUMENT, "split %d is none of webml_split", (int)o->how);
  if (o->folds == 0) return WEBML_OK;
  if (o->folds < 2 || o->folds > 1000 || o->fold < 0 || o->fold >= o->folds)
    return wml_fail(WEBML_ERROR_ARGUMENT, "fold %d of %d: there must be 2 to 1000, counted from 0",
                    o->fold, o->folds);
  if (o->validation > 0.0)
    return wml_fail(WEBML_ERROR_ARGUMENT,
                    "a validation split and folds exclude each other: a fold validates");
  return WEBML_OK;
}

bool wml_split_is_none(const wml_split_options *o) {
  return o->validation == 0.0 && o->test == 0.0 && o->folds == 0;
}

/* The order in which parts are dealt out: samples that take part, class by class. */
static int64_t list_samples(int64_t n, const int32_t *classes, int n_classes, const uint8_t *parts,
                            int64_t *begin, int64_t *order) {
  for (int c = 0; c <= n_classes; c++) begin[c] = 0;
  for (int64_t i = 0; i < n; i++)
    if (parts[i] != WML_PART_NONE) begin[(classes ? classes[i] : 0) + 1]++;
  for (int c = 0; c < n_classes; c++) begin[c + 1] += begin[c];
  for (int64_t i = 0; i < n; i++)
    if (parts[i] != WML_PART_NONE) order[begin[classes ? classes[i] : 0]++] = i;
  for (int c = n_classes; c > 0; c--) begin[c] = begin[c - 1];
  begin[0] = 0;
  return begin[n_classes];
}

static void shuffle(int64_t *order, int64_t n, uint64_t seed, uint32_t stream) {
  for (int64_t i = n - 1; i > 0; i--) {
    wml_philox r = wml_philox_at(seed, wml_random_lane(WML_RANDOM_SPLIT, stream), 0, (uint64_t)i);
    double u = ((double)r.word[0] + (double)r.word[1] / 4294967296.0) / 4294967296.0;
    int64_t k = (int64_t)(u * (double)(i + 1)), swap = order[i];
    order[i] = order[k];
    order[k] = swap;
  }
}

/* How m samples of one class are dealt out, by their place in the order. */
typedef struct deal {
  int64_t m, test, validation; /* counts */
  int64_t dealt;               /* samples dealt to folds before */
} deal;

static deal deal_of(const wml_split_options *o, int64_t m, int64_t dealt, bool first) {
  double share = (double)m;
  deal d = {.m = m, .dealt = dealt};
  if (o->how != WEBML_SPLIT_LAST) {
    d.test = llround(share * o->test);
    d.validation = llround(share * o->validation);
  } else if (first) {
    d.test = (int64_t)(share * o->test);
    d.validation = (int64_t)(share * o->validation);
  } else {
    d.test = m - (int64_t)floor(share * (1.0 - o->test));
    d.validation = m - d.test - (int64_t)floor(share * (1.0 - o->validation - o->test));
  }
  if (d.validation > m - d.test) d.validation = m - d.test;
  return d;
}

static uint8_t part_at(const wml_split_options *o, const deal *d, int64_t i, bool first) {
  int64_t rest = d->m - d->test;
  if (i >= rest) return WML_PART_TEST;
  if (o->folds) {
    int64_t fold = o->how != WEBML_SPLIT_LAST ? (d->dealt + i) % o->folds : i * o->folds / rest;
    return fold == o->fold ? WML_PART_VALIDATION : WML_PART_TRAINING;
  }
  bool held = first ? i < d->validation : i >= rest - d->validation;
  return held ? WML_PART_VALIDATION : WML_PART_TRAINING;
}

/* The last samples, whatever their class: no order has to be kept. */
static void assign_in_order(const wml_split_options *o, int64_t n, uint8_t *parts) {
  int64_t m = 0, at = 0;
  for (int64_t i = 0; i < n; i++) m += parts[i] != WML_PART_NONE;
  deal d = deal_of(o, m, 0, false);
  for (int64_t i = 0; i < n; i++)
    if (parts[i] != WML_PART_NONE) parts[i] = part_at(o, &d, at++, false);
}

webml_status wml_split_assign(const wml_split_options *o, int64_t n, const int32_t *classes,
                              int n_classes, bool first, uint8_t *parts) {
  if (o->how == WEBML_SPLIT_RANDOM) classes = NULL;
  if (o->how == WEBML_SPLIT_LAST && !classes) {
    assign_in_order(o, n, parts);
    return WEBML_OK;
  }
  if (!classes) n_classes = 1;
  int64_t *begin = wml_alloc(((size_t)n_classes + 2) * sizeof *begin);
  int64_t *order = wml_alloc((size_t)n * sizeof *order + 1);
  if (!begin || !order) {
    wml_free(begin);
    wml_free(order);
    return wml_no_memory((size_t)n * sizeof *order, "splitting");
  }
  list_samples(n, classes, n_classes, parts, begin, order);
  for (int c = 0; c < n_classes; c++) {
    int64_t *mine = order + begin[c], m = begin[c + 1] - begin[c];
    if (o->how != WEBML_SPLIT_LAST) shuffle(mine, m, o->seed, (uint32_t)c);
    deal d = deal_of(o, m, begin[c], first);
    for (int64_t i = 0; i < m; i++) parts[mine[i]] = part_at(o, &d, i, first);
  }
  wml_free(begin);
  wml_free(order);
  return WEBML_OK;
}
