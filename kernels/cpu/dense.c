/* Dense: small products by own code on the caller's thread, the rest by oneDNN's inner product.
 * A kernel of some size is kept as [out, in]: oneDNN's forward gemm runs at twice the rate on it
 * (178 against 87 GFLOP/s for 64 x 28800 x 256 on 2 AVX2 cores). */
#include "cpu.h"

enum { DENSE_TRANSPOSED_FROM = 1 << 16, DENSE_SMALL_PRODUCT = 1 << 16 };

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
} dense_pass;

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

/* Weights, or their gradient, in oneDNN's choice for bfloat16. */
static void own_choice(const dense_pass *pass, const dense_shape *s, dnnl_memory_desc_t *w) {
  dnnl_memory_desc_init_by_tag(w, 2, (dnnl_dims_t){s->out, s->in},
                               pass->prop == dnnl_backward_weights ? dnnl_f32 : dnnl_bf16,
                               dnnl_format_tag_any);
}

/* What the gradient of weights is written in when activations are bfloat16. */
static bool narrow_layout(const wml_device *device, const dense_shape *s, dnnl_memory_desc_t *md) {
  const dense_pass pass = {dnnl_backward_weights, -1, -1, -1, -1, true};
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

/* oneDNN's logical weights are [out, in]. The first pass chooses for all: by the shape, and by
 * whether it is in bfloat16. */
static void fix_layout(const wml_device *device, cpu_entry *e, const dense_shape *s, bool narrow) {
  if (e->fixed) return;
  e->fixed = true;
  matrix(s->out, s->in, 1, s->out, dnnl_f32, &e->plain);
  e->own = e->plain;
  if (s->in * s->out >= DENSE_TRANSPOSED_FROM && !(narrow && narrow_layout(device, s, &e->own)))
    matrix(s->out, s->in, s->in, 1, dnnl_f32, &e->own);
}

static void run_small(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  dense_shape s = shape_of(plan, op->in[0], op->in[1]);
  const vec_table *vec = plan->device->vec;
  float *y = cpu_f32(plan, op->out[0]);
  vec->dense(cpu_f32(plan, op->in[0]), cpu_f32(plan, op->in[1]), cpu_f32(plan, op->in[2]), y,
             s.rows, s.in, s.out);
  if (node->post.kind != WML_LINEAR) vec->activation(&node->post, y, y, s.rows * s.out, false);
}

static wml_result plan_small(wml_plan *plan, cpu_node *node) {
  dense_shape s = shape_of(plan, node->op.in[0], node->op.in[1]);
  cpu_entry *e = plan->tensors[node->op.in[1]].entry;
  fix_layout(plan->device, e, &s, false);
  if (s.rows * s.in * s.out > DENSE_SMALL_PRODUCT || s.in * s.out >= DENSE_TRANSPOSED_FROM) {
    node->why = "the product is large";
    return WML_UNSUPPORTED;
  }
  node->name = "own:small";
  node->inline_ = true;
  node->run = run_small;
  return WML_OK;
}

/* ---- oneDNN ---- */

static dense_layouts layouts_of(wml_plan *plan, const dense_pass *pass) {
  dense_shape s = shape_of(plan, pass->x, pass->kernel);
  dense_layouts l;
  cpu_entry *e = plan->tensors[pass->kernel].entry;
  fix_layout(plan->device, e, &s, pass->narrow);
  matrix(s.rows, s.in, s.in, 1, cpu_type(plan, pass->x), &l.x);
  matrix(s.rows, s.out, s.out, 1, cpu_type(plan, pass->y), &l.y);
  l.w = e->own;
  if (pass->narrow) own_choice(pass, &s, &l.w);
  dnnl_memory_desc_init_by_tag(&l.b, 1, (dnnl_dims_t){s.out}, dnnl_f32, dnnl_x);
  return l;
}

/* The weights as the primitive wants them: as they lie, a bfloat16 copy, or, for gradients, a
 * temporary that is reordered behind it. */
static int weights_for(wml_plan *plan, const cpu_node *node, const dense_pass *pass,
                       const dnnl_memory_desc_t *md) {
  const cpu_entry *e = plan->tensors[pass->kernel].entry;
  if (dnnl_memory_desc_equal(md, &e->own)) return pass->kernel;
  if (pass->prop != dnnl_backward_weights) return cpu_narrow_weight(plan, pass->kernel, md);
  return cpu_add_temporary(plan, dnnl_memory_desc_get_size(md), (int)(node - plan->nodes));
}

static wml_result add(wml_plan *plan, cpu_node *node, const dense_pass *pass,
                      const dense_layouts *l, dnnl_primitive_desc_t pd) {
  bool forward = pass->prop == dnnl_forward_training, data = pass->prop == dnnl_backward_data,
       weights = pass->prop == dnnl_backward_weights;
  const dnnl_memory_desc_t *mw = dnnl_primitive_desc_query_md(
      pd, weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
  int w = weights_for(plan, node, pass, mw);
  if (w < 0) return WML_OUT_OF_MEMORY;
  cpu_arg args[] = {{data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, pass->x, &l->x},
                    {weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, w, mw},
                    {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, pass->y, &l->y},
                    {weights ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, pass->bias, &l->b},
                    {0, -1, NULL}};
  node->name = cpu_implementation_name(pd);
  node->run = cpu_run_primitives;
  wml_result result = cpu_add_primitive(plan, node, pd, args);
  if (result == WML_OK && weights && w != pass->kernel)
    result =
        cpu_add_reorder(plan, node, w, mw, pass->kernel, &plan->tensors[pass->kernel].entry->own);
  return result;
}

static wml_result plan_pass(wml_plan *plan, cpu_node *node, const dense_pass *pass) {
  dense_layouts l = layouts_of(plan, pass);
  dnnl_inner_product_desc_t d;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t hint = NULL, pd = NULL;
  wml_result result = cpu_attributes(plan, &node->post, &attr);
  if (result == WML_OK && pass->prop != dnnl_forward_training)
    result = forward_hint(plan->device, pass, &l, &hint);
  if (result == WML_OK) {
    dnnl_status_t s = describe(pass, &l, &d);
    if (s == dnnl_success)
      s = dnnl_primitive_desc_create(&pd, &d, attr, plan->device->engine, hint);
    result = cpu_check(plan->device, s, "inner_product");
  }
  if (result == WML_OK) result = add(plan, node, pass, &l, pd);
  if (result == WML_UNSUPPORTED) node->why = "oneDNN has no inner product for these shapes";
  dnnl_primitive_desc_destroy(hint);
  dnnl_primitive_desc_destroy(pd);
  dnnl_primitive_attr_destroy(attr);
  return result;
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_pass pass = {dnnl_forward_training,         op->in[0], op->in[1], op->in[2], op->out[0],
                     cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass);
}

static wml_result plan_bwd_data(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_pass pass = {
      dnnl_backward_data, op->out[0], op->in[1], -1, op->in[0], cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass);
}

static wml_result plan_bwd_weights(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_pass pass = {dnnl_backward_weights,         op->in[0], op->out[0], op->out[1], op->in[1],
                     cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass);
}

const cpu_implementation cpu_dense[] = {{plan_small, false}, {plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_dense_bwd_data[] = {{plan_bwd_data, true}, {NULL, false}};
const cpu_implementation cpu_dense_bwd_weights[] = {{plan_bwd_weights, true}, {NULL, false}};
