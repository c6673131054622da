/* The work of a step, counted from its graph. An operation takes the time of its arithmetic or of
 * moving its bytes, whichever is longer, and something before it begins. */
#include "train/forecast.h"

enum { FEW_CHANNELS = 8 };

static double elements(const wml_graph *g, int tensor) {
  return tensor < 0 ? 0.0 : (double)wml_elements(&g->tensors[tensor]);
}

/* Bytes of all operands. */
static double bytes_of(const wml_graph *g, const wml_op *op) {
  double bytes = 0.0;
  for (int i = 0; i < WML_MAX_OPERANDS + 3; i++) {
    int t = i < WML_MAX_OPERANDS ? op->in[i] : op->out[i - WML_MAX_OPERANDS];
    if (t >= 0) bytes += elements(g, t) * (double)wml_dtype_size(g->tensors[t].dtype);
  }
  return bytes;
}

/* A multiply-add is two. image: the convolution's output or its gradient, [n, h, w, f]; kernel:
 * [kh, kw, c, f]. */
static void add_convolution(const wml_graph *g, int image, int kernel, wml_work *work) {
  const int64_t *k = g->tensors[kernel].dim;
  double flops = 2.0 * elements(g, image) * (double)(k[0] * k[1] * k[2]);
  if (k[2] <= FEW_CHANNELS)
    work->first_convolution += flops;
  else
    work->convolution += flops;
}

/* rows: [.., in] or [.., out], whose last dimension is `side` of the kernel [in, out]. */
static void add_dense(const wml_graph *g, int rows, int kernel, int side, wml_work *work) {
  const int64_t *k = g->tensors[kernel].dim;
  work->dense += 2.0 * elements(g, rows) * (double)k[1 - side];
  work->weights += elements(g, kernel) * 4.0;
}

/* Weights and slots are read and written, gradients read. */
static void add_update(const wml_graph *g, wml_work *work) {
  for (int i = 0; i < g->update.n_items; i++) {
    const wml_update_item *item = &g->update.items[i];
    int slots = 0;
    while (slots < WML_MAX_SLOTS && item->slot[slots] >= 0) slots++;
    work->weights += elements(g, item->param) * 4.0 * (3.0 + 2.0 * slots);
  }
}

static void add_operation(const wml_graph *g, const wml_op *op, wml_work *work) {
  switch (op->kind) {
  case WML_OP_CONV2D: add_convolution(g, op->out[0], op->in[1], work); return;
  case WML_OP_CONV2D_BWD_DATA: add_convolution(g, op->in[0], op->in[1], work); return;
  case WML_OP_CONV2D_BWD_WEIGHTS: add_convolution(g, op->in[1], op->out[0], work); return;
  case WML_OP_DENSE: add_dense(g, op->in[0], op->in[1], 0, work); return;
  case WML_OP_DENSE_BWD_DATA: add_dense(g, op->in[0], op->in[1], 1, work); return;
  case WML_OP_DENSE_BWD_WEIGHTS: add_dense(g, op->in[0], op->out[0], 0, work); return;
  case WML_OP_UPDATE: add_update(g, work); return;
  case WML_OP_RESHAPE:
  case WML_OP_ACTIVATION: return; /* a view; within the operation before */
  default: work->bytes += bytes_of(g, op); return;
  }
}

void wml_work_of(const wml_graph *g, wml_work *work) {
  *work = (wml_work){.operations = g->n_ops};
  for (int i = 0; i < g->n_ops; i++) add_operation(g, &g->ops[i], work);
}

double wml_forecast(const wml_work *w, const webml_speed *s) {
  return w->convolution / s->convolution + w->first_convolution / s->first_convolution +
         w->dense / s->dense + w->weights / s->weights + w->bytes / s->bytes +
         w->operations * s->operation;
}
