/* The gradient of a first convolution's weights, taken from behind relu and a 2x2 pooling: only the
 * winner of each window has a gradient, so three quarters of the products are left out, and the
 * gradient of the convolution's output, the largest array of a network, is neither written nor
 * read. For few channels, whose kernel rows fit into registers (vec.c). */
#include "cpu.h"

#include <string.h>

enum { PIECES = 16 }; /* of the batch: summed apart, whatever the number of threads */

bool cpu_conv_can_pool(const wml_plan *plan, const cpu_node *weights) {
  const wml_window *w = &weights->op.u.window;
  bool simple = w->groups == 1 && weights->op.out[0] >= 0;
  for (int i = 0; i < 2; i++) simple = simple && w->stride[i] == 1 && w->dilation[i] == 1;
  if (!simple) return false;
  const int64_t *k = cpu_info(plan, weights->op.out[0])->dim;
  return vec_pooled_takes(k[1] * k[2]) && k[3] >= 8;
}

typedef struct job {
  const cpu_step *step;
  const cpu_node *node;
  vec_pooled shape;
  int64_t batch, pieces, image, result; /* floats of a picture, padded or not; of a sum */
  float *sums, *padded;                 /* [pieces, result]; [pieces, image] or NULL */
} job;

/* Picture n in float32 with zeros around it. */
static const float *pad(const job *j, int64_t n, float *to) {
  const wml_plan *plan = j->step->plan;
  int x = j->node->op.in[0];
  const int64_t *d = cpu_info(plan, x)->dim;
  const wml_window *w = &j->node->op.u.window;
  int64_t row = d[2] * d[3];
  memset(to, 0, (size_t)j->image * sizeof *to);
  for (int64_t h = 0; h < d[1]; h++) {
    float *place = to + ((h + w->pad_before[0]) * j->shape.w + w->pad_before[1]) * d[3];
    const void *from = cpu_at(plan, x, (n * d[1] + h) * row);
    if (cpu_is_narrow(plan, x))
      plan->device->vec->widen(from, place, row);
    else
      memcpy(place, from, (size_t)row * sizeof *to);
  }
  return to;
}

static void sum_pieces(void *arg, int64_t begin, int64_t end) {
  const job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_op *op = &j->node->op;
  const int64_t *d = cpu_info(plan, op->in[0])->dim;
  const uint8_t *place = plan->tensors[op->in[2]].data;
  int64_t in = d[1] * d[2] * d[3], out = j->shape.ph * j->shape.pw * j->shape.f;
  for (int64_t p = begin; p < end; p++) {
    float *sum = j->sums + p * j->result;
    memset(sum, 0, (size_t)j->result * sizeof *sum);
    for (int64_t n = p * j->batch / j->pieces; n < (p + 1) * j->batch / j->pieces; n++) {
      const float *x = j->padded ? pad(j, n, j->padded + p * j->image)
                                 : (const float *)cpu_at(plan, op->in[0], n * in);
      plan->device->vec->pooled_weights(&j->shape, x, cpu_at(plan, op->in[1], n * out),
                                        place + n * out, cpu_at(plan, j->node->pooled, n * out),
                                        sum);
    }
  }
}

static job job_of(const wml_plan *plan, const cpu_node *node) {
  const wml_op *op = &node->op;
  const wml_window *w = &op->u.window;
  const int64_t *x = cpu_info(plan, op->in[0])->dim, *y = cpu_info(plan, op->in[1])->dim,
                *k = cpu_info(plan, op->out[0])->dim;
  job j = {.node = node, .batch = x[0], .pieces = x[0] < PIECES ? x[0] : PIECES};
  int64_t h = x[1] + w->pad_before[0] + w->pad_after[0];
  j.shape = (vec_pooled){.w = x[2] + w->pad_before[1] + w->pad_after[1],
                         .c = x[3],
                         .kh = k[0],
                         .kw = k[1],
                         .ph = y[1],
                         .pw = y[2],
                         .f = y[3],
                         .narrow = cpu_is_narrow(plan, op->in[1])};
  j.image = h * j.shape.w * x[3];
  j.result = (k[0] * k[1] * k[2] + 1) * k[3];
  return j;
}

/* Whether the pictures are copied, into float32 and what pads them. */
static bool pads(const wml_plan *plan, const wml_op *op) {
  const wml_window *w = &op->u.window;
  return w->pad_before[0] || w->pad_before[1] || w->pad_after[0] || w->pad_after[1] ||
         cpu_is_narrow(plan, op->in[0]);
}

static void run(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  job j = job_of(plan, node);
  j.step = step;
  j.sums = cpu_f32(plan, node->temp[0]);
  j.padded = pads(plan, &node->op) ? cpu_f32(plan, node->temp[1]) : NULL;
  cpu_parallel(j.pieces, 1, sum_pieces, &j);
  int64_t kernel = j.result - j.shape.f;
  bool reorders = node->n_primitives > 0; /* from the first piece's sums */
  float *dk = reorders ? j.sums : cpu_f32(plan, node->op.out[0]),
        *db = cpu_f32(plan, node->op.out[1]);
  for (int64_t i = 0; i < j.result; i++) {
    float total = 0.0f;
    for (int64_t p = 0; p < j.pieces; p++) total += j.sums[p * j.result + i];
    if (i < kernel)
      dk[i] = total;
    else if (db)
      db[i - kernel] = total;
  }
  cpu_run_primitives(step, node, CPU_AFTER, NULL, 0);
}

wml_result cpu_plan_pooled_weights(wml_plan *plan, cpu_node *node) {
  if (!node->pools || !cpu_same_type(plan, node->pooled, node->op.in[1])) return WML_UNSUPPORTED;
  job j = job_of(plan, node);
  int at = (int)(node - plan->nodes);
  const cpu_entry *e = plan->tensors[node->op.out[0]].entry;
  node->temp[0] = cpu_add_temporary(plan, (size_t)(j.pieces * j.result) * sizeof(float), at);
  node->temp[1] = cpu_add_temporary(
      plan, pads(plan, &node->op) ? (size_t)(j.pieces * j.image) * sizeof(float) : 0, at);
  if (node->temp[0] < 0 || node->temp[1] < 0) return WML_OUT_OF_MEMORY;
  node->name = "own:pooling+relu+weights";
  node->run = run;
  if (dnnl_memory_desc_equal(&e->plain, &e->own)) return WML_OK;
  return cpu_add_reorder(plan, node, CPU_AFTER, (cpu_operand){node->temp[0], -1}, &e->plain,
                         (cpu_operand){node->op.out[0], -1}, &e->own);
}
