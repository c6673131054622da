/* The table of operation cases: every back end is compared with `ref` on each of them, `ref` with
 * finite differences, and the bench times them. A case is a whole small network, described as users
 * describe one, so that it covers forward, backward, loss and update together. */
#ifndef WML_TEST_CASES_H
#define WML_TEST_CASES_H

#include "plan/step.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct op_case {
  const char *name;
  int64_t batch;
  const char *model; /* JSON with ' for " */
  bool smooth;       /* finite differences make sense: no kinks near the data */
} op_case;

extern const op_case op_cases[];
extern const int n_op_cases;

/* The model of a case; aborts the test program when it does not parse. */
webml_model *op_case_model(const op_case *c);
/* The types of its inputs and targets: float32, or indices where the model reads such. A target of
 * a sparse loss is one number, else it is as wide as the output. */
void op_case_ends(const webml_model *model, wml_step_spec *spec);

#endif
