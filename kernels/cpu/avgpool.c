/* AveragePooling2D by own code, row by row. */
#include "cpu.h"

typedef struct average_job {
  const wml_plan *plan;
  const wml_op *op;
  vec_pool pool;
} average_job;

static average_job job_of(const wml_plan *plan, const cpu_node *node, int x, int y) {
  const int64_t *xd = cpu_info(plan, x)->dim, *yd = cpu_info(plan, y)->dim;
  return (average_job){
      .plan = plan,
      .op = &node->op,
      .pool = {xd[1], xd[2], xd[3], yd[1], yd[2], &node->op.u.window, cpu_is_narrow(plan, x)}};
}

static void forward_range(void *arg, int64_t begin, int64_t end) {
  const average_job *j = arg;
  const vec_pool *p = &j->pool;
  for (int64_t i = begin; i < end; i++)
    j->plan->device->vec->spatial->average(
        p, cpu_at(j->plan, j->op->in[0], i / p->oh * p->h * p->w * p->c), i % p->oh,
        cpu_at(j->plan, j->op->out[0], i * p->ow * p->c));
}

/* Rows that are worth a thread's while. */
static int64_t grain_of(const vec_pool *p) {
  return 1 + 8192 / (p->w * p->c);
}

static void run_forward(cpu_step *step, cpu_node *node) {
  average_job j = job_of(step->plan, node, node->op.in[0], node->op.out[0]);
  int64_t rows = cpu_info(step->plan, node->op.in[0])->dim[0] * j.pool.oh;
  cpu_parallel(rows, grain_of(&j.pool), forward_range, &j);
}

static void backward_range(void *arg, int64_t begin, int64_t end) {
  const average_job *j = arg;
  const vec_pool *p = &j->pool;
  for (int64_t i = begin; i < end; i++)
    j->plan->device->vec->spatial->average_bwd(
        p, cpu_at(j->plan, j->op->in[0], i / p->h * p->oh * p->ow * p->c), i % p->h,
        cpu_at(j->plan, j->op->out[0], i * p->w * p->c));
}

static void run_backward(cpu_step *step, cpu_node *node) {
  average_job j = job_of(step->plan, node, node->op.out[0], node->op.in[0]);
  int64_t rows = cpu_info(step->plan, node->op.in[0])->dim[0] * j.pool.h;
  cpu_parallel(rows, grain_of(&j.pool), backward_range, &j);
}

static wml_result plan_with(wml_plan *plan, cpu_node *node, void (*run)(cpu_step *, cpu_node *)) {
  if (!cpu_same_type(plan, node->op.in[0], node->op.out[0])) return WML_UNSUPPORTED;
  node->name = "own:nhwc";
  node->run = run;
  return WML_OK;
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_forward);
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_backward);
}

const cpu_implementation cpu_avgpool[] = {{plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_avgpool_bwd[] = {{plan_backward, true}, {NULL, false}};
