/* Depthwise convolutions by own code (vec_depthwise.c), for kernels as they are given: [kh, kw, 1,
 * channels * times]. oneDNN 2.6 has vector code for one result a channel; its gradients of 5x5
 * kernels take six to twenty times as long as these, other passes as long or up to twice as long.
 * 3x3 kernels in passes where it is faster are left to it (onednn_is_faster). With more results a
 * channel the input is repeated, and there is one result a channel again. */
#include "cpu.h"

#include <string.h>

enum { LEAST_CHANNELS = 64, WIDE_ROW = 28, MOST_PARTS = 16 };

/* Tensors of the convolution; values and their gradients are read and written alike. */
typedef struct depthwise_operands {
  int x, kernel, y;
} depthwise_operands;

typedef struct depthwise_job {
  const wml_plan *plan;
  const wml_activation *post;
  vec_depthwise shape;
  const uint8_t *x, *dy;
  const float *kernel, *bias;
  uint8_t *y; /* the result of any pass but that for the kernel */
  int64_t rows, element;
  int64_t times, count; /* of `repeat` */
  int64_t n_parts;      /* of the gradient of the kernel */
  double *bias_parts;   /* [n_parts, c] */
  float *parts;         /* [n_parts, kh, kw, c] */
} depthwise_job;

static depthwise_operands operands_of(const wml_op *op) {
  switch (op->kind) {
  case WML_OP_CONV2D: return (depthwise_operands){op->in[0], op->in[1], op->out[0]};
  case WML_OP_CONV2D_BWD_DATA: return (depthwise_operands){op->out[0], op->in[1], op->in[0]};
  default: return (depthwise_operands){op->in[0], op->out[0], op->in[1]};
  }
}

static int64_t times_of(const wml_plan *plan, const cpu_node *node) {
  depthwise_operands o = operands_of(&node->op);
  return cpu_info(plan, o.y)->dim[3] / cpu_info(plan, o.x)->dim[3];
}

/* ---- running ---- */

static depthwise_job job_of(const wml_plan *plan, const cpu_node *node) {
  depthwise_operands o = operands_of(&node->op);
  const wml_window *w = &node->op.u.window;
  const int64_t *x = cpu_info(plan, o.x)->dim, *y = cpu_info(plan, o.y)->dim,
                *k = cpu_info(plan, o.kernel)->dim;
  bool back = node->op.kind == WML_OP_CONV2D_BWD_DATA;
  const int64_t *from = back ? y : x, *to = back ? x : y;
  depthwise_job j = {.plan = plan,
                     .post = &node->post,
                     .kernel = cpu_f32(plan, o.kernel),
                     .element = cpu_element(plan, o.x),
                     .times = y[3] / x[3]};
  j.shape = (vec_depthwise){.h = from[1],
                            .w = from[2],
                            .oh = to[1],
                            .ow = to[2],
                            .kh = k[0],
                            .kw = k[1],
                            .c = y[3],
                            .narrow = cpu_is_narrow(plan, o.x)};
  for (int i = 0; i < 2; i++) {
    j.shape.stride[i] = w->stride[i];
    j.shape.dilation[i] = w->dilation[i];
    j.shape.pad[i] = w->pad_before[i];
  }
  j.rows = to[0] * to[1];
  return j;
}

static void repeat_range(void *arg, int64_t begin, int64_t end) {
  const depthwise_job *j = arg;
  j->plan->device->vec->depthwise->repeat(j->x + begin * j->element,
                                          j->y + begin * j->times * j->element, end - begin,
                                          j->times, j->shape.narrow);
}

static void add_repeated_range(void *arg, int64_t begin, int64_t end) {
  const depthwise_job *j = arg;
  j->plan->device->vec->depthwise->add_repeated(j->x + begin * j->times * j->element,
                                                j->y + begin * j->element, end - begin, j->times,
                                                j->shape.narrow);
}

/* The input, with every channel as often as it has results. */
static const uint8_t *repeated(const depthwise_job *job, int x, int temporary) {
  const wml_plan *plan = job->plan;
  if (job->times == 1) return plan->tensors[x].data;
  depthwise_job j = *job;
  j.x = plan->tensors[x].data;
  j.y = plan->tensors[temporary].data;
  cpu_parallel(wml_elements(cpu_info(plan, x)), 4096, repeat_range, &j);
  return j.y;
}

static void forward_range(void *arg, int64_t begin, int64_t end) {
  const depthwise_job *j = arg;
  const vec_depthwise *d = &j->shape;
  const vec_table *vec = j->plan->device->vec;
  int64_t picture = d->h * d->w * d->c, row = d->ow * d->c;
  for (int64_t i = begin; i < end; i++) {
    uint8_t *y = j->y + i * row * j->element;
    vec->depthwise->forward(d, j->x + i / d->oh * picture * j->element, j->kernel, j->bias,
                            i % d->oh, y);
    if (j->post->kind != WML_LINEAR) vec->activation(j->post, y, y, row, d->narrow);
  }
}

static int64_t grain_of(const depthwise_job *j) {
  return 1 + 8192 / (j->shape.ow * j->shape.c);
}

static void run_forward(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  depthwise_job j = job_of(plan, node);
  j.x = repeated(&j, node->op.in[0], node->temp[1]);
  j.bias = cpu_f32(plan, node->op.in[2]);
  j.y = plan->tensors[node->op.out[0]].data;
  cpu_parallel(j.rows, grain_of(&j), forward_range, &j);
}

static void bwd_data_range(void *arg, int64_t begin, int64_t end) {
  const depthwise_job *j = arg;
  const vec_depthwise *d = &j->shape;
  int64_t picture = d->h * d->w * d->c, row = d->ow * d->c;
  for (int64_t i = begin; i < end; i++)
    j->plan->device->vec->depthwise->bwd_data(d, j->dy + i / d->oh * picture * j->element,
                                              j->kernel, i % d->oh, j->y + i * row * j->element);
}

static void run_bwd_data(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  depthwise_job j = job_of(plan, node);
  int dx = node->op.out[0];
  j.dy = plan->tensors[node->op.in[0]].data;
  j.y = plan->tensors[j.times == 1 ? dx : node->temp[1]].data;
  cpu_parallel(j.rows, grain_of(&j), bwd_data_range, &j);
  if (j.times == 1) return;
  j.x = j.y;
  j.y = plan->tensors[dx].data;
  cpu_parallel(wml_elements(cpu_info(plan, dx)), 4096, add_repeated_range, &j);
}

/* Rows [begin, end) of the batch's dy, into one part. */
static void add_rows(const depthwise_job *j, int64_t begin, int64_t end, float *sum) {
  const vec_depthwise *d = &j->shape;
  for (int64_t next; begin < end; begin = next) {
    int64_t image = begin / d->oh;
    next = (image + 1) * d->oh < end ? (image + 1) * d->oh : end;
    j->plan->device->vec->depthwise->bwd_weights(d, j->x + image * d->h * d->w * d->c * j->element,
                                                 j->dy + image * d->oh * d->ow * d->c * j->element,
                                                 begin % d->oh, next - begin, sum);
  }
}

static void weights_part(void *arg, int64_t part, int thread) {
  const depthwise_job *j = arg;
  const vec_depthwise *d = &j->shape;
  int64_t weights = d->kh * d->kw * d->c, begin = j->rows * part / j->n_parts,
          end = j->rows * (part + 1) / j->n_parts;
  (void)thread;
  memset(j->parts + part * weights, 0, (size_t)weights * sizeof *j->parts);
  add_rows(j, begin, end, j->parts + part * weights);
  if (!j->bias_parts) return;
  const vec_norm channels = {.c = d->c, .narrow = d->narrow};
  memset(j->bias_parts + part * d->c, 0, (size_t)d->c * sizeof *j->bias_parts);
  j->plan->device->vec->norm_sums(&channels, j->dy + begin * d->ow * d->c * j->element, NULL,
                                  j->bias_parts + part * d->c, (end - begin) * d->ow);
}

static void run_bwd_weights(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  depthwise_job j = job_of(plan, node);
  float *dbias = cpu_f32(plan, node->op.out[1]);
  int64_t c = j.shape.c, weights = j.shape.kh * j.shape.kw * c;
  double *bias_parts = (double *)plan->tensors[node->temp[0]].data;
  j.n_parts = node->n_pieces;
  j.bias_parts = dbias ? bias_parts : NULL;
  j.parts = (float *)(bias_parts + j.n_parts * c);
  j.x = repeated(&j, node->op.in[0], node->temp[1]);
  j.dy = plan->tensors[node->op.in[1]].data;
  cpu_for_pieces(j.n_parts, weights_part, &j);
  cpu_add_parts(plan, j.parts, j.n_parts, weights, cpu_f32(plan, node->op.out[0]), weights);
  for (int64_t i = 0; dbias && i < c; i++) {
    double sum = 0.0;
    for (int64_t p = 0; p < j.n_parts; p++) sum += bias_parts[p * c + i];
    dbias[i] = (float)sum;
  }
}

/* ---- planning ---- */

/* Against oneDNN 2.6 on a Zen 4 core, for x86-64: its 3x3 code is faster for few channels, in
 * strides of 2 but for float32 with AVX-512, and for gradients of the kernel where rows are short
 * or bfloat16. */
static bool onednn_is_faster(const wml_plan *plan, const cpu_node *node) {
  depthwise_operands o = operands_of(&node->op);
  const int64_t *k = cpu_info(plan, o.kernel)->dim, *y = cpu_info(plan, o.y)->dim;
  bool narrow = cpu_is_narrow(plan, o.x), wide = plan->device->vec->depthwise->width >= 16;
  if (!cpu_has_isa(dnnl_cpu_isa_sse41) || k[0] != 3 || k[1] != 3) return false;
  if (y[3] < LEAST_CHANNELS) return true;
  if (node->op.kind == WML_OP_CONV2D_BWD_WEIGHTS) return narrow || y[2] < WIDE_ROW;
  return (narrow || !wide) && node->op.u.window.stride[1] != 1;
}

static bool is_depthwise(const wml_plan *plan, const wml_op *op) {
  depthwise_operands o = operands_of(op);
  int64_t channels = cpu_info(plan, o.x)->dim[3];
  return channels > 1 && op->u.window.groups == channels;
}

/* Whether there is own code, be it faster or not. */
static bool takes(const wml_plan *plan, const cpu_node *node) {
  depthwise_operands o = operands_of(&node->op);
  const wml_window *w = &node->op.u.window;
  const int64_t *k = cpu_info(plan, o.kernel)->dim;
  bool steps = true;
  for (int i = 0; i < 2; i++)
    steps = steps && k[i] <= VEC_DEPTHWISE_SIZE && (w->stride[i] == 1 || w->dilation[i] == 1);
  return steps && is_depthwise(plan, &node->op) && !node->pools && !node->in_int8 &&
         cpu_same_type(plan, o.x, o.y) && k[3] >= plan->device->vec->depthwise->width;
}

static wml_result plan_with(wml_plan *plan, cpu_node *node, void (*run)(cpu_step *, cpu_node *)) {
  if (!takes(plan, node)) return WML_UNSUPPORTED;
  depthwise_operands o = operands_of(&node->op);
  bool plain = cpu_fix_plain_kernel(plan, o.kernel, node->op.u.window.groups);
  int64_t times = times_of(plan, node);
  if (!plain || (times == 1 && onednn_is_faster(plan, node))) return WML_UNSUPPORTED;
  if (times > 1) {
    size_t bytes = (size_t)(wml_elements(cpu_info(plan, o.x)) * times * cpu_element(plan, o.x));
    node->temp[1] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
    if (node->temp[1] < 0) return WML_OUT_OF_MEMORY;
  }
  node->name = "own:depthwise";
  node->run = run;
  return WML_OK;
}

wml_result cpu_plan_depthwise(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_forward);
}

wml_result cpu_plan_depthwise_bwd_data(wml_plan *plan, cpu_node *node) {
  return plan_with(plan, node, run_bwd_data);
}

/* Parts of the sum over the batch: some 100 us of products each. */
static int64_t parts_of(const wml_plan *plan, const cpu_node *node) {
  const int64_t *y = cpu_info(plan, node->op.in[1])->dim, *k = cpu_info(plan, node->op.out[0])->dim;
  int64_t rows = y[0] * y[1], parts = rows * y[2] * y[3] * k[0] * k[1] / 2000000;
  if (plan->device->finest_pieces || parts > MOST_PARTS) parts = MOST_PARTS;
  return parts < 1 ? 1 : parts < rows ? parts : rows;
}

wml_result cpu_plan_depthwise_bwd_weights(wml_plan *plan, cpu_node *node) {
  wml_result result = plan_with(plan, node, run_bwd_weights);
  if (result != WML_OK) return result;
  int64_t n = parts_of(plan, node), c = cpu_info(plan, node->op.in[1])->dim[3];
  size_t bytes = (size_t)(n * wml_elements(cpu_info(plan, node->op.out[0]))) * sizeof(float) +
                 (size_t)(n * c) * sizeof(double);
  node->temp[0] = cpu_add_temporary(plan, bytes, (int)(node - plan->nodes));
  node->n_pieces = n;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}
