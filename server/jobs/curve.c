#include "curve.h"

#include <ctype.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_COLUMNS = 16, MOST_KEPT = 8192, MOST_CURVES = 8, LINE = 8192, MARK = 256 };

typedef struct point {
  int64_t step, epoch;
  double values[MOST_COLUMNS]; /* NAN: none */
} point;

typedef struct series {
  point *points;
  int n, room;
  int64_t lines;
} series;

typedef struct curve {
  int64_t session; /* 0: the place is free */
  int users;       /* under the mutex of all; one that is used keeps its place */
  uint64_t used;
  pthread_mutex_t mutex; /* of what follows */
  char mark[MARK];       /* how the file began: another one is read anew */
  size_t mark_size;
  int64_t offset;
  int n_columns;
  char columns[MOST_COLUMNS][64];
  series all, epochs;
  json_t *best;
} curve;

struct curves {
  const context *context;
  pthread_mutex_t mutex; /* of the places */
  pthread_cond_t free;
  uint64_t clock;
  curve list[MOST_CURVES];
};

/* ---- thinning ---- */

static void mark_extremes(const point *p, int from, int to, int n_columns, bool *keep) {
  for (int k = 0; k < n_columns; k++) {
    int least = -1, greatest = -1;
    for (int i = from; i < to; i++) {
      double v = p[i].values[k];
      if (isnan(v)) continue;
      if (least < 0 || v < p[least].values[k]) least = i;
      if (greatest < 0 || v > p[greatest].values[k]) greatest = i;
    }
    if (least >= 0) keep[least] = keep[greatest] = true;
  }
}

/* Marks what stays with so many buckets; returns how many points that are. */
static int mark_all(const point *p, int n, int n_columns, int buckets, bool *keep) {
  int64_t first = p[0].step, range = p[n - 1].step - first + 1;
  int count = 0;
  if (range < 1) range = 1;
  memset(keep, 0, (size_t)n * sizeof *keep);
  for (int i = 0, end; i < n; i = end) {
    int64_t bucket = (p[i].step - first) * buckets / range;
    for (end = i + 1; end < n && (p[end].step - first) * buckets / range == bucket;) end++;
    mark_extremes(p, i, end, n_columns, keep);
  }
  keep[0] = keep[n - 1] = true;
  for (int i = 0; i < n; i++) count += keep[i];
  return count;
}

/* In place; the number of points that stay: at most `most`, from as many buckets as give that. */
static int thin(point *p, int n, int n_columns, int most) {
  if (n <= most) return n;
  bool *keep = malloc((size_t)n * sizeof *keep);
  int buckets = most / 2, kept = 0;
  if (!keep) return n;
  while (mark_all(p, n, n_columns, buckets, keep) > most && buckets > 1) buckets -= 1 + buckets / 8;
  for (int i = 0; i < n; i++)
    if (keep[i]) p[kept++] = p[i];
  free(keep);
  return kept;
}

/* ---- reading ---- */

static bool add(series *s, const point *p, int n_columns) {
  if (s->n == MOST_KEPT) s->n = thin(s->points, s->n, n_columns, MOST_KEPT / 2);
  if (s->n == s->room) {
    int room = s->room ? s->room * 2 : 64;
    point *grown = realloc(s->points, (size_t)room * sizeof *grown);
    if (!grown) return false;
    s->points = grown;
    s->room = room;
  }
  s->points[s->n++] = *p;
  s->lines++;
  return true;
}

/* Figures that are no curve. */
static bool is_other(const char *name) {
  static const char *const others[] = {
      "epoch", "epochs", "step", "steps", "seconds_left", "samples_per_second", "seconds"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (strcmp(name, others[i]) == 0) return true;
  return false;
}

/* -1: there are too many already, or it is no name. */
static int column_of(curve *c, const char *name) {
  for (int i = 0; i < c->n_columns; i++)
    if (strcmp(c->columns[i], name) == 0) return i;
  if (c->n_columns == MOST_COLUMNS || strlen(name) >= sizeof c->columns[0]) return -1;
  strcpy(c->columns[c->n_columns], name);
  return c->n_columns++;
}

static point point_of(curve *c, const json_t *event) {
  const char *name;
  json_t *value;
  int64_t epoch = store_integer(event, "epoch");
  point p = {.epoch = epoch,
             .step = (epoch - 1) * store_integer(event, "steps") + store_integer(event, "step")};
  for (int i = 0; i < MOST_COLUMNS; i++) p.values[i] = NAN;
  json_object_foreach((json_t *)(uintptr_t)event, name, value) {
    int column = json_is_number(value) && !is_other(name) ? column_of(c, name) : -1;
    if (column >= 0) p.values[column] = json_number_value(value);
  }
  return p;
}

/* A training that resumes from its checkpoint computes some steps again: the later points count. */
static void drop_from(series *s, int64_t step) {
  while (s->n && s->points[s->n - 1].step >= step) s->n--;
}

/* The text between quotation marks; NULL: it has escapes, or none is there. */
static const char *scan_text(const char *at, char *out, size_t size) {
  size_t n = *at == '"' ? strcspn(at + 1, "\"\\") : size;
  if (n >= size || at[n + 1] != '"') return NULL;
  memcpy(out, at + 1, n);
  out[n] = '\0';
  return at + n + 2;
}

/* A line "progress", as nearly all are: flat, of numbers. Without building its JSON, 98 MB are read
 * in 2.1 s instead of 5.1 s. False: it is something else, or looks unusual; *p is not what it says
 * then. */
static bool scan_progress(curve *c, const char *line, point *p) {
  char name[64], text[64] = "";
  double place[3] = {0}; /* epoch, step, steps */
  static const char *const places[3] = {"epoch", "step", "steps"};
  if (strncmp(line, "{\"event\":\"progress\"", 19) != 0) return false;
  for (int i = 0; i < MOST_COLUMNS; i++) p->values[i] = NAN;
  for (const char *at = line; *at == '{' || *at == ',';) {
    char *end;
    if (!(at = scan_text(at + 1, name, sizeof name)) || *at++ != ':') return false;
    if (*at == '"') {
      if (!(at = scan_text(at, text, sizeof text))) return false;
      continue;
    }
    if (!isdigit((unsigned char)at[*at == '-'])) return false;
    double value = strtod(at, &end);
    at = end;
    for (int i = 0; i < 3; i++)
      if (strcmp(name, places[i]) == 0) place[i] = value;
    int column = is_other(name) ? -1 : column_of(c, name);
    if (column >= 0) p->values[column] = value;
    if (*at == '}') {
      p->epoch = (int64_t)place[0];
      p->step = (p->epoch - 1) * (int64_t)place[2] + (int64_t)place[1];
      return at[1] == '\n';
    }
  }
  return false;
}

/* The ends of epochs are in both series. */
static bool add_step(curve *c, const point *p, bool ends) {
  drop_from(&c->all, p->step);
  if (!add(&c->all, p, c->n_columns)) return false;
  if (!ends) return true;
  drop_from(&c->epochs, p->step);
  return add(&c->epochs, p, c->n_columns);
}

static bool read_line(curve *c, const char *line) {
  point p;
  if (scan_progress(c, line, &p)) return add_step(c, &p, false);
  json_t *event = json_loads(line, 0, NULL);
  const char *kind = store_text(event, "event");
  bool ends = kind && strcmp(kind, "epoch") == 0, ok = true;
  if (ends || (kind && strcmp(kind, "progress") == 0)) {
    p = point_of(c, event);
    ok = add_step(c, &p, ends);
  }
  if (ok && ends && json_is_true(json_object_get(event, "improved"))) {
    json_object_del(event, "event");
    json_decref(c->best);
    c->best = json_incref(event);
  }
  json_decref(event);
  return ok;
}

static void forget(curve *c) {
  free(c->all.points);
  free(c->epochs.points);
  json_decref(c->best);
  c->all = c->epochs = (series){0};
  c->best = NULL;
  c->offset = 0;
  c->n_columns = 0;
  c->mark_size = 0;
}

/* A file that no longer begins as it did, or is shorter, is another one: it is read from its
 * beginning. */
static void check_mark(curve *c, FILE *f) {
  char now[MARK];
  struct stat info;
  if (!c->mark_size) return;
  size_t n = fread(now, 1, c->mark_size, f);
  bool same = n == c->mark_size && memcmp(now, c->mark, n) == 0;
  if (!same || fstat(fileno(f), &info) != 0 || info.st_size < c->offset) forget(c);
}

static void set_mark(curve *c, FILE *f) {
  rewind(f);
  c->mark_size = fread(c->mark, 1, c->offset < MARK ? (size_t)c->offset : MARK, f);
}

/* Reads the whole lines that are new. False: no memory. */
static bool read_new(curve *c, FILE *f) {
  char line[LINE];
  bool ok = true, cut = false; /* cut: within a line that is too long for one of a training */
  check_mark(c, f);
  fseek(f, (long)c->offset, SEEK_SET);
  while (ok && fgets(line, sizeof line, f)) {
    size_t n = strlen(line);
    bool whole = n > 0 && line[n - 1] == '\n';
    if (!whole && n + 1 < sizeof line) break; /* half a line: it is read again */
    if (whole && !cut) ok = read_line(c, line);
    cut = !whole;
    if (ok) c->offset += (int64_t)n;
  }
  if (!c->mark_size) set_mark(c, f);
  return ok;
}

/* ---- answers ---- */

static json_t *columns_json(const curve *c, const point *p, int n) {
  json_t *columns = json_object(), *steps = json_array(), *epochs = json_array();
  for (int i = 0; i < n; i++) {
    json_array_append_new(steps, json_integer(p[i].step));
    json_array_append_new(epochs, json_integer(p[i].epoch));
  }
  json_object_set_new(columns, "steps", steps);
  json_object_set_new(columns, "epochs", epochs);
  for (int k = 0; k < c->n_columns; k++) {
    json_t *column = json_array();
    bool some = false;
    for (int i = 0; i < n; i++) {
      double v = p[i].values[k];
      some = some || !isnan(v);
      json_array_append_new(column, isnan(v) ? json_null() : json_real(v));
    }
    if (some || k == 0)
      json_object_set_new(columns, c->columns[k], column);
    else
      json_decref(column);
  }
  return columns;
}

static json_t *answer(const curve *c, bool by_epoch, int points) {
  const series *s = by_epoch ? &c->epochs : &c->all;
  size_t size = (size_t)s->n * sizeof *s->points;
  point *copy = malloc(size ? size : 1);
  if (!copy) return NULL;
  if (size) memcpy(copy, s->points, size);
  int n = thin(copy, s->n, c->n_columns, points);
  json_t *json = json_pack("{s:o, s:I, s:O?}", "columns", columns_json(c, copy, n), "lines",
                           (json_int_t)s->lines, "best", c->best);
  free(copy);
  return json;
}

/* The session's place, or the one that was not used for the longest. */
static curve *take(curves *all, int64_t session) {
  curve *found = NULL;
  pthread_mutex_lock(&all->mutex);
  while (!found) {
    for (int i = 0; i < MOST_CURVES; i++)
      if (all->list[i].session == session) found = &all->list[i];
    for (int i = 0; !found && i < MOST_CURVES; i++) {
      curve *c = &all->list[i];
      bool first = true;
      for (int k = 0; k < MOST_CURVES; k++)
        first = first && (all->list[k].users || all->list[k].used >= c->used);
      if (!c->users && first) found = c;
    }
    if (!found) pthread_cond_wait(&all->free, &all->mutex);
  }
  if (found->session != session) {
    forget(found);
    found->session = session;
  }
  found->users++;
  found->used = ++all->clock;
  pthread_mutex_unlock(&all->mutex);
  return found;
}

static void leave(curves *all, curve *c) {
  pthread_mutex_lock(&all->mutex);
  c->users--;
  pthread_cond_broadcast(&all->free);
  pthread_mutex_unlock(&all->mutex);
}

json_t *curve_json(curves *all, int64_t session, bool by_epoch, int points) {
  char path[CONTEXT_PATH];
  path_of_job(all->context, session, "progress", path, sizeof path);
  curve *c = take(all, session);
  pthread_mutex_lock(&c->mutex);
  FILE *f = fopen(path, "re");
  if (!f) forget(c);
  bool ok = !f || read_new(c, f);
  if (f) fclose(f);
  json_t *json = ok ? answer(c, by_epoch, points) : NULL;
  pthread_mutex_unlock(&c->mutex);
  leave(all, c);
  return json;
}

curves *curves_create(const context *c) {
  curves *all = calloc(1, sizeof *all);
  if (!all) return NULL;
  all->context = c;
  pthread_mutex_init(&all->mutex, NULL);
  pthread_cond_init(&all->free, NULL);
  for (int i = 0; i < MOST_CURVES; i++) pthread_mutex_init(&all->list[i].mutex, NULL);
  return all;
}

void curves_destroy(curves *all) {
  if (!all) return;
  for (int i = 0; i < MOST_CURVES; i++) {
    forget(&all->list[i]);
    pthread_mutex_destroy(&all->list[i].mutex);
  }
  pthread_cond_destroy(&all->free);
  pthread_mutex_destroy(&all->mutex);
  free(all);
}
