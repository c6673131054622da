/* Conv2D by oneDNN, in pieces of some pictures of the batch or, where there are few, of bands of a
 * picture. Candidates for the layout of the activations: NHWC as they lie, and, where oneDNN has
 * only its reference code for that, its own choice with reorders around. */
#include "cpu.h"

#include <string.h>

typedef struct conv_shape {
  dnnl_dims_t stride, dilation, before, after; /* oneDNN counts dilation from 0 */
  dnnl_memory_desc_t plain;                    /* HWIO bytes as oneDNN's (G)OIHW */
} conv_shape;

/* HWIO bytes of `groups` groups, seen as (G)OIHW. */
static void describe_plain(const int64_t *k, int64_t groups, dnnl_memory_desc_t *md) {
  int64_t fg = k[3] / groups, f = k[3];
  dnnl_dims_t dims = {groups, fg, k[2], k[0], k[1]},
              strides = {fg, 1, f, k[1] * k[2] * f, k[2] * f};
  int skip = groups == 1 ? 1 : 0;
  dnnl_memory_desc_init_by_strides(md, 5 - skip, dims + skip, dnnl_f32, strides + skip);
}

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
  describe_plain(k, w->groups, &s.plain);
  return s;
}

static void any_layout(const dnnl_memory_desc_t *like, dnnl_data_type_t type,
                       dnnl_memory_desc_t *md) {
  dnnl_memory_desc_init_by_tag(md, like->ndims, like->dims, type, dnnl_format_tag_any);
}

/* The three passes differ in prop kind and in which tensors are read and written. */
typedef struct conv_pass {
  dnnl_prop_kind_t prop;
  int x, kernel, bias, y; /* tensors (of gradients, in the backward passes) */
  bool narrow;            /* multiplies in bfloat16; gradients of weights are float32 always */
  bool in_int8;
} conv_pass;

static dnnl_data_type_t type_of(const conv_pass *pass) {
  return pass->in_int8 ? dnnl_s8 : pass->narrow ? dnnl_bf16 : dnnl_f32;
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
  any_layout(&s->plain, winograd ? dnnl_f32 : type_of(pass), &w);
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

/* How the work is cut: `images` pictures a piece, each in `bands` bands of `band` rows of the
 * result (of the pooled result, where a pooling follows). */
typedef struct conv_cut {
  int64_t images, bands, band;
} conv_cut;

/* What one kind of piece reads and writes. */
typedef struct conv_part {
  int64_t images, first, in_rows, out_rows; /* first: row of the input */
  int64_t before, after;                    /* rows of padding */
} conv_part;

/* Offsets of a piece. */
enum { AT_X, AT_Y, AT_WEIGHTS, AT_BIAS };

static void describe_part(const wml_plan *plan, int tensor, int64_t images, int64_t rows,
                          dnnl_memory_desc_t *md) {
  const int64_t *d = cpu_info(plan, tensor)->dim;
  dnnl_dims_t dims = {images, d[3], rows, d[2]};
  dnnl_memory_desc_init_by_tag(md, 4, dims, cpu_type(plan, tensor), dnnl_nhwc);
}

typedef struct conv_views {
  dnnl_memory_desc_t x, y, bias; /* NHWC */
} conv_views;

static conv_views views_of(const wml_plan *plan, const cpu_node *node, const conv_pass *pass,
                           const conv_part *part) {
  conv_views v;
  describe_part(plan, pass->x, part->images, part->in_rows, &v.x);
  describe_part(plan, node->pools ? node->between : pass->y, part->images, part->out_rows, &v.y);
  if (node->pools) v.y.data_type = cpu_type(plan, pass->y);
  if (pass->bias >= 0) cpu_describe(plan, pass->bias, &v.bias);
  return v;
}

static wml_result try_layout(wml_plan *plan, const cpu_node *node, const conv_pass *pass,
                             const conv_shape *s, const conv_views *views, conv_layouts layouts,
                             dnnl_primitive_desc_t *pd) {
  dnnl_memory_desc_t x = views->x, y = views->y, w;
  if (layouts.own) {
    any_layout(&x, layouts.winograd ? dnnl_f32 : x.data_type, &x);
    any_layout(&y, layouts.winograd ? dnnl_f32 : y.data_type, &y);
  }
  const cpu_entry *entry = plan->tensors[pass->kernel].entry;
  bool wide = layouts.winograd || pass->prop == dnnl_backward_weights;
  any_layout(&s->plain, wide ? dnnl_f32 : type_of(pass), &w);
  if (entry->fixed && !layouts.own_weights) w = entry->own;
  dnnl_primitive_attr_t attr = NULL;
  dnnl_primitive_desc_t hint = NULL;
  wml_result result = pass->in_int8 ? cpu_int8_attributes(plan, node, 0, s->plain.dims[0], &attr)
                                    : cpu_attributes(plan, &node->post, &attr);
  if (result == WML_OK && pass->prop != dnnl_forward_training)
    result = forward_hint(plan, pass, s, layouts.winograd, &x, &y, &hint);
  if (result == WML_OK) {
    dnnl_convolution_desc_t d;
    dnnl_status_t status = describe(pass, s, algorithm(layouts.winograd), &x, &w,
                                    pass->bias >= 0 ? &views->bias : NULL, &y, &d);
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

/* The primitive's memory descriptors. */
typedef struct conv_wants {
  const dnnl_memory_desc_t *x, *weights, *y, *bias;
} conv_wants;

static conv_wants wants_of(const conv_pass *pass, dnnl_primitive_desc_t pd) {
  bool data = pass->prop == dnnl_backward_data, weights = pass->prop == dnnl_backward_weights;
  dnnl_query_t w = weights ? dnnl_query_diff_weights_md : dnnl_query_weights_md;
  return (conv_wants){
      dnnl_primitive_desc_query_md(pd, data ? dnnl_query_diff_src_md : dnnl_query_src_md, 0),
      dnnl_primitive_desc_query_md(pd, w, 0),
      dnnl_primitive_desc_query_md(pd, data || weights ? dnnl_query_diff_dst_md : dnnl_query_dst_md,
                                   0),
      dnnl_primitive_desc_query_md(pd, w, 1)};
}

/* An activation as the primitive wants it: where it lies, or a scratch of the thread with a reorder
 * before it. Reorders behind the primitive are the caller's. */
static wml_result activation_for(wml_plan *plan, cpu_node *node, int kind, cpu_operand at,
                                 const dnnl_memory_desc_t *have, const dnnl_memory_desc_t *want,
                                 bool read, cpu_operand *operand) {
  *operand = at;
  if (dnnl_memory_desc_equal(have, want)) return WML_OK;
  int scratch = cpu_add_scratch(plan, dnnl_memory_desc_get_size(want), (int)(node - plan->nodes));
  if (scratch < 0) return WML_OUT_OF_MEMORY;
  *operand = (cpu_operand){scratch, -1};
  return read ? cpu_add_reorder(plan, node, kind, at, have, *operand, want) : WML_OK;
}

/* Weights that are read: as they lie, a bfloat16 copy, or a temporary that is made before the
 * pieces. */
static wml_result weights_for(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                              const dnnl_memory_desc_t *want, cpu_operand *operand) {
  const cpu_entry *entry = plan->tensors[pass->kernel].entry;
  *operand = (cpu_operand){pass->kernel, -1};
  if ((pass->narrow && want->data_type == dnnl_bf16) || pass->in_int8) {
    operand->tensor = pass->in_int8 ? cpu_int8_weights(plan, node, want)
                                    : cpu_narrow_weight(plan, pass->kernel, want);
    return operand->tensor < 0 ? WML_OUT_OF_MEMORY : WML_OK;
  }
  if (dnnl_memory_desc_equal(&entry->own, want)) return WML_OK;
  int temp = cpu_add_temporary(plan, dnnl_memory_desc_get_size(want), (int)(node - plan->nodes));
  if (temp < 0) return WML_OUT_OF_MEMORY;
  cpu_operand from = *operand;
  *operand = (cpu_operand){temp, -1};
  return cpu_add_reorder(plan, node, CPU_BEFORE, from, &entry->own, *operand, want);
}

/* Weights that a plan without this operation (because it is folded) has put already lie as they
 * were given. */
static void fix_layout(wml_plan *plan, const conv_pass *pass, const conv_shape *s,
                       const dnnl_memory_desc_t *weights) {
  cpu_entry *entry = plan->tensors[pass->kernel].entry;
  if (entry->fixed) return;
  entry->plain = s->plain;
  entry->own = pass->narrow || pass->in_int8 || entry->data ? s->plain : *weights;
  entry->fixed = true;
}

/* The forward pass or the gradient of the input, for one kind of piece. The result that a pooling
 * follows stays with the thread, in node->temp[0]. */
static wml_result add_kind(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                           const conv_views *have, dnnl_primitive_desc_t pd, int kind) {
  bool data = pass->prop == dnnl_backward_data;
  conv_wants want = wants_of(pass, pd);
  cpu_operand x, y, w, from = {pass->x, AT_X}, to = {pass->y, AT_Y};
  if (node->pools) to = (cpu_operand){node->temp[0], -1};
  wml_result result = activation_for(plan, node, kind, from, &have->x, want.x, !data, &x);
  if (result == WML_OK) result = activation_for(plan, node, kind, to, &have->y, want.y, data, &y);
  if (result == WML_OK) result = weights_for(plan, node, pass, want.weights, &w);
  int bias = pass->bias >= 0 && pass->in_int8 ? cpu_int8_bias(plan, node) : pass->bias;
  if (result == WML_OK && bias < 0 && pass->bias >= 0) result = WML_OUT_OF_MEMORY;
  if (result != WML_OK) return result;
  cpu_arg args[] = {{data ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, x, want.x},
                    {DNNL_ARG_WEIGHTS, w, want.weights},
                    {data ? DNNL_ARG_DIFF_DST : DNNL_ARG_DST, y, want.y},
                    {DNNL_ARG_BIAS, {bias, -1}, want.bias}, /* absent: the end */
                    {0, {-1, -1}, NULL}};
  result = cpu_add_primitive(plan, node, kind, pd, args);
  if (result == WML_OK && data && x.tensor != from.tensor)
    result = cpu_add_reorder(plan, node, kind, x, want.x, from, &have->x);
  if (result == WML_OK && !data && y.tensor != to.tensor)
    result = cpu_add_reorder(plan, node, kind, y, want.y, to, &have->y);
  return result;
}

/* The gradient of the weights: a sum for each piece, then the sum of those. Behind the pieces the
 * parts lie as [pieces, weights], and the bias's as [pieces, filters]. */
static wml_result add_weights(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                              const conv_views *have, dnnl_primitive_desc_t pd) {
  conv_wants want = wants_of(pass, pd);
  int at = (int)(node - plan->nodes);
  const cpu_entry *entry = plan->tensors[pass->kernel].entry;
  bool direct = node->n_pieces == 1 && dnnl_memory_desc_equal(&entry->own, want.weights);
  size_t bytes = dnnl_memory_desc_get_size(want.weights),
         bias = pass->bias < 0 ? 0 : dnnl_memory_desc_get_size(want.bias);
  cpu_operand x, y, weights = {pass->kernel, -1}, filters = {pass->bias, -1};
  node->temp[0] = node->temp[1] = -1;
  if (!direct) {
    weights.tensor = node->temp[0] = cpu_add_temporary(plan, bytes * (size_t)node->n_pieces, at);
    filters.tensor = node->temp[1] = cpu_add_temporary(plan, bias * (size_t)node->n_pieces, at);
    if (weights.tensor < 0 || filters.tensor < 0) return WML_OUT_OF_MEMORY;
    weights.offset = AT_WEIGHTS;
    filters.offset = AT_BIAS;
    if (pass->bias < 0) filters.tensor = -1;
  }
  for (int64_t i = 0; i < node->n_pieces; i++) {
    node->pieces[i].offset[AT_WEIGHTS] = i * (int64_t)bytes;
    node->pieces[i].offset[AT_BIAS] = i * (int64_t)bias;
  }
  wml_result result =
      activation_for(plan, node, 0, (cpu_operand){pass->x, AT_X}, &have->x, want.x, true, &x);
  if (result == WML_OK)
    result =
        activation_for(plan, node, 0, (cpu_operand){pass->y, AT_Y}, &have->y, want.y, true, &y);
  if (result != WML_OK) return result;
  cpu_arg args[] = {{DNNL_ARG_SRC, x, want.x},
                    {DNNL_ARG_DIFF_WEIGHTS, weights, want.weights},
                    {DNNL_ARG_DIFF_DST, y, want.y},
                    {DNNL_ARG_DIFF_BIAS, filters, want.bias}, /* absent: the end */
                    {0, {-1, -1}, NULL}};
  result = cpu_add_primitive(plan, node, 0, pd, args);
  if (result == WML_OK && !dnnl_memory_desc_equal(&entry->own, want.weights))
    result = cpu_add_reorder(plan, node, CPU_AFTER, (cpu_operand){node->temp[0], -1}, want.weights,
                             (cpu_operand){pass->kernel, -1}, &entry->own);
  return result;
}

/* ---- where the work is cut ---- */

enum {
  MOST_PIECES = 32,
  MOST_PARTS = 16,
  LEAST_PARTS = 8,
  LEAST_WINOGRAD = 2,
  MOST_BANDS = 8,
  MOST_KINDS = 4
};

/* How many pieces are worth it: some 40 us each. */
static double wanted_pieces(const wml_device *device, double flops) {
  return device->finest_pieces ? 1e9 : flops / 4e6;
}

static double flops_of(const wml_plan *plan, const cpu_node *node, const conv_pass *pass) {
  const int64_t *k = cpu_info(plan, pass->kernel)->dim;
  int y = node->pools ? node->between : pass->y;
  return 2.0 * (double)(k[0] * k[1] * k[2]) * (double)wml_elements(cpu_info(plan, y));
}

static int64_t clamp(double n, int64_t least, int64_t most) {
  return n < (double)least ? least : n > (double)most ? most : (int64_t)n;
}

/* The most pictures a piece, at most `most`, that divide the batch. */
static int64_t divide(int64_t batch, int64_t most) {
  int64_t images = most < 1 ? 1 : most < batch ? most : batch;
  while (batch % images != 0) images--;
  return images;
}

/* Winograd's way of 3x3 convolutions has a quarter of the products (oneDNN has it for AVX-512, in
 * blocked layouts). With many channels that pays for the reorders around it, and its results are as
 * near as those of sums in another order: 2e-6 of the norm for 64 channels. It needs some four
 * times the memory of an activation: not for the largest. */
static const int64_t winograd_elements = (int64_t)64 << 20;

static bool wants_winograd(const wml_plan *plan, const cpu_node *node, const conv_pass *pass) {
  const wml_window *w = &node->op.u.window;
  const int64_t *k = cpu_info(plan, pass->kernel)->dim,
                *d = cpu_info(plan, node->pools ? node->between : pass->y)->dim;
  int64_t least = plan->device->winograd;
  bool simple = plan->graph.precision != WML_FLOAT32_STRICT && w->groups == 1 && k[0] == 3 &&
                k[1] == 3 && !pass->in_int8;
  if (pass->narrow) { /* computed in float32, which pays where bfloat16's products are but twice as
                         fast */
    if (cpu_has_isa(dnnl_cpu_isa_avx512_core_amx)) return false;
    least *= 2;
  }
  for (int i = 0; i < 2; i++) simple = simple && w->stride[i] == 1 && w->dilation[i] == 1;
  int64_t pixels = d[0] * d[1] * d[2], most = k[2] > k[3] ? k[2] : k[3];
  return simple && k[2] >= least && k[3] >= least && pixels >= 32 * least &&
         pixels * most <= winograd_elements;
}

/* Each call transforms all weights, which costs as much as the products of some 1,000 tiles of 4x4
 * are worth; but every thread should have a piece. Sums over the batch have as many parts for any
 * number of threads. */
static conv_cut cut_winograd(const wml_plan *plan, const conv_pass *pass, const int64_t *y) {
  int64_t tiles = y[0] * ((y[1] + 3) / 4) * ((y[2] + 3) / 4), threads = plan->device->threads,
          least = pass->prop == dnnl_backward_weights ? LEAST_WINOGRAD
                  : threads > LEAST_WINOGRAD          ? threads
                                                      : LEAST_WINOGRAD;
  return (conv_cut){divide(y[0], y[0] / clamp((double)tiles / 1024.0, least, MOST_PIECES)), 1, 0};
}

/* Bands of a picture, where there are not enough pictures. */
static void cut_bands(const wml_plan *plan, const cpu_node *node, const conv_pass *pass,
                      int64_t wanted, conv_cut *cut) {
  int64_t batch = plan->graph.batch, rows = cpu_info(plan, pass->y)->dim[1];
  const wml_window *p = &node->pool;
  bool apart =
      !node->pools || (p->size[0] == p->stride[0] && p->pad_before[0] == 0 && p->pad_after[0] == 0);
  if (wanted < 2 * batch || pass->prop != dnnl_forward_training || !apart) return;
  int64_t bands = (wanted + batch - 1) / batch;
  if (bands > MOST_BANDS) bands = MOST_BANDS;
  if (bands > rows) bands = rows;
  cut->band = (rows + bands - 1) / bands;
  cut->bands = (rows + cut->band - 1) / cut->band;
}

static conv_cut cut_of(const wml_plan *plan, const cpu_node *node, const conv_pass *pass) {
  int64_t batch = plan->graph.batch;
  const wml_tensor *made = cpu_info(plan, node->pools ? node->between : pass->y);
  double flops = flops_of(plan, node, pass);
  if (wants_winograd(plan, node, pass)) return cut_winograd(plan, pass, made->dim);
  if (pass->prop == dnnl_backward_weights) {
    /* A part is written and read once more: at 20 GB/s no more than 2.5 % of the products' time. */
    double weights = 4.0 * (double)wml_elements(cpu_info(plan, pass->kernel));
    int64_t most = clamp(flops * 2.5e-3 / weights, LEAST_PARTS, MOST_PARTS);
    return (conv_cut){divide(batch, batch / clamp(wanted_pieces(plan->device, flops), 1, most)), 1,
                      0};
  }
  int64_t wanted = clamp(wanted_pieces(plan->device, flops), 1, MOST_PIECES);
  int64_t images = batch / wanted;
  if (node->pools) { /* stays in the thread's cache until it is pooled */
    int64_t picture = wml_row_elements(made) * cpu_element(plan, pass->y),
            near = plan->device->cache / picture;
    if (near < images) images = near;
  }
  conv_cut cut = {divide(batch, images), 1, 0};
  cut_bands(plan, node, pass, wanted, &cut);
  return cut;
}

/* Rows [row, row + rows) of the result. */
static conv_part part_of(const wml_plan *plan, const cpu_node *node, const conv_pass *pass,
                         int64_t images, int64_t row, int64_t rows) {
  const wml_window *w = &node->op.u.window;
  int64_t height = cpu_info(plan, pass->x)->dim[1],
          kernel = (cpu_info(plan, pass->kernel)->dim[0] - 1) * w->dilation[0] + 1;
  int64_t begin = row * w->stride[0] - w->pad_before[0],
          end = (row + rows - 1) * w->stride[0] + kernel - w->pad_before[0];
  conv_part part = {.images = images, .out_rows = rows};
  part.before = begin < 0 ? -begin : 0;
  part.after = end > height ? end - height : 0;
  part.first = begin + part.before;
  part.in_rows = end - part.after - part.first;
  return part;
}

/* The whole picture's: what padding and strides leave over at its end counts as well. */
static conv_part whole_part(const wml_plan *plan, const cpu_node *node, const conv_pass *pass,
                            int64_t images) {
  int y = node->pools ? node->between : pass->y;
  const wml_window *w = &node->op.u.window;
  return (conv_part){.images = images,
                     .in_rows = cpu_info(plan, pass->x)->dim[1],
                     .out_rows = cpu_info(plan, y)->dim[1],
                     .before = w->pad_before[0],
                     .after = w->pad_after[0]};
}

static bool same_kind(const conv_part *a, const conv_part *b) {
  return a->in_rows == b->in_rows && a->out_rows == b->out_rows && a->before == b->before &&
         a->after == b->after;
}

/* ---- planning ---- */

static wml_result plan_kind(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                            const conv_part *part, int kind) {
  static const conv_layouts candidates[] = {{.own = true, .winograd = true},
                                            {.own = true, .own_weights = true, .winograd = true},
                                            {.own = false},
                                            {.own_weights = true},
                                            {.own = true},
                                            {.own = true, .own_weights = true},
                                            {.last_resort = true},
                                            {.own_weights = true, .last_resort = true}};
  conv_shape s = shape_of(plan, node, pass->kernel);
  s.before[0] = part->before;
  s.after[0] = part->after;
  conv_views views = views_of(plan, node, pass, part);
  bool winograd = wants_winograd(plan, node, pass);
  cpu_entry *entry = plan->tensors[pass->kernel].entry;
  /* oneDNN's matrix products, slow for groups, are all it has for groups of filters that lie side
   * by side. */
  bool spread = entry->fixed && node->op.u.window.groups > 1 &&
                dnnl_memory_desc_equal(&entry->own, &entry->plain);
  const cpu_entry before = *entry;
  int tensors = plan->n_tensors, primitives = node->n_primitives;
  for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++) {
    if (pass->narrow && (!candidates[i].own_weights || candidates[i].last_resort)) continue;
    if ((pass->in_int8 || spread) && !candidates[i].own_weights) continue;
    if (candidates[i].winograd && !winograd) continue;
    dnnl_primitive_desc_t pd = NULL;
    wml_result result = try_layout(plan, node, pass, &s, &views, candidates[i], &pd);
    if (result == WML_OK) {
      fix_layout(plan, pass, &s, wants_of(pass, pd).weights);
      node->name = cpu_implementation_name(pd);
      result = pass->prop == dnnl_backward_weights ? add_weights(plan, node, pass, &views, pd)
                                                   : add_kind(plan, node, pass, &views, pd, kind);
      dnnl_primitive_desc_destroy(pd);
    }
    if (result != WML_UNSUPPORTED) return result;
    cpu_drop_primitives(plan, node, primitives);
    plan->n_tensors = tensors;
    entry->plain = before.plain;
    entry->own = before.own;
    entry->fixed = before.fixed;
  }
  node->why = "oneDNN has no convolution for these shapes";
  return WML_UNSUPPORTED;
}

/* Which kind of piece the part is; a new one is planned for. */
static wml_result kind_of(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                          const conv_part *part, conv_part *kinds, int *n_kinds, int *kind) {
  for (*kind = 0; *kind < *n_kinds; ++*kind)
    if (same_kind(part, &kinds[*kind])) return WML_OK;
  if (*n_kinds == MOST_KINDS) return WML_UNSUPPORTED;
  kinds[(*n_kinds)++] = *part;
  return plan_kind(plan, node, pass, part, *kind);
}

static int64_t row_bytes(const wml_plan *plan, int tensor) {
  const int64_t *d = cpu_info(plan, tensor)->dim;
  return d[2] * d[3] * cpu_element(plan, tensor);
}

static wml_result add_result_scratch(wml_plan *plan, cpu_node *node, const conv_cut *cut) {
  int64_t rows =
      cut->bands == 1 ? cpu_info(plan, node->between)->dim[1] : cut->band * node->pool.stride[0];
  const int64_t *d = cpu_info(plan, node->between)->dim;
  size_t bytes = (size_t)(cut->images * rows * d[2] * d[3] * cpu_element(plan, node->op.out[0]));
  node->temp[0] = cpu_add_scratch(plan, bytes, (int)(node - plan->nodes));
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

static wml_result plan_pieces(wml_plan *plan, cpu_node *node, const conv_pass *pass,
                              const conv_cut *cut) {
  conv_part kinds[MOST_KINDS];
  int n_kinds = 0;
  int64_t n = plan->graph.batch / cut->images * cut->bands, rows = cpu_info(plan, pass->y)->dim[1];
  wml_result result = cpu_add_pieces(plan, node, n);
  if (result == WML_OK && node->pools) result = add_result_scratch(plan, node, cut);
  for (int64_t i = 0; i < n && result == WML_OK; i++) {
    cpu_piece *p = &node->pieces[i];
    int64_t image = i / cut->bands * cut->images, row = i % cut->bands * cut->band;
    p->images = cut->images;
    p->rows = cut->bands == 1 ? rows : rows - row < cut->band ? rows - row : cut->band;
    int64_t factor = node->pools ? node->pool.stride[0] : 1;
    conv_part part = cut->bands == 1
                         ? whole_part(plan, node, pass, cut->images)
                         : part_of(plan, node, pass, cut->images, row * factor, p->rows * factor);
    p->offset[AT_X] =
        (image * cpu_info(plan, pass->x)->dim[1] + part.first) * row_bytes(plan, pass->x);
    p->offset[AT_Y] = (image * rows + row) * row_bytes(plan, pass->y);
    if (part.in_rows < 1) return WML_UNSUPPORTED;
    result = kind_of(plan, node, pass, &part, kinds, &n_kinds, &p->kind);
  }
  return result;
}

static wml_result plan_pass(wml_plan *plan, cpu_node *node, const conv_pass *pass) {
  int tensors = plan->n_tensors;
  conv_cut cut = cut_of(plan, node, pass);
  wml_result result = plan_pieces(plan, node, pass, &cut);
  if (result != WML_UNSUPPORTED || cut.bands == 1) return result;
  cpu_reset_node(plan, node);
  plan->n_tensors = tensors;
  cut.bands = 1;
  return plan_pieces(plan, node, pass, &cut);
}

/* ---- the three passes ---- */

/* What the convolution makes of a piece stays in the cache until it is pooled. */
static void run_pooled_piece(void *arg, int64_t piece, int thread) {
  const cpu_pieces_job *j = arg;
  const wml_plan *plan = j->step->plan;
  const cpu_node *node = j->node;
  const cpu_piece *p = &node->pieces[piece];
  bool whole = p->rows == cpu_info(plan, node->op.out[0])->dim[1];
  int64_t rows = whole ? cpu_info(plan, node->between)->dim[1] : p->rows * node->pool.stride[0];
  cpu_run_primitives(j->step, node, p->kind, p, thread);
  cpu_pool_piece(plan, node, cpu_own(plan, node->temp[0], thread), rows, p,
                 p->offset[AT_Y] / cpu_element(plan, node->op.out[0]));
}

static void run_pooled(cpu_step *step, cpu_node *node) {
  cpu_run_pieces_by(step, node, run_pooled_piece);
}

static wml_result plan_forward(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  conv_pass pass = {dnnl_forward_training,          op->in[0],    op->in[1], op->in[2], op->out[0],
                    cpu_is_narrow(plan, op->in[0]), node->in_int8};
  if (node->pools) {
    if (!node->in_int8 && !cpu_same_type(plan, op->in[0], op->out[0])) return WML_UNSUPPORTED;
    cpu_pool_index(plan, op->out[1]);
  }
  node->run = node->pools ? run_pooled : cpu_run_pieces;
  return plan_pass(plan, node, &pass);
}

static wml_result plan_bwd_data(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  conv_pass pass = {dnnl_backward_data,
                    op->out[0],
                    op->in[1],
                    -1,
                    op->in[0],
                    cpu_is_narrow(plan, op->in[0]),
                    false};
  node->run = cpu_run_pieces;
  return plan_pass(plan, node, &pass);
}

static void run_weights(cpu_step *step, cpu_node *node) {
  const wml_plan *plan = step->plan;
  cpu_run_pieces_by(step, node, cpu_run_piece);
  if (node->temp[0] < 0) return; /* one piece, which has written the gradient itself */
  const int *out = node->op.out;
  float *parts = cpu_f32(plan, node->temp[0]), *bias = cpu_f32(plan, node->temp[1]);
  int64_t n = node->n_pieces;
  int64_t weights = (int64_t)(plan->tensors[node->temp[0]].bytes / sizeof *parts) / n,
          filters = (int64_t)(plan->tensors[node->temp[1]].bytes / sizeof *bias) / n;
  bool reorders = node->primitive[node->n_primitives - 1].when == CPU_AFTER;
  cpu_add_parts(plan, parts, n, weights, reorders ? parts : cpu_f32(plan, out[0]), weights);
  if (out[1] >= 0) cpu_add_parts(plan, bias, n, filters, cpu_f32(plan, out[1]), filters);
  cpu_run_primitives(step, node, CPU_AFTER, NULL, 0);
}

static wml_result plan_bwd_weights(wml_plan *plan, cpu_node *node) {
  const wml_op *op = &node->op;
  conv_pass pass = {dnnl_backward_weights,          op->in[0], op->out[0], op->out[1], op->in[1],
                    cpu_is_narrow(plan, op->in[0]), false};
  node->run = run_weights;
  return plan_pass(plan, node, &pass);
}

bool cpu_fix_plain_kernel(wml_plan *plan, int kernel, int64_t groups) {
  cpu_entry *e = plan->tensors[kernel].entry;
  if (!e->fixed) {
    describe_plain(cpu_info(plan, kernel)->dim, groups, &e->plain);
    e->own = e->plain;
    e->fixed = true;
  }
  return dnnl_memory_desc_equal(&e->own, &e->plain);
}

const cpu_implementation cpu_conv2d[] = {{cpu_plan_conv_bytes, false},
                                         {cpu_plan_pooled_forward, false},
                                         {cpu_plan_depthwise, true},
                                         {plan_forward, true},
                                         {NULL, false}};
const cpu_implementation cpu_conv2d_bwd_data[] = {
    {cpu_plan_depthwise_bwd_data, true}, {plan_bwd_data, true}, {NULL, false}};
const cpu_implementation cpu_conv2d_bwd_weights[] = {{cpu_plan_pooled_weights, true},
                                                     {cpu_plan_depthwise_bwd_weights, true},
                                                     {plan_bwd_weights, true},
                                                     {NULL, false}};
