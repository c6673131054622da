/* The table of single operations that kernels_test puts to every back end. */
#ifndef WML_TEST_KERNEL_CASES_H
#define WML_TEST_KERNEL_CASES_H

#include "kernels/backend.h"

/* How an operand is filled where it has no values of its own. All numbers are exact in bfloat16. */
typedef enum kernel_fill {
  FILL_RANDOM,   /* in [-1, 1], other numbers for each operand */
  FILL_DISTINCT, /* in [-1, 1], none twice, at most 256 */
  FILL_TIES,     /* -1, -0.5, 0, 0.5 or 1 */
  FILL_INDEX,    /* int32 from -1 to 6, many of them twice */
  FILL_MANY      /* int32 from 14 to 50, and 3 for a third of them */
} kernel_fill;

typedef struct kernel_operand {
  wml_role role; /* FEED: a value that is gathered from rows; PARAM */
  int64_t dim[WML_MAX_RANK];
  kernel_fill fill;
  bool constant;         /* needs no gradient */
  const float *values;   /* or NULL: filled */
  const float *gradient; /* what it has to be for the values of the case, or NULL */
} kernel_operand;

enum { KERNEL_OPERANDS = 4 };

/* One operation in its direction forward. The test adds the operation that goes back. A dimension
 * of 0 ends a shape; the first of a feed and of the result is the batch. */
typedef struct kernel_case {
  const char *name;
  wml_op op; /* kind and attributes */
  kernel_operand operand[KERNEL_OPERANDS];
  int64_t result[WML_MAX_RANK];
  const float *dy, *expected; /* gradient of the result; what it has to be; or NULL */
  double loss;                /* what PENALTY has to add, 0: not said */
  bool kinks;                 /* the data meet a kink, where finite differences say nothing */
} kernel_case;

extern const kernel_case kernel_cases[];
extern const int n_kernel_cases;

#endif
