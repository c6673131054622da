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
                   dnnl_memory_desc_t *md) {
  dnnl_dims_t d = {rows, columns}, s = {row_stride, column_stride};
  dnnl_memory_desc_init_by_strides(md, 2, d, dnnl_f32, s);
}

/* oneDNN's logical weights are [out, in]. The choice depends on nothing but the shape. */
static void fix_layout(cpu_entry *e, const dense_shape *s) {
  if (e->fixed) return;
  matrix(s->out, s->in, 1, s->out, &e->plain);
  if (s->in * s->out >= DENSE_TRANSPOSED_FROM)
    matrix(s->out, s->in, s->in, 1, &e->own);
  else
    e->own = e->plain;
  e->fixed = true;
}

static void run_small(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  const wml_op *op = &node->op;
  dense_shape s = shape_of(plan, op->in[0], op->in[1]);
  const vec_table *vec = plan->device->vec;
  float *y = cpu_f32(plan, op->out[0]);
  vec->dense(cpu_f32(plan, op->in[0]), cpu_f32(plan, op->in[1]), cpu_f32(plan, op->in[2]), y,
             s.rows, s.in, s.out);
  if (node->post.kind != WML_LINEAR) vec->activation(&node->post, y, y, s.rows * s.out);
}

static wml_result plan_small(wml_plan *plan, cpu_node *node) {
  dense_shape s = shape_of(plan, node->op.in[0], node->op.in[1]);
  cpu_entry *e = plan->tensors[node->op.in[1]].entry;
  fix_layout(e, &s);
  if (s.rows * s.in * s.out > DENSE_SMALL_PRODUCT || s.in * s.out >= DENSE_TRANSPOSED_FROM) {
    node->why = "the product is large";
    return WML_UNSUPPORTED;
  }
  node->name = "own:small";
  node->inline_ = true;
  node->run = run_small;
  return WML_OK;
}

static wml_result add(wml_plan *plan, cpu_node *node, const void *desc, const cpu_arg *args,
                      dnnl_primitive_desc_t hint) {
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t pd = NULL;
  wml_result result = cpu_attributes(plan, &node->post, &attr);
  if (result == WML_OK)
    result = cpu_check(plan->device,
                       dnnl_primitive_desc_create(&pd, desc, attr, plan->device->engine, hint),
                       "inner_product");
  if (result == WML_OK) {
    node->name = cpu_implementation_name(pd);
    node->run = cpu_run_primitives;
    result = cpu_add_primitive(plan, node, pd, args);
  }
  dnnl_primitive_desc_destroy(pd);
  dnnl_primitive_attr_destroy(attr);
  return result;
}

typedef struct dense_layouts {
  dnnl_memory_desc_t x, w, y, b;
} dense_layouts;

static dense_layouts layouts_of(wml_plan *plan, int x, int kernel) {
  dense_shape s = shape_of(plan, x, kernel);
  dense_layouts l;
  cpu_entry *e = plan->tensors[kernel].entry;
  fix_layout(e, &s);
  matrix(s.rows, s.in, s.in, 1, &l.x);
  matrix(s.rows, s.out, s.out, 1, &l.y);
  l.w = e->own;
  dnnl_memory_desc_init_by_tag(&l.b, 1, (dnnl_dims_t){s.out}, dnnl_f32, dnnl_x);
  return l;
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_layouts l = layouts_of(plan, op->in[0], op->in[1]);
  dnnl_inner_product_desc_t d;
  wml_result result =
      cpu_check(plan->device,
                dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &l.x, &l.w,
                                                     op->in[2] >= 0 ? &l.b : NULL, &l.y),
                "inner_product_forward");
  if (result != WML_OK) return result;
  cpu_arg args[] = {{DNNL_ARG_SRC, op->in[0], &l.x},
                    {DNNL_ARG_WEIGHTS, op->in[1], &l.w},
                    {DNNL_ARG_DST, op->out[0], &l.y},
                    {DNNL_ARG_BIAS, op->in[2], &l.b},
                    {0, -1, NULL}};
  return add(plan, node, &d, args, NULL);
}

/* Any forward descriptor serves as the hint of the backward ones. */
static wml_result forward_hint(wml_plan *plan, const dense_layouts *l,
                               dnnl_primitive_desc_t *hint) {
  dnnl_inner_product_desc_t d;
  dnnl_status_t s =
      dnnl_inner_product_forward_desc_init(&d, dnnl_forward_training, &l->x, &l->w, NULL, &l->y);
  if (s == dnnl_success) s = dnnl_primitive_desc_create(hint, &d, NULL, plan->device->engine, NULL);
  return cpu_check(plan->device, s, "inner_product hint");
}

static wml_result plan_bwd_data(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_layouts l = layouts_of(plan, op->out[0], op->in[1]);
  dnnl_primitive_desc_t hint = NULL;
  wml_result result = forward_hint(plan, &l, &hint);
  dnnl_inner_product_desc_t d;
  if (result == WML_OK)
    result =
        cpu_check(plan->device, dnnl_inner_product_backward_data_desc_init(&d, &l.x, &l.w, &l.y),
                  "inner_product_backward_data");
  cpu_arg args[] = {{DNNL_ARG_DIFF_SRC, op->out[0], &l.x},
                    {DNNL_ARG_WEIGHTS, op->in[1], &l.w},
                    {DNNL_ARG_DIFF_DST, op->in[0], &l.y},
                    {0, -1, NULL}};
  if (result == WML_OK) result = add(plan, node, &d, args, hint);
  dnnl_primitive_desc_destroy(hint);
  return result;
}

static wml_result plan_bwd_weights(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  dense_layouts l = layouts_of(plan, op->in[0], op->out[0]);
  dnnl_primitive_desc_t hint = NULL;
  wml_result result = forward_hint(plan, &l, &hint);
  dnnl_inner_product_desc_t d;
  if (result == WML_OK)
    result = cpu_check(plan->device,
                       dnnl_inner_product_backward_weights_desc_init(
                           &d, &l.x, &l.w, op->out[1] >= 0 ? &l.b : NULL, &l.y),
                       "inner_product_backward_weights");
  cpu_arg args[] = {{DNNL_ARG_SRC, op->in[0], &l.x},
                    {DNNL_ARG_DIFF_WEIGHTS, op->out[0], &l.w},
                    {DNNL_ARG_DIFF_DST, op->in[1], &l.y},
                    {DNNL_ARG_DIFF_BIAS, op->out[1], &l.b},
                    {0, -1, NULL}};
  if (result == WML_OK) result = add(plan, node, &d, args, hint);
  dnnl_primitive_desc_destroy(hint);
  return result;
}

const cpu_implementation cpu_dense[] = {{plan_small}, {plan_forward}, {NULL}};
const cpu_implementation cpu_dense_bwd_data[] = {{plan_bwd_data}, {NULL}};
const cpu_implementation cpu_dense_bwd_weights[] = {{plan_bwd_weights}, {NULL}};
