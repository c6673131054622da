#include "data/images/survey.h"

#include "base/hash.h"
#include "base/threads.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const wml_wanted everything = {0, 0};

typedef struct seen {
  int width, height, orientation;
  const char *mode; /* NULL: broken */
  uint64_t contents;
} seen;

typedef struct look {
  const wml_pictures *pictures;
  seen *seen; /* [n] */
  atomic_llong next;
} look;

static webml_status look_at_some(void *arg, int helper) {
  look *k = arg;
  wml_picture_reader r;
  (void)helper;
  webml_status status = wml_reader_open(k->pictures, &r);
  while (status == WEBML_OK) {
    int64_t i = atomic_fetch_add(&k->next, 1);
    if (i >= k->pictures->n) break;
    seen *s = &k->seen[i];
    status = wml_reader_read(&r, i);
    if (status == WEBML_OK) {
      s->contents = wml_hash(WML_HASH_SEED, r.bytes, r.size);
      status = wml_image_decode(r.bytes, r.size, "", &everything, &r.image);
    }
    if (status == WEBML_OK)
      *s = (seen){r.image.width, r.image.height, r.image.orientation, r.image.mode, s->contents};
    if (status == WEBML_ERROR_PARSE) status = WEBML_OK;
  }
  if (status != WEBML_OK) atomic_store(&k->next, k->pictures->n);
  wml_reader_close(&r);
  return status;
}

/* Why a broken picture is broken: it is decoded once more for the message. */
static webml_status ask_why(const wml_pictures *p, int64_t i, char *why, size_t size) {
  wml_picture_reader r;
  WML_TRY(wml_reader_open(p, &r));
  webml_status status = wml_reader_read(&r, i);
  if (status == WEBML_OK) status = wml_image_decode(r.bytes, r.size, "", &everything, &r.image);
  wml_reader_close(&r);
  const char *text = webml_last_error();
  snprintf(why, size, "%s", strncmp(text, ": ", 2) == 0 ? text + 2 : text);
  return status == WEBML_ERROR_PARSE || status == WEBML_OK ? WEBML_OK : status;
}

static void count_mode(wml_survey *v, const char *mode) {
  int i = 0;
  while (i < v->n_modes && strcmp(v->modes[i], mode) != 0) i++;
  if (i == WML_SURVEY_MODES) return;
  if (i == v->n_modes) {
    v->modes[v->n_modes++] = mode;
    v->mode_counts[i] = 0;
  }
  v->mode_counts[i]++;
}

static int by_number(const void *a, const void *b) {
  int x = *(const int *)a, y = *(const int *)b;
  return x < y ? -1 : x > y;
}

static void find_sizes(const seen *list, int64_t n, int *numbers, wml_survey *v) {
  for (int side = 0; side < 2; side++) {
    size_t m = 0;
    for (int64_t i = 0; i < n; i++)
      if (list[i].mode) numbers[m++] = side ? list[i].height : list[i].width;
    qsort(numbers, m, sizeof *numbers, by_number);
    if (m)
      v->least[side] = numbers[0], v->middle[side] = numbers[m / 2],
      v->greatest[side] = numbers[m - 1];
  }
}

typedef struct copy {
  uint64_t contents;
  int64_t picture;
} copy;

static int by_contents(const void *a, const void *b) {
  const copy *x = a, *y = b;
  if (x->contents != y->contents) return x->contents < y->contents ? -1 : 1;
  return x->picture < y->picture ? -1 : x->picture > y->picture;
}

static void find_copies(const wml_pictures *p, const seen *list, copy *copies, wml_survey *v) {
  size_t n = 0;
  for (int64_t i = 0; i < p->n; i++)
    if (list[i].mode) copies[n++] = (copy){list[i].contents, i};
  qsort(copies, n, sizeof *copies, by_contents);
  for (size_t i = 0, first = 0; i < n; i++) {
    if (copies[i].contents != copies[first].contents) first = i;
    if (i == first) continue;
    const wml_picture *a = &p->list[copies[first].picture], *b = &p->list[copies[i].picture];
    v->copies++;
    v->shared_copies += a->part != b->part;
    v->mislabelled += a->label != b->label;
  }
}

webml_status wml_pictures_survey(const wml_pictures *p, wml_survey *v) {
  look k = {.pictures = p, .seen = wml_calloc((size_t)p->n + 1, sizeof *k.seen)};
  *v = (wml_survey){0};
  int *numbers = wml_alloc((size_t)p->n * sizeof *numbers + 1);
  copy *copies = wml_alloc((size_t)p->n * sizeof *copies + 1);
  webml_status status = k.seen && numbers && copies
                            ? WEBML_OK
                            : wml_no_memory((size_t)p->n * sizeof *k.seen, "looking at pictures");
  atomic_init(&k.next, 0);
  if (status == WEBML_OK) status = wml_parallel(wml_helper_count(), look_at_some, &k);
  for (int64_t i = 0; i < p->n && status == WEBML_OK; i++) {
    const seen *s = &k.seen[i];
    if (s->mode) {
      count_mode(v, s->mode);
      v->turned += s->orientation != 1;
      continue;
    }
    if (v->n_broken < WML_SURVEY_BROKEN) {
      v->broken[v->n_broken] = i;
      status = ask_why(p, i, v->why[v->n_broken], sizeof v->why[0]);
    }
    v->n_broken++;
  }
  if (status == WEBML_OK) {
    find_sizes(k.seen, p->n, numbers, v);
    find_copies(p, k.seen, copies, v);
  }
  wml_free(copies);
  wml_free(numbers);
  wml_free(k.seen);
  return status;
}
