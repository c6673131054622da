/* The operations around the layers: data in, losses, metrics, update. */
#include "ref.h"

#include <string.h>

void ref_gather(ref_step *s, const wml_op *op) {
  const wml_tensor *t = &s->graph->tensors[op->in[0]];
  const uint8_t *base = NULL;
  for (int i = 0; i < s->run->n_feeds; i++)
    if (s->run->feeds[i].tensor == op->in[0]) base = s->run->feeds[i].base;
  int64_t batch = s->graph->batch, n = wml_row_elements(t);
  const wml_gather *g = &op->u.gather;
  int64_t width = wml_row_elements(&s->graph->tensors[op->out[0]]), cells = g->cells ? g->cells : n;
  bool whole = t->dtype == WML_F32 && s->graph->tensors[op->out[0]].dtype == WML_I32;
  size_t row_bytes = (size_t)n * wml_dtype_size(t->dtype);
  for (int64_t i = 0; i < batch; i++) {
    int64_t sample = wml_run_row(s->run, s->index * batch + i);
    const uint8_t *row = base + (size_t)sample * row_bytes;
    float *out = ref_f32(s, op->out[0]) + i * width;
    const float *from = (const float *)(const void *)row + g->first;
    if (whole)
      for (int64_t j = 0; j < cells; j++) ((int32_t *)(void *)out)[j] = (int32_t)from[j];
    else if (g->widths)
      wml_expand_row(from, g->widths, cells, out);
    else if (t->dtype == WML_U8 && wml_augment_is_on(&op->u.gather.augment)) {
      wml_warp warp = wml_augment_sample(&op->u.gather.augment, s->run->seed, s->run->epoch,
                                         (uint64_t)sample, (long)t->dim[1], (long)t->dim[2]);
      wml_warp_image(&warp, row, t->dim[1], t->dim[2], t->dim[3], op->u.gather.scale, out);
    } else if (t->dtype == WML_U8)
      for (int64_t j = 0; j < n; j++) out[j] = (float)row[j] * op->u.gather.scale;
    else if (g->cells)
      memcpy(out, from, (size_t)cells * sizeof *out);
    else
      memcpy((uint8_t *)s->data[op->out[0]] + (size_t)i * row_bytes, row, row_bytes);
  }
}

void ref_reshape(ref_step *s, const wml_op *op) {
  memcpy(s->data[op->out[0]], s->data[op->in[0]],
         (size_t)wml_elements(&s->graph->tensors[op->in[0]]) * sizeof(float));
}

static wml_rows rows_of(const ref_step *s, const wml_op *op) {
  const wml_tensor *t = s->graph->tensors;
  return wml_rows_of(&t[op->in[0]], s->data[op->in[0]], &t[op->in[1]], s->data[op->in[1]],
                     ref_f32(s, op->in[2]));
}

static double batch_loss(const wml_op *op, const wml_rows *rows, int64_t n, float *dp) {
  wml_overlap sum = wml_rows_overlap(op, rows, 0, n);
  wml_overlap_loss loss = wml_overlap_value(op, &sum, n);
  if (dp) wml_rows_overlap_gradient(op, &loss, rows, 0, n, dp);
  return loss.value;
}

void ref_loss(ref_step *s, const wml_op *op) {
  wml_rows rows = rows_of(s, op);
  int64_t n = wml_elements(&s->graph->tensors[op->in[0]]) / rows.k;
  wml_loss loss = op->u.loss.loss;
  float *dp = ref_f32(s, op->out[0]);
  if (loss.kind == WML_HINGE || loss.kind == WML_SQUARED_HINGE)
    loss.signed_labels = wml_rows_are_binary(&rows, n);
  double sum = WML_LOSS_IS_OF_BATCH(loss.kind) ? batch_loss(op, &rows, n, dp)
                                               : wml_rows_loss(op, &loss, &rows, n, 0, n, dp);
  s->loss += sum * (double)op->u.loss.weight;
  if (op->u.loss.result >= 0) s->run->results[op->u.loss.result] += sum * (double)s->graph->batch;
}

void ref_penalty(ref_step *s, const wml_op *op) {
  const float *x = ref_f32(s, op->in[0]);
  float *dx = ref_f32(s, op->out[0]), l1 = op->u.penalty.l1, l2 = op->u.penalty.l2;
  for (int64_t i = 0; i < ref_elements(s, op->in[0]); i++) {
    s->loss += (double)l1 * fabs((double)x[i]) + (double)l2 * (double)x[i] * (double)x[i];
    if (dx) dx[i] = l1 * wml_sign(x[i]) + 2.0f * l2 * x[i];
  }
}

void ref_metric(ref_step *s, const wml_op *op) {
  wml_rows rows = rows_of(s, op);
  wml_rows_metric(op, &rows, wml_elements(&s->graph->tensors[op->in[0]]) / rows.k,
                  s->run->results + op->u.metric.result);
}

double ref_regularisers(const ref_step *s) {
  double sum = 0.0;
  for (int i = 0; i < s->graph->update.n_items; i++) {
    const wml_update_item *item = &s->graph->update.items[i];
    const float *w = ref_f32(s, item->param);
    if (item->l1 == 0.0f && item->l2 == 0.0f) continue;
    for (int64_t j = 0; j < wml_elements(&s->graph->tensors[item->param]); j++)
      sum += (double)item->l1 * fabs((double)w[j]) + (double)item->l2 * (double)w[j] * (double)w[j];
  }
  return sum;
}

static double norm_of(const float *g, int64_t n) {
  double sum = 0.0;
  for (int64_t i = 0; i < n; i++) sum += (double)g[i] * (double)g[i];
  return sqrt(sum);
}

static void add_penalty_gradient(const wml_update_item *item, const float *w, float *g, int64_t n) {
  for (int64_t j = 0; j < n; j++) g[j] += item->l1 * wml_sign(w[j]) + 2.0f * item->l2 * w[j];
}

/* What clipping by norm multiplies the gradients of one variable by. */
static float clip_factor(const wml_optimizer *o, const float *g, int64_t n, double global_norm) {
  double global = (double)o->global_clipnorm, own = (double)o->clipnorm;
  if (global > 0.0) return (float)(global / fmax(global_norm, global));
  return own > 0.0 ? (float)(own / fmax(norm_of(g, n), own)) : 1.0f;
}

static void update_variable(ref_step *s, const wml_update_item *item,
                            const wml_optimizer_step *step, int64_t n, double global_norm) {
  const wml_optimizer *o = &s->graph->update.optimizer;
  float *w = ref_f32(s, item->param), *g = ref_f32(s, item->grad), none = 0.0f, *slot[3];
  float factor = clip_factor(o, g, n, global_norm), limit = o->clipvalue;
  for (int k = 0; k < 3; k++) slot[k] = ref_f32(s, item->slot[k]);
  for (int64_t j = 0; j < n; j++) {
    float v = limit > 0.0f ? wml_clip(g[j] * factor, -limit, limit) : g[j] * factor;
    float *s0 = slot[0] ? &slot[0][j] : &none, *s1 = slot[1] ? &slot[1][j] : &none;
    if (o->kind != WML_LAMB) {
      w[j] = wml_optimizer_element(o, step, w[j], v, s0, s1, slot[2] ? &slot[2][j] : &none);
      continue;
    }
    if (o->weight_decay != 0.0f) w[j] *= step->decay;
    g[j] = wml_optimizer_lamb(o, step, v, s0, s1);
  }
  if (o->kind != WML_LAMB) return;
  float rate = step->rate * (float)wml_optimizer_trust(norm_of(w, n), norm_of(g, n));
  for (int64_t j = 0; j < n; j++) w[j] -= rate * g[j];
}

static void constrain(const wml_constraint *c, const wml_tensor *t, float *w) {
  if (c->kind == WML_NO_CONSTRAINT) return;
  if (c->kind == WML_NON_NEG) {
    for (int64_t j = 0; j < wml_elements(t); j++) w[j] = w[j] < 0.0f ? 0.0f : w[j];
    return;
  }
  wml_constrained view = wml_constrained_row_major(c, t->rank, t->dim);
  for (int64_t k = 0; k < wml_constrained_count(&view, false); k++) {
    float factor = wml_constrained_factor(c, &view, w, k);
    int64_t base = wml_constrained_place(&view, false, k);
    for (int64_t i = 0; i < wml_constrained_count(&view, true); i++)
      w[base + wml_constrained_place(&view, true, i)] *= factor;
  }
}

static void average_weights(ref_step *s, const wml_update_item *item,
                            const wml_optimizer_step *step, int64_t n) {
  const wml_optimizer *o = &s->graph->update.optimizer;
  if (!o->use_ema) return;
  float *average = ref_f32(s, item->slot[wml_optimizer_own_slots(o)]);
  const float *w = ref_f32(s, item->param);
  for (int64_t j = 0; j < n; j++) average[j] = wml_optimizer_average(step, average[j], w[j]);
}

/* Gradients become what the update reads; returns the sum of their squares. */
static double accumulate(ref_step *s, const wml_optimizer_step *step) {
  const wml_update *u = &s->graph->update;
  double total = 0.0;
  for (int i = 0; i < u->n_items; i++) {
    const wml_update_item *item = &u->items[i];
    int64_t n = wml_elements(&s->graph->tensors[item->param]);
    float *g = ref_f32(s, item->grad),
          *sum = ref_f32(s, item->slot[wml_optimizer_sum_slot(&u->optimizer)]);
    for (int64_t j = 0; j < n; j++)
      g[j] = wml_optimizer_accumulate(&u->optimizer, step, g[j], &sum[j]);
    double norm = norm_of(g, n);
    total += norm * norm;
  }
  return total;
}

void ref_update(ref_step *s, const wml_op *op) {
  (void)op;
  const wml_update *u = &s->graph->update;
  double total = 0.0;
  for (int i = 0; i < u->n_items; i++) {
    const wml_update_item *item = &u->items[i];
    int64_t n = wml_elements(&s->graph->tensors[item->param]);
    add_penalty_gradient(item, ref_f32(s, item->param), ref_f32(s, item->grad), n);
    double norm = norm_of(ref_f32(s, item->grad), n);
    total += norm * norm;
  }
  if (!isfinite(total) || !isfinite(s->loss)) {
    s->finite = false;
    return;
  }
  wml_optimizer_step step = wml_optimizer_prepare(&u->optimizer, s->run->learning_rate[s->index],
                                                  s->run->step + s->index + 1);
  if (u->optimizer.accumulation) total = accumulate(s, &step);
  s->finite = isfinite(total);
  if (!s->finite) return;
  for (int i = 0; i < u->n_items; i++) {
    const wml_update_item *item = &u->items[i];
    const wml_tensor *param = &s->graph->tensors[item->param];
    wml_optimizer_step own = wml_optimizer_scaled(&u->optimizer, step, item->rate_factor);
    if (step.updates) update_variable(s, item, &own, wml_elements(param), sqrt(total));
    average_weights(s, item, &step, wml_elements(param));
    constrain(&item->constraint, param, ref_f32(s, item->param));
  }
}
