/* Resizing by own code, row by row. Going back, the rows that a row of x is read by are added up
 * first, then its columns: 8 products for each value of a picture doubled bilinearly, not 16. */
#include "cpu.h"

#include <string.h>

typedef struct resize_job {
  const wml_plan *plan;
  const cpu_node *node;
  vec_resize columns;
  int64_t h, oh;
} resize_job;

/* What the columns read, in the operation's temporary. */
static resize_job job_of(const wml_plan *plan, const cpu_node *node, int x, int y) {
  const int64_t *xd = cpu_info(plan, x)->dim, *yd = cpu_info(plan, y)->dim;
  wml_resampling kind = node->op.u.resampling;
  wml_resize_tap *columns = plan->tensors[node->temp[0]].data;
  struct vec_readers *readers = (struct vec_readers *)(columns + yd[2]);
  for (int64_t i = 0; i < yd[2]; i++) columns[i] = wml_resize_at(kind, i, xd[2], yd[2]);
  for (int64_t i = 0; i < xd[2]; i++)
    wml_resize_readers(kind, i, xd[2], yd[2], &readers[i].begin, &readers[i].end);
  return (resize_job){.plan = plan,
                      .node = node,
                      .columns = {.w = xd[2],
                                  .c = xd[3],
                                  .ow = yd[2],
                                  .columns = columns,
                                  .readers = readers,
                                  .narrow = cpu_is_narrow(plan, x)},
                      .h = xd[1],
                      .oh = yd[1]};
}

static void forward_range(void *arg, int64_t begin, int64_t end) {
  const resize_job *j = arg;
  const vec_resize *r = &j->columns;
  const wml_op *op = &j->node->op;
  for (int64_t i = begin; i < end; i++) {
    wml_resize_tap row = wml_resize_at(op->u.resampling, i % j->oh, j->h, j->oh);
    j->plan->device->vec->spatial->resize(
        r, cpu_at(j->plan, op->in[0], i / j->oh * j->h * r->w * r->c), &row,
        cpu_at(j->plan, op->out[0], i * r->ow * r->c));
  }
}

static void run_forward(cpu_step *step, cpu_node *node) {
  resize_job j = job_of(step->plan, node, node->op.in[0], node->op.out[0]);
  int64_t rows = cpu_info(step->plan, node->op.in[0])->dim[0] * j.oh;
  cpu_parallel(rows, 1 + 8192 / (j.columns.ow * j.columns.c), forward_range, &j);
}

/* One row of dx. */
static void backward_row(void *arg, int64_t i, int thread) {
  const resize_job *j = arg;
  const vec_resize *r = &j->columns;
  const wml_op *op = &j->node->op;
  const vec_spatial_table *vec = j->plan->device->vec->spatial;
  float *sum = cpu_own(j->plan, j->node->temp[1], thread);
  int64_t length = r->ow * r->c, at = i % j->h, begin, end;
  memset(sum, 0, (size_t)length * sizeof *sum);
  wml_resize_readers(op->u.resampling, at, j->h, j->oh, &begin, &end);
  for (int64_t oh = begin; oh < end; oh++) {
    wml_resize_tap tap = wml_resize_at(op->u.resampling, oh, j->h, j->oh);
    vec->add_row(sum, cpu_at(j->plan, op->in[0], (i / j->h * j->oh + oh) * length), length,
                 wml_resize_weight(&tap, at), r->narrow);
  }
  vec->resize_columns_bwd(r, sum, cpu_at(j->plan, op->out[0], i * r->w * r->c));
}

static void run_backward(cpu_step *step, cpu_node *node) {
  resize_job j = job_of(step->plan, node, node->op.out[0], node->op.in[0]);
  cpu_for_pieces(cpu_info(step->plan, node->op.in[0])->dim[0] * j.h, backward_row, &j);
}

static wml_result plan_with(wml_plan *plan, cpu_node *node, int x, int y) {
  if (!cpu_same_type(plan, x, y)) return WML_UNSUPPORTED;
  const int64_t *xd = cpu_info(plan, x)->dim, *yd = cpu_info(plan, y)->dim;
  int at = (int)(node - plan->nodes);
  size_t bytes =
      (size_t)yd[2] * sizeof(wml_resize_tap) + (size_t)xd[2] * sizeof(struct vec_readers);
  node->temp[0] = cpu_add_temporary(plan, bytes, at);
  node->temp[1] = cpu_add_scratch(plan, (size_t)(yd[2] * yd[3]) * sizeof(float), at);
  node->name = "own:nhwc";
  return node->temp[0] < 0 || node->temp[1] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  node->run = run_forward;
  return plan_with(plan, node, node->op.in[0], node->op.out[0]);
}

static wml_result plan_backward(wml_plan *plan, cpu_node *node) {
  node->run = run_backward;
  return plan_with(plan, node, node->op.out[0], node->op.in[0]);
}

const cpu_implementation cpu_resize[] = {{plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_resize_bwd[] = {{plan_backward, true}, {NULL, false}};
