/* Times the table of operation cases: one training step of each small network, on `cpu` and on
 * `ref`, interleaved. */
#include "base/status.h"
#include "bench.h"
#include "plan/step.h"
#include "tests/cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct op_rig {
  const wml_backend *backend;
  wml_device *device;
  wml_store *store;
  wml_step step;
  wml_plan *plan;
  float *samples;       /* zeros for every feed */
  int64_t *row_numbers; /* [MOST_STEPS, batch], all the first */
} op_rig;

enum { MOST_STEPS = 64 }; /* of one run */

static void open_rig(op_rig *r, const wml_backend *backend, const op_case *c,
                     const webml_model *model, int threads) {
  wml_device_config config = {.threads = threads};
  wml_step_spec spec = {.model = model, .mode = WML_MODE_TRAIN, .batch = c->batch};
  op_case_ends(model, &spec);
  *r = (op_rig){.backend = backend,
                .samples = calloc(1 << 20, sizeof(float)),
                .row_numbers = calloc((size_t)c->batch * MOST_STEPS, sizeof(int64_t))};
  if (!r->samples || !r->row_numbers || backend->open(&wml_library_host, &config, &r->device) ||
      backend->store_create(r->device, &r->store) || wml_step_build(&spec, &r->step) ||
      backend->compile(r->store, &r->step.graph, &r->plan) || backend->prepare(r->plan)) {
    fprintf(stderr, "webml-bench: case %s: %s\n", c->name, webml_last_error());
    exit(1);
  }
}

static void close_rig(op_rig *r) {
  r->backend->plan_destroy(r->plan);
  wml_step_free(&r->step);
  r->backend->store_destroy(r->store);
  r->backend->close(r->device);
  free(r->samples);
  free(r->row_numbers);
}

/* Microseconds of a step. */
static double round_of(op_rig *r, int64_t steps) {
  static float rates[MOST_STEPS];
  double results[8192] = {0};
  wml_feed feeds[2 * WML_MAX_ENDS];
  int n = 0;
  for (int i = 0; i < WML_MAX_ENDS; i++) {
    if (r->step.inputs[i] >= 0)
      feeds[n++] = (wml_feed){.tensor = r->step.inputs[i], .base = r->samples};
    if (r->step.targets[i] >= 0)
      feeds[n++] = (wml_feed){.tensor = r->step.targets[i], .base = r->samples};
  }
  wml_run run = {.n_steps = steps,
                 .rows = r->row_numbers,
                 .n_feeds = n,
                 .feeds = feeds,
                 .learning_rate = rates,
                 .results = results};
  double start = bench_now();
  if (r->backend->run(r->plan, &run) != WML_OK) exit(1);
  return (bench_now() - start) * 1e6 / (double)steps;
}

void bench_operations(int threads, int rounds) {
  printf("%-46s %12s %12s %8s\n", "case (one training step)", "cpu", "ref", "ratio");
  for (int i = 0; i < n_op_cases; i++) {
    webml_model *model = op_case_model(&op_cases[i]);
    op_rig cpu, ref;
    bench_series fast = {0}, slow = {0};
    open_rig(&cpu, &wml_backend_cpu, &op_cases[i], model, threads);
    open_rig(&ref, &wml_backend_ref, &op_cases[i], model, 1);
    round_of(&cpu, 8);
    for (int k = 0; k < rounds; k++) {
      bench_add(&fast, round_of(&cpu, MOST_STEPS));
      bench_add(&slow, round_of(&ref, 4));
    }
    printf("%-46.46s %9.1f us %9.1f us %8.1f\n", op_cases[i].name, bench_median(&fast),
           bench_median(&slow), bench_median(&slow) / bench_median(&fast));
    close_rig(&cpu);
    close_rig(&ref);
    webml_model_destroy(model);
  }
}
