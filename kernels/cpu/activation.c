/* Activations that no convolution or dense layer has taken in. */
#include "cpu.h"

typedef struct act_job {
  const vec_table *vec;
  const wml_activation *act;
  const void *dy, *x, *y;
  void *out;
  bool narrow; /* of single elements only */
  int64_t n;   /* of a row */
} act_job;

static const void *from(const act_job *j, const void *values, int64_t at) {
  return values ? (const uint8_t *)values + at * (j->narrow ? 2 : 4) : NULL;
}

static void forward_range(void *arg, int64_t begin, int64_t end) {
  const act_job *j = arg;
  if (!WML_ACTIVATION_IS_ROW(j->act->kind)) {
    j->vec->activation(j->act, from(j, j->x, begin), (void *)(uintptr_t)from(j, j->out, begin),
                       end - begin, j->narrow);
    return;
  }
  int64_t width = wml_activation_width(j->act->kind, j->n);
  const float *x = j->x;
  float *out = j->out;
  for (int64_t r = begin; r < end; r++)
    wml_activation_row_forward(j->act->kind, x + r * j->n, out + r * width, j->n);
}

static void backward_range(void *arg, int64_t begin, int64_t end) {
  const act_job *j = arg;
  if (!WML_ACTIVATION_IS_ROW(j->act->kind)) {
    j->vec->activation_bwd(j->act, from(j, j->dy, begin), from(j, j->y, begin),
                           from(j, j->x, begin), (void *)(uintptr_t)from(j, j->out, begin),
                           end - begin, j->narrow);
    return;
  }
  int64_t width = wml_activation_width(j->act->kind, j->n);
  const float *dy = j->dy, *x = j->x, *y = j->y;
  float *out = j->out;
  for (int64_t r = begin; r < end; r++)
    wml_activation_row_backward(j->act->kind, dy + r * width, x ? x + r * j->n : NULL,
                                y + r * width, out + r * j->n, j->n);
}

/* Elements, or rows, in pieces that are worth a thread. */
static void split(const act_job *job, const wml_tensor *t, cpu_body body) {
  bool rows = WML_ACTIVATION_IS_ROW(job->act->kind);
  int64_t n = wml_elements(t), grain = rows ? 1 + 4096 / job->n : 4096;
  cpu_parallel(rows ? n / job->n : n, grain, body, (void *)(uintptr_t)job);
}

static void run_forward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_tensor *t = cpu_info(plan, node->op.in[0]);
  act_job job = {.vec = plan->device->vec,
                 .act = &node->op.u.activation,
                 .x = cpu_at(plan, node->op.in[0], 0),
                 .out = cpu_at(plan, node->op.out[0], 0),
                 .narrow = cpu_is_narrow(plan, node->op.out[0]),
                 .n = t->dim[t->rank - 1]};
  split(&job, t, forward_range);
}

static void run_backward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_tensor *t = cpu_info(plan, node->op.out[0]);
  act_job job = {.vec = plan->device->vec,
                 .act = &node->op.u.activation,
                 .dy = cpu_at(plan, node->op.in[0], 0),
                 .y = cpu_at(plan, node->op.in[1], 0),
                 .x = cpu_at(plan, node->op.in[2], 0),
                 .out = cpu_at(plan, node->op.out[0], 0),
                 .narrow = cpu_is_narrow(plan, node->op.out[0]),
                 .n = t->dim[t->rank - 1]};
  split(&job, t, backward_range);
}

/* Values all of one type; rows in float32 only. */
static bool takes(const wml_plan *plan, const wml_op *op) {
  bool narrow = cpu_is_narrow(plan, op->out[0]);
  for (int i = 0; i < 3; i++)
    if (op->in[i] >= 0 && cpu_is_narrow(plan, op->in[i]) != narrow) return false;
  return !narrow || !WML_ACTIVATION_IS_ROW(op->u.activation.kind);
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  if (!takes(plan, &node->op)) return WML_UNSUPPORTED;
  node->name = "own";
  node->inline_ = true;
  node->run = run_forward;
  return WML_OK;
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  if (!takes(plan, &node->op)) return WML_UNSUPPORTED;
  node->name = "own";
  node->run = run_backward;
  return WML_OK;
}

const cpu_implementation cpu_activation[] = {
    {cpu_plan_convert, true}, {plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_activation_bwd[] = {{plan_backward, true}, {NULL, false}};
