/* Dense. Small products are computed by own code on the caller's thread; the others in pieces, by
 * oneDNN: its matrix product where float32 weights make up most of what is read, its inner product,
 * which takes bias and activation along, where the rows do, and in bfloat16. */
#include "cpu.h"

#include <string.h>

enum {
  DENSE_LARGE_WEIGHTS = 1 << 16,
  DENSE_HUGE_WEIGHTS = 1 << 20,
  DENSE_SMALL_PRODUCT = 1 << 16,
  MOST_PIECES = 32,
  LEAST_ROWS = 32 /* of a piece: oneDNN packs the weights for each */
};

/* How many pieces are worth it: some 20 us each. */
static int64_t wanted_pieces(const wml_device *device, double flops, int64_t most) {
  double wanted = device->finest_pieces ? 1e9 : flops / 2e6;
  return wanted < 1.0 ? 1 : wanted > (double)most ? most : (int64_t)wanted;
}

typedef struct dense_shape {
  int64_t rows, in, out;
} dense_shape;

static dense_shape shape_of(const wml_plan *plan, int x, int kernel) {
  const wml_tensor *tx = cpu_info(plan, x), *tk = cpu_info(plan, kernel);
  return (dense_shape){wml_elements(tx) / tk->dim[0], tk->dim[0], tk->dim[1]};
}

static void matrix(int64_t rows, int64_t columns, int64_t row_stride, int64_t column_stride,
                   dnnl_data_type_t type, dnnl_memory_desc_t *md) {
  dnnl_dims_t d = {rows, columns}, s = {row_stride, column_stride};
  dnnl_memory_desc_init_by_strides(md, 2, d, type, s);
}

/* A pass: which operands are x, kernel, bias and y (or their gradients). */
typedef struct dense_pass {
  dnnl_prop_kind_t prop;
  int x, kernel, bias, y;
  bool narrow; /* multiplies in bfloat16, weights in oneDNN's own layout */
  bool in_int8;
} dense_pass;

static dense_pass forward_of(const wml_plan *plan, const wml_op *op) {
  return (dense_pass){dnnl_forward_training,          op->in[0], op->in[1], op->in[2], op->out[0],
                      cpu_is_narrow(plan, op->in[0]), false};
}

static dense_pass bwd_data_of(const wml_plan *plan, const wml_op *op) {
  return (dense_pass){dnnl_backward_data,
                      op->out[0],
                      op->in[1],
                      -1,
                      op->in[0],
                      cpu_is_narrow(plan, op->in[0]),
                      false};
}

static dense_pass bwd_weights_of(const wml_plan *plan, const wml_op *op) {
  return (dense_pass){dnnl_backward_weights,          op->in[0], op->out[0], op->out[1], op->in[1],
                      cpu_is_narrow(plan, op->in[0]), false};
}

/* ---- oneDNN's inner product ---- */

typedef struct dense_layouts {
  dnnl_memory_desc_t x, w, y, b;
} dense_layouts;

static dnnl_status_t describe(const dense_pass *pass, const dense_layouts *l,
                              dnnl_inner_product_desc_t *d) {
  const dnnl_memory_desc_t *b = pass->bias >= 0 ? &l->b : NULL;
  if (pass->prop == dnnl_backward_data)
    return dnnl_inner_product_backward_data_desc_init(d, &l->x, &l->w, &l->y);
  if (pass->prop == dnnl_backward_weights)
    return dnnl_inner_product_backward_weights_desc_init(d, &l->x, &l->w, b, &l->y);
  return dnnl_inner_product_forward_desc_init(d, pass->prop, &l->x, &l->w, b, &l->y);
}

/* Any forward descriptor serves as the hint of the backward ones. */
static wml_result forward_hint(const wml_device *device, const dense_pass *pass,
                               const dense_layouts *l, dnnl_primitive_desc_t *hint) {
  dnnl_inner_product_desc_t d;
  dnnl_memory_desc_t w = l->w;
  if (pass->narrow) w.data_type = dnnl_bf16;
  dnnl_status_t s =
      dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &l->x, &w, NULL, &l->y);
  if (s == dnnl_success) s = dnnl_primitive_desc_create(hint, &d, NULL, device->engine, NULL);
  return cpu_check(device, s, "inner_product hint");
}

/* Weights, or their gradient, in oneDNN's choice for bfloat16 or int8. */
static void own_choice(const dense_pass *pass, const dense_shape *s, dnnl_memory_desc_t *w) {
  dnnl_data_type_t type = pass->in_int8                         ? dnnl_s8
                          : pass->prop == dnnl_backward_weights ? dnnl_f32
                                                                : dnnl_bf16;
  dnnl_memory_desc_init_by_tag(w, 2, (dnnl_dims_t){s->out, s->in}, type, dnnl_format_tag_any);
}

/* What the gradient of weights is written in when activations are bfloat16. */
static bool narrow_layout(const wml_device *device, const dense_shape *s, dnnl_memory_desc_t *md) {
  const dense_pass pass = {dnnl_backward_weights, -1, -1, -1, -1, true, false};
  dense_layouts l;
  matrix(s->rows, s->in, s->in, 1, dnnl_bf16, &l.x);
  matrix(s->rows, s->out, s->out, 1, dnnl_bf16, &l.y);
  own_choice(&pass, s, &l.w);
  dnnl_inner_product_desc_t d;
  dnnl_primitive_desc_t hint = NULL, pd = NULL;
  bool found = forward_hint(device, &pass, &l, &hint) == WML_OK &&
               describe(&pass, &l, &d) == dnnl_success &&
               dnnl_primitive_desc_create(&pd, &d, NULL, device->engine, hint) == dnnl_success;
  if (found) *md = *dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
  dnnl_primitive_desc_destroy(hint);
  dnnl_primitive_desc_destroy(pd);
  return found;
}

/* oneDNN's logical weights are [out, in]. Weights of some size lie so, too, since its product of dy
 * and weights takes 0.15 instead of 0.21 ms then (256 x 256, 128 rows, AVX-512); very large ones
 * lie as they are given, [in, out], for the sake of the forward pass (4.4 instead of 7.1 ms for
 * 28800 x 256, 64 rows). Those that are first used in bfloat16 lie as oneDNN writes their gradient.
 */
static void fix_layout(const wml_device *device, cpu_entry *e, const dense_shape *s, bool narrow) {
  if (e->fixed) return;
  e->fixed = true;
  int64_t n = s->in * s->out;
  matrix(s->out, s->in, 1, s->out, dnnl_f32, &e->plain);
  e->own = e->plain;
  if (e->data) return; /* lies as it was given, by a plan in which it is folded */
  if (n < DENSE_LARGE_WEIGHTS || (narrow && narrow_layout(device, s, &e->own))) return;
  if (n < DENSE_HUGE_WEIGHTS) matrix(s->out, s->in, s->in, 1, dnnl_f32, &e->own);
}

/* Whether weights, or their gradient, lie as [out, in]; neither that nor [in, out]: -1. */
static int lies_transposed(const cpu_entry *e) {
  const dnnl_blocking_desc_t *b = &e->own.format_desc.blocking;
  if (dnnl_memory_desc_equal(&e->own, &e->plain)) return 0;
  bool rows = e->own.format_kind == dnnl_blocked && b->inner_nblks == 0 && b->strides[1] == 1;
  return rows && b->strides[0] == e->own.dims[1] ? 1 : -1;
}

/* Offsets of a piece. */
enum { AT_X, AT_Y, AT_WEIGHTS, AT_BIAS };

/* `s`: of one piece. */
static dense_layouts layouts_of(const wml_plan *plan, const dense_pass *pass,
                                const dense_shape *s) {
  dense_layouts l;
  matrix(s->rows, s->in, s->in, 1, cpu_type(plan, pass->x), &l.x);
  matrix(s->rows, s->out, s->out, 1, cpu_type(plan, pass->y), &l.y);
  l.w = plan->tensors[pass->kernel].entry->own;
  if (pass->narrow || pass->in_int8) own_choice(pass, s, &l.w);
  dnnl_memory_desc_init_by_tag(&l.b, 1, (dnnl_dims_t){s->out}, dnnl_f32, dnnl_x);
  return l;
}

static wml_result describe_pass(wml_plan *plan, const cpu_node *node, const dense_pass *pass,
                                const dense_layouts *l, dnnl_primitive_desc_t *pd) {
  dnnl_inner_product_desc_t d;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t hint = NULL;
  wml_result result = pass->in_int8 ? cpu_int8_attributes(plan, node, 0, l->w.dims[0], &attr)
                                    : cpu_attributes(plan, &node->post, &attr);
  if (result == WML_OK && pass->prop != dnnl_forward_training)
    result = forward_hint(plan->device, pass, l, &hint);
  if (result == WML_OK) {
    dnnl_status_t s = describe(pass, l, &d);
    if (s == dnnl_success) s = dnnl_primitive_desc_create(pd, &d, attr, plan->device->engine, hint);
    result = cpu_check(plan->device, s, "inner_product");
  }
  dnnl_primitive_desc_destroy(hint);
  dnnl_primitive_attr_destroy(attr);
  return result;
}

static double flops_of(const dense_shape *s) {
  return 2.0 * (double)s->rows * (double)s->in * (double)s->out;
}

/* Pieces of equally many rows. In bfloat16 no more than there are threads: each reads all weights.
 */
static wml_result cut_rows(wml_plan *plan, cpu_node *node, const dense_pass *pass, dense_shape *s) {
  int64_t most = pass->narrow || pass->in_int8 ? plan->device->threads : MOST_PIECES;
  int64_t rows = s->rows / wanted_pieces(plan->device, flops_of(s), most);
  int64_t least = plan->device->finest_pieces ? 1 : LEAST_ROWS;
  if (rows < least) rows = least < s->rows ? least : s->rows;
  while (s->rows % rows != 0) rows++;
  int64_t n = s->rows / rows;
  wml_result result = cpu_add_pieces(plan, node, n);
  for (int64_t i = 0; i < n && result == WML_OK; i++) {
    node->pieces[i].offset[AT_X] = i * rows * s->in * cpu_element(plan, pass->x);
    node->pieces[i].offset[AT_Y] = i * rows * s->out * cpu_element(plan, pass->y);
  }
  s->rows = rows;
  return result;
}

static wml_result plan_rows(wml_plan *plan, cpu_node *node, const dense_pass *pass) {
  dense_shape s = shape_of(plan, pass->x, pass->kernel);
  bool data = pass->prop == dnnl_backward_data;
  wml_result result = cut_rows(plan, node, pass, &s);
  if (result != WML_OK) return result;
  dense_layouts l = layouts_of(plan, pass, &s);
  dnnl_primitive_desc_t pd = NULL;
  result = describe_pass(plan, node, pass, &l, &pd);
  if (result == WML_OK) {
    const dnnl_memory_desc_t *mw = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    bool as_is = dnnl_memory_desc_equal(mw, &plan->tensors[pass->kernel].entry->own);
    int w = pass->in_int8 ? cpu_int8_weights(plan, node, mw)
            : as_is       ? pass->kernel
                          : cpu_narrow_weight(plan, pass->kernel, mw);
    int bias = pass->in_int8 && pass->bias >= 0 ? cpu_int8_bias(plan, node) : pass->bias;
    if (bias < 0 && pass->bias >= 0) w = -1;
    cpu_arg args[] = {{data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, {pass->x, AT_X}, &l.x},
                      {DNNL_ARG_WEIGHTS, {w, -1}, mw},
                      {data ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, {pass->y, AT_Y}, &l.y},
                      {DNNL_ARG_BIAS, {bias, -1}, &l.b}, /* absent: the end */
                      {0, {-1, -1}, NULL}};
    node->name = cpu_implementation_name(pd);
    node->run = cpu_run_pieces;
    result = w < 0 ? WML_OUT_OF_MEMORY : cpu_add_primitive(plan, node, 0, pd, args);
  }
  dnnl_primitive_desc_destroy(pd);
  if (result == WML_UNSUPPORTED) node->why = "oneDNN has no inner product for these shapes";
  return result;
}

/* ---- gradients of weights from bfloat16: slices of the outputs ---- */

enum { SLICE = 64 }; /* outputs of a slice: a multiple of this */

/* As many slices as there are threads, or more: oneDNN rearranges x for each. 0: too few outputs.
 */
static int64_t slices_of(const wml_plan *plan, const dense_shape *s) {
  int64_t most = s->out / SLICE, n = plan->device->threads < most ? plan->device->threads : most;
  if (s->out % SLICE != 0 || wanted_pieces(plan->device, flops_of(s), 2) < 2) return 0;
  while (n < most && most % n != 0) n++;
  return n < 2 ? 0 : n;
}

/* Whether slices of the outputs lie one behind the other in `whole`, each as `slice` says. */
static bool is_sliced(const dnnl_memory_desc_t *whole, const dnnl_memory_desc_t *slice, int64_t n) {
  const dnnl_blocking_desc_t *a = &whole->format_desc.blocking, *b = &slice->format_desc.blocking;
  if (whole->format_kind != dnnl_blocked || slice->format_kind != dnnl_blocked ||
      a->inner_nblks != b->inner_nblks ||
      dnnl_memory_desc_get_size(whole) != (size_t)n * dnnl_memory_desc_get_size(slice))
    return false;
  for (int i = 0; i < a->inner_nblks; i++)
    if (a->inner_blks[i] != b->inner_blks[i] || a->inner_idxs[i] != b->inner_idxs[i]) return false;
  return a->strides[0] == b->strides[0] && a->strides[1] == b->strides[1] &&
         a->strides[0] >= a->strides[1];
}

static void run_slice(void *arg, int64_t piece, int thread) {
  const cpu_pieces_job *j = arg;
  const cpu_node *node = j->node;
  const wml_plan *plan = j->step->plan;
  int y = node->op.in[1];
  int64_t out = cpu_info(plan, node->op.out[0])->dim[1], slice = out / node->n_pieces,
          rows = wml_elements(cpu_info(plan, y)) / out;
  uint16_t *to = cpu_own(plan, node->temp[0], thread);
  const uint16_t *from = (const uint16_t *)plan->tensors[y].data + piece * slice;
  for (int64_t r = 0; r < rows; r++)
    memcpy(to + r * slice, from + r * out, (size_t)slice * sizeof *to);
  cpu_run_primitives(j->step, node, 0, &node->pieces[piece], thread);
}

static void run_slices(cpu_step *step, cpu_node *node) {
  cpu_run_pieces_by(step, node, run_slice);
}

/* slices: 1 for all outputs as one. */
static wml_result plan_narrow_weights(wml_plan *plan, cpu_node *node, const dense_pass *pass,
                                      int64_t slices) {
  dense_shape s = shape_of(plan, pass->x, pass->kernel);
  const cpu_entry *e = plan->tensors[pass->kernel].entry;
  int at = (int)(node - plan->nodes);
  s.out /= slices;
  dense_layouts l = layouts_of(plan, pass, &s);
  dnnl_primitive_desc_t pd = NULL;
  wml_result result = describe_pass(plan, node, pass, &l, &pd);
  if (result != WML_OK) return result;
  const dnnl_memory_desc_t *mw = dnnl_primitive_desc_query_md(pd, dnnl_query_diff_weights_md, 0);
  bool as_is = slices == 1 ? dnnl_memory_desc_equal(mw, &e->own) : is_sliced(&e->own, mw, slices);
  cpu_operand w = {pass->kernel, AT_WEIGHTS}, y = {pass->y, -1};
  if (slices > 1 && !as_is)
    result = WML_UNSUPPORTED;
  else if (slices > 1)
    y.tensor = node->temp[0] = cpu_add_scratch(plan, dnnl_memory_desc_get_size(&l.y), at);
  else if (!as_is)
    w.tensor = cpu_add_temporary(plan, dnnl_memory_desc_get_size(mw), at);
  if (result == WML_OK) result = y.tensor < 0 || w.tensor < 0 ? WML_OUT_OF_MEMORY : WML_OK;
  if (result == WML_OK) result = cpu_add_pieces(plan, node, slices);
  for (int64_t i = 0; i < slices && result == WML_OK; i++) {
    node->pieces[i].offset[AT_WEIGHTS] = i * (int64_t)dnnl_memory_desc_get_size(mw);
    node->pieces[i].offset[AT_BIAS] = i * s.out * (int64_t)sizeof(float);
  }
  cpu_arg args[] = {{DNNL_ARG_SRC, {pass->x, -1}, &l.x},
                    {DNNL_ARG_DIFF_WEIGHTS, w, mw},
                    {DNNL_ARG_DIFF_DST, y, &l.y},
                    {DNNL_ARG_DIFF_BIAS, {pass->bias, AT_BIAS}, &l.b}, /* absent: the end */
                    {0, {-1, -1}, NULL}};
  node->name = cpu_implementation_name(pd);
  node->run = slices > 1 ? run_slices : cpu_run_pieces;
  if (result == WML_OK) result = cpu_add_primitive(plan, node, 0, pd, args);
  if (result == WML_OK && w.tensor != pass->kernel)
    result = cpu_add_reorder(plan, node, CPU_AFTER, (cpu_operand){w.tensor, -1}, mw,
                             (cpu_operand){pass->kernel, -1}, &e->own);
  dnnl_primitive_desc_destroy(pd);
  return result;
}

static wml_result plan_sliced_weights(wml_plan *plan, cpu_node *node) {
  dense_pass pass = bwd_weights_of(plan, &node->op);
  dense_shape s = shape_of(plan, pass.x, pass.kernel);
  int64_t slices = pass.narrow ? slices_of(plan, &s) : 0;
  return slices == 0 ? WML_UNSUPPORTED : plan_narrow_weights(plan, node, &pass, slices);
}

static wml_result plan_whole_weights(wml_plan *plan, cpu_node *node) {
  dense_pass pass = bwd_weights_of(plan, &node->op);
  if (!pass.narrow) return WML_UNSUPPORTED;
  wml_result result = plan_narrow_weights(plan, node, &pass, 1);
  if (result == WML_UNSUPPORTED) node->why = "oneDNN has no inner product for these shapes";
  return result;
}

/* ---- oneDNN's matrix product, in float32 ---- */

/* c [m, n] = a [m, k] b [k, n], of which a or b may lie transposed. */
typedef struct product {
  int64_t m, n, k;
  bool a_transposed, b_transposed;
  int a, b, c; /* tensors */
} product;

static product product_of(const wml_plan *plan, const dense_pass *pass) {
  dense_shape s = shape_of(plan, pass->x, pass->kernel);
  bool turned = lies_transposed(plan->tensors[pass->kernel].entry) == 1;
  if (pass->prop == dnnl_backward_data)
    return (product){s.rows, s.in, s.out, false, !turned, pass->y, pass->kernel, pass->x};
  if (pass->prop == dnnl_forward_training)
    return (product){s.rows, s.out, s.in, false, turned, pass->x, pass->kernel, pass->y};
  if (turned) return (product){s.out, s.in, s.rows, true, false, pass->y, pass->x, pass->kernel};
  return (product){s.in, s.out, s.rows, true, false, pass->x, pass->y, pass->kernel};
}

/* A piece has some of the rows, of the columns, or of the terms of each sum; of these the parts are
 * added up behind the pieces. */
typedef enum product_axis { BY_M, BY_N, BY_K } product_axis;

typedef struct product_cut {
  product_axis axis;
  int64_t pieces;
} product_cut;

/* The axis along which the least is read, or written, more than once. */
static product_cut cut_of(const wml_device *device, const product *p) {
  double flops = 2.0 * (double)p->m * (double)p->n * (double)p->k;
  const int64_t length[] = {p->m, p->n, p->k}, least[] = {LEAST_ROWS, 64, 128},
                again[] = {p->k * p->n, p->m * p->k, 2 * p->m * p->n};
  product_cut best = {BY_M, 1};
  int64_t least_again = INT64_MAX;
  int64_t wanted = wanted_pieces(device, flops, MOST_PIECES);
  for (int axis = BY_M; axis <= BY_K; axis++) {
    int64_t pieces = device->finest_pieces ? length[axis] : length[axis] / least[axis];
    if (pieces > wanted) pieces = wanted;
    if (pieces < 2 || (pieces < wanted && pieces <= best.pieces) ||
        (pieces >= best.pieces && best.pieces == wanted && again[axis] >= least_again))
      continue;
    best = (product_cut){(product_axis)axis, pieces};
    least_again = again[axis];
  }
  return best;
}

typedef struct product_job {
  wml_plan *plan;
  const cpu_node *node;
  product p;
  product_cut cut;
  const float *bias;
} product_job;

static void run_product_piece(void *arg, int64_t piece, int thread) {
  const product_job *j = arg;
  product p = j->p;
  (void)thread;
  const int64_t length[] = {p.m, p.n, p.k};
  int64_t whole = length[j->cut.axis], begin = whole * piece / j->cut.pieces,
          count = whole * (piece + 1) / j->cut.pieces - begin;
  int64_t lda = p.a_transposed ? p.m : p.k, ldb = p.b_transposed ? p.k : p.n, ldc = p.n;
  const float *a = cpu_f32(j->plan, p.a), *b = cpu_f32(j->plan, p.b);
  float *c = cpu_f32(j->plan, p.c);
  if (j->cut.axis == BY_M) {
    a += begin * (p.a_transposed ? 1 : lda);
    c += begin * ldc;
    p.m = count;
  } else if (j->cut.axis == BY_N) {
    b += begin * (p.b_transposed ? ldb : 1);
    c += begin;
    p.n = count;
  } else {
    a += begin * (p.a_transposed ? lda : 1);
    b += begin * (p.b_transposed ? 1 : ldb);
    if (j->cut.pieces > 1) c = cpu_f32(j->plan, j->node->temp[0]) + piece * p.m * p.n;
    p.k = count;
  }
  cpu_note(j->plan, dnnl_sgemm(p.a_transposed ? 'T' : 'N', p.b_transposed ? 'T' : 'N', p.m, p.n,
                               p.k, 1.0f, a, lda, b, ldb, 0.0f, c, ldc));
}

/* Rows of a forward pass: the sum of their parts, bias, activation. */
static void finish_rows(void *arg, int64_t begin, int64_t end) {
  const product_job *j = arg;
  const vec_table *vec = j->plan->device->vec;
  int64_t n = j->p.n, at = begin * n, count = (end - begin) * n;
  float *y = cpu_f32(j->plan, j->p.c) + at;
  if (j->cut.axis == BY_K && j->cut.pieces > 1)
    vec->add_parts(cpu_f32(j->plan, j->node->temp[0]) + at, j->cut.pieces, j->p.m * n, y, count);
  for (int64_t r = 0; j->bias && r < end - begin; r++)
    for (int64_t i = 0; i < n; i++) y[r * n + i] += j->bias[i];
  if (j->node->post.kind != WML_LINEAR) vec->activation(&j->node->post, y, y, count, false);
}

static void run_product(cpu_step *step, cpu_node *node) {
  wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  bool forward = op->kind == WML_OP_DENSE, weights = op->kind == WML_OP_DENSE_BWD_WEIGHTS;
  dense_pass pass = forward   ? forward_of(plan, op)
                    : weights ? bwd_weights_of(plan, op)
                              : bwd_data_of(plan, op);
  product_job j = {.plan = plan, .node = node, .p = product_of(plan, &pass)};
  j.cut = cut_of(plan->device, &j.p);
  j.bias = forward ? cpu_f32(plan, pass.bias) : NULL;
  cpu_for_pieces(j.cut.pieces, run_product_piece, &j);
  if (forward)
    cpu_parallel(j.p.m, 1 + 4096 / j.p.n, finish_rows, &j);
  else if (j.cut.axis == BY_K && j.cut.pieces > 1)
    cpu_add_parts(plan, cpu_f32(plan, node->temp[0]), j.cut.pieces, j.p.m * j.p.n,
                  cpu_f32(plan, j.p.c), j.p.m * j.p.n);
  int64_t filters = wml_elements(cpu_info(plan, pass.y)) / j.p.k; /* where weights: k rows */
  if (weights && pass.bias >= 0) /* dbias: the sum of the rows of dy */
    cpu_add_parts(plan, cpu_f32(plan, pass.y), j.p.k, filters, cpu_f32(plan, pass.bias), filters);
}

static wml_result plan_product(wml_plan *plan, cpu_node *node, const dense_pass *pass) {
  const cpu_entry *e = plan->tensors[pass->kernel].entry;
  if (pass->narrow || lies_transposed(e) < 0) return WML_UNSUPPORTED;
  product p = product_of(plan, pass);
  product_cut cut = cut_of(plan->device, &p);
  if (cut.axis == BY_K && cut.pieces > 1) {
    node->temp[0] = cpu_add_temporary(plan, (size_t)(cut.pieces * p.m * p.n) * sizeof(float),
                                      (int)(node - plan->nodes));
    if (node->temp[0] < 0) return WML_OUT_OF_MEMORY;
  }
  node->name = "gemm:jit";
  node->run = run_product;
  return WML_OK;
}

/* ---- small products ---- */

typedef struct small_job {
  const wml_plan *plan;
  const cpu_node *node;
  dense_shape shape;
} small_job;

static void small_rows(void *arg, int64_t begin, int64_t end) {
  const small_job *j = arg;
  const wml_op *op = &j->node->op;
  const vec_table *vec = j->plan->device->vec;
  float *y = cpu_f32(j->plan, op->out[0]) + begin * j->shape.out;
  vec->dense(cpu_f32(j->plan, op->in[0]) + begin * j->shape.in, cpu_f32(j->plan, op->in[1]),
             cpu_f32(j->plan, op->in[2]), y, end - begin, j->shape.in, j->shape.out);
  if (j->node->post.kind != WML_LINEAR)
    vec->activation(&j->node->post, y, y, (end - begin) * j->shape.out, false);
}

/* On the caller's thread where the whole plan is. */
static void run_small(cpu_step *step, cpu_node *node) {
  small_job job = {step->plan, node, shape_of(step->plan, node->op.in[0], node->op.in[1])};
  cpu_parallel(job.shape.rows, 1 + (1 << 18) / (job.shape.in * job.shape.out), small_rows, &job);
}

static bool is_cheap(const wml_activation *a) {
  return a->kind == WML_LINEAR || a->kind == WML_RELU || a->kind == WML_LEAKY_RELU;
}

/* Activations that take a function of the C library are better done by oneDNN where there are many.
 */
static wml_result plan_small(wml_plan *plan, cpu_node *node) {
  dense_shape s = shape_of(plan, node->op.in[0], node->op.in[1]);
  cpu_entry *e = plan->tensors[node->op.in[1]].entry;
  fix_layout(plan->device, e, &s, cpu_is_narrow(plan, node->op.in[0]));
  bool few = s.rows * s.in * s.out <= DENSE_SMALL_PRODUCT;
  if (s.in * s.out >= DENSE_LARGE_WEIGHTS || !(few || is_cheap(&node->post)) ||
      lies_transposed(e) != 0 || cpu_is_narrow(plan, node->op.in[0]) || node->in_int8)
    return WML_UNSUPPORTED;
  node->name = "own:small";
  node->inline_ = few;
  node->run = run_small;
  return WML_OK;
}

/* ---- the three passes ---- */

/* A product in which the weights are most of what is read. */
static wml_result plan_forward_product(wml_plan *plan, cpu_node *node) {
  dense_pass pass = forward_of(plan, &node->op);
  if (node->in_int8) return WML_UNSUPPORTED;
  product p = product_of(plan, &pass);
  return cut_of(plan->device, &p).axis == BY_M ? WML_UNSUPPORTED : plan_product(plan, node, &pass);
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  dense_pass pass = forward_of(plan, &node->op);
  pass.in_int8 = node->in_int8;
  return plan_rows(plan, node, &pass);
}

static wml_result plan_bwd_data_product(wml_plan *plan, cpu_node *node) {
  dense_pass pass = bwd_data_of(plan, &node->op);
  return plan_product(plan, node, &pass);
}

static wml_result plan_bwd_data(wml_plan *plan, cpu_node *node) {
  dense_pass pass = bwd_data_of(plan, &node->op);
  return plan_rows(plan, node, &pass);
}

static wml_result plan_bwd_weights_product(wml_plan *plan, cpu_node *node) {
  dense_pass pass = bwd_weights_of(plan, &node->op);
  return plan_product(plan, node, &pass);
}

const cpu_implementation cpu_dense[] = {
    {plan_small, true}, {plan_forward_product, false}, {plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_dense_bwd_data[] = {
    {plan_bwd_data_product, false}, {plan_bwd_data, true}, {NULL, false}};
const cpu_implementation cpu_dense_bwd_weights[] = {{plan_bwd_weights_product, false},
                                                    {plan_sliced_weights, true},
                                                    {plan_whole_weights, true},
                                                    {NULL, false}};
