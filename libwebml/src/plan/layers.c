/* Each layer's operations, forward and backward side by side. */
#include "plan/builder.h"

#include <math.h>

static bool training(const wml_builder *b) {
  return b->spec->mode == WML_MODE_TRAIN;
}

/* Gradient tensor of a parameter with its place in the update; -1 when it is not trained. */
static int gradient_of(wml_builder *b, const wml_layer *layer, const struct wml_layer_tensors *t,
                       int k) {
  if (k < 0 || t->param[k] < 0 || !layer->params[k].trainable) return -1;
  wml_tensor g = b->tensors[t->param[k]];
  g.role = WML_ROLE_GRAD;
  g.like = t->param[k];
  int tensor = wml_build_tensor(b, g, "grad/", layer->params[k].name);
  for (int i = 0; i < b->n_items; i++)
    if (b->items[i].param == t->param[k]) b->items[i].grad = tensor;
  return tensor;
}

static wml_window window_of(const wml_layer *l) {
  bool conv = l->type == WML_LAYER_CONV2D;
  wml_window w = {.groups = 1};
  for (int i = 0; i < 2; i++) {
    w.size[i] = conv ? l->u.conv.kernel_size[i] : l->u.pool.pool_size[i];
    w.stride[i] = conv ? l->u.conv.strides[i] : wml_pool_stride(l, i);
    w.dilation[i] = conv ? l->u.conv.dilation_rate[i] : 1;
    wml_window_pads(l->in.dim[i], w.size[i], w.stride[i], w.dilation[i],
                    conv ? l->u.conv.padding : l->u.pool.padding, &w.pad_before[i],
                    &w.pad_after[i]);
  }
  if (conv) w.groups = l->u.conv.groups;
  return w;
}

/* Shape before the activation: glu's is twice as wide. */
static wml_shape pre_shape(const wml_layer *l) {
  wml_shape s = l->out;
  if (l->activation.kind == WML_GLU) s.dim[s.rank - 1] *= 2;
  return s;
}

static int forward_linear(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int x,
                          wml_op_kind kind) {
  wml_shape shape = pre_shape(l);
  t->pre = wml_build_value(b, l, "pre/", &shape);
  wml_op *op = wml_build_op(b, kind, l->name);
  op->in[0] = x;
  op->in[1] = t->param[0];
  op->in[2] = l->use_bias ? t->param[1] : -1;
  op->out[0] = t->pre;
  if (kind == WML_OP_CONV2D) op->u.window = window_of(l);
  if (l->activation.kind == WML_LINEAR) return t->pre;
  t->out = wml_build_value(b, l, "out/", &l->out);
  wml_op *act = wml_build_op(b, WML_OP_ACTIVATION, l->name);
  act->in[0] = t->pre;
  act->out[0] = t->out;
  act->u.activation = l->activation;
  return t->out;
}

static bool needs_input(const wml_activation *a) {
  return !wml_activation_from_output(a);
}

static int backward_linear(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int dy,
                           bool skip_activation, bool need_dx, wml_op_kind data,
                           wml_op_kind weights) {
  if (l->activation.kind != WML_LINEAR && !skip_activation) {
    wml_shape shape = pre_shape(l);
    int dpre = wml_build_value(b, l, "dpre/", &shape);
    wml_op *act = wml_build_op(b, WML_OP_ACTIVATION_BWD, l->name);
    act->in[0] = dy;
    act->in[1] = t->out;
    act->in[2] = needs_input(&l->activation) ? t->pre : -1;
    act->out[0] = dpre;
    act->u.activation = l->activation;
    dy = dpre;
  }
  if (l->trainable) {
    int dkernel = gradient_of(b, l, t, 0), dbias = gradient_of(b, l, t, l->use_bias ? 1 : -1);
    wml_op *op = wml_build_op(b, weights, l->name);
    op->in[0] = t->in;
    op->in[1] = dy;
    op->out[0] = dkernel;
    op->out[1] = dbias;
    if (weights == WML_OP_CONV2D_BWD_WEIGHTS) op->u.window = window_of(l);
  }
  if (!need_dx) return -1;
  int dx = wml_build_value(b, l, "dx/", &l->in);
  wml_op *op = wml_build_op(b, data, l->name);
  op->in[0] = dy;
  op->in[1] = t->param[0];
  op->out[0] = dx;
  if (data == WML_OP_CONV2D_BWD_DATA) op->u.window = window_of(l);
  return dx;
}

static int forward_pool(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int x) {
  t->out = wml_build_value(b, l, "out/", &l->out);
  if (training(b)) {
    t->index = wml_build_value(b, l, "index/", &l->out);
    b->tensors[t->index].dtype = WML_I32;
  }
  wml_op *op = wml_build_op(b, WML_OP_MAXPOOL, l->name);
  op->in[0] = x;
  op->out[0] = t->out;
  op->out[1] = t->index;
  op->u.window = window_of(l);
  return t->out;
}

static int backward_pool(wml_builder *b, const wml_layer *l, const struct wml_layer_tensors *t,
                         int dy) {
  int dx = wml_build_value(b, l, "dx/", &l->in);
  wml_op *op = wml_build_op(b, WML_OP_MAXPOOL_BWD, l->name);
  op->in[0] = dy;
  op->in[1] = t->index;
  op->out[0] = dx;
  op->u.window = window_of(l);
  return dx;
}

/* The same elements under another shape: Flatten and its way back. */
static int reshape(wml_builder *b, const wml_layer *l, int x, const char *prefix,
                   const wml_shape *shape) {
  int y = wml_build_value(b, l, prefix, shape);
  wml_op *op = wml_build_op(b, WML_OP_RESHAPE, l->name);
  op->in[0] = x;
  op->out[0] = y;
  return y;
}

static int dropout(wml_builder *b, const wml_layer *l, int x, const char *prefix, uint32_t stream) {
  int y = wml_build_value(b, l, prefix, &l->out);
  wml_op *op = wml_build_op(b, WML_OP_DROPOUT, l->name);
  op->in[0] = x;
  op->out[0] = y;
  op->u.dropout.rate = l->u.dropout.rate;
  op->u.dropout.stream = stream;
  return y;
}

/* Indices of gamma and beta among the layer's parameters, -1 where the layer has none. */
static int gamma_index(const wml_layer *l) {
  return l->u.norm.scale ? 0 : -1;
}
static int beta_index(const wml_layer *l) {
  return l->u.norm.center ? (l->u.norm.scale ? 1 : 0) : -1;
}
static int mean_index(const wml_layer *l) {
  return (l->u.norm.scale ? 1 : 0) + (l->u.norm.center ? 1 : 0);
}

static int forward_norm(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int x) {
  bool batch_statistics = training(b) && l->trainable; /* a frozen layer works as in prediction */
  int gamma = gamma_index(l), beta = beta_index(l), mean = mean_index(l);
  t->out = wml_build_value(b, l, "out/", &l->out);
  if (batch_statistics) {
    wml_tensor vector = {.dtype = WML_F32,
                         .role = WML_ROLE_VALUE,
                         .rank = 1,
                         .dim = {l->in.dim[l->in.rank - 1]},
                         .like = -1};
    t->mean = wml_build_tensor(b, vector, "mean/", l->name);
    t->variance = wml_build_tensor(b, vector, "variance/", l->name);
  }
  wml_op *op =
      wml_build_op(b, batch_statistics ? WML_OP_BATCHNORM_TRAIN : WML_OP_BATCHNORM_INFER, l->name);
  op->in[0] = x;
  op->in[1] = gamma < 0 ? -1 : t->param[gamma];
  op->in[2] = beta < 0 ? -1 : t->param[beta];
  op->in[3] = t->param[mean];
  op->in[4] = t->param[mean + 1];
  op->out[0] = t->out;
  op->out[1] = t->mean;
  op->out[2] = t->variance;
  op->u.batchnorm.momentum = l->u.norm.momentum;
  op->u.batchnorm.epsilon = l->u.norm.epsilon;
  return t->out;
}

static int backward_norm(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int dy,
                         bool need_dx) {
  int gamma = gamma_index(l), mean = mean_index(l);
  int dgamma = gradient_of(b, l, t, gamma), dbeta = gradient_of(b, l, t, beta_index(l));
  int dx = need_dx ? wml_build_value(b, l, "dx/", &l->in) : -1;
  if (dx < 0 && dgamma < 0 && dbeta < 0) return -1;
  wml_op *op =
      wml_build_op(b, t->mean >= 0 ? WML_OP_BATCHNORM_BWD : WML_OP_BATCHNORM_BWD_INFER, l->name);
  op->in[0] = dy;
  op->in[1] = t->in;
  op->in[2] = gamma < 0 ? -1 : t->param[gamma];
  op->in[3] = t->mean >= 0 ? t->mean : t->param[mean];
  op->in[4] = t->mean >= 0 ? t->variance : t->param[mean + 1];
  op->out[0] = dx;
  op->out[1] = dgamma;
  op->out[2] = dbeta;
  op->u.batchnorm.momentum = l->u.norm.momentum;
  op->u.batchnorm.epsilon = l->u.norm.epsilon;
  return dx;
}

int wml_build_forward(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int x) {
  t->in = x;
  switch (l->type) {
  case WML_LAYER_CONV2D: return forward_linear(b, l, t, x, WML_OP_CONV2D);
  case WML_LAYER_DENSE: return forward_linear(b, l, t, x, WML_OP_DENSE);
  case WML_LAYER_MAX_POOLING2D: return forward_pool(b, l, t, x);
  case WML_LAYER_FLATTEN: return reshape(b, l, x, "out/", &l->out);
  case WML_LAYER_BATCH_NORMALIZATION: return forward_norm(b, l, t, x);
  case WML_LAYER_DROPOUT:
    if (!training(b) || l->u.dropout.rate == 0.0f) return x;
    t->stream = (uint32_t)++b->n_dropouts;
    return dropout(b, l, x, "out/", t->stream);
  default: return x;
  }
}

int wml_build_backward(wml_builder *b, const wml_layer *l, struct wml_layer_tensors *t, int dy,
                       bool skip_activation, bool need_dx) {
  switch (l->type) {
  case WML_LAYER_CONV2D:
    return backward_linear(b, l, t, dy, skip_activation, need_dx, WML_OP_CONV2D_BWD_DATA,
                           WML_OP_CONV2D_BWD_WEIGHTS);
  case WML_LAYER_DENSE:
    return backward_linear(b, l, t, dy, skip_activation, need_dx, WML_OP_DENSE_BWD_DATA,
                           WML_OP_DENSE_BWD_WEIGHTS);
  case WML_LAYER_BATCH_NORMALIZATION: return backward_norm(b, l, t, dy, need_dx);
  case WML_LAYER_MAX_POOLING2D: return need_dx ? backward_pool(b, l, t, dy) : -1;
  case WML_LAYER_FLATTEN: return need_dx ? reshape(b, l, dy, "dx/", &l->in) : -1;
  case WML_LAYER_DROPOUT:
    return !need_dx ? -1 : t->stream ? dropout(b, l, dy, "dx/", t->stream) : dy;
  default: return dy;
  }
}
