/* Sums, means and greatest values along some dimensions, and their gradients. */
#include "reduction.h"

/* Elements of `t` for each of `part`, which is reduced. */
static int64_t share_of(const wml_plan *plan, int t, int part) {
  return wml_elements(cpu_info(plan, t)) / wml_elements(cpu_info(plan, part));
}

/* The result `y` of reducing x, then x. */
static cpu_reduction reduction_of(const wml_plan *plan, int x, int y, int n_arrays) {
  const wml_tensor *tx = cpu_info(plan, x);
  const wml_strides result = wml_strides_broadcast(tx, cpu_info(plan, y)),
                    all = wml_strides_broadcast(tx, tx), s[] = {result, all, result};
  return cpu_reduction_of(plan->device, s, n_arrays);
}

static wml_result add_parts(wml_plan *plan, cpu_node *node, const cpu_reduction *r) {
  size_t bytes = cpu_reduction_bytes(r);
  node->temp[0] = bytes ? cpu_add_temporary(plan, bytes, (int)(node - plan->nodes)) : -1;
  return bytes && node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static double *parts_of(const wml_plan *plan, const cpu_node *node) {
  return node->temp[0] < 0 ? NULL : plan->tensors[node->temp[0]].data;
}

/* ---- forward ---- */

typedef struct forward_job {
  const wml_plan *plan;
  int x;
  bool greatest, narrow;
} forward_job;

static void add_values(const void *arg, const int64_t *at, const int64_t *apart, int64_t rows,
                       int64_t n, double *value) {
  const forward_job *j = arg;
  const vec_elements_table *vec = j->plan->device->vec->elements;
  (j->greatest ? vec->greatest : vec->sums)(cpu_at(j->plan, j->x, at[1]), apart[1], rows, n, value,
                                            j->narrow);
}

static void run_forward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  int x = node->op.in[0], y = node->op.out[0];
  forward_job j = {plan, x, node->op.u.reduction == WML_REDUCE_MAX, cpu_is_narrow(plan, x)};
  cpu_reduction r = reduction_of(plan, x, y, 2);
  r.greatest = j.greatest;
  bool mean = node->op.u.reduction == WML_REDUCE_MEAN;
  cpu_reduction_run(&r, add_values, &j,
                    &(cpu_reduced){.data = plan->tensors[y].data,
                                   .narrow = cpu_is_narrow(plan, y),
                                   .scale = mean ? 1.0 / (double)share_of(plan, x, y) : 1.0,
                                   .parts = parts_of(plan, node)});
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  node->name = "own";
  node->inline_ = true;
  node->run = run_forward;
  cpu_reduction r = reduction_of(plan, node->op.in[0], node->op.out[0], 2);
  return add_parts(plan, node, &r);
}

/* ---- backward ---- */

enum { DX, DY, X, Y };

typedef struct backward_job {
  const wml_plan *plan;
  const wml_op *op;
  cpu_walk walk;
  float scale;
  float *shares; /* of MAX: of dy, for each that is the greatest */
} backward_job;

static vec_operand operand_of(const cpu_walk *walk, int array, const void *data) {
  return (vec_operand){data, cpu_walk_apart(walk, array), walk->stride[array][walk->rank - 1] == 0};
}

static void spread_rows(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  const backward_job *j = arg;
  vec_operand dy = operand_of(&j->walk, DY, cpu_at(j->plan, j->op->in[0], at[DY]));
  vec_result dx = {cpu_at(j->plan, j->op->out[0], at[DX]), n, rows, n};
  j->plan->device->vec->elements->affine(&dy, j->scale, 0.0f, &dx,
                                         cpu_is_narrow(j->plan, j->op->out[0]));
}

static cpu_walk backward_walk(const wml_plan *plan, const wml_op *op) {
  const wml_tensor *dx = cpu_info(plan, op->out[0]);
  const wml_strides all = wml_strides_broadcast(dx, dx),
                    result = wml_strides_broadcast(dx, cpu_info(plan, op->in[0])),
                    s[] = {[DX] = all, [DY] = result, [X] = all, [Y] = result};
  return cpu_walk_of(s, 4);
}

static void run_spread(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  bool mean = op->u.reduction == WML_REDUCE_MEAN;
  backward_job j = {.plan = plan, .op = op, .walk = backward_walk(plan, op)};
  j.scale = mean ? 1.0f / (float)share_of(plan, op->out[0], op->in[0]) : 1.0f;
  cpu_walk_run(&j.walk, spread_rows, &j);
}

static wml_result plan_spread(wml_plan *plan, cpu_node *node) {
  if (node->op.u.reduction == WML_REDUCE_MAX ||
      !cpu_same_type(plan, node->op.in[0], node->op.out[0]))
    return WML_UNSUPPORTED;
  node->name = "own";
  node->run = run_spread;
  return WML_OK;
}

/* ---- of MAX, in float32: dy divided by how many are the greatest, for each of them ---- */

/* The walk's arrays are the counts, x, y. */
static void add_counts(const void *arg, const int64_t *at, const int64_t *apart, int64_t rows,
                       int64_t n, double *value) {
  enum { BUFFER = 2048 };
  static const float one = 1.0f;
  const backward_job *j = arg;
  const vec_elements_table *vec = j->plan->device->vec->elements;
  float buffer[BUFFER];
  int64_t most = BUFFER / n;
  for (int64_t row = 0; row < rows; row += most) {
    int64_t some = rows - row < most ? rows - row : most;
    vec_operand x = operand_of(&j->walk, 1,
                               cpu_f32(j->plan, j->op->in[1]) + at[1] + row * apart[1]),
                y = operand_of(&j->walk, 2,
                               cpu_f32(j->plan, j->op->in[2]) + at[2] + row * apart[2]);
    x.apart = apart[1];
    y.apart = apart[2];
    vec->where_equal(&(vec_operand){&one, 0, true}, &x, &y, &(vec_result){buffer, n, some, n});
    vec->sums(buffer, n, some, n, value, false);
  }
}

static void share_range(void *arg, int64_t begin, int64_t end) {
  const backward_job *j = arg;
  const float *dy = cpu_f32(j->plan, j->op->in[0]);
  for (int64_t i = begin; i < end; i++) j->shares[i] = dy[i] / j->shares[i];
}

static void share_rows(void *arg, const int64_t *at, int64_t rows, int64_t n) {
  const backward_job *j = arg;
  const wml_op *op = j->op;
  vec_operand share = operand_of(&j->walk, DY, j->shares + at[DY]),
              x = operand_of(&j->walk, X, cpu_f32(j->plan, op->in[1]) + at[X]),
              y = operand_of(&j->walk, Y, cpu_f32(j->plan, op->in[2]) + at[Y]);
  j->plan->device->vec->elements->where_equal(
      &share, &x, &y, &(vec_result){cpu_f32(j->plan, op->out[0]) + at[DX], n, rows, n});
}

static void run_shares(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  cpu_reduction r = reduction_of(plan, op->in[1], op->in[2], 3);
  backward_job j = {.plan = plan, .op = op, .walk = r.walk};
  j.shares = cpu_f32(plan, node->temp[1]);
  cpu_reduction_run(&r, add_counts, &j,
                    &(cpu_reduced){.data = j.shares, .scale = 1.0, .parts = parts_of(plan, node)});
  cpu_parallel(wml_elements(cpu_info(plan, op->in[0])), 4096, share_range, &j);
  j.walk = backward_walk(plan, op);
  cpu_walk_run(&j.walk, share_rows, &j);
}

static wml_result plan_shares(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  if (op->u.reduction != WML_REDUCE_MAX) return WML_UNSUPPORTED;
  node->name = "own:shares";
  node->run = run_shares;
  size_t bytes = (size_t)wml_elements(cpu_info(plan, op->in[0])) * sizeof(float);
  node->temp[1] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
  if (node->temp[1] < 0) return WML_OUT_OF_MEMORY;
  cpu_reduction r = reduction_of(plan, op->in[1], op->in[2], 3);
  return add_parts(plan, node, &r);
}

const cpu_implementation cpu_reduce[] = {{plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_reduce_bwd[] = {
    {plan_spread, true}, {plan_shares, false}, {NULL, false}};
