/* Every operation by itself, from the table of kernel_cases.c: each back end against `ref`; `ref`
 * against arrays made by hand and against finite differences.
 *
 * kernels_test [ref|cpu|cuda|gpu [WORDS]]: one back end alone, and of the cases those with these
 * words in their names. */
#include "kernel_graph.h"
#include "kernels/common/strides.h"
#include "kernels/cuda/emulation/cuda_runtime_api.h"
#include "support.h"

#include "base/status.h"
#include "devices/device.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A back end with the arithmetic it is asked for. Where operands are rounded, the norm of the
 * difference is compared with that of the array; bfloat16 has 7 bits behind the point. */
typedef struct subject {
  const char *name;
  const wml_backend *backend;
  wml_precision precision;
  double tolerance;
  bool rounds;
  int threads;
} subject;

static double distance(const subject *s, const float *a, const float *b, int64_t n) {
  if (!s->rounds) return test_difference(a, b, n);
  double difference = 0.0, norm = 0.0;
  for (int64_t i = 0; i < n; i++) {
    if (isnan(a[i]) != isnan(b[i])) return INFINITY;
    if (isnan(b[i])) continue;
    difference += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    norm += (double)b[i] * (double)b[i];
  }
  return sqrt(difference) / (0.1 * sqrt((double)n) + sqrt(norm));
}

static void compare_rigs(const char *name, const subject *s, kernel_rig *other, kernel_rig *ref) {
  const kernel_graph *g = ref->graph;
  for (int k = 0; k < g->n_observed; k++) {
    const wml_tensor *t = &g->tensor[g->observed[k]];
    float *a = rig_read(other, k), *b = rig_read(ref, k);
    double d = distance(s, a, b, wml_elements(t));
    CHECKF(d <= s->tolerance, "%s: %s: observed array %d (%s) differs by %g", name, s->name, k,
           t->role == WML_ROLE_GRAD ? "gradient of a parameter" : "value", d);
    free(a);
    free(b);
  }
  for (int i = 0; i < GRAPH_RESULTS; i++)
    CHECKF(fabs(other->results[i] - ref->results[i]) <=
               s->tolerance * (1.0 + fabs(ref->results[i])),
           "%s: %s: result %d is %g, ref %g", name, s->name, i, other->results[i], ref->results[i]);
}

/* A graph on the back end and on `ref`, twice: the second run must not add to the first. */
static void compare_graph(const char *name, const subject *s, const kernel_graph *g) {
  kernel_rig ref, other;
  bool open = rig_open(&ref, &wml_backend_ref, 1, g) == WML_OK;
  CHECKF(open, "%s: ref: %s", name, webml_last_error());
  wml_result result = open ? rig_open(&other, s->backend, s->threads, g) : WML_OK;
  if (open) {
    CHECKF(result == WML_OK, "%s: %s: %s", name, s->name, webml_last_error());
    for (int i = 0; result == WML_OK && i < 2; i++) {
      CHECK(rig_run(&ref) == WML_OK);
      CHECKF(rig_run(&other) == WML_OK, "%s: %s: %s", name, s->name, webml_last_error());
      compare_rigs(name, s, &other, &ref);
    }
  }
  if (open) rig_close(&other);
  rig_close(&ref);
}

/* Back, forward alone, and with results in bfloat16. */
static void compare_case(const kernel_case *c, const subject *s) {
  for (int i = 0; i < (s->rounds ? 3 : 2); i++) {
    case_graph g;
    case_graph_build(&g, c, (case_variant){s->precision, .backward = i != 1, .copies = i == 2});
    compare_graph(c->name, s, &g.graph);
    graph_free(&g.graph);
  }
}

/* ---- ref: by hand, and by finite differences ---- */

static void check_expected(const kernel_case *c, kernel_rig *r, const case_graph *g) {
  for (int k = 0; k < g->graph.n_observed; k++) {
    const float *expected = g->graph.observed[k] == g->result ? c->expected : NULL;
    for (int i = 0; i < g->n_operands; i++)
      if (g->graph.observed[k] == g->gradient[i]) expected = c->operand[i].gradient;
    if (!expected) continue;
    float *x = rig_read(r, k);
    double d = test_difference(x, expected, wml_elements(&g->graph.tensor[g->graph.observed[k]]));
    CHECKF(d < 1e-6, "%s: observed array %d differs from the one by hand by %g", c->name, k, d);
    free(x);
  }
  double loss = r->results[WML_RESULT_LOSS] / (double)g->graph.batch;
  if (c->loss != 0.0) CHECKF(fabs(loss - c->loss) < 1e-6, "%s: loss %g", c->name, loss);
}

/* sum(y * dy), or the loss. */
static double objective(kernel_rig *r, const case_graph *g) {
  CHECK(rig_run(r) == WML_OK);
  if (g->result < 0) return r->results[WML_RESULT_LOSS] / r->results[WML_RESULT_COUNT];
  float *y = rig_read(r, 0);
  double sum = 0.0;
  for (int64_t i = 0; i < wml_elements(&g->graph.tensor[g->result]); i++)
    sum += (double)y[i] * (double)g->graph.data[g->dy_feed][i];
  free(y);
  return sum;
}

static double objective_at(kernel_rig *r, const case_graph *g, float *element, float value) {
  float kept = *element;
  *element = value;
  rig_put(r);
  double result = objective(r, g);
  *element = kept;
  rig_put(r);
  return result;
}

/* Largest relative error of a gradient. h is half of the least distance between two numbers. */
static double gradient_error(kernel_rig *r, case_graph *g, int operand, const float *gradient) {
  enum { PROBES = 40 };
  int64_t n = wml_elements(&g->graph.tensor[g->operand[operand]]);
  int64_t stride = n > PROBES ? n / PROBES : 1;
  float *x = g->graph.data[g->feed[operand]], h = 1.0f / 512.0f;
  double worst = 0.0;
  for (int64_t i = 0; i < n; i += stride) {
    double above = objective_at(r, g, &x[i], x[i] + h), below = objective_at(r, g, &x[i], x[i] - h);
    double numeric = (above - below) / (2.0 * (double)h);
    double error = fabs(numeric - (double)gradient[i]) / (0.1 + fabs(numeric));
    if (!(error <= worst)) worst = error;
  }
  return worst;
}

static void check_gradients(const kernel_case *c, kernel_rig *r, case_graph *g) {
  for (int i = 0; i < g->n_operands; i++)
    for (int k = 0; g->gradient[i] >= 0 && k < g->graph.n_observed; k++) {
      if (g->graph.observed[k] != g->gradient[i]) continue;
      CHECK(rig_run(r) == WML_OK);
      float *gradient = rig_read(r, k);
      double error = gradient_error(r, g, i, gradient);
      CHECKF(error < 2e-3, "%s: finite differences for operand %d disagree by %g", c->name, i,
             error);
      free(gradient);
    }
}

static void check_reference(const kernel_case *c) {
  case_graph g;
  kernel_rig r;
  case_graph_build(&g, c, (case_variant){.backward = true});
  wml_result result = rig_open(&r, &wml_backend_ref, 1, &g.graph);
  CHECKF(result == WML_OK, "%s: ref: %s", c->name, webml_last_error());
  if (result == WML_OK) {
    CHECK(rig_run(&r) == WML_OK);
    check_expected(c, &r, &g);
    if (!c->kinks) check_gradients(c, &r, &g);
  }
  rig_close(&r);
  graph_free(&g.graph);
}

/* ---- graphs of more than one operation ---- */

static float *numbers(int64_t n, uint64_t seed) {
  float *x = test_alloc((size_t)n * sizeof *x);
  test_random random = {seed};
  for (int64_t i = 0; i < n; i++) x[i] = (float)((int)(test_uniform(&random) * 128.0) - 64) / 64.0f;
  return x;
}

/* One kernel in two convolutions: its gradient is the sum of two, which are added as they lie. */
static void build_shared_kernel(kernel_graph *g, wml_precision precision) {
  static const int64_t picture[] = {2, 6, 5, 16}, kernel[] = {3, 3, 16, 32}, y[] = {2, 4, 3, 32};
  const wml_op conv = {
      .kind = WML_OP_CONV2D,
      .u.window = {.size = {3, 3}, .stride = {1, 1}, .dilation = {1, 1}, .groups = 1}};
  wml_op back = conv;
  back.kind = WML_OP_CONV2D_BWD_WEIGHTS;
  *g = (kernel_graph){.precision = precision, .has_results = true};
  int w = graph_param(g, kernel, numbers(3 * 3 * 16 * 32, 1)), gradient[2];
  for (int k = 0; k < 2; k++) {
    int x = graph_feed(g, WML_F32, picture, numbers(2 * 6 * 5 * 16, (uint64_t)(2 + k)));
    int out = graph_tensor(g, WML_ROLE_VALUE, WML_F32, y, -1);
    graph_op(g, conv, x, w, -1)->out[0] = out;
    gradient[k] = graph_gradient(g, w);
    graph_op(g, back, x, out, -1)->out[0] = gradient[k];
  }
  int sum = graph_gradient(g, w);
  graph_op(g, (wml_op){.kind = WML_OP_BINARY, .u.binary = WML_BINARY_ADD}, gradient[0], gradient[1],
           -1)
      ->out[0] = sum;
  graph_observe(g, sum);
}

/* Activations that nothing else reads behind depthwise and other convolutions. */
static void build_activations(kernel_graph *g, wml_precision precision) {
  static const wml_activation_kind kinds[] = {WML_RELU6, WML_HARD_SILU, WML_SILU, WML_MISH};
  static const int64_t picture[] = {2, 6, 9, 64}, depthwise[] = {3, 3, 1, 64},
                       pointwise[] = {1, 1, 64, 64};
  *g = (kernel_graph){.precision = precision};
  int x = graph_feed(g, WML_F32, picture, numbers(2 * 6 * 9 * 64, 1));
  int spatial = graph_param(g, depthwise, numbers(3 * 3 * 64, 2)),
      dense = graph_param(g, pointwise, numbers(64 * 64, 3));
  for (int k = 0; k < 8; k++) {
    int size = k < 4 ? 3 : 1, pad = size / 2;
    wml_op conv = {.kind = WML_OP_CONV2D,
                   .u.window = {.size = {size, size},
                                .stride = {1, 1},
                                .dilation = {1, 1},
                                .pad_before = {pad, pad},
                                .pad_after = {pad, pad},
                                .groups = k < 4 ? 64 : 1}};
    wml_op act = {.kind = WML_OP_ACTIVATION, .u.activation = {.kind = kinds[k % 4]}};
    int between = graph_tensor(g, WML_ROLE_VALUE, WML_F32, picture, -1),
        y = graph_tensor(g, WML_ROLE_VALUE, WML_F32, picture, -1);
    graph_op(g, conv, x, k < 4 ? spatial : dense, -1)->out[0] = between;
    graph_op(g, act, between, -1, -1)->out[0] = y;
    graph_observe(g, y);
  }
}

/* A convolution, or a transposed one, by one kernel of the store. */
static void build_by_kernel(kernel_graph *g, wml_precision precision, bool transposed) {
  static const int64_t kernel[] = {3, 3, 32, 64}, large[] = {2, 9, 11, 32}, small[] = {2, 4, 5, 64};
  *g = (kernel_graph){.precision = precision};
  wml_op op = {.kind = transposed ? WML_OP_CONV2D_BWD_DATA : WML_OP_CONV2D,
               .u.window = {.size = {3, 3}, .stride = {2, 2}, .dilation = {1, 1}, .groups = 1}};
  int w = graph_param(g, kernel, numbers(3 * 3 * 32 * 64, 4));
  int x = transposed ? graph_feed(g, WML_F32, small, numbers(2 * 4 * 5 * 64, 5))
                     : graph_feed(g, WML_F32, large, numbers(2 * 9 * 11 * 32, 5));
  int y = graph_tensor(g, WML_ROLE_VALUE, WML_F32, transposed ? large : small, -1);
  graph_op(g, op, x, w, -1)->out[0] = y;
  graph_observe(g, y);
}

/* Two plans of one store: the first fixes the kernel's layout, which need not suit the second. */
static void compare_two_plans(const subject *s, bool transposed_first) {
  kernel_graph first, second;
  kernel_rig owner, joined, ref;
  build_by_kernel(&first, s->precision, transposed_first);
  build_by_kernel(&second, s->precision, !transposed_first);
  bool open = rig_open(&ref, &wml_backend_ref, 1, &second) == WML_OK && rig_run(&ref) == WML_OK;
  open = rig_open(&owner, s->backend, s->threads, &first) == WML_OK && open;
  CHECKF(open && rig_join(&joined, &owner, &second) == WML_OK && rig_run(&joined) == WML_OK,
         "two plans of one store: %s: %s", s->name, webml_last_error());
  if (open) {
    compare_rigs("two plans of one store", s, &joined, &ref);
    rig_leave(&joined);
  }
  rig_close(&owner);
  rig_close(&ref);
  graph_free(&first);
  graph_free(&second);
}

/* The end of a residual block: relu of a sum, from which two paths go on, and the way back. */
static void build_residual(kernel_graph *g, wml_precision precision) {
  static const int64_t dim[WML_MAX_RANK] = {3, 7, 5, 16};
  const wml_activation relu = {.kind = WML_RELU, .max_value = INFINITY};
  const wml_op add = {.kind = WML_OP_BINARY, .u.binary = WML_BINARY_ADD},
               scale = {.kind = WML_OP_AFFINE, .u.affine = {0.5f, 0.25f}},
               multiply = {.kind = WML_OP_BINARY, .u.binary = WML_BINARY_MULTIPLY};
  int feed[3], value[7];
  *g = (kernel_graph){.precision = precision};
  for (int i = 0; i < 3; i++)
    feed[i] = graph_feed(g, WML_F32, dim, numbers(3 * 7 * 5 * 16, (uint64_t)(8 + i)));
  for (int i = 0; i < 7; i++) value[i] = graph_tensor(g, WML_ROLE_VALUE, WML_F32, dim, -1);
  graph_op(g, add, feed[0], feed[1], -1)->out[0] = value[0];
  graph_op(g, (wml_op){.kind = WML_OP_ACTIVATION, .u.activation = relu}, value[0], -1, -1)->out[0] =
      value[1];
  graph_op(g, scale, value[1], -1, -1)->out[0] = value[2]; /* not over what is read again */
  graph_op(g, multiply, value[2], value[1], -1)->out[0] = value[3];
  graph_op(g, (wml_op){.kind = WML_OP_ACTIVATION_BWD, .u.activation = relu}, feed[2], value[1], -1)
      ->out[0] = value[4];
  graph_op(g, scale, value[4], -1, -1)->out[0] = value[5];
  graph_op(g, add, value[4], value[5], -1)->out[0] = value[6];
  graph_observe(g, value[3]);
  graph_observe(g, value[6]);
}

/* Two losses with weights, each a result of its own. The second is sparse, on logits. */
static void build_losses(kernel_graph *g, wml_precision precision) {
  static const int64_t values[WML_MAX_RANK] = {3, 4}, labels[WML_MAX_RANK] = {3, 1};
  *g = (kernel_graph){.precision = precision, .has_results = true};
  for (int k = 0; k < 2; k++) {
    int p = graph_feed(g, WML_F32, values, numbers(12, (uint64_t)(5 + k)));
    float *data = k ? test_alloc(3 * sizeof *data) : numbers(12, 7);
    for (int i = 0; k && i < 3; i++) data[i] = (float)i;
    int target = graph_feed(g, WML_F32, k ? labels : values, data);
    wml_op op = {.kind = WML_OP_LOSS};
    op.u.loss.loss.kind = k ? WML_SPARSE_CATEGORICAL_CROSSENTROPY : WML_MEAN_SQUARED_ERROR;
    op.u.loss.loss.from_logits = k == 1;
    op.u.loss.weight = k ? 0.25f : 3.0f;
    op.u.loss.result = WML_RESULT_METRICS + k;
    int dp = graph_tensor(g, WML_ROLE_VALUE, WML_F32, values, -1);
    graph_op(g, op, p, target, -1)->out[0] = dp;
    graph_observe(g, dp);
  }
}

/* More feeds than a model usually has, and several results: joined in two stages, of which the
 * first is a result, too, and scaled. */
static void build_many(kernel_graph *g, wml_precision precision, bool has_results) {
  enum { PARTS = 3, EACH = WML_MAX_OPERANDS, WIDTH = 5, ROWS = 4 };
  static const int64_t rows[WML_MAX_RANK] = {ROWS, WIDTH};
  const int64_t joined[WML_MAX_RANK] = {ROWS, EACH * WIDTH},
                all[WML_MAX_RANK] = {ROWS, PARTS * EACH * WIDTH};
  const wml_op concat = {.kind = WML_OP_CONCAT, .u.axis = 1};
  int part[PARTS];
  *g = (kernel_graph){.precision = precision, .has_results = has_results};
  for (int i = 0; i < PARTS; i++) {
    int x[EACH];
    for (int k = 0; k < EACH; k++)
      x[k] = graph_feed(g, WML_F32, rows, numbers(ROWS * WIDTH, (uint64_t)(i * EACH + k)));
    part[i] = graph_tensor(g, WML_ROLE_VALUE, WML_F32, joined, -1);
    wml_op *op = graph_op(g, concat, -1, -1, -1);
    memcpy(op->in, x, sizeof x);
    op->out[0] = part[i];
  }
  int y = graph_tensor(g, WML_ROLE_VALUE, WML_F32, all, -1),
      scaled = graph_tensor(g, WML_ROLE_VALUE, WML_F32, all, -1);
  graph_op(g, concat, part[0], part[1], part[2])->out[0] = y;
  graph_op(g, (wml_op){.kind = WML_OP_AFFINE, .u.affine = {2.0f, 1.0f}}, y, -1, -1)->out[0] =
      scaled;
  graph_observe(g, part[1]);
  graph_observe(g, y);
  graph_observe(g, scaled);
}

static void build_many_chunks(kernel_graph *g, wml_precision precision) {
  build_many(g, precision, true);
}

static void build_many_predicted(kernel_graph *g, wml_precision precision) {
  build_many(g, precision, false);
}

static void compare_built(const char *name, const subject *s,
                          void (*build)(kernel_graph *g, wml_precision precision)) {
  kernel_graph g;
  build(&g, s->precision);
  compare_graph(name, s, &g);
  graph_free(&g);
}

static void check_losses(void) {
  kernel_graph g;
  kernel_rig r;
  build_losses(&g, WML_FLOAT32);
  CHECK(rig_open(&r, &wml_backend_ref, 1, &g) == WML_OK && rig_run(&r) == WML_OK);
  double squares = 0.0, *results = r.results;
  float *dp = rig_read(&r, 0);
  for (int i = 0; i < 12; i++) {
    const float *p = g.data[0], *t = g.data[2];
    squares += ((double)p[i] - (double)t[i]) * ((double)p[i] - (double)t[i]);
    CHECK(fabsf(dp[i] - 3.0f * 2.0f / 12.0f * (p[i] - t[i])) < 1e-6f);
  }
  CHECK(fabs(results[2] - squares / 12.0 * 3.0) < 1e-5);
  CHECK(fabs(results[0] - (3.0 * results[2] + 0.25 * results[3])) < 1e-6 * results[0]);
  free(dp);
  rig_close(&r);
  graph_free(&g);
}

static void check_shared_kernel(void) {
  kernel_graph g;
  kernel_rig r;
  build_shared_kernel(&g, WML_FLOAT32);
  g.observed[1] = g.observed[0] - 1;
  g.n_observed = 2;
  for (int i = 0; i < g.n_tensors && g.n_observed < 3; i++)
    if (g.tensor[i].role == WML_ROLE_GRAD) g.observed[g.n_observed++] = i;
  CHECK(rig_open(&r, &wml_backend_ref, 1, &g) == WML_OK && rig_run(&r) == WML_OK);
  float *sum = rig_read(&r, 0), *b = rig_read(&r, 1), *a = rig_read(&r, 2);
  for (int i = 0; i < 3 * 3 * 16 * 32; i++) a[i] += b[i];
  CHECK(test_difference(sum, a, 3 * 3 * 16 * 32) < 1e-6);
  free(sum);
  free(a);
  free(b);
  rig_close(&r);
  graph_free(&g);
}

/* ---- formulas that back ends share ---- */

/* Mean, deviation and kurtosis of many draws; other draws in other steps, streams and places. */
static void check_noise(void) {
  enum { N = 200000 };
  const wml_noise noise = {.kind = WML_NOISE_ADD, .stream = 3, .a = 2.0f};
  float *zero = test_alloc(N * sizeof *zero), *y = test_alloc(N * sizeof *y),
        *other = test_alloc(N * sizeof *other);
  wml_noise_apply(&noise, 7, 1, 0, zero, y, N);
  double sum = 0.0, squares = 0.0, fourth = 0.0, neighbours = 0.0;
  for (int i = 0; i < N; i++) {
    double n = (double)y[i] / 2.0;
    sum += n;
    squares += n * n;
    fourth += n * n * n * n;
    if (i > 0) neighbours += n * (double)y[i - 1] / 2.0;
  }
  CHECKF(fabs(sum / N) < 0.01, "mean %g", sum / N);
  CHECKF(fabs(squares / N - 1.0) < 0.015, "variance %g", squares / N);
  CHECKF(fabs(fourth / N - 3.0) < 0.1, "fourth moment %g", fourth / N);
  CHECKF(fabs(neighbours / N) < 0.01, "correlation of neighbours %g", neighbours / N);
  wml_noise_apply(&noise, 7, 1, 25, zero, other, 100); /* a range of the same array */
  CHECK(memcmp(other, y + 100, 100 * sizeof *y) == 0);
  const wml_noise stream = {.kind = WML_NOISE_ADD, .stream = 4, .a = 2.0f};
  for (int k = 0; k < 3; k++) {
    wml_noise_apply(k == 0 ? &stream : &noise, k == 1 ? 8 : 7, k == 2 ? 2 : 1, 0, zero, other, N);
    int same = 0;
    for (int i = 0; i < N; i++) same += other[i] == y[i];
    CHECKF(same < N / 1000, "%d draws are the same", same);
  }
  const wml_noise alpha = {WML_NOISE_ALPHA, 5, 0.0f, 1.0f, 0.0f, 0.3f};
  for (int i = 0; i < N; i++) zero[i] = 0.7f;
  wml_noise_apply(&alpha, 7, 1, 0, zero, y, N);
  wml_dropout_apply(7, 1, 5, 0.3f, 0, zero, other, N);
  int differ = 0;
  for (int i = 0; i < N; i++) differ += (y[i] > 0.0f) != (other[i] > 0.0f);
  CHECKF(differ == 0, "alpha dropout has another mask for %d elements", differ);
  free(zero);
  free(y);
  free(other);
}

/* A sample's channel is kept or not as a whole; by the mask of DROPOUT in the end. */
static void check_channels(void) {
  enum { BATCH = 6, PLACES = 5, CHANNELS = 9, N = BATCH * PLACES * CHANNELS };
  float *ones = test_alloc(N * sizeof *ones), mask[BATCH * CHANNELS];
  for (int i = 0; i < N; i++) ones[i] = 1.0f;
  wml_dropout_apply(99, 4, 2, 0.5f, 0, ones, mask, BATCH * CHANNELS);
  kernel_case c = {"dropout per channel by hand",
                   {.kind = WML_OP_DROPOUT, .u.dropout = {0.5f, 2, true}},
                   {{.dim = {BATCH, PLACES, CHANNELS}, .values = ones}},
                   .result = {BATCH, PLACES, CHANNELS}};
  float *expected = test_alloc(N * sizeof *expected);
  for (int i = 0; i < N; i++) expected[i] = mask[i / (PLACES * CHANNELS) * CHANNELS + i % CHANNELS];
  c.expected = expected;
  check_reference(&c);
  free(expected);
  free(ones);
}

/* The positions that read an element are those whose taps have it, and weights sum to 1. */
static void check_resize(void) {
  for (int kind = 0; kind < 2; kind++)
    for (int64_t in = 1; in < 12; in++)
      for (int64_t out = 1; out < 25; out++)
        for (int64_t at = 0; at < in; at++) {
          int64_t begin, end;
          wml_resize_readers((wml_resampling)kind, at, in, out, &begin, &end);
          bool right = true;
          for (int64_t i = 0; i < out; i++) {
            wml_resize_tap tap = wml_resize_at((wml_resampling)kind, i, in, out);
            float weight = wml_resize_weight(&tap, at);
            right = right && tap.low >= 0 && tap.high < in && weight >= 0.0f && weight <= 1.0f;
            if (weight > 0.0f) right = right && i >= begin && i < end;
          }
          CHECKF(right && begin >= 0 && end <= out, "kind %d: %lld of %lld to %lld", kind,
                 (long long)at, (long long)in, (long long)out);
        }
}

static void check_binary(void) {
  CHECK(isnan(wml_binary_value(WML_BINARY_MAXIMUM, NAN, 1.0f)));
  CHECK(isnan(wml_binary_value(WML_BINARY_MAXIMUM, 1.0f, NAN)));
  CHECK(isnan(wml_binary_value(WML_BINARY_MINIMUM, NAN, 1.0f)));
  CHECK(isnan(wml_binary_value(WML_BINARY_MINIMUM, 1.0f, NAN)));
  CHECK(isnan(wml_binary_value(WML_BINARY_PRELU, NAN, 0.0f)));
}

/* The tester, tested: a wrong gradient is noticed. */
static void check_tester(void) {
  case_graph g;
  kernel_rig r;
  const kernel_case c = {"tester",
                         {.kind = WML_OP_AFFINE, .u.affine = {2.0f, 0.0f}},
                         {{.dim = {1, 4}}},
                         .result = {1, 4}};
  case_graph_build(&g, &c, (case_variant){.backward = true});
  CHECK(rig_open(&r, &wml_backend_ref, 1, &g.graph) == WML_OK && rig_run(&r) == WML_OK);
  float *gradient = rig_read(&r, 1);
  CHECK(gradient_error(&r, &g, 0, gradient) < 1e-3);
  gradient[2] = -gradient[2];
  CHECK(gradient_error(&r, &g, 0, gradient) > 0.5);
  free(gradient);
  rig_close(&r);
  graph_free(&g.graph);
}

/* ---- back ends ---- */

static bool wanted(const kernel_case *c, const char *only) {
  return !only || strstr(c->name, only);
}

static void check_ref(const char *only) {
  for (int i = 0; i < n_kernel_cases; i++)
    if (wanted(&kernel_cases[i], only)) check_reference(&kernel_cases[i]);
  if (only) return;
  check_tester();
  check_channels();
  check_losses();
  check_shared_kernel();
  check_noise();
  check_resize();
  check_binary();
}

static void check_subject(const subject *s, const char *only) {
  for (int i = 0; i < n_kernel_cases; i++)
    if (wanted(&kernel_cases[i], only)) compare_case(&kernel_cases[i], s);
  if (only) return;
  compare_built("one kernel in two convolutions", s, build_shared_kernel);
  compare_built("two losses with weights", s, build_losses);
  compare_built("many feeds, several results", s, build_many_chunks);
  compare_built("many feeds, several results, predicted", s, build_many_predicted);
  compare_built("activations behind convolutions", s, build_activations);
  for (int first = 0; first < 2; first++) compare_two_plans(s, first == 1);
  compare_built("the end of a residual block", s, build_residual);
}

/* The table's numbers have few bits, and sums of them are exact in any order: a third of them has
 * not. */
static void make_inexact(kernel_graph *g) {
  for (int i = 0; i < g->n_tensors; i++) {
    bool floats = g->data[i] && g->tensor[i].dtype == WML_F32;
    for (int64_t k = 0; floats && k < wml_elements(&g->tensor[i]); k++) g->data[i][k] /= 3.0f;
  }
}

/* A case's arrays have the same bits for any number of threads. */
static void check_same_bits(const kernel_case *c, const subject *s) {
  case_graph g;
  kernel_rig one, three;
  case_graph_build(&g, c, (case_variant){s->precision, .backward = true});
  make_inexact(&g.graph);
  bool open = rig_open(&one, s->backend, 1, &g.graph) == WML_OK;
  open = rig_open(&three, s->backend, 3, &g.graph) == WML_OK && open;
  if (open) CHECK(rig_run(&one) == WML_OK && rig_run(&three) == WML_OK);
  for (int k = 0; open && k < g.graph.n_observed; k++) {
    float *a = rig_read(&one, k), *b = rig_read(&three, k);
    int64_t n = wml_elements(&g.graph.tensor[g.graph.observed[k]]);
    CHECKF(memcmp(a, b, (size_t)n * sizeof *a) == 0,
           "%s: %s: observed array %d depends on the number of threads", c->name, s->name, k);
    free(a);
    free(b);
  }
  rig_close(&one);
  rig_close(&three);
  graph_free(&g.graph);
}

static bool has_bfloat16(const wml_backend *backend) {
  wml_device_info info = {0};
  int count = 0;
  return backend->enumerate(&wml_library_host, &info, 1, &count) == WML_OK && info.bfloat16;
}

static void check_cpu(const char *only) {
  const subject cpu = {"cpu", &wml_backend_cpu, WML_FLOAT32, 2e-5, false, 2},
                narrow = {"cpu bfloat16", &wml_backend_cpu, WML_MIXED_BFLOAT16, 1e-2, true, 2};
  subject pieces = cpu;
  pieces.name = "cpu in the finest pieces";
  pieces.threads = 3;
  check_subject(&cpu, only);
  setenv("WEBML_CPU_FINEST_PIECES", "1", 1);
  check_subject(&pieces, only);
  for (int i = 0; i < n_kernel_cases; i++)
    if (wanted(&kernel_cases[i], only)) check_same_bits(&kernel_cases[i], &pieces);
  unsetenv("WEBML_CPU_FINEST_PIECES");
  for (int i = 0; i < n_kernel_cases; i++)
    if (wanted(&kernel_cases[i], only)) check_same_bits(&kernel_cases[i], &cpu);
  if (has_bfloat16(&wml_backend_cpu))
    check_subject(&narrow, only);
  else
    test_skip("cpu in bfloat16", "the processor does not have it");
}

const wml_backend *wml_backend_module(uint32_t version); /* of the emulation, linked in */

/* What a case observes after a run in one of the orders that the device may take blocks, threads
 * and branches in. */
static float *run_in_order(const case_graph *g, const wml_backend *cuda, unsigned order,
                           int64_t *count) {
  kernel_rig r;
  float *all = NULL;
  *count = 0;
  cuda_emulation_seed(order);
  CHECK(rig_open(&r, cuda, 1, &g->graph) == WML_OK && rig_run(&r) == WML_OK);
  for (int k = 0; k < g->graph.n_observed; k++) {
    int64_t n = wml_elements(&g->graph.tensor[g->graph.observed[k]]);
    float *x = rig_read(&r, k);
    all = realloc(all, (size_t)(*count + n) * sizeof *all);
    memcpy(all + *count, x, (size_t)n * sizeof *x);
    *count += n;
    free(x);
  }
  rig_close(&r);
  return all;
}

/* The same bits in every order. */
static void compare_orders(const kernel_case *c, const wml_backend *cuda, wml_precision precision) {
  case_graph g;
  int64_t n, others;
  case_graph_build(&g, c, (case_variant){precision, .backward = true});
  float *first = run_in_order(&g, cuda, 1, &n), *other = run_in_order(&g, cuda, 2, &others);
  CHECKF(n == others && (n == 0 || memcmp(first, other, (size_t)n * sizeof *first) == 0),
         "%s: other bits in another order", c->name);
  free(first);
  free(other);
  graph_free(&g.graph);
}

static void check_emulated(const char *only) {
  const wml_backend *cuda = wml_backend_module(WML_BACKEND_VERSION);
  const subject subjects[] = {
      {"cuda strict (emulated)", cuda, WML_FLOAT32_STRICT, 2e-5, false, 0},
      {"cuda bfloat16 (emulated)", cuda, WML_MIXED_BFLOAT16, 1e-2, true, 0}};
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) check_subject(&subjects[i], only);
  for (int i = 0; i < n_kernel_cases; i++)
    if (wanted(&kernel_cases[i], only))
      compare_orders(&kernel_cases[i], cuda, i % 2 ? WML_MIXED_BFLOAT16 : WML_FLOAT32_STRICT);
}

static void check_gpu(const char *only) {
  const char *reason;
  const wml_backend *cuda = wml_cuda_backend(&reason);
  wml_device_info info;
  int count = 0;
  if (cuda && cuda->enumerate(&wml_library_host, &info, 1, &count) != WML_OK)
    reason = webml_last_error();
  if (!cuda || count == 0) {
    test_skip("cuda rows of the table", reason);
    return;
  }
  const subject subjects[] = {{"cuda strict", cuda, WML_FLOAT32_STRICT, 2e-5, false, 0},
                              {"cuda tf32", cuda, WML_FLOAT32, 2e-3, true, 0},
                              {"cuda bfloat16", cuda, WML_MIXED_BFLOAT16, 1e-2, true, 0}};
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) check_subject(&subjects[i], only);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*check)(const char *only);
  } groups[] = {
      {"ref", check_ref}, {"cpu", check_cpu}, {"cuda", check_emulated}, {"gpu", check_gpu}};
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (argc < 2 || strcmp(argv[1], groups[i].name) == 0)
      groups[i].check(argc > 2 ? argv[2] : NULL);
  return test_report();
}
