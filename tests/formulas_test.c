/* The per-element formulas against values from outside: Keras's and TensorFlow's own tests and
 * documentation, and closed forms in double. */
#include "kernels/common/dropout.h"
#include "kernels/common/rows.h"
#include "support.h"

#include <math.h>

static void near(const char *what, double value, double expected, double tolerance) {
  CHECKF(fabs(value - expected) <= tolerance, "%s: %.9g, expected %.9g", what, value, expected);
}

static void test_activations(void) {
  static const float x[] = {-3, -1, 0, 1, 3};
  static const struct {
    wml_activation a;
    float y[5];
  } rows[] = {
      {{WML_GELU, 0, 0, 0}, {-0.00404951f, -0.15865529f, 0, 0.8413447f, 2.9959507f}},
      {{WML_GELU_TANH, 0, 0, 0}, {-0.00363752f, -0.15880796f, 0, 0.841192f, 2.9963627f}},
      {{WML_HARD_SIGMOID, 0, 0, 0}, {0, 1.0f / 3.0f, 0.5f, 2.0f / 3.0f, 1}},
      {{WML_ELU, 1, 0, 0}, {-0.95021293f, -0.63212056f, 0, 1, 3}},
      {{WML_SELU, 0, 0, 0}, {-1.6705687f, -1.1113307f, 0, 1.0507010f, 3.1521030f}},
      {{WML_SOFTPLUS, 0, 0, 0}, {0.04858735f, 0.31326169f, 0.69314718f, 1.3132617f, 3.0485873f}},
      {{WML_LEAKY_RELU, 0.2f, 0, 0}, {-0.6f, -0.2f, 0, 1, 3}},
      {{WML_MISH, 0, 0, 0}, {-0.14564745f, -0.30340144f, 0, 0.86509839f, 2.9865350f}}};
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
    for (int j = 0; j < 5; j++)
      near("activation", (double)wml_activation_forward(&rows[i].a, x[j]), (double)rows[i].y[j],
           2e-6);
  wml_activation relu = {WML_RELU, 0, INFINITY, 0};
  CHECK(wml_activation_derivative(&relu, 0, 0) == 0.0f); /* relu'(0) = 0 */
  for (int k = 0; k < WML_SOFTMAX; k++) {                /* NaN in, NaN out */
    wml_activation a = {(wml_activation_kind)k, 1, INFINITY, 0};
    CHECKF(isnan(wml_activation_forward(&a, NAN)), "activation %d hides a NaN", k);
  }
}

/* The derivative against central differences of the formula, left and right of every kink. What is
 * said to follow from the output alone must not need the input: it gets NaN in its place. */
static void check_derivative(wml_activation a) {
  static const float points[] = {-9, -4, -2.3f, -0.7f, -0.1f, 0.1f, 0.4f, 0.9f, 2.3f, 4, 9};
  const float h = 1e-2f;
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    float x = points[i], y = wml_activation_forward(&a, x),
          above = wml_activation_forward(&a, x + h), below = wml_activation_forward(&a, x - h);
    double numeric = ((double)above - (double)below) / (2.0 * (double)h);
    float from = wml_activation_from_output(&a) ? NAN : x;
    double d = (double)wml_activation_derivative(&a, from, y);
    CHECKF(fabs(d - numeric) <= 2e-3 * (1.0 + fabs(numeric)),
           "activation %d (alpha %g, max_value %g, threshold %g): derivative %g at %g, "
           "differences say %g",
           (int)a.kind, (double)a.alpha, (double)a.max_value, (double)a.threshold, d, (double)x,
           numeric);
  }
}

static void test_derivatives(void) {
  static const float slopes[] = {-1.5f, -0.3f, 0.0f, 0.2f, 1.0f, 3.0f};
  static const float bounds[] = {-0.5f, 0.0f, 0.5f, INFINITY}, thresholds[] = {-0.5f, 0.0f, 0.6f};
  for (int i = 0; i < 6; i++) {
    for (int k = 0; k < 12; k++)
      check_derivative((wml_activation){WML_RELU, slopes[i], bounds[k % 4], thresholds[k / 4]});
    static const wml_activation_kind kinds[] = {WML_LEAKY_RELU, WML_ELU, WML_CELU, WML_SOFT_SHRINK};
    for (int k = 0; k < 4; k++)
      if (kinds[k] != WML_CELU || slopes[i] != 0.0f)
        check_derivative((wml_activation){kinds[k], slopes[i], INFINITY, 0});
    if (slopes[i] > 0.0f)
      check_derivative((wml_activation){WML_SQUAREPLUS, slopes[i], INFINITY, 0});
  }
  for (int k = 0; k < WML_SOFTMAX; k++)
    check_derivative((wml_activation){(wml_activation_kind)k, 1, INFINITY, 0});
  /* As in Keras, the left side's slope at 0; 1 would be that of the right. */
  for (int i = 0; i < 6; i++) {
    wml_activation elu = {WML_ELU, slopes[i], INFINITY, 0};
    CHECK(wml_activation_derivative(&elu, 0, 0) == slopes[i]);
  }
  wml_activation squareplus = {WML_SQUAREPLUS, 0, INFINITY, 0};
  CHECK(wml_activation_derivative(&squareplus, 0, 0) == 0.5f); /* the limit, not 0 / 0 */
}

static void check_sparsemax(const char *what, const float *x, long n, double tolerance) {
  float y[1000];
  double sum = 0.0;
  wml_activation_row_forward(WML_SPARSEMAX, x, y, n);
  for (long i = 0; i < n; i++) {
    CHECKF(y[i] >= 0.0f && y[i] <= 1.0f, "%s: output %ld is %g", what, i, (double)y[i]);
    sum += (double)y[i];
  }
  near(what, sum, 1.0, tolerance);
}

static void test_sparsemax(void) {
  /* by hand: tau = (1.2 + 0.8 + 0.5 - 1) / 3 = 0.5 cuts at the third value */
  static const float x[] = {0.8f, -3, 1.2f, 0.5f, 0.1f}, expected[] = {0.3f, 0, 0.7f, 0, 0};
  float y[5], dx[5];
  wml_activation_row_forward(WML_SPARSEMAX, x, y, 5);
  for (int i = 0; i < 5; i++) near("sparsemax", (double)y[i], (double)expected[i], 1e-6);
  /* Adding a number to all logits changes nothing but their rounding. */
  static const float far[] = {2e7f, 2e7f - 4, 2e7f, -2e7f}, half[] = {0.5f, 0, 0.5f, 0};
  wml_activation_row_forward(WML_SPARSEMAX, far, y, 4);
  for (int i = 0; i < 4; i++) near("sparsemax at 2e7", (double)y[i], (double)half[i], 0.0);
  static const float open[] = {-INFINITY, 0, -INFINITY, 0.25f};
  check_sparsemax("sparsemax with -inf", open, 4, 1e-6);
  float many[1000];
  test_random random = {8};
  for (int scale = 0; scale < 9; scale++) {
    test_fill(&random, many, 1000, 0.0f, 1e-3f * powf(10.0f, (float)scale));
    check_sparsemax("sum of sparsemax", many, 1000, 1e-6);
  }
  for (int i = 0; i < 5; i++) { /* one NaN, wherever it is, spoils the row and its gradient */
    static const float dy[] = {1, 2, 3, 4, 5};
    float row[] = {0.8f, -3, 1.2f, 0.5f, 0.1f};
    row[i] = NAN;
    wml_activation_row_forward(WML_SPARSEMAX, row, y, 5);
    wml_activation_row_backward(WML_SPARSEMAX, dy, row, y, dx, 5);
    for (int k = 0; k < 5; k++) CHECKF(isnan(y[k]) && isnan(dx[k]), "NaN at %d, not at %d", i, k);
  }
}

static double bce(const float *p, const float *t, long n) {
  wml_loss loss = {.kind = WML_BINARY_CROSSENTROPY};
  return wml_loss_row(&loss, p, (wml_target){t, 0}, n, NULL);
}

static void test_losses(void) {
  static const float p[] = {1, 0, 1, 0}, t[] = {1, 1, 1, 0};
  near("binary cross-entropy of a wrong certainty, float32", bce(t, p, 4), 3.98559, 1e-4);
  /* softmax output with binary cross-entropy: Keras works on the logits */
  static const float z[] = {2, -1}, one[] = {1, 0};
  wml_loss logits = {.kind = WML_BINARY_CROSSENTROPY, .from_logits = true};
  near("sigmoid loss on softmax logits", wml_loss_row(&logits, z, (wml_target){one, 0}, 2, NULL),
       0.220095, 1e-6);
  wml_loss cosine = {.kind = WML_COSINE_SIMILARITY};
  static const float zero[] = {0, 0};
  near("cosine of the zero vector", wml_loss_row(&cosine, zero, (wml_target){one, 0}, 2, NULL), 0.0,
       0.0);
  wml_loss huber = {.kind = WML_HUBER, .delta = 1};
  static const float far[] = {3, 0.5f}, nothing[] = {0, 0};
  near("huber", wml_loss_row(&huber, far, (wml_target){nothing, 0}, 2, NULL), (2.5 + 0.125) / 2,
       1e-7);
  wml_loss hinge = {.kind = WML_HINGE};
  static const float q[] = {1}, label[] = {1};
  float d;
  wml_loss_row(&hinge, q, (wml_target){label, 0}, 1, &d);
  CHECK(d == -1.0f); /* at a margin of exactly 0 the gradient passes */
  wml_loss kld = {.kind = WML_KL_DIVERGENCE};
  static const float a[] = {0.4f, 0.6f}, b[] = {0.5f, 0.5f};
  near("kl divergence is a sum", wml_loss_row(&kld, a, (wml_target){b, 0}, 2, NULL),
       0.5 * log(0.5 / 0.4) + 0.5 * log(0.5 / 0.6), 1e-7);
}

/* The mean of the rows' losses; p, t: [rows, k], t NULL: the label of each row is its number. */
static double mean_loss(const wml_loss *loss, const float *p, const float *t, int rows, long k) {
  double sum = 0.0;
  for (int i = 0; i < rows; i++)
    sum += wml_loss_row(loss, p + i * k, (wml_target){t ? t + i * k : NULL, i}, k, NULL);
  return sum / rows;
}

/* Figures of Keras's own tests, to the digits that they have there. */
static void test_focal_losses(void) {
  static const float yes[] = {1, 0, 1, 0}, p[] = {0.9f, 0.8f, 0.7f, 0.2f},
                     some[] = {1, 1, 0, 0, 1, 0}, z[] = {1.5f, -2.7f, 2.9f, -3.8f, 1.2f, -4.5f};
  wml_loss binary = {.kind = WML_BINARY_FOCAL_CROSSENTROPY, .gamma = 2.0f, .alpha = 0.25f};
  near("binary focal", mean_loss(&binary, p, yes, 2, 2), 0.268, 5e-4);
  wml_loss balanced = binary, smoothed = binary;
  balanced.apply_class_balancing = true;
  near("binary focal, balanced", mean_loss(&balanced, p, yes, 1, 2),
       (0.25 * 0.01 * -log(0.9) + 0.75 * 0.64 * -log(0.2)) / 2.0, 1e-6);
  smoothed.label_smoothing = 0.2f; /* 0.9 and 0.1 */
  near("binary focal, smoothed", mean_loss(&smoothed, p, yes, 1, 1),
       0.18 * 0.18 * -(0.9 * log(0.9) + 0.1 * log(0.1)), 1e-6);
  binary.gamma = 3.0f, binary.from_logits = true;
  near("binary focal of logits", mean_loss(&binary, z, some, 2, 3), 0.799, 5e-4);
  static const float q[] = {0.9f, 0.05f, 0.05f, 0.5f, 0.89f, 0.6f, 0.05f, 0.01f, 0.94f},
                     far[] = {8, 1, 1, 0, 9, 1, 2, 3, 5}, one[] = {1, 0, 0};
  wml_loss focal = {.kind = WML_CATEGORICAL_FOCAL_CROSSENTROPY, .gamma = 2.0f, .alpha = 0.25f};
  near("categorical focal", mean_loss(&focal, q, NULL, 3, 3), 0.02059, 1e-5);
  smoothed = focal;
  smoothed.label_smoothing = 0.3f; /* 0.8, 0.1, 0.1 */
  near("categorical focal, smoothed", mean_loss(&smoothed, q, one, 1, 3),
       -0.25 * (0.8 * 0.01 * log(0.9) + 0.2 * 0.95 * 0.95 * log(0.05)), 1e-6);
  focal.from_logits = true;
  near("categorical focal of logits", mean_loss(&focal, far, NULL, 3, 3), 0.000345, 5e-7);
}

static void test_label_losses(void) {
  static const float p[] = {0.7f, 0.3f, 0.2f, 0.8f}, z[] = {2, -1, 0.5f}, second[] = {1},
                     nothing[] = {1, 0};
  float d[2];
  wml_loss general = {.kind = WML_CATEGORICAL_GENERALIZED_CROSS_ENTROPY, .q = 0.5f};
  near("generalized", mean_loss(&general, p, NULL, 2, 2),
       (1.0 - sqrt(0.7) + 1.0 - sqrt(0.8)) / 0.5 / 2.0, 1e-6);
  wml_loss_row(&general, nothing, (wml_target){second, 0}, 2, d);
  CHECK(isfinite(d[1]) && d[1] < -1e3f && d[0] == 0.0f); /* at probability 0 */
  general.from_logits = true;
  double own = exp(-1.0) / (exp(2.0) + exp(-1.0) + exp(0.5));
  near("generalized of logits", wml_loss_row(&general, z, (wml_target){second, 0}, 3, NULL),
       (1.0 - sqrt(own)) / 0.5, 1e-6);
  /* smoothing of an index is that of its one-hot */
  static const float hot[] = {0, 1, 0};
  wml_loss sparse = {.kind = WML_SPARSE_CATEGORICAL_CROSSENTROPY, .label_smoothing = 0.1f},
           dense = {.kind = WML_CATEGORICAL_CROSSENTROPY, .label_smoothing = 0.1f};
  sparse.from_logits = dense.from_logits = true;
  near("sparse, smoothed", wml_loss_row(&sparse, z, (wml_target){second, 0}, 3, NULL),
       wml_loss_row(&dense, z, (wml_target){hot, 0}, 3, NULL), 0.0);
  near("smoothed", wml_loss_row(&dense, z, (wml_target){hot, 0}, 3, NULL),
       0.9 * -log(own) + 0.1 * (log(exp(2.0) + exp(-1.0) + exp(0.5)) - 0.5), 1e-6);
}

/* One value for the whole batch; figures of Keras's tests. Weights of rows count by their mean. */
static void test_batch_losses(void) {
  static const float t[] = {1, 2, 1, 2}, p[] = {4, 1, 6, 1}, weight[] = {0.5f, 2.5f};
  wml_op op = {.kind = WML_OP_LOSS};
  op.u.loss.weight = 1.0f;
  op.u.loss.loss = (wml_loss){.kind = WML_DICE, .alpha = 9, .beta = 9};
  wml_rows rows = {.p = p, .target_dense = t, .k = 2, .target_k = 2, .rows_per_sample = 1};
  wml_overlap sum = wml_rows_overlap(&op, &rows, 0, 2);
  near("dice", wml_overlap_value(&op, &sum, 2).value, -0.55555546, 2e-7);
  op.u.loss.loss = (wml_loss){.kind = WML_TVERSKY, .alpha = 0.2f, .beta = 0.8f};
  near("tversky", wml_overlap_value(&op, &sum, 2).value, -0.94444442, 2e-7);
  rows.weight = weight;
  sum = wml_rows_overlap(&op, &rows, 0, 2);
  near("tversky, weighted", wml_overlap_value(&op, &sum, 2).value, 1.5 * -0.94444442, 3e-7);
}

/* lr .1, other defaults, w0 = [1, 2], three gradients: the weights after each step. The formulas
 * behind these figures reproduce Keras's golden tables to four decimals. */
static void test_optimizers(void) {
  static const float g[3][2] = {{0.1f, -0.2f}, {0.3f, 0.4f}, {-0.5f, 0.05f}};
  static const struct {
    const char *name;
    wml_optimizer o;
    double w[3][2];
  } rows[] = {
      {"sgd momentum",
       {.kind = WML_SGD, .momentum = 0.9f},
       {{.99, 2.02}, {.951, 1.998}, {.9659, 1.9732}}},
      {"sgd nesterov",
       {.kind = WML_SGD, .momentum = 0.9f, .nesterov = true},
       {{.981, 2.038}, {.9159, 1.9782}, {.97931, 1.95088}}},
      {"adam",
       {.kind = WML_ADAM},
       {{.900003162, 2.09999842}, {.808225968, 2.06338833}, {.824317312, 2.02816197}}},
      {"adamax",
       {.kind = WML_ADAMAX},
       {{.9000001, 2.09999995}, {.83157907, 2.07105259}, {.842575378, 2.04815146}}},
      {"nadam",
       {.kind = WML_NADAM},
       {{.893721326, 2.10627873}, {.794512816, 2.01811218}, {.879183603, 2.0020383}}},
      {"adadelta",
       {.kind = WML_ADADELTA, .rho = 0.95f},
       {{.999858593, 2.00014142}, {.999668391, 1.99996163}, {.999901946, 1.99993105}}},
      {"ftrl",
       {.kind = WML_FTRL, .learning_rate_power = -0.5f, .initial_accumulator = 0.1f},
       {{.0163862763, .363143739}, {-.050695763, .290114065}, {.0238398362, .281023156}}},
  };
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    wml_optimizer o = rows[i].o;
    o.beta_1 = 0.9f, o.beta_2 = 0.999f, o.epsilon = 1e-7f;
    for (int k = 0; k < 2; k++) {
      float w = k ? 2.0f : 1.0f, s[3] = {wml_optimizer_initial(&o, 0), 0, 0};
      for (int step = 0; step < 3; step++) {
        wml_optimizer_step prepared = wml_optimizer_prepare(&o, 0.1f, step + 1);
        w = wml_optimizer_element(&o, &prepared, w, g[step][k], &s[0], &s[1], &s[2]);
        near(rows[i].name, (double)w, rows[i].w[step][k], 3e-6);
      }
    }
  }
}

/* LAMB's first direction is the sign of the gradient; EMA's first step copies. */
static void test_lamb_and_average(void) {
  wml_optimizer o = {
      .kind = WML_LAMB, .beta_1 = 0.9f, .beta_2 = 0.999f, .epsilon = 1e-7f, .ema_momentum = 0.99f};
  wml_optimizer_step first = wml_optimizer_prepare(&o, 0.1f, 1),
                     later = wml_optimizer_prepare(&o, 0.1f, 2);
  float m = 0.0f, v = 0.0f;
  near("lamb", (double)wml_optimizer_lamb(&o, &first, -0.02f, &m, &v), -1.0, 1e-4);
  near("lamb, second step", (double)wml_optimizer_lamb(&o, &later, 0.03f, &m, &v),
       ((-0.9 * 0.1 * 0.02 + 0.1 * 0.03) / (1 - 0.81)) /
           (sqrt((0.999 * 0.001 * 0.0004 + 0.001 * 0.0009) / (1 - 0.998001)) + 1e-7),
       1e-3);
  CHECK(wml_optimizer_trust(3.0, 2.0) == 1.5 && wml_optimizer_trust(0.0, 2.0) == 1.0 &&
        wml_optimizer_trust(3.0, 0.0) == 1.0);
  near("average", (double)wml_optimizer_average(&first, 5.0f, 2.0f), 2.0, 0.0);
  near("average later", (double)wml_optimizer_average(&later, 5.0f, 2.0f), 0.99 * 5 + 0.01 * 2,
       1e-6);
}

/* Keras's formulas in double; MinMaxNorm's rate, and norms of 0, which stay 0. */
static void test_constraints(void) {
  wml_constraint most = {.kind = WML_MAX_NORM, .max_value = 2.0f, .axes = 1},
                 between = {.kind = WML_MIN_MAX_NORM,
                            .min_value = 0.5f,
                            .max_value = 2.0f,
                            .rate = 0.25f,
                            .axes = 1},
                 unit = {.kind = WML_UNIT_NORM, .axes = 1};
  near("max_norm", (double)wml_constraint_factor(&most, 8.0), 0.25, 1e-7);
  near("max_norm within", (double)wml_constraint_factor(&most, 1.5), 1.0, 1e-6);
  near("unit_norm", (double)wml_constraint_factor(&unit, 4.0), 0.25, 1e-7);
  near("min_max_norm above", (double)wml_constraint_factor(&between, 8.0), (0.5 + 6.0) / 8.0, 1e-6);
  near("min_max_norm below", (double)wml_constraint_factor(&between, 0.25), (0.125 + 0.1875) / 0.25,
       1e-6);
  near("max_norm of 0", (double)wml_constraint_factor(&most, 0.0), 0.0, 0.0);
  /* [2, 3], along each axis and along both */
  static const float w[] = {3, 0, 1, 4, 2, 0};
  static const int64_t dim[] = {2, 3};
  static const double norm[3][3] = {{5, 2, 1}, {3.16227766, 4.47213595}, {5.47722558}};
  for (int axes = 1; axes <= 3; axes++) {
    unit.axes = axes;
    wml_constrained view = wml_constrained_row_major(&unit, 2, dim);
    CHECK(wml_constrained_count(&view, false) == (axes == 1 ? 3 : axes == 2 ? 2 : 1));
    for (int64_t k = 0; k < wml_constrained_count(&view, false); k++)
      near("norm", 1.0 / (double)wml_constrained_factor(&unit, &view, w, k), norm[axes - 1][k],
           1e-5);
  }
}

/* A learning rate that is twice as large, whatever else a step has. */
static void test_scaled_steps(void) {
  for (int k = 0; k < WML_N_OPTIMIZERS; k++) {
    wml_optimizer o = {.kind = (wml_optimizer_kind)k,
                       .rho = 0.9f,
                       .beta_1 = 0.9f,
                       .beta_2 = 0.99f,
                       .epsilon = 1e-7f,
                       .learning_rate_power = -0.5f,
                       .weight_decay = 0.1f};
    if (k == WML_LAMB) continue; /* its rate is the step's */
    wml_optimizer_step plain = wml_optimizer_prepare(&o, 0.2f, 3),
                       scaled = wml_optimizer_scaled(&o, wml_optimizer_prepare(&o, 0.1f, 3), 2.0f);
    float a[3] = {0.1f, 0.2f, 0.3f}, b[3] = {0.1f, 0.2f, 0.3f};
    near("twice the rate",
         (double)wml_optimizer_element(&o, &scaled, 1.5f, 0.3f, &b[0], &b[1], &b[2]),
         (double)wml_optimizer_element(&o, &plain, 1.5f, 0.3f, &a[0], &a[1], &a[2]), 2e-7);
  }
}

/* Steps 5 and 6 of an accumulation over 3: rates are the steps', everything else is the updates'.
 */
static void test_accumulation(void) {
  wml_optimizer o = {.kind = WML_ADAM, .beta_1 = 0.9f, .beta_2 = 0.99f, .ema_momentum = 0.5f},
                plain = o;
  o.accumulation = 3, o.use_ema = true;
  CHECK(wml_optimizer_slots(&o) == 4 && wml_optimizer_sum_slot(&o) == 3);
  wml_optimizer_step third = wml_optimizer_prepare(&o, 0.1f, 3),
                     fifth = wml_optimizer_prepare(&o, 0.1f, 5),
                     sixth = wml_optimizer_prepare(&o, 0.1f, 6),
                     second = wml_optimizer_prepare(&plain, 0.1f, 2);
  CHECK(third.updates && third.ema == 0.0f && !fifth.updates && fifth.ema == 0.5f);
  CHECK(sixth.updates && sixth.alpha == second.alpha && second.updates);
  float sum = 4.0f;
  CHECK(wml_optimizer_accumulate(&o, &fifth, 2.0f, &sum) == 2.0f && sum == 6.0f);
  CHECK(wml_optimizer_accumulate(&o, &sixth, 3.0f, &sum) == 3.0f && sum == 0.0f);
}

static void test_metrics(void) {
  wml_metric auc = {WML_AUC, 0, 0.5f};
  double state[2 * (WML_AUC_THRESHOLDS + 1)] = {0};
  static const float p[] = {0, 0.5f, 0.3f, 0.9f},
                     t[] = {0, 0, 1, 1}; /* the example of Keras's documentation: 0.75 */
  for (int i = 0; i < 4; i++) wml_metric_add(&auc, &p[i], (wml_target){&t[i], 0}, 1, 1.0, state);
  near("auc", wml_metric_value(&auc, state, 1), 0.75, 1e-12);
  wml_metric r2 = {WML_R2_SCORE, 0, 0};
  double sums[10] = {0};
  static const float said[3][3] = {{1, 2, 3}, {5, 5, 6}, {7, 8, 9}},
                     truth[3][3] = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  for (int i = 0; i < 3; i++) wml_metric_add(&r2, said[i], (wml_target){truth[i], 0}, 3, 1.0, sums);
  near("r2", wml_metric_value(&r2, sums, 3), (1.0 - 1.0 / 18.0 + 2.0) / 3.0, 1e-12);
  wml_metric top = {WML_TOP_K_CATEGORICAL_ACCURACY, 2, 0};
  double acc[2] = {0};
  static const float y[] = {0.1f, 0.5f, 0.4f};
  wml_metric_add(&top, y, (wml_target){NULL, 2}, 3, 1.0, acc);
  wml_metric_add(&top, y, (wml_target){NULL, 0}, 3, 1.0, acc);
  near("top k", wml_metric_value(&top, acc, 3), 0.5, 0.0);
}

/* Known answers of the reference implementation (Random123's kat_vectors). */
static void test_philox(void) {
  wml_philox r = wml_philox_at(0, 0, 0, 0);
  CHECK(r.word[0] == 0x6627e8d5u && r.word[1] == 0xe169c58du && r.word[2] == 0xbc57ac4cu &&
        r.word[3] == 0x9b00dbd8u);
  r = wml_philox_at(UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT64_MAX);
  CHECK(r.word[0] == 0x408f276du && r.word[1] == 0x41c83b0eu && r.word[2] == 0xa20bc7c6u &&
        r.word[3] == 0x6d5451fdu);
  enum { N = 100000 };
  static float x[N], y[N];
  for (int i = 0; i < N; i++) x[i] = 1.0f;
  wml_dropout_apply(7, 3, 1, 0.3f, 0, x, y, N);
  double kept = 0;
  for (int i = 0; i < N; i++) kept += y[i] != 0.0f;
  near("share kept by dropout", kept / N, 0.7, 0.01);
  wml_dropout_apply(7, 3, 1, 0.3f, 1, x, y + 4, 8); /* a range begins where the whole has it */
  float again[12];
  wml_dropout_apply(7, 3, 1, 0.3f, 0, x, again, 12);
  CHECK(test_difference(y + 4, again + 4, 8) == 0.0);
}

/* A 4x4 picture 0..15 through Keras's own formula (2.9 and later), order 1, nearest fill. */
static void test_warp(void) {
  static const struct {
    const char *name;
    float theta, shear, zx, zy;
    bool flip;
    float rows[4][4];
  } cases[] = {
      {"90 degrees counter-clockwise",
       90,
       0,
       1,
       1,
       false,
       {{3, 7, 11, 15}, {2, 6, 10, 14}, {1, 5, 9, 13}, {0, 4, 8, 12}}},
      {"zoom of columns and rows",
       0,
       0,
       0.8f,
       1.2f,
       false,
       {{.3f, 1.1f, 1.9f, 2.7f},
        {3.9f, 4.7f, 5.5f, 6.3f},
        {8.7f, 9.5f, 10.3f, 11.1f},
        {12.3f, 13.1f, 13.9f, 14.7f}}},
      {"flip", 0, 0, 1, 1, true, {{3, 2, 1, 0}, {7, 6, 5, 4}, {11, 10, 9, 8}, {15, 14, 13, 12}}},
      {"rotated, then flipped",
       90,
       0,
       1,
       1,
       true,
       {{15, 11, 7, 3}, {14, 10, 6, 2}, {13, 9, 5, 1}, {12, 8, 4, 0}}}};
  uint8_t picture[16];
  float out[16];
  for (int i = 0; i < 16; i++) picture[i] = (uint8_t)i;
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    wml_warp w =
        wml_warp_of(cases[k].theta, cases[k].shear, cases[k].zx, cases[k].zy, cases[k].flip);
    wml_warp_image(&w, picture, 4, 4, 1, 1.0f, out);
    for (int i = 0; i < 16; i++)
      near(cases[k].name, (double)out[i], (double)cases[k].rows[i / 4][i % 4], 2e-5);
  }
  wml_augment a = {.rotation = 30, .shear = 20, .zoom = 0.2f, .flip = true};
  double low = 0, flips = 0;
  for (uint64_t i = 0; i < 2000; i++) {
    wml_warp w = wml_augment_sample(&a, 1, 2, i, 4, 4),
             again = wml_augment_sample(&a, 1, 2, i, 4, 4);
    CHECK(w.xx == again.xx && w.yy == again.yy && w.flip == again.flip);
    low += w.yx < 0;
    flips += w.flip;
    CHECK(w.xx <= 1.2f && w.xx >= 0.8f * 0.866f - 1e-5f && fabsf(w.yx) <= 0.5f * 1.2f + 1e-5f);
  }
  near("share of clockwise angles", low / 2000, 0.5, 0.05);
  near("share of flips", flips / 2000, 0.5, 0.05);
}

/* The rows that stand in SciPy's documentation, and the range of a channel shift. */
static void test_fills(void) {
  static const struct {
    wml_fill fill;
    float row[10];
  } cases[] = {{WML_FILL_NEAREST, {10, 10, 10, 10, 20, 30, 40, 40, 40, 40}},
               {WML_FILL_CONSTANT, {7, 7, 7, 10, 20, 30, 40, 7, 7, 7}},
               {WML_FILL_REFLECT, {30, 20, 10, 10, 20, 30, 40, 40, 30, 20}},
               {WML_FILL_WRAP, {10, 20, 30, 10, 20, 30, 40, 20, 30, 40}}};
  static const uint8_t row[] = {10, 20, 30, 40};
  float out[4];
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
    for (int shift = -3; shift <= 3; shift++) {
      wml_warp w = wml_warp_of(0, 0, 1, 1, false);
      w.fill = cases[k].fill, w.fill_value = 7.0f, w.trivial = false;
      w.dx = (float)shift + (shift < 0 ? 1e-5f : -1e-5f); /* rounding does not leave the picture */
      wml_warp_image(&w, row, 1, 4, 1, 1.0f, out);
      for (int i = 0; i < 4; i++) {
        bool ours = cases[k].fill != WML_FILL_WRAP || (i + shift > -3 && i + shift < 7);
        if (ours) near("fill", (double)out[i], (double)cases[k].row[i + shift + 3], 1e-2);
      }
    }
  wml_warp w = wml_warp_of(0, 0, 1, 1, false);
  w.shift = 15.0f;
  wml_warp_image(&w, row, 1, 4, 1, 0.5f, out);
  static const float shifted[] = {12.5f, 17.5f, 20.0f, 20.0f};
  for (int i = 0; i < 4; i++) near("channel shift", (double)out[i], (double)shifted[i], 1e-5);
  wml_augment a = {.channel_shift = 30, .fill = WML_FILL_WRAP, .fill_value = 3};
  double low = 0, least = 0, most = 0;
  for (uint64_t i = 0; i < 2000; i++) {
    w = wml_augment_sample(&a, 1, 2, i, 4, 4);
    CHECK(w.trivial && w.fill == WML_FILL_WRAP && w.fill_value == 3.0f && w.gain == 1.0f);
    low += w.shift < 0;
    least = fmin(least, (double)w.shift);
    most = fmax(most, (double)w.shift);
  }
  near("share of darker pictures", low / 2000, 0.5, 0.05);
  CHECK(least >= -30 && least < -29 && most <= 30 && most > 29);
}

/* Shifts, crops, vertical flips and brightness. */
static void test_more_augmentation(void) {
  uint8_t picture[16];
  float out[16];
  for (int i = 0; i < 16; i++) picture[i] = (uint8_t)(i * 10);
  wml_warp w = wml_warp_of(0, 0, 1, 1, false);
  w.dx = 1.0f, w.dy = -1.0f, w.trivial = false; /* pulled from the right and from above */
  wml_warp_image(&w, picture, 4, 4, 1, 1.0f, out);
  static const float moved[] = {10, 20, 30, 30, 10, 20, 30, 30, 50, 60, 70, 70, 90, 100, 110, 110};
  for (int i = 0; i < 16; i++) near("shift", (double)out[i], (double)moved[i], 1e-5);
  w = wml_warp_of(0, 0, 1, 1, false);
  w.vertical_flip = true, w.gain = 2.0f;
  wml_warp_image(&w, picture, 4, 4, 1, 1.0f, out);
  for (int i = 0; i < 16; i++) {
    double value = 2.0 * picture[(3 - i / 4) * 4 + i % 4];
    near("vertical flip, twice as bright", (double)out[i], value > 255 ? 255 : value, 1e-5);
  }
  wml_augment a = {.width_shift = 0.25f, .height_shift = 0.5f};
  wml_augment c = {.crop = 0.4f, .brightness = 0.3f, .vertical_flip = true};
  double left = 0, flips = 0, largest = 0, side = 0, gain = 0;
  for (uint64_t i = 0; i < 4000; i++) {
    w = wml_augment_sample(&a, 1, 2, i, 10, 20);
    CHECK(fabsf(w.dx) <= 5.0f && fabsf(w.dy) <= 5.0f && w.xx == 1.0f && w.gain == 1.0f);
    left += w.dx < 0;
    largest = fmax(largest, (double)fabsf(w.dy));
    w = wml_augment_sample(&c, 1, 2, i, 10, 20);
    /* The window lies inside the picture. */
    CHECK(w.xx > 0.599f && w.xx <= 1.0f && w.xx == w.yy && w.xy == 0.0f);
    CHECK(fabsf(w.dx) <= 0.5f * (1.0f - w.xx) * 20.0f + 1e-5f);
    CHECK(fabsf(w.dy) <= 0.5f * (1.0f - w.xx) * 10.0f + 1e-5f);
    flips += w.vertical_flip, side += (double)w.xx, gain += (double)w.gain;
    CHECK(w.gain >= 0.7f && w.gain <= 1.3f);
  }
  near("share of shifts to the left", left / 4000, 0.5, 0.03);
  near("largest shift", largest, 5.0, 0.05);
  near("share of vertical flips", flips / 4000, 0.5, 0.03);
  near("mean side of windows", side / 4000, 0.8, 0.01);
  near("mean brightness", gain / 4000, 1.0, 0.01);
}

int main(void) {
  test_more_augmentation();
  test_fills();
  test_activations();
  test_derivatives();
  test_sparsemax();
  test_losses();
  test_focal_losses();
  test_label_losses();
  test_batch_losses();
  test_optimizers();
  test_lamb_and_average();
  test_constraints();
  test_scaled_steps();
  test_accumulation();
  test_metrics();
  test_philox();
  test_warp();
  return test_report();
}
