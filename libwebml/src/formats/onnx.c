/* ONNX, opset 13, ir_version 7: the inference graph. Images come in as bytes [N, H, W, C] and are
 * scaled inside; convolutions run in ONNX's NCHW; scores go out [N, outputs]. Protobuf is written
 * by hand: the field numbers are those of onnx.proto3. */
#include "base/file.h"
#include "formats/export.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- protobuf ---- */

static void varint(wml_text *t, uint64_t v) {
  char bytes[10];
  size_t n = 0;
  for (; v >= 0x80; v >>= 7) bytes[n++] = (char)(v | 0x80);
  bytes[n++] = (char)v;
  wml_text_add(t, bytes, n);
}

static void integer(wml_text *t, int field, int64_t v) {
  varint(t, (uint64_t)field << 3);
  varint(t, (uint64_t)v);
}

static void bytes(wml_text *t, int field, const void *data, size_t n) {
  varint(t, (uint64_t)field << 3 | 2);
  varint(t, n);
  wml_text_add(t, data, n);
}

static void string(wml_text *t, int field, const char *s) {
  bytes(t, field, s, strlen(s));
}

/* Appends a finished message and frees it. */
static void message(wml_text *t, int field, wml_text *inner) {
  if (inner->failed) t->failed = true;
  bytes(t, field, inner->data ? inner->data : "", inner->length);
  wml_text_free(inner);
}

enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_INTS = 7 };
enum { TYPE_FLOAT = 1, TYPE_UINT8 = 2, TYPE_INT8 = 3 };

/* ---- graph ---- */

typedef struct graph {
  wml_text nodes; /* repeated NodeProto, with their field tags */
  wml_text initializers;
  wml_arena arena;
  int count;           /* of names made */
  const char *at;      /* the current value */
  bool nchw;           /* its layout, when it has four dimensions */
  wml_text attributes; /* of the node being made */
} graph;

static const char *new_name(graph *g, const char *base) {
  size_t size = strlen(base) + 16;
  char *name = wml_arena_alloc(&g->arena, size);
  if (name)
    snprintf(name, size, "%s:%d", base, g->count++);
  else
    g->nodes.failed = true;
  return name ? name : "";
}

static void attribute_int(graph *g, const char *name, int64_t value) {
  wml_text a = {0};
  string(&a, 1, name);
  integer(&a, 3, value);
  integer(&a, 20, ATTRIBUTE_INT);
  message(&g->attributes, 5, &a);
}

static void attribute_float(graph *g, const char *name, float value) {
  wml_text a = {0};
  string(&a, 1, name);
  varint(&a, 2 << 3 | 5);
  wml_text_add(&a, (const char *)&value, 4);
  integer(&a, 20, ATTRIBUTE_FLOAT);
  message(&g->attributes, 5, &a);
}

static void attribute_ints(graph *g, const char *name, int n, const int *values) {
  wml_text a = {0};
  string(&a, 1, name);
  for (int i = 0; i < n; i++) integer(&a, 8, values[i]);
  integer(&a, 20, ATTRIBUTE_INTS);
  message(&g->attributes, 5, &a);
}

/* Adds a node with the attributes gathered so far; returns its output. Inputs end with NULL. */
static const char *node(graph *g, const char *type, const char *const *inputs) {
  wml_text n = {0};
  const char *out = new_name(g, type);
  for (; *inputs; inputs++) string(&n, 1, *inputs);
  string(&n, 2, out);
  string(&n, 3, out);
  string(&n, 4, type);
  wml_text_add(&n, g->attributes.data ? g->attributes.data : "", g->attributes.length);
  if (g->attributes.failed) g->nodes.failed = true;
  wml_text_free(&g->attributes);
  message(&g->nodes, 1, &n);
  return out;
}

static const char *unary(graph *g, const char *type, const char *x) {
  return node(g, type, (const char *[]){x, NULL});
}

static const char *binary(graph *g, const char *type, const char *x, const char *y) {
  return node(g, type, (const char *[]){x, y, NULL});
}

static const char *typed_initializer(graph *g, const char *base, int type, int rank,
                                     const int64_t *dim, const void *data) {
  wml_text t = {0};
  const char *name = new_name(g, base);
  size_t n = 1;
  for (int i = 0; i < rank; i++) {
    integer(&t, 1, dim[i]);
    n *= (size_t)dim[i];
  }
  integer(&t, 2, type);
  string(&t, 8, name);
  bytes(&t, 9, data, type == TYPE_FLOAT ? n * sizeof(float) : n);
  message(&g->initializers, 5, &t);
  return name;
}

static const char *initializer(graph *g, const char *base, int rank, const int64_t *dim,
                               const float *data) {
  return typed_initializer(g, base, TYPE_FLOAT, rank, dim, data);
}

static const char *scalar(graph *g, float value) {
  return initializer(g, "constant", 0, NULL, &value);
}

static void want_layout(graph *g, const wml_shape *shape, bool nchw) {
  static const int to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
  if (shape->rank != 3 || g->nchw == nchw) return;
  attribute_ints(g, "perm", 4, nchw ? to_nchw : to_nhwc);
  g->at = unary(g, "Transpose", g->at);
  g->nchw = nchw;
}

/* ---- layers ---- */

static const char *gelu(graph *g, const char *x) {
  const char *e = unary(g, "Erf", binary(g, "Mul", x, scalar(g, 0.70710678f)));
  return binary(g, "Mul", binary(g, "Mul", x, scalar(g, 0.5f)),
                binary(g, "Add", e, scalar(g, 1.0f)));
}

/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static const char *gelu_tanh(graph *g, const char *x) {
  const char *cube = binary(g, "Mul", binary(g, "Mul", x, x), x);
  const char *inner = binary(g, "Add", x, binary(g, "Mul", cube, scalar(g, 0.044715f)));
  const char *t = unary(g, "Tanh", binary(g, "Mul", inner, scalar(g, 0.79788456f)));
  return binary(g, "Mul", binary(g, "Mul", x, scalar(g, 0.5f)),
                binary(g, "Add", t, scalar(g, 1.0f)));
}

static const char *clip(graph *g, const char *x, float low, float high) {
  return node(g, "Clip", (const char *[]){x, scalar(g, low), scalar(g, high), NULL});
}

static const char *with_alpha(graph *g, const char *type, const char *x, float alpha) {
  attribute_float(g, "alpha", alpha);
  return unary(g, type, x);
}

static const char *hard_sigmoid(graph *g, const char *x) {
  attribute_float(g, "beta", 0.5f);
  return with_alpha(g, "HardSigmoid", x, 1.0f / 6.0f);
}

static const char *by_rows(graph *g, const char *type, const char *x) {
  attribute_int(g, "axis", g->nchw ? 1 : -1);
  return unary(g, type, x);
}

/* NULL where ONNX 13 has no way to say it. */
static const char *activate(graph *g, const wml_activation *a, const char *x) {
  switch (a->kind) {
  case WML_LINEAR: return x;
  case WML_RELU:
    if (a->alpha != 0.0f || a->threshold != 0.0f || a->max_value < 0.0f) return NULL;
    return isinf(a->max_value) ? unary(g, "Relu", x) : clip(g, x, 0.0f, a->max_value);
  case WML_RELU6: return clip(g, x, 0.0f, 6.0f);
  case WML_HARD_TANH: return clip(g, x, -1.0f, 1.0f);
  case WML_LEAKY_RELU: return with_alpha(g, "LeakyRelu", x, a->alpha);
  case WML_ELU: return with_alpha(g, "Elu", x, a->alpha);
  case WML_CELU: return with_alpha(g, "Celu", x, a->alpha);
  case WML_SELU: return unary(g, "Selu", x);
  case WML_GELU: return gelu(g, x);
  case WML_GELU_TANH: return gelu_tanh(g, x);
  case WML_SIGMOID: return unary(g, "Sigmoid", x);
  case WML_TANH: return unary(g, "Tanh", x);
  case WML_EXPONENTIAL: return unary(g, "Exp", x);
  case WML_HARD_SIGMOID: return hard_sigmoid(g, x);
  case WML_HARD_SILU: return binary(g, "Mul", x, hard_sigmoid(g, x));
  case WML_LOG_SIGMOID: return unary(g, "Neg", unary(g, "Softplus", unary(g, "Neg", x)));
  case WML_SOFTPLUS: return unary(g, "Softplus", x);
  case WML_SOFTSIGN: return unary(g, "Softsign", x);
  case WML_SILU: return binary(g, "Mul", x, unary(g, "Sigmoid", x));
  case WML_MISH: return binary(g, "Mul", x, unary(g, "Tanh", unary(g, "Softplus", x)));
  case WML_SOFTMAX: return by_rows(g, "Softmax", x);
  case WML_LOG_SOFTMAX: return by_rows(g, "LogSoftmax", x);
  default: return NULL;
  }
}

static const wml_named_tensor *tensor_of(const wml_weights *w, const wml_layer *l,
                                         const char *role) {
  char name[200];
  snprintf(name, sizeof name, "%s/%s", l->name, role);
  return wml_safetensors_find(&w->file, name);
}

static void window_attributes(graph *g, const wml_layer *l, const int *size, const int *stride,
                              const int *dilation, wml_padding padding) {
  int pads[4];
  for (int i = 0; i < 2; i++)
    wml_window_pads(l->in.dim[i], size[i], stride[i], dilation ? dilation[i] : 1, padding, &pads[i],
                    &pads[i + 2]);
  attribute_ints(g, "kernel_shape", 2, size);
  attribute_ints(g, "strides", 2, stride);
  attribute_ints(g, "pads", 4, pads);
  if (dilation) attribute_ints(g, "dilations", 2, dilation);
}

/* ---- quantized layers: a pair of QuantizeLinear and DequantizeLinear around what is bytes ---- */

static const wml_layer_quantization *quantization_of(const wml_weights *w, const wml_layer *l) {
  const wml_layer_quantization *q = w->quantization ? &w->quantization[l - w->model->layers] : NULL;
  return q && q->scales ? q : NULL;
}

static void quantize_input(graph *g, const wml_layer_quantization *q) {
  static const uint8_t nothing = 0;
  const char *scale = scalar(g, q->input_scale),
             *zero = typed_initializer(g, "zero", q->input_signed ? TYPE_INT8 : TYPE_UINT8, 0, NULL,
                                       &nothing);
  g->at = node(g, "QuantizeLinear", (const char *[]){g->at, scale, zero, NULL});
  g->at = node(g, "DequantizeLinear", (const char *[]){g->at, scale, zero, NULL});
}

/* filters: the dimension `axis`, behind which there are `inner` elements. */
static webml_status quantized_kernel(graph *g, const char *base, int rank, const int64_t *dim,
                                     const float *data, int axis, int64_t inner,
                                     const float *scales, const char **name) {
  int64_t n = 1, filters = dim[axis];
  for (int i = 0; i < rank; i++) n *= dim[i];
  int8_t *steps = wml_alloc((size_t)n);
  if (!steps) return wml_no_memory((size_t)n, base);
  for (int64_t i = 0; i < n; i++)
    steps[i] = (int8_t)nearbyintf(data[i] / scales[i / inner % filters]);
  const char *kernel = typed_initializer(g, base, TYPE_INT8, rank, dim, steps),
             *scale = initializer(g, "scale", 1, &filters, scales);
  wml_free(steps);
  steps = wml_calloc((size_t)filters, 1);
  if (!steps) return wml_no_memory((size_t)filters, base);
  const char *zero = typed_initializer(g, "zero", TYPE_INT8, 1, &filters, steps);
  wml_free(steps);
  attribute_int(g, "axis", axis);
  *name = node(g, "DequantizeLinear", (const char *[]){kernel, scale, zero, NULL});
  return WEBML_OK;
}

/* HWIO -> OIHW */
static webml_status kernel_oihw(graph *g, const wml_named_tensor *k,
                                const wml_layer_quantization *q, const char **name) {
  const int64_t *d = k->dim, oihw[] = {d[3], d[2], d[0], d[1]}, area = d[0] * d[1];
  float *turned = wml_alloc((size_t)wml_named_elements(k) * sizeof *turned);
  if (!turned) return wml_no_memory((size_t)wml_named_elements(k) * sizeof *turned, k->name);
  for (int64_t a = 0; a < area; a++)
    for (int64_t i = 0; i < d[2]; i++)
      for (int64_t o = 0; o < d[3]; o++)
        turned[(o * d[2] + i) * area + a] = k->data[(a * d[2] + i) * d[3] + o];
  webml_status status = WEBML_OK;
  if (q)
    status = quantized_kernel(g, k->name, 4, oihw, turned, 0, d[2] * area, q->scales, name);
  else
    *name = initializer(g, k->name, 4, oihw, turned);
  wml_free(turned);
  return status;
}

static webml_status add_conv(graph *g, const wml_weights *w, const wml_layer *l) {
  const char *kernel = NULL;
  const wml_named_tensor *bias = tensor_of(w, l, "bias");
  const wml_layer_quantization *q = quantization_of(w, l);
  if (q) quantize_input(g, q);
  want_layout(g, &l->in, true);
  WML_TRY(kernel_oihw(g, tensor_of(w, l, "kernel"), q, &kernel));
  const char *b = l->use_bias ? initializer(g, bias->name, 1, bias->dim, bias->data) : NULL;
  window_attributes(g, l, l->u.conv.kernel_size, l->u.conv.strides, l->u.conv.dilation_rate,
                    l->u.conv.padding);
  attribute_int(g, "group", l->u.conv.groups);
  g->at = node(g, "Conv", (const char *[]){g->at, kernel, b, NULL});
  return WEBML_OK;
}

static void add_pool(graph *g, const wml_layer *l) {
  int stride[2];
  for (int i = 0; i < 2; i++) stride[i] = wml_pool_stride(l, i);
  want_layout(g, &l->in, true);
  window_attributes(g, l, l->u.pool.pool_size, stride, NULL, l->u.pool.padding);
  g->at = unary(g, "MaxPool", g->at);
}

static webml_status add_dense(graph *g, const wml_weights *w, const wml_layer *l) {
  const wml_named_tensor *k = tensor_of(w, l, "kernel"), *b = tensor_of(w, l, "bias");
  const wml_layer_quantization *q = quantization_of(w, l);
  const char *kernel = NULL;
  want_layout(g, &l->in, false);
  if (q) {
    quantize_input(g, q);
    WML_TRY(quantized_kernel(g, k->name, 2, k->dim, k->data, 1, 1, q->scales, &kernel));
  } else
    kernel = initializer(g, k->name, 2, k->dim, k->data);
  g->at = binary(g, "MatMul", g->at, kernel);
  if (l->use_bias) g->at = binary(g, "Add", g->at, initializer(g, b->name, 1, b->dim, b->data));
  return WEBML_OK;
}

/* gamma and beta that the layer does not have are ones and zeros. */
static webml_status norm_vector(graph *g, const wml_weights *w, const wml_layer *l,
                                const char *role, float otherwise, const char **name) {
  const wml_named_tensor *t = tensor_of(w, l, role);
  int64_t c = l->in.dim[l->in.rank - 1];
  float *values = wml_alloc((size_t)c * sizeof *values);
  if (!values) return wml_no_memory((size_t)c * sizeof *values, role);
  for (int64_t i = 0; i < c; i++) values[i] = t ? t->data[i] : otherwise;
  *name = initializer(g, role, 1, &c, values);
  wml_free(values);
  return WEBML_OK;
}

static webml_status add_norm(graph *g, const wml_weights *w, const wml_layer *l) {
  const char *gamma, *beta, *mean, *variance;
  WML_TRY(norm_vector(g, w, l, "gamma", 1.0f, &gamma));
  WML_TRY(norm_vector(g, w, l, "beta", 0.0f, &beta));
  WML_TRY(norm_vector(g, w, l, "moving_mean", 0.0f, &mean));
  WML_TRY(norm_vector(g, w, l, "moving_variance", 1.0f, &variance));
  want_layout(g, &l->in, true);
  attribute_float(g, "epsilon", l->u.norm.epsilon);
  g->at = node(g, "BatchNormalization", (const char *[]){g->at, gamma, beta, mean, variance, NULL});
  return WEBML_OK;
}

static webml_status add_layer(graph *g, const wml_weights *w, const wml_layer *l) {
  switch (l->type) {
  case WML_LAYER_CONV2D: WML_TRY(add_conv(g, w, l)); break;
  case WML_LAYER_MAX_POOLING2D: add_pool(g, l); break;
  case WML_LAYER_DENSE: WML_TRY(add_dense(g, w, l)); break;
  case WML_LAYER_BATCH_NORMALIZATION: WML_TRY(add_norm(g, w, l)); break;
  case WML_LAYER_FLATTEN:
    want_layout(g, &l->in, false);
    attribute_int(g, "axis", 1);
    g->at = unary(g, "Flatten", g->at);
    break;
  default: break; /* dropout does nothing in prediction */
  }
  g->at = activate(g, &l->activation, g->at);
  if (g->at) return WEBML_OK;
  return wml_fail(WEBML_ERROR_UNSUPPORTED, "layer \"%s\": ONNX 13 cannot express the activation %s",
                  l->name, wml_activation_name(l->activation.kind));
}

/* ---- the file ---- */

static void value_info(wml_text *t, int field, const char *name, int type, int rank,
                       const int64_t *dim) {
  wml_text info = {0}, type_proto = {0}, tensor = {0}, shape = {0}, batch = {0};
  string(&batch, 2, "batch");
  message(&shape, 1, &batch);
  for (int i = 0; i < rank; i++) {
    wml_text d = {0};
    integer(&d, 1, dim[i]);
    message(&shape, 1, &d);
  }
  integer(&tensor, 1, type);
  message(&tensor, 2, &shape);
  message(&type_proto, 1, &tensor);
  string(&info, 1, name);
  message(&info, 2, &type_proto);
  message(t, field, &info);
}

static webml_status build(graph *g, const wml_weights *w, wml_text *file) {
  const webml_model *m = w->model;
  bool images = m->format == WML_FORMAT_IMAGES;
  wml_shape out = wml_model_output(m);
  g->at = "input";
  if (images) {
    attribute_int(g, "to", TYPE_FLOAT);
    g->at = unary(g, "Cast", g->at);
    g->at = binary(g, "Mul", g->at, scalar(g, 1.0f / 255.0f));
  }
  for (int i = 0; i < m->n_layers; i++) WML_TRY(add_layer(g, w, &m->layers[i]));
  want_layout(g, &out, false);
  wml_text n = {0}, body = {0}, opset = {0};
  string(&n, 1, g->at);
  string(&n, 2, "output");
  string(&n, 4, "Identity");
  message(&g->nodes, 1, &n);
  if (g->nodes.failed || g->initializers.failed) {
    wml_text_free(&body);
    return wml_no_memory(g->initializers.length, "the ONNX graph");
  }
  wml_text_add(&body, g->nodes.data, g->nodes.length);
  string(&body, 2, m->name ? m->name : "model");
  wml_text_add(&body, g->initializers.data ? g->initializers.data : "", g->initializers.length);
  value_info(&body, 11, "input", images ? TYPE_UINT8 : TYPE_FLOAT, m->input.rank, m->input.dim);
  value_info(&body, 12, "output", TYPE_FLOAT, out.rank, out.dim);
  integer(file, 1, 7);
  string(file, 2, "webml");
  message(file, 7, &body);
  string(&opset, 1, "");
  integer(&opset, 2, 13);
  message(file, 8, &opset);
  return file->failed ? wml_no_memory(file->length, "the ONNX file") : WEBML_OK;
}

webml_status wml_export_onnx(const wml_weights *w, const char *path) {
  graph g = {.count = 0};
  wml_text file = {0};
  webml_status status = build(&g, w, &file);
  if (status == WEBML_OK) status = wml_file_write(path, file.data, file.length);
  wml_text_free(&file);
  wml_text_free(&g.nodes);
  wml_text_free(&g.initializers);
  wml_text_free(&g.attributes);
  wml_arena_free(&g.arena);
  return status;
}
