/* Sums, or greatest values, along some dimensions of arrays that are walked together. The work is
 * cut into parts by shapes only, and the parts of a result are put together in their order: the
 * bits are the same for any number of threads. */
#ifndef WML_CPU_REDUCTION_H
#define WML_CPU_REDUCTION_H

#include "cpu.h"
#include "walk.h"

typedef struct cpu_reduction {
  cpu_walk walk;                  /* array 0 is the result, with stride 0 where it is summed */
  bool greatest;                  /* else sums */
  bool last_kept;                 /* the last dimension is one of the result's */
  int kept[WML_MAX_RANK], n_kept; /* the other dimensions, outermost first */
  int summed[WML_MAX_RANK], n_summed;
  int64_t results, width; /* the result: [results, width] */
  int64_t rows, columns;  /* summed for each of the results: [rows, last dimension] */
  int64_t rows_of_part, columns_of_part;
} cpu_reduction;

/* strides: of the result and of what is read, for the elements that are summed. */
cpu_reduction cpu_reduction_of(const wml_device *device, const wml_strides *strides, int n_arrays);

/* Bytes for the parts of results that have several; else 0. */
size_t cpu_reduction_bytes(const cpu_reduction *r);

/* What is summed: rows of n elements, at[k] the first and apart[k] from row to row in array k, are
 * added to value[n], or compared with it. */
typedef void (*cpu_reduction_add)(const void *arg, const int64_t *at, const int64_t *apart,
                                  int64_t rows, int64_t n, double *value);

typedef struct cpu_reduced {
  void *data; /* of the result */
  bool narrow;
  double scale;  /* the result is multiplied by it */
  double *parts; /* cpu_reduction_bytes(), or NULL */
} cpu_reduced;

void cpu_reduction_run(const cpu_reduction *r, cpu_reduction_add add, const void *arg,
                       const cpu_reduced *to);

#endif
