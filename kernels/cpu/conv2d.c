/* Conv2D by oneDNN. Candidates for the layout of the activations: NHWC as they lie, and, where
 * oneDNN has only its reference code for that, its own choice with reorders around. */
#include "cpu.h"

#include <string.h>

typedef struct conv_shape {
  dnnl_dims_t stride, dilation, before, after; /* oneDNN counts dilation from 0 */
  dnnl_memory_desc_t plain;                    /* HWIO bytes as oneDNN's (G)OIHW */
  int weights_rank;
  dnnl_dims_t weights_dim;
} conv_shape;

static conv_shape shape_of(const wml_plan *plan, const cpu_node *node, int kernel) {
  const wml_window *w = &node->op.u.window;
  const int64_t *k = cpu_info(plan, kernel)->dim; /* kh, kw, cg, f */
  conv_shape s;
  memset(&s, 0, sizeof s);
  for (int i = 0; i < 2; i++) {
    s.stride[i] = w->stride[i];
    s.dilation[i] = w->dilation[i] - 1;
    s.before[i] = w->pad_before[i];
    s.after[i] = w->pad_after[i];
  }
  int64_t g = w->groups, fg = k[3] / g, f = k[3];
  dnnl_dims_t grouped = {g, fg, k[2], k[0], k[1]},
              grouped_stride = {fg, 1, f, k[1] * k[2] * f, k[2] * f};
  int skip = g == 1 ? 1 : 0;
  s.weights_rank = 5 - skip;
  for (int i = 0; i < s.weights_rank; i++) s.weights_dim[i] = grouped[i + skip];
  dnnl_dims_t strides;
  for (int i = 0; i < s.weights_rank; i++) strides[i] = grouped_stride[i + skip];
  dnnl_memory_desc_init_by_strides(&s.plain, s.weights_rank, s.weights_dim, dnnl_f32, strides);
  return s;
}

static void any_layout(const dnnl_memory_desc_t *like, dnnl_data_type_t type,
                       dnnl_memory_desc_t *md) {
  dnnl_memory_desc_init_by_tag(md, like->ndims, like->dims, type, dnnl_format_tag_any);
}

/* The three passes differ in prop kind and in which tensors are read and written. */
typedef struct conv_pass {
  dnnl_prop_kind_t prop;
  int x, weights, bias, y; /* tensors (of gradients, in the backward passes) */
  bool narrow;             /* multiplies in bfloat16; gradients of weights are float32 always */
} conv_pass;

static dnnl_data_type_t type_of(const conv_pass *pass) {
  return pass->narrow ? dnnl_bf16 : dnnl_f32;
}

static dnnl_status_t describe(const conv_pass *pass, const conv_shape *s, dnnl_alg_kind_t algorithm,
                              const dnnl_memory_desc_t *x, const dnnl_memory_desc_t *w,
                              const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *y,
                              dnnl_convolution_desc_t *d) {
  if (pass->prop == dnnl_backward_data)
    return dnnl_dilated_convolution_backward_data_desc_init(d, algorithm, x, w, y, s->stride,
                                                            s->dilation, s->before, s->after);
  if (pass->prop == dnnl_backward_weights)
    return dnnl_dilated_convolution_backward_weights_desc_init(d, algorithm, x, w, b, y, s->stride,
                                                               s->dilation, s->before, s->after);
  return dnnl_dilated_convolution_forward_desc_init(d, pass->prop, algorithm, x, w, b, y, s->stride,
                                                    s->dilation, s->before, s->after);
}

static dnnl_alg_kind_t algorithm(bool winograd) {
  return winograd ? dnnl_convolution_winograd : dnnl_convolution_direct;
}

/* A backward primitive descriptor needs a forward one as its hint; any layout will do for it. */
static wml_result forward_hint(wml_plan *plan, const conv_pass *pass, const conv_shape *s,
                               bool winograd, const dnnl_memory_desc_t *x,
                               const dnnl_memory_desc_t *y, dnnl_primitive_desc_t *hint) {
  dnnl_memory_desc_t w, fx = *x, fy = *y;
  any_layout(&s->plain, type_of(pass), &w);
  dnnl_convolution_desc_t d;
  dnnl_status_t status = dnnl_dilated_convolution_forward_desc_init(
      &d, dnnl_forward_training, algorithm(winograd), &fx, &w, NULL, &fy, s->stride, s->dilation,
      s->before, s->after);
  if (status == dnnl_success)
    status = dnnl_primitive_desc_create(hint, &d, NULL, plan->device->engine, NULL);
  return cpu_check(plan->device, status, "convolution hint");
}

/* One set of layouts to try. */
typedef struct conv_layouts {
  bool own;         /* activations in oneDNN's choice instead of NHWC */
  bool own_weights; /* weights in its choice, even where the store lays them out otherwise */
  bool last_resort; /* reference code is taken too */
  bool winograd;
} conv_layouts;

static wml_result try_layout(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                             const conv_shape *s, conv_layouts layouts, dnnl_primitive_desc_t *pd) {
  dnnl_memory_desc_t x, y, w, b;
  cpu_describe(plan, pass->x, &x);
  cpu_describe(plan, pass->y, &y);
  if (layouts.own) {
    any_layout(&x, x.data_type, &x);
    any_layout(&y, y.data_type, &y);
  }
  const cpu_entry *entry = plan->tensors[pass->weights].entry;
  any_layout(&s->plain, pass->prop == dnnl_backward_weights ? dnnl_f32 : type_of(pass), &w);
  if (entry->fixed && !layouts.own_weights) w = entry->own;
  if (pass->bias >= 0) cpu_describe(plan, pass->bias, &b);
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t hint = NULL;
  wml_result result = cpu_attributes(plan, &node->post, &attr);
  bool forward = pass->prop == dnnl_forward_training || pass->prop == dnnl_forward_inference;
  if (result == WML_OK && !forward)
    result = forward_hint(plan, pass, s, layouts.winograd, &x, &y, &hint);
  if (result == WML_OK) {
    dnnl_convolution_desc_t d;
    dnnl_status_t status =
        describe(pass, s, algorithm(layouts.winograd), &x, &w, pass->bias >= 0 ? &b : NULL, &y, &d);
    if (status == dnnl_success)
      status = dnnl_primitive_desc_create(pd, &d, attr, plan->device->engine, hint);
    result = cpu_check(plan->device, status, "convolution");
  }
  dnnl_primitive_desc_destroy(hint);
  dnnl_primitive_attr_destroy(attr);
  if (result == WML_OK && !layouts.last_resort &&
      strncmp(cpu_implementation_name(*pd), "ref", 3) == 0) {
    dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
    result = WML_UNSUPPORTED;
  }
  return result;
}

/* Adds a reorder when `tensor` lies otherwise than the primitive wants it; returns the tensor to
 * use instead, or -1 without memory. */
static int convert(wml_plan *plan, cpu_node *node, int tensor, const dnnl_memory_desc_t *have,
                   const dnnl_memory_desc_t *want, bool before, wml_result *result) {
  if (dnnl_memory_desc_equal(have, want)) return tensor;
  int temp = cpu_add_temporary(plan, dnnl_memory_desc_get_size(want), (int)(node - plan->nodes));
  if (temp < 0)
    *result = WML_OUT_OF_MEMORY;
  else if (before)
    *result = cpu_add_reorder(plan, node, tensor, have, temp, want);
  return temp;
}

static wml_result finish(wml_plan *plan, cpu_node *node, const conv_pass *pass, const conv_shape *s,
                         dnnl_primitive_desc_t pd) {
  bool data = pass->prop == dnnl_backward_data, weights = pass->prop == dnnl_backward_weights;
  bool forward = !data && !weights;
  const dnnl_memory_desc_t *mx =
      dnnl_primitive_desc_query_md(pd, data ? dnnl_query_diff_src_md : dnnl_query_src_md, 0);
  const dnnl_memory_desc_t *mw = dnnl_primitive_desc_query_md(
      pd, weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
  const dnnl_memory_desc_t *my =
      dnnl_primitive_desc_query_md(pd, forward ? dnnl_query_dst_md : dnnl_query_diff_dst_md, 0);
  const dnnl_memory_desc_t *mb = dnnl_primitive_desc_query_md(
      pd, weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 1);
  cpu_entry *entry = plan->tensors[pass->weights].entry;
  if (!entry->fixed) {
    entry->plain = s->plain;
    entry->own = pass->narrow ? s->plain : *mw;
    entry->fixed = true;
  }
  dnnl_memory_desc_t nx, ny;
  cpu_describe(plan, pass->x, &nx);
  cpu_describe(plan, pass->y, &ny);
  wml_result result = WML_OK;
  int x = convert(plan, node, pass->x, &nx, mx, !data, &result), w = -1;
  if (result == WML_OK && pass->narrow && !weights) {
    w = cpu_narrow_weight(plan, pass->weights, mw);
    if (w < 0) result = WML_OUT_OF_MEMORY;
  } else if (result == WML_OK)
    w = convert(plan, node, pass->weights, &entry->own, mw, !weights, &result);
  int y = result == WML_OK ? convert(plan, node, pass->y, &ny, my, !forward, &result) : -1;
  if (result != WML_OK) return result;
  cpu_arg args[] = {{data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, x, mx},
                    {weights ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS, w, mw},
                    {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, y, my},
                    {weights ? DNNL_ARG_DIFF_BIAS : DNNL_ARG_BIAS, pass->bias, mb},
                    {0, -1, NULL}};
  result = cpu_add_primitive(plan, node, pd, args);
  if (result == WML_OK && data && x != pass->x)
    result = cpu_add_reorder(plan, node, x, mx, pass->x, &nx);
  if (result == WML_OK && weights && w != pass->weights)
    result = cpu_add_reorder(plan, node, w, mw, pass->weights, &entry->own);
  if (result == WML_OK && forward && y != pass->y)
    result = cpu_add_reorder(plan, node, y, my, pass->y, &ny);
  return result;
}

/* Winograd's way of 3x3 convolutions has a quarter of the products (oneDNN has it for AVX-512, in
 * blocked layouts). With many channels that pays for the reorders around it, and its results are as
 * near as those of sums in another order: 2e-6 of the norm for 64 channels. It needs some four
 * times the memory of an activation: not for the largest. */
static const int64_t winograd_elements = (int64_t)64 << 20;

static bool wants_winograd(const wml_plan *plan, const cpu_node *node, int x, int y, int kernel) {
  const wml_window *w = &node->op.u.window;
  const int64_t *k = cpu_info(plan, kernel)->dim, *d = cpu_info(plan, y)->dim,
                least = plan->device->winograd;
  bool simple = plan->graph.precision == WML_FLOAT32 && w->groups == 1 && k[0] == 3 && k[1] == 3 &&
                !cpu_is_narrow(plan, x);
  for (int i = 0; i < 2; i++) simple = simple && w->stride[i] == 1 && w->dilation[i] == 1;
  int64_t pixels = d[0] * d[1] * d[2], most = k[2] > k[3] ? k[2] : k[3];
  return simple && k[2] >= least && k[3] >= least && pixels >= 32 * least &&
         pixels * most <= winograd_elements;
}

/* part: of the batch only, so activations must lie as they are */
static wml_result plan_pass(wml_plan *plan, cpu_node *node, const conv_pass *pass, int kernel,
                            bool part) {
  conv_shape s = shape_of(plan, node, kernel);
  dnnl_primitive_desc_t pd = NULL;
  static const conv_layouts candidates[] = {{.own = true, .winograd = true},
                                            {.own = true, .own_weights = true, .winograd = true},
                                            {.own = false},
                                            {.own_weights = true},
                                            {.own = true},
                                            {.own = true, .own_weights = true},
                                            {.last_resort = true},
                                            {.own_weights = true, .last_resort = true}};
  bool winograd = wants_winograd(plan, node, pass->x, pass->y, kernel);
  wml_result result = WML_UNSUPPORTED;
  for (size_t i = 0; i < sizeof candidates / sizeof *candidates && result == WML_UNSUPPORTED; i++) {
    if (pass->narrow && (!candidates[i].own_weights || candidates[i].last_resort)) continue;
    if (part && (candidates[i].own || candidates[i].last_resort)) continue;
    if (candidates[i].winograd && !winograd) continue;
    result = try_layout(plan, node, pass, &s, candidates[i], &pd);
  }
  if (result != WML_OK) {
    node->why = "oneDNN has no convolution for these shapes";
    return result;
  }
  node->name = cpu_implementation_name(pd);
  node->run = cpu_run_primitives;
  result = finish(plan, node, pass, &s, pd);
  dnnl_primitive_desc_destroy(pd);
  return result;
}

/* ---- with pooling behind it ----
 * The convolution of a few pictures stays in the cache until it is pooled. What it needs for its
 * weights runs once, its last primitive for each part of the batch. */

static void run_pooled(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  int x = node->temp[0], y = node->temp[1];
  int64_t rows = cpu_info(plan, y)->dim[0], row = wml_row_elements(cpu_info(plan, x));
  cpu_primitive *conv = &node->primitive[node->n_primitives - 1];
  int moved = 0;
  while (moved < conv->n_args && conv->tensor[moved] != x) moved++;
  for (int i = 0; i + 1 < node->n_primitives; i++) {
    cpu_primitive *p = &node->primitive[i];
    dnnl_primitive_execute(p->primitive, plan->device->stream, p->n_args, p->arg);
  }
  for (int64_t first = 0; first < plan->graph.batch; first += rows) {
    dnnl_memory_set_data_handle(conv->arg[moved].memory, cpu_at(plan, x, first * row));
    dnnl_primitive_execute(conv->primitive, plan->device->stream, conv->n_args, conv->arg);
    cpu_pool_rows(plan, node, y, first, rows);
  }
}

static void run_whole(cpu_step *step, cpu_node *node) {
  cpu_run_primitives(step, node);
  cpu_pool_rows(step->plan, node, node->temp[1], 0, step->plan->graph.batch);
}

/* How many pictures at a time: what the threads' caches hold, evenly. */
static int64_t part_of(const wml_plan *plan, const cpu_node *node) {
  const wml_tensor *y = cpu_info(plan, node->between);
  int64_t picture = wml_row_elements(y) * cpu_element(cpu_is_narrow(plan, node->op.out[0])),
          each = plan->device->cache / picture, threads = plan->device->threads;
  int64_t most = threads * (each > 1 ? each : 1), batch = plan->graph.batch;
  for (int64_t rows = most < batch ? most : batch; rows >= threads; rows--)
    if (batch % rows == 0 && (rows % threads == 0 || rows == batch)) return rows;
  return batch;
}

static wml_result plan_pooled(wml_plan *plan, cpu_node *node, int64_t rows) {
  const wml_op *op = &node->op;
  bool narrow = cpu_is_narrow(plan, op->in[0]);
  if (!cpu_same_type(plan, op->in[0], op->out[0])) return WML_UNSUPPORTED;
  int x = cpu_add_view(plan, op->in[0], rows),
      y = x < 0 ? -1 : cpu_add_like(plan, node->between, rows, narrow);
  if (y < 0) return WML_OUT_OF_MEMORY;
  node->temp[0] = x;
  node->temp[1] = y;
  cpu_pool_index(plan, op->out[1]);
  conv_pass pass = {dnnl_forward_training, x, op->in[1], op->in[2], y, narrow};
  wml_result result = plan_pass(plan, node, &pass, op->in[1], rows < plan->graph.batch);
  node->run = rows < plan->graph.batch ? run_pooled : run_whole;
  return result;
}

static wml_result plan_in_parts(wml_plan *plan, cpu_node *node) {
  if (!node->pools || wants_winograd(plan, node, node->op.in[0], node->between, node->op.in[1]))
    return WML_UNSUPPORTED;
  return plan_pooled(plan, node, part_of(plan, node));
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  if (node->pools) return plan_pooled(plan, node, plan->graph.batch);
  conv_pass pass = {dnnl_forward_training,         op->in[0], op->in[1], op->in[2], op->out[0],
                    cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass, op->in[1], false);
}

static wml_result plan_bwd_data(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  conv_pass pass = {
      dnnl_backward_data, op->out[0], op->in[1], -1, op->in[0], cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass, op->in[1], false);
}

static wml_result plan_bwd_weights(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  conv_pass pass = {dnnl_backward_weights,         op->in[0], op->out[0], op->out[1], op->in[1],
                    cpu_is_narrow(plan, op->in[0])};
  return plan_pass(plan, node, &pass, op->out[0], false);
}

const cpu_implementation cpu_conv2d[] = {
    {plan_in_parts, true}, {plan_forward, true}, {NULL, false}};
const cpu_implementation cpu_conv2d_bwd_data[] = {{plan_bwd_data, true}, {NULL, false}};
const cpu_implementation cpu_conv2d_bwd_weights[] = {
    {cpu_plan_pooled_weights, true}, {plan_bwd_weights, true}, {NULL, false}};
