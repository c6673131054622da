/* Activations that no convolution or dense layer has taken in. */
#include "cpu.h"

typedef struct act_job {
  const wml_plan *plan;
  const wml_activation *act;
  int dy, x, y, out; /* tensors, or -1 */
  int64_t n;         /* of a row */
} act_job;

static void forward_range(void *arg, int64_t begin, int64_t end) {
  const act_job *j = arg;
  const wml_plan *p = j->plan;
  if (!WML_ACTIVATION_IS_ROW(j->act->kind)) {
    p->device->vec->activation(j->act, cpu_at(p, j->x, begin), cpu_at(p, j->out, begin),
                               end - begin, cpu_is_narrow(p, j->out));
    return;
  }
  int64_t width = wml_activation_width(j->act->kind, j->n);
  for (int64_t r = begin; r < end; r++)
    wml_activation_row_forward(j->act->kind, cpu_at(p, j->x, r * j->n),
                               cpu_at(p, j->out, r * width), j->n);
}

static void backward_range(void *arg, int64_t begin, int64_t end) {
  const act_job *j = arg;
  const wml_plan *p = j->plan;
  if (!WML_ACTIVATION_IS_ROW(j->act->kind)) {
    p->device->vec->activation_bwd(j->act, cpu_at(p, j->dy, begin), cpu_at(p, j->y, begin),
                                   cpu_at(p, j->x, begin), cpu_at(p, j->out, begin), end - begin,
                                   cpu_is_narrow(p, j->out));
    return;
  }
  int64_t width = wml_activation_width(j->act->kind, j->n);
  for (int64_t r = begin; r < end; r++)
    wml_activation_row_backward(j->act->kind, cpu_at(p, j->dy, r * width),
                                cpu_at(p, j->x, r * j->n), cpu_at(p, j->y, r * width),
                                cpu_at(p, j->out, r * j->n), j->n);
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
  act_job job = {.plan = plan,
                 .act = &node->op.u.activation,
                 .x = node->op.in[0],
                 .out = node->op.out[0],
                 .n = t->dim[t->rank - 1]};
  split(&job, t, forward_range);
}

static void run_backward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_tensor *t = cpu_info(plan, node->op.out[0]);
  act_job job = {.plan = plan,
                 .act = &node->op.u.activation,
                 .dy = node->op.in[0],
                 .y = node->op.in[1],
                 .x = node->op.in[2],
                 .out = node->op.out[0],
                 .n = t->dim[t->rank - 1]};
  split(&job, t, backward_range);
}

/* Values all of one type; rows in float32 only. */
static bool takes(const wml_plan *plan, const wml_op *op) {
  for (int i = 0; i < 3; i++)
    if (!cpu_same_type(plan, op->in[i], op->out[0])) return false;
  return !cpu_is_narrow(plan, op->out[0]) || !WML_ACTIVATION_IS_ROW(op->u.activation.kind);
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
    {cpu_plan_quantize, true}, {cpu_plan_convert, true}, {plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_activation_bwd[] = {{plan_backward, true}, {NULL, false}};
