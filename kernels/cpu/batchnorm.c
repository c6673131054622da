/* BatchNormalization over the last axis, by own code. Sums are formed over fixed pieces of rows and
 * added in their order: the same bits for any number of threads. */
#include "cpu.h"

#include <string.h>

enum { NORM_ROWS = 1024 }; /* rows of one partial sum */

typedef struct norm_job {
  const wml_plan *plan;
  vec_norm norm;
  int x, dy, out;    /* tensors; dy: -1 in forward passes */
  const float *mean; /* NULL in the first pass */
  const float *sums;
  double *partial; /* [pieces, width] */
  int64_t rows, c, width;
} norm_job;

static int64_t pieces_of(int64_t rows) {
  return (rows + NORM_ROWS - 1) / NORM_ROWS;
}

static int64_t rows_of(const wml_tensor *t) {
  return wml_elements(t) / t->dim[t->rank - 1];
}

static void sums_range(void *arg, int64_t begin, int64_t end) {
  const norm_job *j = arg;
  const vec_table *vec = j->plan->device->vec;
  for (int64_t p = begin; p < end; p++) {
    int64_t r0 = p * NORM_ROWS, n = j->rows - r0 < NORM_ROWS ? j->rows - r0 : NORM_ROWS;
    double *sum = j->partial + p * j->width;
    memset(sum, 0, (size_t)j->width * sizeof *sum);
    const void *x = cpu_at(j->plan, j->x, r0 * j->c);
    if (j->dy >= 0)
      vec->norm_bwd_sums(&j->norm, cpu_at(j->plan, j->dy, r0 * j->c), x, sum, n);
    else
      vec->norm_sums(&j->norm, x, j->mean, sum, n);
  }
}

/* The sums of all pieces end up in the first. */
static void total(norm_job *j) {
  int64_t pieces = pieces_of(j->rows);
  cpu_parallel(pieces, 1, sums_range, j);
  for (int64_t p = 1; p < pieces; p++)
    for (int64_t i = 0; i < j->width; i++) j->partial[i] += j->partial[p * j->width + i];
}

static void apply_range(void *arg, int64_t begin, int64_t end) {
  const norm_job *j = arg;
  const vec_table *vec = j->plan->device->vec;
  const void *x = cpu_at(j->plan, j->x, begin * j->c);
  void *out = cpu_at(j->plan, j->out, begin * j->c);
  if (j->dy >= 0)
    vec->norm_bwd(&j->norm, cpu_at(j->plan, j->dy, begin * j->c), x, j->sums, out, end - begin);
  else
    vec->norm(&j->norm, x, out, end - begin);
}

static norm_job job_of(const cpu_step *step, const cpu_node *node, int x) {
  const wml_plan *plan = step->plan;
  const wml_tensor *t = cpu_info(plan, x);
  norm_job j = {.plan = plan,
                .x = x,
                .dy = -1,
                .out = node->op.out[0],
                .rows = rows_of(t),
                .c = t->dim[t->rank - 1]};
  j.width = j.c;
  j.norm.c = j.c;
  j.norm.narrow = cpu_is_narrow(plan, x);
  j.norm.epsilon = node->op.u.batchnorm.epsilon;
  j.partial = node->temp[0] >= 0 ? plan->tensors[node->temp[0]].data : NULL;
  return j;
}

static void run_train(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  norm_job j = job_of(step, node, op->in[0]);
  float *mean = cpu_f32(plan, op->out[1]), *var = cpu_f32(plan, op->out[2]);
  float *moving_mean = cpu_f32(plan, op->in[3]), *moving_var = cpu_f32(plan, op->in[4]);
  float m = op->u.batchnorm.momentum;
  total(&j);
  for (int64_t c = 0; c < j.c; c++) mean[c] = (float)(j.partial[c] / (double)j.rows);
  j.mean = mean;
  total(&j);
  for (int64_t c = 0; c < j.c; c++) {
    var[c] = (float)(j.partial[c] / (double)j.rows);
    moving_mean[c] = moving_mean[c] * m + mean[c] * (1.0f - m);
    moving_var[c] = moving_var[c] * m + var[c] * (1.0f - m);
  }
  j.norm.gamma = cpu_f32(plan, op->in[1]);
  j.norm.beta = cpu_f32(plan, op->in[2]);
  j.norm.mean = mean;
  j.norm.var = var;
  cpu_parallel(j.rows, 1 + 4096 / j.c, apply_range, &j);
}

static void run_infer(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  norm_job j = job_of(step, node, op->in[0]);
  j.norm.gamma = cpu_f32(plan, op->in[1]);
  j.norm.beta = cpu_f32(plan, op->in[2]);
  j.norm.mean = cpu_f32(plan, op->in[3]);
  j.norm.var = cpu_f32(plan, op->in[4]);
  cpu_parallel(j.rows, 1 + 4096 / j.c, apply_range, &j);
}

static void run_backward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  norm_job j = job_of(step, node, op->in[1]);
  bool batch_statistics = op->kind == WML_OP_BATCHNORM_BWD;
  j.width = 2 * j.c;
  j.dy = op->in[0];
  j.norm.gamma = cpu_f32(plan, op->in[2]);
  j.norm.mean = cpu_f32(plan, op->in[3]);
  j.norm.var = cpu_f32(plan, op->in[4]);
  float *dgamma = cpu_f32(plan, op->out[1]), *dbeta = cpu_f32(plan, op->out[2]);
  float *sums = cpu_f32(plan, node->temp[1]);
  total(&j);
  for (int64_t c = 0; c < j.c; c++) {
    if (dbeta) dbeta[c] = (float)j.partial[c];
    if (dgamma) dgamma[c] = (float)j.partial[j.c + c];
  }
  double count = batch_statistics ? 1.0 / (double)j.rows : 0.0;
  for (int64_t i = 0; i < j.width; i++) sums[i] = (float)(j.partial[i] * count);
  j.sums = sums;
  if (j.out >= 0) cpu_parallel(j.rows, 1 + 4096 / j.c, apply_range, &j);
}

/* Values all of one type. */
static bool takes(const wml_plan *plan, const wml_op *op, int x) {
  return cpu_same_type(plan, x, op->out[0]) && cpu_same_type(plan, x, op->in[0]);
}

static wml_result plan_with(wml_plan *plan, cpu_node *node, int x, int64_t width_factor) {
  if (!takes(plan, &node->op, x)) return WML_UNSUPPORTED;
  const wml_tensor *t = cpu_info(plan, x);
  int64_t c = t->dim[t->rank - 1], at = node - plan->nodes;
  size_t bytes = (size_t)(pieces_of(rows_of(t)) * c * width_factor) * sizeof(double);
  node->temp[0] = cpu_add_temporary(plan, bytes, (int)at);
  node->temp[1] = cpu_add_temporary(plan, (size_t)(2 * c) * sizeof(float), (int)at);
  node->name = "own:nhwc";
  return node->temp[0] < 0 || node->temp[1] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_train(wml_plan *plan, cpu_node *node) {
  node->run = run_train;
  return plan_with(plan, node, node->op.in[0], 1);
}

static wml_result plan_infer(wml_plan *plan, cpu_node *node) {
  if (!takes(plan, &node->op, node->op.in[0])) return WML_UNSUPPORTED;
  node->name = "own:nhwc";
  node->inline_ = true;
  node->run = run_infer;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  node->run = run_backward;
  return plan_with(plan, node, node->op.in[1], 2);
}

const cpu_implementation cpu_batchnorm_train[] = {{plan_train, true}, {NULL, false}};
const cpu_implementation cpu_batchnorm_infer[] = {{plan_infer, true}, {NULL, false}};
const cpu_implementation cpu_batchnorm_bwd[] = {{plan_backward, true}, {NULL, false}};
