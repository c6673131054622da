/* Convolutions of bytes with few channels, as a network's first, with the relu and the 2x2 pooling
 * behind them (vnni.c). The largest of four sums is taken before it is scaled, so that nothing but
 * the pooled bytes is written. */
#include "cpu.h"
#include "vnni.h"

#include <string.h>

enum { MOST_CHANNELS = 8, SLACK = 64, FEW_PICTURES = 8, BANDS = 8 };

typedef struct job {
  const wml_plan *plan;
  const cpu_node *node;
  vnni_conv conv;
  int64_t bands, band;   /* of a picture; rows of the result of each */
  int64_t height, width; /* of the picture */
} job;

static job job_of(const wml_plan *plan, const cpu_node *node) {
  const wml_op *op = &node->op;
  const wml_window *w = &op->u.window;
  const int64_t *x = cpu_info(plan, op->in[0])->dim, *y = cpu_info(plan, op->out[0])->dim,
                *k = cpu_info(plan, op->in[1])->dim;
  job j = {.plan = plan, .node = node, .height = x[1], .width = x[2]};
  j.conv = (vnni_conv){.row = (x[2] + w->pad_before[1] + w->pad_after[1]) * x[3],
                       .c = x[3],
                       .f = k[3],
                       .kh = k[0],
                       .words = (k[1] * k[2] + 3) / 4,
                       .ow = y[2],
                       .pooled = node->pools,
                       .relu = node->post.kind == WML_RELU,
                       .is_signed = cpu_info(plan, op->out[0])->is_signed};
  j.bands = x[0] < FEW_PICTURES ? BANDS : 1;
  j.band = (y[1] + j.bands - 1) / j.bands;
  j.bands = (y[1] + j.band - 1) / j.band;
  return j;
}

/* Rows of the picture that `rows` rows of the result are made of. */
static int64_t rows_read(const job *j, int64_t rows) {
  return (j->conv.pooled ? 2 * rows : rows) + j->conv.kh - 1;
}

/* With zeros around it. */
static const uint8_t *pad(const job *j, int64_t image, int64_t first, int64_t rows, uint8_t *to) {
  const wml_plan *plan = j->plan;
  const wml_window *w = &j->node->op.u.window;
  int64_t bytes = j->width * j->conv.c;
  memset(to, 0, (size_t)(rows * j->conv.row));
  for (int64_t r = 0; r < rows; r++) {
    int64_t h = first + r - w->pad_before[0];
    if (h >= 0 && h < j->height)
      memcpy(to + r * j->conv.row + w->pad_before[1] * j->conv.c,
             cpu_at(plan, j->node->op.in[0], (image * j->height + h) * bytes), (size_t)bytes);
  }
  return to;
}

static void run_piece(void *arg, int64_t piece, int thread) {
  const job *j = arg;
  const wml_plan *plan = j->plan;
  int64_t all = cpu_info(plan, j->node->op.out[0])->dim[1], image = piece / j->bands,
          row = piece % j->bands * j->band;
  vnni_conv conv = j->conv;
  conv.oh = all - row < j->band ? all - row : j->band;
  const uint8_t *x = pad(j, image, conv.pooled ? 2 * row : row, rows_read(j, conv.oh),
                         cpu_own(plan, j->node->temp[0], thread));
  vnni_conv_run(&conv, x, cpu_at(plan, j->node->op.out[0], (image * all + row) * conv.ow * conv.f));
}

/* The packed kernel, then scales and bias in steps of the result. */
static void set_weights(job *j) {
  const wml_plan *plan = j->plan;
  const wml_op *op = &j->node->op;
  const int64_t *k = cpu_info(plan, op->in[1])->dim;
  const float *scales = cpu_info(plan, op->in[1])->scales, *bias = cpu_f32(plan, op->in[2]);
  int8_t *packed = plan->tensors[j->node->temp[1]].data;
  float *scale = (float *)(void *)(packed + j->conv.kh * j->conv.words * j->conv.f * 4);
  float x = cpu_info(plan, op->in[0])->scale, y = cpu_info(plan, op->out[0])->scale;
  vnni_pack(plan->tensors[j->node->own_kernel].data, k[0], k[1] * k[2], k[3], packed);
  for (int64_t i = 0; i < k[3]; i++) {
    scale[i] = x * scales[i] / y;
    scale[k[3] + i] = bias ? bias[i] / y : 0.0f;
  }
  j->conv.weights = packed;
  j->conv.scale = scale;
  j->conv.bias = scale + k[3];
}

static void run(cpu_step *step, cpu_node *node) {
  job j = job_of(step->plan, node);
  set_weights(&j);
  cpu_for_pieces(step->plan->graph.batch * j.bands, run_piece, &j);
}

static bool takes(const wml_plan *plan, const cpu_node *node) {
  const wml_op *op = &node->op;
  const wml_window *w = &op->u.window;
  const cpu_tensor *x = &plan->tensors[op->in[0]], *y = &plan->tensors[op->out[0]];
  bool plain = w->groups == 1;
  for (int i = 0; i < 2; i++) plain = plain && w->stride[i] == 1 && w->dilation[i] == 1;
  bool post = node->post.kind == WML_LINEAR || cpu_is_plain_relu(&node->post);
  return node->in_int8 && plain && post && x->is_bytes && !x->info.is_signed && y->is_bytes &&
         x->info.dim[3] <= MOST_CHANNELS && cpu_info(plan, op->in[1])->dim[3] % 16 == 0 &&
         (!node->pools || cpu_halves(&node->pool));
}

wml_result cpu_plan_conv_bytes(wml_plan *plan, cpu_node *node) {
  if (!takes(plan, node)) return WML_UNSUPPORTED;
  const wml_op *op = &node->op;
  const int64_t *k = cpu_info(plan, op->in[1])->dim;
  int at = (int)(node - plan->nodes);
  dnnl_memory_desc_t md;
  dnnl_dims_t dims = {k[3], k[2], k[0], k[1]}, strides = {1, k[3], k[1] * k[2] * k[3], k[2] * k[3]};
  dnnl_memory_desc_init_by_strides(&md, 4, dims, dnnl_s8, strides);
  cpu_fix_plain_kernel(plan, op->in[1], 1);
  job j = job_of(plan, node);
  size_t weights = (size_t)(j.conv.kh * j.conv.words * j.conv.f * 4);
  node->temp[0] = cpu_add_scratch(plan, (size_t)(rows_read(&j, j.band) * j.conv.row) + SLACK, at);
  node->temp[1] = cpu_add_temporary(plan, weights + 2 * (size_t)k[3] * sizeof(float), at);
  node->own_kernel = cpu_int8_weights(plan, node, &md);
  if (node->temp[0] < 0 || node->temp[1] < 0 || node->own_kernel < 0) return WML_OUT_OF_MEMORY;
  node->name = node->pools ? "own:vnni+pooling" : "own:vnni";
  node->run = run;
  return WML_OK;
}
