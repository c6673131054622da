#include "walk.h"

#include "team.h"

enum { LEAST_ELEMENTS = 4096 }; /* that are worth a thread */

/* Whether the walk's last dimension and dimension d of the arrays lie as one. */
static bool joins(const cpu_walk *w, const wml_strides *s, int d) {
  int last = w->rank - 1;
  for (int k = 0; k < w->n_arrays; k++)
    if (w->stride[k][last] != s[k].stride[d] * s[k].dim[d]) return false;
  return true;
}

cpu_walk cpu_walk_of(const wml_strides *strides, int n_arrays) {
  cpu_walk w = {.n_arrays = n_arrays};
  for (int k = 0; k < n_arrays; k++) w.first[k] = strides[k].first;
  for (int d = 0; d < WML_MAX_RANK; d++) {
    int64_t n = strides[0].dim[d];
    bool last_of_none = d == WML_MAX_RANK - 1 && w.rank == 0;
    if (n == 1 && !last_of_none) continue;
    bool joined = w.rank > 0 && joins(&w, strides, d);
    if (!joined) w.dim[w.rank++] = 1;
    w.dim[w.rank - 1] *= n;
    for (int k = 0; k < n_arrays; k++) w.stride[k][w.rank - 1] = strides[k].stride[d];
  }
  return w;
}

int64_t cpu_walk_apart(const cpu_walk *walk, int array) {
  return walk->rank > 1 ? walk->stride[array][walk->rank - 2] : 0;
}

typedef struct walk_job {
  const cpu_walk *walk;
  cpu_walk_body body;
  void *arg;
} walk_job;

static void elements_range(void *arg, int64_t begin, int64_t end) {
  const walk_job *j = arg;
  int64_t at[CPU_WALK_ARRAYS];
  for (int k = 0; k < j->walk->n_arrays; k++)
    at[k] = j->walk->first[k] + begin * j->walk->stride[k][0];
  j->body(j->arg, at, 1, end - begin);
}

/* Where row `row` begins in each array. */
static void place(const cpu_walk *w, int64_t row, int64_t *at) {
  for (int k = 0; k < w->n_arrays; k++) at[k] = w->first[k];
  for (int d = w->rank - 2; d >= 0; d--) {
    for (int k = 0; k < w->n_arrays; k++) at[k] += row % w->dim[d] * w->stride[k][d];
    row /= w->dim[d];
  }
}

static void rows_range(void *arg, int64_t begin, int64_t end) {
  const walk_job *j = arg;
  const cpu_walk *w = j->walk;
  int64_t together = w->dim[w->rank - 2], at[CPU_WALK_ARRAYS];
  for (int64_t row = begin; row < end;) {
    int64_t count = together - row % together;
    if (count > end - row) count = end - row;
    place(w, row, at);
    j->body(j->arg, at, count, w->dim[w->rank - 1]);
    row += count;
  }
}

void cpu_walk_run(const cpu_walk *walk, cpu_walk_body body, void *arg) {
  walk_job job = {walk, body, arg};
  int64_t rows = 1, n = walk->dim[walk->rank - 1];
  for (int d = 0; d + 1 < walk->rank; d++) rows *= walk->dim[d];
  if (walk->rank == 1)
    cpu_parallel(n, LEAST_ELEMENTS, elements_range, &job);
  else
    cpu_parallel(rows, 1 + LEAST_ELEMENTS / n, rows_range, &job);
}
