/* ONNX, opset 13, ir_version 7: the inference graph. Images come in as bytes [N, H, W, C] and are
 * scaled inside; convolutions run in ONNX's NCHW; scores go out [N, outputs]. Protobuf is written
 * by hand: the field numbers are those of onnx.proto3. */
#include "formats/onnx.h"
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

enum { ATTRIBUTE_FLOAT = 1, ATTRIBUTE_INT = 2, ATTRIBUTE_STRING = 3, ATTRIBUTE_INTS = 7 };
enum { TYPE_FLOAT = 1, TYPE_UINT8 = 2, TYPE_INT8 = 3, TYPE_INT32 = 6, TYPE_INT64 = 7 };

/* ---- graph ---- */

struct wml_onnx {
  wml_text nodes; /* repeated NodeProto, with their field tags */
  wml_text initializers;
  wml_arena arena;
  int count;           /* of names made */
  wml_text attributes; /* of the node being made */
  const webml_model *model;
  wml_onnx_value *values; /* [nodes of the model] */
};
typedef wml_onnx graph;

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

static void attribute_string(graph *g, const char *name, const char *value) {
  wml_text a = {0};
  string(&a, 1, name);
  string(&a, 4, value);
  integer(&a, 20, ATTRIBUTE_STRING);
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
  bytes(&t, 9, data, n * (type == TYPE_INT64 ? 8 : type == TYPE_FLOAT ? 4 : 1));
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

/* ---- activations ---- */

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

static const char *by_rows(graph *g, const char *type, const char *x, bool nchw) {
  attribute_int(g, "axis", nchw ? 1 : -1);
  return unary(g, type, x);
}

/* Of any slope, bound and threshold; the usual ones have operators. */
static const char *relu(graph *g, const wml_activation *a, const char *x) {
  bool is_bounded = !isinf(a->max_value);
  if (a->alpha == 0.0f && a->threshold == 0.0f && a->max_value >= 0.0f)
    return is_bounded ? clip(g, x, 0.0f, a->max_value) : unary(g, "Relu", x);
  const char *threshold = scalar(g, a->threshold);
  const char *below = binary(g, "Mul", binary(g, "Sub", x, threshold), scalar(g, a->alpha));
  const char *y =
      node(g, "Where", (const char *[]){binary(g, "Greater", x, threshold), x, below, NULL});
  if (!is_bounded) return y;
  const char *bound = scalar(g, a->max_value);
  return node(g, "Where", (const char *[]){binary(g, "GreaterOrEqual", x, bound), bound, y, NULL});
}

/* NULL where ONNX 13 has no way to say it. */
static const char *activate(graph *g, const wml_activation *a, const char *x, bool nchw) {
  switch (a->kind) {
  case WML_LINEAR: return x;
  case WML_RELU: return relu(g, a, x);
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
  case WML_SOFTMAX: return by_rows(g, "Softmax", x, nchw);
  case WML_LOG_SOFTMAX: return by_rows(g, "LogSoftmax", x, nchw);
  default: return NULL;
  }
}

/* ---- what layers write with ---- */

const wml_shape *wml_onnx_shape(const wml_onnx_call *c, int i) {
  return wml_node_in(c->graph->model, c->node, i);
}

const char *wml_onnx_input(wml_onnx_call *c, int i, bool nchw) {
  static const int to_nchw[] = {0, 3, 1, 2}, to_nhwc[] = {0, 2, 3, 1};
  wml_onnx_value *v = &c->in[i];
  if (wml_onnx_shape(c, i)->rank != 3 || v->nchw == nchw) return v->name;
  attribute_ints(c->graph, "perm", 4, nchw ? to_nchw : to_nhwc);
  v->name = unary(c->graph, "Transpose", v->name);
  v->nchw = nchw;
  return v->name;
}

const wml_named_tensor *wml_onnx_param(const wml_onnx_call *c, const char *role) {
  char name[300];
  snprintf(name, sizeof name, "%s/%s", c->layer->name, role);
  return wml_safetensors_find(&c->weights->file, name);
}

void wml_onnx_int(wml_onnx_call *c, const char *name, int64_t value) {
  attribute_int(c->graph, name, value);
}
void wml_onnx_float(wml_onnx_call *c, const char *name, float value) {
  attribute_float(c->graph, name, value);
}
void wml_onnx_string(wml_onnx_call *c, const char *name, const char *value) {
  attribute_string(c->graph, name, value);
}
void wml_onnx_ints(wml_onnx_call *c, const char *name, int n, const int *values) {
  attribute_ints(c->graph, name, n, values);
}

void wml_onnx_window(wml_onnx_call *c, const int *size, const int *stride, const int *dilation,
                     wml_padding padding) {
  wml_onnx_window_over(c, wml_onnx_shape(c, 0), size, stride, dilation, padding);
}

void wml_onnx_window_over(wml_onnx_call *c, const wml_shape *shape, const int *size,
                          const int *stride, const int *dilation, wml_padding padding) {
  int pads[4];
  for (int i = 0; i < 2; i++)
    wml_window_pads(shape->dim[i], size[i], stride[i], dilation ? dilation[i] : 1, padding,
                    &pads[i], &pads[i + 2]);
  attribute_ints(c->graph, "kernel_shape", 2, size);
  attribute_ints(c->graph, "strides", 2, stride);
  attribute_ints(c->graph, "pads", 4, pads);
  if (dilation) attribute_ints(c->graph, "dilations", 2, dilation);
}

const char *wml_onnx_node(wml_onnx_call *c, const char *type, const char *const *inputs) {
  return node(c->graph, type, inputs);
}
const char *wml_onnx_unary(wml_onnx_call *c, const char *type, const char *x) {
  return unary(c->graph, type, x);
}
const char *wml_onnx_binary(wml_onnx_call *c, const char *type, const char *x, const char *y) {
  return binary(c->graph, type, x, y);
}
const char *wml_onnx_floats(wml_onnx_call *c, const char *base, int rank, const int64_t *dim,
                            const float *data) {
  return initializer(c->graph, base, rank, dim, data);
}
const char *wml_onnx_scalar(wml_onnx_call *c, float value) {
  return scalar(c->graph, value);
}
const char *wml_onnx_int64s(wml_onnx_call *c, const char *base, int n, const int64_t *data) {
  int64_t dim = n;
  return typed_initializer(c->graph, base, TYPE_INT64, 1, &dim, data);
}

const char *wml_onnx_reshape(wml_onnx_call *c, const char *x, const wml_shape *shape) {
  int64_t dim[WML_MAX_RANK] = {0}; /* 0: as the input has it */
  for (int i = 0; i < shape->rank; i++) dim[i + 1] = shape->dim[i];
  return binary(c->graph, "Reshape", x, wml_onnx_int64s(c, "shape", shape->rank + 1, dim));
}

webml_status wml_onnx_refuse(const wml_onnx_call *c, const char *what) {
  return wml_fail(WEBML_ERROR_UNSUPPORTED, "layer \"%s\": ONNX 13 cannot express %s",
                  c->layer->name, what);
}

webml_status wml_onnx_result(wml_onnx_call *c, const char *x, bool nchw) {
  c->out = (wml_onnx_value){x, nchw};
  return WEBML_OK;
}

webml_status wml_onnx_finish(wml_onnx_call *c, const char *x, bool nchw,
                             const wml_activation *activation) {
  char what[80];
  const char *y = activate(c->graph, activation, x, nchw);
  if (y) return wml_onnx_result(c, y, nchw);
  snprintf(what, sizeof what, "the activation %s", wml_activation_name(activation->kind));
  return wml_onnx_refuse(c, what);
}

/* ---- kernels; quantized ones have a pair of QuantizeLinear and DequantizeLinear around bytes ----
 */

static const wml_layer_quantization *quantization_of(const wml_onnx_call *c) {
  const wml_layer_quantization *q =
      c->weights->quantization ? &c->weights->quantization[c->node->layer] : NULL;
  return q && q->scales ? q : NULL;
}

const char *wml_onnx_quantized_input(wml_onnx_call *c, int i, bool nchw) {
  static const uint8_t nothing = 0;
  const wml_layer_quantization *q = quantization_of(c);
  const char *x = wml_onnx_input(c, i, nchw);
  if (!q) return x;
  const char *scale = scalar(c->graph, q->input_scale),
             *zero = typed_initializer(c->graph, "zero", q->input_signed ? TYPE_INT8 : TYPE_UINT8,
                                       0, NULL, &nothing);
  x = node(c->graph, "QuantizeLinear", (const char *[]){x, scale, zero, NULL});
  return node(c->graph, "DequantizeLinear", (const char *[]){x, scale, zero, NULL});
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
static webml_status kernel_oihw(graph *g, const wml_named_tensor *k, const int64_t d[4],
                                const wml_layer_quantization *q, const char **name) {
  const int64_t oihw[] = {d[3], d[2], d[0], d[1]}, area = d[0] * d[1];
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

webml_status wml_onnx_kernel(wml_onnx_call *c, bool is_convolution, const char **name) {
  const wml_named_tensor *k = wml_onnx_param(c, "kernel");
  const wml_layer_quantization *q = quantization_of(c);
  if (is_convolution) return kernel_oihw(c->graph, k, k->dim, q, name);
  if (q) return quantized_kernel(c->graph, k->name, 2, k->dim, k->data, 1, 1, q->scales, name);
  *name = initializer(c->graph, k->name, 2, k->dim, k->data);
  return WEBML_OK;
}

webml_status wml_onnx_turned(wml_onnx_call *c, const char *role, const int64_t hwio[4],
                             const char **name) {
  return kernel_oihw(c->graph, wml_onnx_param(c, role), hwio, NULL, name);
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

/* Adds what the i-th node computes. */
static webml_status add_node(graph *g, const wml_weights *w, int i) {
  const wml_node *n = &g->model->nodes[i];
  const wml_layer *l = &g->model->layers[n->layer];
  wml_onnx_call call = {.graph = g,
                        .weights = w,
                        .layer = l,
                        .options = l->options,
                        .node = n,
                        .n_inputs = n->n_inputs};
  char what[80];
  snprintf(what, sizeof what, "a layer like %.40s", l->class->name);
  if (!l->class->onnx) return wml_onnx_refuse(&call, what);
  call.in = wml_arena_alloc(&g->arena, (size_t)n->n_inputs * sizeof *call.in);
  if (!call.in) return wml_no_memory((size_t)n->n_inputs * sizeof *call.in, "the ONNX graph");
  for (int k = 0; k < n->n_inputs; k++) call.in[k] = g->values[n->inputs[k]];
  WML_TRY(l->class->onnx(&call));
  g->values[i] = call.out;
  return WEBML_OK;
}

/* Names of the ends: "input" and "output" where there is one of each. */
static const char *input_name(const webml_model *m, int i) {
  return m->names_inputs ? m->inputs[i].name : "input";
}
static const char *output_name(const webml_model *m, int i) {
  return m->names_outputs ? m->outputs[i].name : "output";
}

static void add_input(graph *g, int i) {
  bool bytes_come = g->model->format == WML_FORMAT_IMAGES;
  const char *x = input_name(g->model, i);
  if (bytes_come) {
    attribute_int(g, "to", TYPE_FLOAT);
    x = binary(g, "Mul", unary(g, "Cast", x), scalar(g, 1.0f / 255.0f));
  }
  g->values[i] = (wml_onnx_value){x, false};
}

static void add_output(graph *g, int i) {
  static const int to_nhwc[] = {0, 2, 3, 1};
  wml_text n = {0};
  const wml_model_output *out = &g->model->outputs[i];
  wml_onnx_value v = g->values[out->node];
  if (v.nchw && g->model->nodes[out->node].out.rank == 3) {
    attribute_ints(g, "perm", 4, to_nhwc);
    v.name = unary(g, "Transpose", v.name);
  }
  string(&n, 1, v.name);
  string(&n, 2, output_name(g->model, i));
  string(&n, 4, "Identity");
  message(&g->nodes, 1, &n);
}

static void add_ends(const webml_model *m, wml_text *body) {
  bool images = m->format == WML_FORMAT_IMAGES;
  for (int i = 0; i < m->n_inputs; i++) {
    const wml_node *n = &m->nodes[i];
    int type = images ? TYPE_UINT8 : n->dtype == WML_I32 ? TYPE_INT32 : TYPE_FLOAT;
    value_info(body, 11, input_name(m, i), type, n->out.rank, n->out.dim);
  }
  for (int i = 0; i < m->n_outputs; i++) {
    const wml_shape *out = &m->nodes[m->outputs[i].node].out;
    value_info(body, 12, output_name(m, i), TYPE_FLOAT, out->rank, out->dim);
  }
}

static webml_status build(graph *g, const wml_weights *w, wml_text *file) {
  const webml_model *m = w->model;
  wml_text body = {0}, opset = {0};
  size_t bytes = (size_t)m->n_nodes * sizeof *g->values;
  g->model = m;
  g->values = wml_arena_alloc(&g->arena, bytes);
  if (!g->values) return wml_no_memory(bytes, "the ONNX graph");
  for (int i = 0; i < m->n_inputs; i++) add_input(g, i);
  for (int i = m->n_inputs; i < m->n_nodes; i++) WML_TRY(add_node(g, w, i));
  for (int i = 0; i < m->n_outputs; i++) add_output(g, i);
  if (g->nodes.failed || g->initializers.failed)
    return wml_no_memory(g->initializers.length, "the ONNX graph");
  wml_text_add(&body, g->nodes.data, g->nodes.length);
  string(&body, 2, m->name ? m->name : "model");
  wml_text_add(&body, g->initializers.data ? g->initializers.data : "", g->initializers.length);
  add_ends(m, &body);
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
