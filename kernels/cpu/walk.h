/* Loops over arrays of which some are broadcast, transposed or boxes in larger ones: dimensions
 * that lie alike in all of them become one, so that the loops are as long as they can be. */
#ifndef WML_CPU_WALK_H
#define WML_CPU_WALK_H

#include "../common/strides.h"

enum { CPU_WALK_ARRAYS = 4 };

typedef struct cpu_walk {
  int rank, n_arrays; /* at least 1 */
  int64_t dim[WML_MAX_RANK];
  int64_t stride[CPU_WALK_ARRAYS][WML_MAX_RANK]; /* in elements of the array */
  int64_t first[CPU_WALK_ARRAYS];
} cpu_walk;

/* strides: of each array, all with the same dimensions. */
cpu_walk cpu_walk_of(const wml_strides *strides, int n_arrays);

/* Elements between two rows (the last dimension) of an array. */
int64_t cpu_walk_apart(const cpu_walk *walk, int array);

/* `rows` rows of n elements each; at: the first element in each array. */
typedef void (*cpu_walk_body)(void *arg, const int64_t *at, int64_t rows, int64_t n);

/* Runs the body over everything, in ranges that depend on the number of threads: a body must give
 * the same results however it is cut. */
void cpu_walk_run(const cpu_walk *walk, cpu_walk_body body, void *arg);

#endif
