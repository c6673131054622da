/* Planning without a GPU: every case of the table, and the reference network, compiled for an H200
 * from its description. cuDNN's heuristics must name engines for every convolution that is not
 * fused into an own kernel, and the chosen ones, which come compiled with the library, must
 * finalise. */
#include "base/file.h"
#include "base/status.h"
#include "cases.h"
#include "kernels/cuda/vendor.h"
#include "plan/step.h"
#include "support.h"

#include <stdlib.h>
#include <string.h>

const wml_backend *wml_backend_module(uint32_t version);

static const wml_precision precisions[] = {WML_FLOAT32, WML_FLOAT32_STRICT, WML_MIXED_BFLOAT16};
static const char *const precision_names[] = {"float32", "float32_strict", "mixed_bfloat16"};

typedef struct counts {
  int cudnn, own_convolutions;
} counts;

static bool is_convolution(wml_op_kind kind) {
  return kind == WML_OP_CONV2D || kind == WML_OP_CONV2D_BWD_DATA ||
         kind == WML_OP_CONV2D_BWD_WEIGHTS;
}

/* Convolutions that are left to the own kernels, by name of the case and pass: depthwise ones,
 * those with groups whose weights' gradient cuDNN has no compiled engine for, and outputs in
 * float32. */
static void count_nodes(const wml_plan *plan, const char *name, wml_precision precision,
                        bool verbose, counts *c) {
  for (int k = 0; k < plan->n_nodes; k++) {
    const cuda_node *node = &plan->nodes[k];
    if (!is_convolution(node->op.kind) || node->op.out[0] < 0) continue;
    if (strncmp(node->name, "cudnn:", 6) == 0) {
      c->cudnn++;
      CHECK(cuda_dnn_named(node->vendor) > 0 && cuda_dnn_count(node->vendor) > 0);
    } else if (!node->pools) {
      c->own_convolutions++;
      if (verbose)
        printf("  %s, %s: operation %d by %s (%s)\n", name, precision_names[precision],
               (int)node->op.kind, node->name, node->why ? node->why : "");
    }
  }
}

static void print_memory(const wml_plan *plan, const char *name, wml_precision precision,
                         int mode) {
  wml_memory m;
  int aside = 0;
  cuda_plan_memory(plan, &m);
  for (int k = 0; k < plan->n_nodes; k++) aside += plan->nodes[k].aside;
  printf("  %s, %s, mode %d: %.1f MB of values, %.1f of parameters, %.1f of the optimizer; %d "
         "operations, %d aside, %d branches\n",
         name, precision_names[precision], mode, (double)(m.scratch + m.saved) / 1e6,
         (double)m.params / 1e6, (double)m.state / 1e6, plan->n_nodes, aside,
         plan->n_turns > 0 ? plan->n_turns - 1 : 0);
}

static void plan_case(wml_device *device, const op_case *c, bool deterministic, bool verbose,
                      counts *total) {
  const wml_backend *cuda = wml_backend_module(WML_BACKEND_VERSION);
  webml_model *model = op_case_model(c);
  for (int p = 0; p < 3; p++) {
    wml_store *store = NULL;
    CHECK(cuda->store_create(device, &store) == WML_OK);
    for (int mode = 0; mode < 3; mode++) {
      wml_step_spec spec = {.model = model,
                            .mode = (wml_mode)mode,
                            .batch = c->batch,
                            .precision = precisions[p],
                            .deterministic = deterministic};
      wml_step step;
      wml_plan *plan = NULL;
      op_case_ends(model, &spec);
      CHECK(wml_step_build(&spec, &step) == WEBML_OK);
      wml_result result = cuda->compile(store, &step.graph, &plan);
      CHECKF(result == WML_OK, "%s, %s: %s", c->name, precision_names[p], webml_last_error());
      if (result == WML_OK) count_nodes(plan, c->name, precisions[p], verbose, total);
      if (result == WML_OK && verbose) print_memory(plan, c->name, precisions[p], mode);
      CHECK(result != WML_OK || cuda->prepare(plan) == WML_UNSUPPORTED); /* there is no GPU */
      cuda->plan_destroy(plan);
      wml_step_free(&step);
    }
    cuda->store_destroy(store);
  }
  webml_model_destroy(model);
}

static const char reference[] =
    "{'size':[64,64,3],'optimizer':'adam','loss':'categorical_crossentropy','layers':["
    "{'type':'Conv2D','layer':{'filters':64,'kernel_size':3,'activation':'relu'}},"
    "{'type':'MaxPooling2D','layer':{}},"
    "{'type':'Conv2D','layer':{'filters':32,'kernel_size':2,'activation':'relu'}},"
    "{'type':'Flatten'},{'type':'Dense','layer':{'units':256,'activation':'relu'}},"
    "{'type':'Dense','layer':{'units':43,'activation':'softmax'}}]}";

int main(int argc, char **argv) {
  bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
  char *description = NULL;
  size_t size;
  wml_device *device = NULL;
  CHECK(wml_file_read("tests/data/nvidia_h200.json", 1 << 16, &description, &size) == WEBML_OK);
  if (cuda_open_planning(&wml_library_host, description, &device) != WML_OK) {
    test_skip("planning for a card that is not there", webml_last_error());
    wml_free(description);
    return test_report();
  }
  counts total = {0};
  for (int i = 0; i < n_op_cases; i++)
    if (strstr(op_cases[i].model, "Conv2D"))
      plan_case(device, &op_cases[i], false, verbose, &total);
  printf("table: %d convolutions by cuDNN, %d by own kernels\n", total.cudnn,
         total.own_convolutions);
  static const op_case networks[] = {{"reference network, batch 64", 64, reference, false},
                                     {"reference network, batch 1024", 1024, reference, false},
                                     {"reference network, batch 1", 1, reference, false}};
  total = (counts){0};
  for (int i = 0; i < 3; i++) plan_case(device, &networks[i], i == 1, verbose, &total);
  CHECKF(total.own_convolutions == 0, "%d convolutions of the reference network by slow kernels",
         total.own_convolutions);
  wml_backend_module(WML_BACKEND_VERSION)->close(device);
  wml_free(description);
  return test_report();
}
