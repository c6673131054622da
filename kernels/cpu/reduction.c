#include "reduction.h"

#include "../common/bfloat16.h"

/* A part has at most LANES columns of a result, or sums a row's elements in so many lanes. */
enum { LANES = 256, PART_ROWS = 64, PART_ELEMENTS = 16384 };

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

static int64_t parts_of(int64_t n, int64_t part) {
  return (n + part - 1) / part;
}

/* Enough rows to keep the parts few: they are written and read again. */
static void cut(cpu_reduction *r, bool finest) {
  int64_t most = r->last_kept ? LANES : PART_ELEMENTS;
  r->columns_of_part = least(r->columns, finest ? 8 : most);
  int64_t rows = PART_ELEMENTS / r->columns_of_part;
  if (r->last_kept && rows < PART_ROWS) rows = PART_ROWS;
  r->rows_of_part = least(r->rows, finest ? 1 : rows);
}

cpu_reduction cpu_reduction_of(const wml_device *device, const wml_strides *strides, int n_arrays) {
  cpu_reduction r = {.walk = cpu_walk_of(strides, n_arrays), .results = 1, .width = 1, .rows = 1};
  const cpu_walk *w = &r.walk;
  for (int d = 0; d + 1 < w->rank; d++) {
    if (w->stride[0][d] != 0) {
      r.kept[r.n_kept++] = d;
      r.results *= w->dim[d];
    } else {
      r.summed[r.n_summed++] = d;
      r.rows *= w->dim[d];
    }
  }
  r.columns = w->dim[w->rank - 1];
  r.last_kept = w->stride[0][w->rank - 1] != 0;
  if (r.last_kept) r.width = r.columns;
  cut(&r, device->finest_pieces);
  return r;
}

static int64_t row_parts(const cpu_reduction *r) {
  return parts_of(r->rows, r->rows_of_part);
}

static int64_t column_parts(const cpu_reduction *r) {
  return parts_of(r->columns, r->columns_of_part);
}

/* Parts that are put together to one value of the result. */
static int64_t parts_of_value(const cpu_reduction *r) {
  return r->last_kept ? row_parts(r) : row_parts(r) * column_parts(r);
}

size_t cpu_reduction_bytes(const cpu_reduction *r) {
  int64_t parts = parts_of_value(r);
  return parts == 1 ? 0 : (size_t)(r->results * parts * r->width) * sizeof(double);
}

typedef struct reduction_job {
  const cpu_reduction *r;
  cpu_reduction_add add;
  const void *arg;
  const cpu_reduced *to;
} reduction_job;

/* Moves `at` to the index of these dimensions, counted row-major. */
static void move(const cpu_walk *w, const int *dims, int n_dims, int64_t index, int64_t *at) {
  for (int i = n_dims - 1; i >= 0; i--) {
    int64_t n = w->dim[dims[i]];
    for (int k = 0; k < w->n_arrays; k++) at[k] += index % n * w->stride[k][dims[i]];
    index /= n;
  }
}

static double together(const cpu_reduction *r, double a, double b) {
  if (!r->greatest) return a + b;
  return b > a || b != b ? b : a;
}

/* One row's elements, LANES at a time: as rows that lie one behind the other. */
static void add_row(const reduction_job *j, const int64_t *from, int64_t n, double *value) {
  const cpu_walk *w = &j->r->walk;
  int64_t at[CPU_WALK_ARRAYS], apart[CPU_WALK_ARRAYS], rows = n / LANES;
  for (int k = 0; k < w->n_arrays; k++) {
    apart[k] = LANES * w->stride[k][w->rank - 1];
    at[k] = from[k] + rows * apart[k];
  }
  if (rows > 0) j->add(j->arg, from, apart, rows, LANES, value);
  if (n > rows * LANES) j->add(j->arg, at, apart, 1, n - rows * LANES, value);
}

/* Rows [begin, end) of those that a result sums, n columns of each; `first`: of the result's row 0.
 */
static void add_rows(const reduction_job *j, const int64_t *first, int64_t begin, int64_t end,
                     int64_t n, double *value) {
  const cpu_reduction *r = j->r;
  const cpu_walk *w = &r->walk;
  int inner = r->n_summed ? r->summed[r->n_summed - 1] : -1;
  int64_t length = inner < 0 ? 1 : w->dim[inner], apart[CPU_WALK_ARRAYS] = {0};
  for (int k = 0; k < w->n_arrays && inner >= 0; k++) apart[k] = w->stride[k][inner];
  for (int64_t row = begin, count; row < end; row += count) {
    int64_t at[CPU_WALK_ARRAYS];
    for (int k = 0; k < w->n_arrays; k++) at[k] = first[k];
    move(w, r->summed, r->n_summed, row, at);
    count = r->last_kept ? least(length - row % length, end - row) : 1;
    if (r->last_kept)
      j->add(j->arg, at, apart, count, n, value);
    else
      add_row(j, at, n, value);
  }
}

/* `at`: of the result. */
static void finish(const reduction_job *j, int64_t at, double value) {
  float v = (float)(value * j->to->scale);
  if (j->to->narrow)
    ((uint16_t *)j->to->data)[at] = wml_bf16_from_float(v);
  else
    ((float *)j->to->data)[at] = v;
}

static void keep(const reduction_job *j, int64_t result, int64_t part, int64_t column,
                 double value) {
  const cpu_reduction *r = j->r;
  int64_t parts = parts_of_value(r);
  if (parts == 1)
    finish(j, result * r->width + column, value);
  else
    j->to->parts[(result * parts + part) * r->width + column] = value;
}

static void run_part(const reduction_job *j, int64_t result, int64_t row_part,
                     int64_t column_part) {
  const cpu_reduction *r = j->r;
  const cpu_walk *w = &r->walk;
  int64_t column = column_part * r->columns_of_part, begin = row_part * r->rows_of_part,
          n = least(r->columns_of_part, r->columns - column), at[CPU_WALK_ARRAYS];
  for (int k = 0; k < w->n_arrays; k++) at[k] = w->first[k] + column * w->stride[k][w->rank - 1];
  move(w, r->kept, r->n_kept, result, at);
  double value[LANES];
  int64_t lanes = least(n, LANES);
  for (int64_t i = 0; i < lanes; i++) value[i] = r->greatest ? -INFINITY : 0.0;
  add_rows(j, at, begin, least(begin + r->rows_of_part, r->rows), n, value);
  if (r->last_kept) {
    for (int64_t i = 0; i < n; i++) keep(j, result, row_part, column + i, value[i]);
    return;
  }
  for (int64_t i = 1; i < lanes; i++) value[0] = together(r, value[0], value[i]);
  keep(j, result, row_part * column_parts(r) + column_part, 0, value[0]);
}

static void part_range(void *arg, int64_t begin, int64_t end) {
  const reduction_job *j = arg;
  int64_t rows = row_parts(j->r), columns = column_parts(j->r);
  for (int64_t i = begin; i < end; i++)
    run_part(j, i / columns / rows, i / columns % rows, i % columns);
}

static void put_together_range(void *arg, int64_t begin, int64_t end) {
  const reduction_job *j = arg;
  const cpu_reduction *r = j->r;
  int64_t n = parts_of_value(r);
  for (int64_t i = begin; i < end; i++) {
    const double *part = j->to->parts + i / r->width * n * r->width + i % r->width;
    double value = part[0];
    for (int64_t p = 1; p < n; p++) value = together(r, value, part[p * r->width]);
    finish(j, i, value);
  }
}

void cpu_reduction_run(const cpu_reduction *r, cpu_reduction_add add, const void *arg,
                       const cpu_reduced *to) {
  reduction_job job = {r, add, arg, to};
  int64_t parts = r->results * row_parts(r) * column_parts(r);
  cpu_parallel(parts, 1 + 4096 / (r->rows_of_part * r->columns_of_part), part_range, &job);
  if (parts_of_value(r) > 1)
    cpu_parallel(r->results * r->width, 1 + 4096 / parts_of_value(r), put_together_range, &job);
}
