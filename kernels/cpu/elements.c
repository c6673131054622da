/* Operations on each element of one value: scaling, noise, penalties of activity. */
#include "cpu.h"

enum { RANGE = 4096 };

typedef struct elements_job {
  const cpu_step *step;
  const cpu_node *node;
} elements_job;

static void run_over(cpu_step *step, cpu_node *node, cpu_body body) {
  elements_job job = {step, node};
  cpu_parallel(wml_elements(cpu_info(step->plan, node->op.in[0])), RANGE, body, &job);
}

static wml_result plan_with(const wml_plan *plan, cpu_node *node,
                            void (*run)(cpu_step *, cpu_node *)) {
  if (!cpu_same_type(plan, node->op.in[0], node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own";
  node->inline_ = true;
  node->run = run;
  return WML_OK;
}

/* ---- AFFINE ---- */

static void affine_range(void *arg, int64_t begin, int64_t end) {
  const elements_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_op *op = &j->node->op;
  vec_operand x = {.data = cpu_at(plan, op->in[0], begin)};
  vec_result y = {cpu_at(plan, op->out[0], begin), 0, 1, end - begin};
  plan->device->vec->elements->affine(&x, op->u.affine.scale, op->u.affine.offset, &y,
                                      cpu_is_narrow(plan, op->in[0]));
}

static void run_affine(cpu_step *step, cpu_node *node) {
  run_over(step, node, affine_range);
}

static wml_result plan_affine(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_affine);
}

/* ---- NOISE ---- */

static void noise_range(void *arg, int64_t begin, int64_t end) {
  enum { BLOCK = 1024 };
  const elements_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_op *op = &j->node->op;
  const wml_run *run = j->step->run;
  const vec_table *vec = plan->device->vec;
  bool narrow = cpu_is_narrow(plan, op->in[0]);
  float wide[BLOCK];
  for (int64_t at = begin; at < end; at += BLOCK) {
    int64_t n = end - at < BLOCK ? end - at : BLOCK;
    const void *x = cpu_at(plan, op->in[0], at);
    void *y = cpu_at(plan, op->out[0], at);
    if (narrow) vec->widen(x, wide, n);
    wml_noise_apply(&op->u.noise, run->seed, run->step + j->step->index, (uint64_t)at / 4,
                    narrow ? wide : x, narrow ? wide : y, n);
    if (narrow) vec->narrow(wide, y, n);
  }
}

static void run_noise(cpu_step *step, cpu_node *node) {
  run_over(step, node, noise_range);
}

static wml_result plan_noise(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_noise);
}

/* ---- PENALTY ---- */

static void penalty_range(void *arg, int64_t begin, int64_t end) {
  const elements_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_op *op = &j->node->op;
  const float *x = cpu_f32(plan, op->in[0]), l1 = op->u.penalty.l1, l2 = op->u.penalty.l2;
  float *dx = cpu_f32(plan, op->out[0]);
  double *sums = plan->tensors[j->node->temp[0]].data;
  for (int64_t at = begin; at < end; at += RANGE) {
    int64_t n = end - at < RANGE ? end - at : RANGE;
    double *sum = sums + at / RANGE * 2;
    sum[0] = sum[1] = 0.0;
    plan->device->vec->elements->magnitudes(x + at, n, sum);
  }
  for (int64_t i = begin; dx && i < end; i++) dx[i] = l1 * wml_sign(x[i]) + 2.0f * l2 * x[i];
}

static void run_penalty(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const double *sums = plan->tensors[node->temp[0]].data;
  int64_t n = wml_elements(cpu_info(plan, node->op.in[0]));
  double absolute = 0.0, square = 0.0;
  run_over(step, node, penalty_range);
  for (int64_t at = 0; at < n; at += RANGE) {
    absolute += sums[at / RANGE * 2];
    square += sums[at / RANGE * 2 + 1];
  }
  step->loss += (double)node->op.u.penalty.l1 * absolute + (double)node->op.u.penalty.l2 * square;
}

static wml_result plan_penalty(wml_plan *plan, cpu_node *node) {
  int64_t n = wml_elements(cpu_info(plan, node->op.in[0]));
  size_t bytes = (size_t)(n / RANGE + 1) * 2 * sizeof(double);
  node->temp[0] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : plan_with(plan, node, run_penalty);
}

const cpu_implementation cpu_affine[] = {{plan_affine, true}, {NULL, false}};
const cpu_implementation cpu_noise[] = {{plan_noise, true}, {NULL, false}};
const cpu_implementation cpu_activity[] = {{plan_penalty, false}, {NULL, false}};
