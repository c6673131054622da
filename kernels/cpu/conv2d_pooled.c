/* A first convolution with the relu and the 2x2 pooling behind it, for few channels (vec.c).
 *
 * Forward: the four sums of a window stay in registers until the largest is known. The gradient of
 * its weights is taken from behind relu and pooling: only the winner of each window has one, so
 * three quarters of the products are left out. The convolution's own result, the largest array of a
 * network, and its gradient are neither written nor read. */
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
  int64_t batch, height;         /* rows of a picture, padded or not */
  int64_t pieces, image, result; /* floats of a picture; of a sum */
  int64_t bands, band;           /* forward: of a picture; pooled rows of each */
  float *sums, *padded;          /* [pieces, result]; [pieces, image] or NULL */
} job;

/* `rows` rows of picture n in float32 with zeros around it, the first of which is row `first` of
 * the padded picture. */
static const float *pad(const job *j, int64_t n, int64_t first, int64_t rows, float *to) {
  const wml_plan *plan = j->step->plan;
  int x = j->node->op.in[0];
  const int64_t *d = cpu_info(plan, x)->dim;
  const wml_window *w = &j->node->op.u.window;
  int64_t row = d[2] * d[3];
  memset(to, 0, (size_t)(rows * j->shape.w * d[3]) * sizeof *to);
  for (int64_t r = 0; r < rows; r++) {
    int64_t h = first + r - w->pad_before[0];
    if (h < 0 || h >= d[1]) continue;
    float *place = to + (r * j->shape.w + w->pad_before[1]) * d[3];
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
      const float *x = j->padded ? pad(j, n, 0, j->height, j->padded + p * j->image)
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
  j.height = x[1] + w->pad_before[0] + w->pad_after[0];
  j.shape = (vec_pooled){.w = x[2] + w->pad_before[1] + w->pad_after[1],
                         .c = x[3],
                         .kh = k[0],
                         .kw = k[1],
                         .ph = y[1],
                         .pw = y[2],
                         .f = y[3],
                         .narrow = cpu_is_narrow(plan, op->in[1])};
  j.image = j.height * j.shape.w * x[3];
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

/* ---- forward ---- */

enum { MOST_CHANNELS = 4, FEW_PICTURES = 8, BANDS = 8 };

static job forward_job_of(const wml_plan *plan, const cpu_node *node) {
  const wml_op *op = &node->op;
  const wml_window *w = &op->u.window;
  const int64_t *x = cpu_info(plan, op->in[0])->dim, *y = cpu_info(plan, op->out[0])->dim,
                *k = cpu_info(plan, op->in[1])->dim;
  job j = {.node = node, .batch = x[0], .height = x[1] + w->pad_before[0] + w->pad_after[0]};
  j.shape = (vec_pooled){.w = x[2] + w->pad_before[1] + w->pad_after[1],
                         .c = x[3],
                         .kh = k[0],
                         .kw = k[1],
                         .ph = y[1],
                         .pw = y[2],
                         .f = k[3]};
  j.band = x[0] < FEW_PICTURES ? (y[1] + BANDS - 1) / BANDS : y[1];
  j.bands = (y[1] + j.band - 1) / j.band;
  return j;
}

static int64_t rows_read(const job *j, int64_t pooled_rows) {
  return 2 * pooled_rows + j->shape.kh - 1;
}

static void run_forward_piece(void *arg, int64_t piece, int thread) {
  const job *j = arg;
  const wml_plan *plan = j->step->plan;
  const wml_op *op = &j->node->op;
  int64_t n = piece / j->bands, row = piece % j->bands * j->band;
  vec_pooled shape = j->shape;
  if (j->shape.ph - row < j->band)
    shape.ph = j->shape.ph - row;
  else
    shape.ph = j->band;
  const float *x =
      pads(plan, op)
          ? pad(j, n, 2 * row, rows_read(j, shape.ph), cpu_own(plan, j->node->temp[0], thread))
          : cpu_f32(plan, op->in[0]) + (n * j->height + 2 * row) * shape.w * shape.c;
  int64_t at = (n * j->shape.ph + row) * shape.pw * shape.f;
  uint8_t *index = op->out[1] < 0 ? NULL : (uint8_t *)plan->tensors[op->out[1]].data + at;
  plan->device->vec->pooled_forward(&shape, x, cpu_f32(plan, op->in[1]), cpu_f32(plan, op->in[2]),
                                    j->node->post.kind == WML_RELU, cpu_f32(plan, op->out[0]) + at,
                                    index);
}

static void run_forward(cpu_step *step, cpu_node *node) {
  job j = forward_job_of(step->plan, node);
  j.step = step;
  cpu_for_pieces(j.batch * j.bands, run_forward_piece, &j);
}

/* In float32, on a kernel that lies as it is given. */
static bool takes_forward(const wml_plan *plan, const cpu_node *node) {
  const wml_op *op = &node->op;
  const wml_window *w = &op->u.window;
  const int64_t *k = cpu_info(plan, op->in[1])->dim;
  const cpu_entry *e = plan->tensors[op->in[1]].entry;
  bool plain = w->groups == 1 && !node->in_int8 && !cpu_has_narrow(plan, node) &&
               (!e->fixed || dnnl_memory_desc_equal(&e->own, &e->plain));
  for (int i = 0; i < 2; i++) plain = plain && w->stride[i] == 1 && w->dilation[i] == 1;
  bool post = node->post.kind == WML_LINEAR || cpu_is_plain_relu(&node->post);
  return plain && post && node->pools && cpu_halves(&node->pool) && k[2] <= MOST_CHANNELS &&
         k[3] % 16 == 0;
}

wml_result cpu_plan_pooled_forward(wml_plan *plan, cpu_node *node) {
  if (!takes_forward(plan, node)) return WML_UNSUPPORTED;
  cpu_fix_plain_kernel(plan, node->op.in[1], 1);
  job j = forward_job_of(plan, node);
  size_t bytes = pads(plan, &node->op)
                     ? (size_t)(rows_read(&j, j.band) * j.shape.w * j.shape.c) * sizeof(float)
                     : 0;
  node->temp[0] = cpu_add_scratch(plan, bytes, (int)(node - plan->nodes));
  if (node->temp[0] < 0) return WML_OUT_OF_MEMORY;
  cpu_pool_index(plan, node->op.out[1]);
  node->name =
      node->post.kind == WML_RELU ? "own:convolution+relu+pooling" : "own:convolution+pooling";
  node->run = run_forward;
  return WML_OK;
}
