/* The update: regularisers, a look at every gradient for values that are not finite, clipping, and
 * the optimizer in one pass over flat buffers. The look comes first, so that a bad step changes no
 * weight; it costs one read of the gradients. */
#include "cpu.h"

enum { UPDATE_PIECE = 16384, COPY_PIECE = 1024 };

typedef struct update_job {
  const vec_table *vec;
  vec_update u;
  double *square; /* per piece */
  bool *finite;   /* per piece */
  int64_t n;
  float *average; /* moving average of the weights, or NULL */
  float *sum;     /* of gradients, or NULL */
  uint16_t *copy; /* of the weights, in bfloat16 with paired rows, or NULL */
  int64_t width;  /* of such a row */
} update_job;

/* What a parameter occupies in the flat buffers, in floats. */
static int64_t padded(const cpu_entry *e) {
  return (int64_t)(wml_round_up(dnnl_memory_desc_get_size(&e->own), WML_PACKING_ALIGNMENT) /
                   sizeof(float));
}

static void look_range(void *arg, int64_t begin, int64_t end) {
  const update_job *j = arg;
  for (int64_t p = begin; p < end; p++) {
    int64_t at = p * UPDATE_PIECE, n = j->n - at < UPDATE_PIECE ? j->n - at : UPDATE_PIECE;
    bool finite = true;
    j->square[p] = j->vec->squares(j->u.g + at, n, &finite);
    j->finite[p] = finite;
  }
}

/* In pieces that are still in the first-level cache when they are copied. */
static void update_range(void *arg, int64_t begin, int64_t end) {
  const update_job *j = arg;
  if (!j->copy) {
    j->vec->update(&j->u, begin, end);
    return;
  }
  for (int64_t at = begin; at < end; at += COPY_PIECE) {
    int64_t last = at + COPY_PIECE < end ? at + COPY_PIECE : end;
    j->vec->update(&j->u, at, last);
    j->vec->pair_rows(j->u.w + at, j->copy + at, last - at, j->width);
  }
}

static void lamb_range(void *arg, int64_t begin, int64_t end) {
  const update_job *j = arg;
  j->vec->lamb(&j->u, begin, end);
}

static void average_range(void *arg, int64_t begin, int64_t end) {
  const update_job *j = arg;
  j->vec->average(j->u.step, j->u.w + begin, j->average + begin, end - begin);
}

static void accumulate_range(void *arg, int64_t begin, int64_t end) {
  const update_job *j = arg;
  for (int64_t i = begin; i < end; i++)
    j->u.g[i] = wml_optimizer_accumulate(j->u.optimizer, j->u.step, j->u.g[i], &j->sum[i]);
}

typedef struct penalty_job {
  const wml_update_item *item;
  const float *w;
  float *g;
} penalty_job;

static void penalty_range(void *arg, int64_t begin, int64_t end) {
  const penalty_job *j = arg;
  for (int64_t i = begin; i < end; i++)
    j->g[i] += j->item->l1 * wml_sign(j->w[i]) + 2.0f * j->item->l2 * j->w[i];
}

static bool penalised(const wml_update_item *item) {
  return item->l1 != 0.0f || item->l2 != 0.0f;
}

double cpu_penalty(const wml_plan *plan) {
  double sum = 0.0;
  for (int i = 0; i < plan->graph.update.n_items; i++) {
    const wml_update_item *item = &plan->graph.update.items[i];
    if (!penalised(item)) continue;
    const float *w = cpu_f32(plan, item->param);
    double l1 = 0.0, l2 = 0.0;
    for (int64_t k = 0; k < padded(plan->tensors[item->param].entry); k++) {
      l1 += (double)fabsf(w[k]);
      l2 += (double)w[k] * (double)w[k];
    }
    sum += (double)item->l1 * l1 + (double)item->l2 * l2;
  }
  return sum;
}

/* Pieces are counted from the start of the range, so per-variable norms see one variable each. */
static double look(update_job *j, float *g, int64_t n, bool *finite) {
  j->u.g = g;
  j->n = n;
  int64_t pieces = (n + UPDATE_PIECE - 1) / UPDATE_PIECE;
  cpu_parallel(pieces, 1, look_range, j);
  double sum = 0.0;
  for (int64_t p = 0; p < pieces; p++) {
    sum += j->square[p];
    if (!j->finite[p]) *finite = false;
  }
  return sum;
}

/* One variable: direction, its norm and that of the weights, then a plain step along it. */
static void lamb_update(update_job *j, int64_t n) {
  bool ignored = true;
  const wml_optimizer *lamb = j->u.optimizer, plain = {.kind = WML_SGD};
  float *g = j->u.g;
  cpu_parallel(n, UPDATE_PIECE / 4, lamb_range, j);
  double weights = sqrt(look(j, j->u.w, n, &ignored)), direction = sqrt(look(j, g, n, &ignored));
  j->u.factor = (float)wml_optimizer_trust(weights, direction);
  j->u.optimizer = &plain;
  cpu_parallel(n, UPDATE_PIECE / 4, update_range, j);
  j->u.optimizer = lamb;
}

/* ---- constraints ---- */

typedef struct constraint_job {
  const wml_constraint *constraint;
  wml_constrained view;
  float *w;
} constraint_job;

static void non_negative_range(void *arg, int64_t begin, int64_t end) {
  const constraint_job *j = arg;
  for (int64_t i = begin; i < end; i++) j->w[i] = j->w[i] < 0.0f ? 0.0f : j->w[i];
}

static void norm_range(void *arg, int64_t begin, int64_t end) {
  const constraint_job *j = arg;
  int64_t n = wml_constrained_count(&j->view, true);
  for (int64_t k = begin; k < end; k++) {
    float factor = wml_constrained_factor(j->constraint, &j->view, j->w, k);
    float *w = j->w + wml_constrained_place(&j->view, false, k);
    for (int64_t i = 0; i < n; i++) w[wml_constrained_place(&j->view, true, i)] *= factor;
  }
}

/* A dimension of oneDNN's description: blocks of it, and what lies within a block. */
static wml_axis axis_of(const dnnl_memory_desc_t *md, int d, bool along) {
  const dnnl_blocking_desc_t *b = &md->format_desc.blocking;
  wml_axis axis = {.n = md->dims[d], .along = along};
  int64_t own = 1, all = 1;
  for (int k = b->inner_nblks; k-- > 0; all *= b->inner_blks[k]) {
    if (b->inner_idxs[k] != d) continue;
    wml_axis_add(&axis, own, b->inner_blks[k], all);
    own *= b->inner_blks[k];
  }
  wml_axis_add(&axis, own, INT64_MAX, b->strides[d]);
  return axis;
}

/* Kernels as oneDNN describes them: [out, in], [f, c, kh, kw] or [groups, f, c, kh, kw]; what it
 * has only as a row of elements is row-major. */
static bool view_of(const wml_plan *plan, const wml_update_item *item, wml_constrained *view) {
  static const int dense[] = {1, 0}, conv[] = {3, 2, 0, 1}, grouped[] = {3, 3, 2, 0, 1};
  const wml_tensor *t = cpu_info(plan, item->param);
  const dnnl_memory_desc_t *md = &plan->tensors[item->param].entry->own;
  if (md->ndims == 1) {
    *view = wml_constrained_row_major(&item->constraint, t->rank, t->dim);
    return true;
  }
  const int *axes = md->ndims == 2 ? dense : md->ndims == 4 ? conv : grouped;
  bool known = md->ndims == t->rank || (md->ndims == 5 && t->rank == 4);
  if (!known || md->format_kind != dnnl_blocked ||
      md->format_desc.blocking.inner_nblks >= WML_AXIS_LEVELS)
    return false;
  *view = (wml_constrained){.rank = md->ndims};
  for (int d = 0; d < md->ndims; d++)
    view->axis[d] = axis_of(md, d, item->constraint.axes >> axes[d] & 1);
  return true;
}

static void constrain(const wml_plan *plan, const wml_update_item *item) {
  constraint_job j = {.constraint = &item->constraint, .w = cpu_f32(plan, item->param)};
  if (item->constraint.kind == WML_NON_NEG)
    cpu_parallel(padded(plan->tensors[item->param].entry), UPDATE_PIECE, non_negative_range, &j);
  else if (item->constraint.kind != WML_NO_CONSTRAINT && view_of(plan, item, &j.view))
    cpu_parallel(wml_constrained_count(&j.view, false), 16, norm_range, &j);
}

/* The flat buffers begin with the first item's; an absent slot points at the gradients, which are
 * readable and not touched through it. */
static void update_items(cpu_step *step, update_job *j, int first, int count, double factor) {
  const wml_plan *plan = step->plan;
  const wml_update *u = &plan->graph.update;
  const wml_update_item *item = &u->items[first];
  const wml_optimizer_step *common = j->u.step,
                           own = wml_optimizer_scaled(&u->optimizer, *common, item->rate_factor);
  int64_t n = 0;
  j->u.step = &own;
  for (int i = 0; i < count; i++) n += padded(plan->tensors[item[i].param].entry);
  j->u.w = cpu_f32(plan, item->param);
  j->u.g = cpu_f32(plan, item->grad);
  float *slot[3];
  for (int k = 0; k < 3; k++) slot[k] = item->slot[k] >= 0 ? cpu_f32(plan, item->slot[k]) : j->u.g;
  j->u.s0 = slot[0], j->u.s1 = slot[1], j->u.s2 = slot[2];
  j->u.factor = (float)factor;
  if (own.updates && u->optimizer.kind == WML_LAMB)
    lamb_update(j, n);
  else if (own.updates)
    cpu_parallel(n, UPDATE_PIECE / 4, update_range, j);
  j->u.step = common;
  if (u->optimizer.use_ema) {
    j->average = cpu_f32(plan, item->slot[wml_optimizer_own_slots(&u->optimizer)]);
    cpu_parallel(n, UPDATE_PIECE / 4, average_range, j);
  }
  for (int i = 0; i < count; i++) constrain(plan, &item[i]);
}

/* Items from `first` on that are updated as one: one with a copy that is written along, or all of
 * one learning rate up to the next such. Returns the item behind them. */
static int next_run(const wml_plan *plan, update_job *j, int first) {
  const wml_update *u = &plan->graph.update;
  j->copy = NULL;
  for (int i = first; i < u->n_items; i++) {
    int64_t width;
    if (u->items[i].rate_factor != u->items[first].rate_factor) return i;
    if (u->items[i].constraint.kind != WML_NO_CONSTRAINT) continue; /* changes them once more */
    cpu_entry *copy = cpu_paired_copy(plan->store, plan->tensors[u->items[i].param].entry, &width);
    if (!copy || COPY_PIECE % (2 * width) != 0) continue;
    if (i > first) return i;
    copy->version = plan->store->version;
    j->copy = copy->data;
    j->width = width;
    return i + 1;
  }
  return u->n_items;
}

static void run_update(cpu_step *step, cpu_node *node) {
  wml_plan *plan = step->plan;
  const wml_update *u = &plan->graph.update;
  update_job j = {.vec = plan->device->vec,
                  .square = plan->tensors[node->temp[0]].data,
                  .finite = plan->tensors[node->temp[1]].data};
  int64_t all = 0;
  for (int i = 0; i < u->n_items; i++) {
    const wml_update_item *item = &u->items[i];
    int64_t n = padded(plan->tensors[item->param].entry);
    penalty_job p = {item, cpu_f32(plan, item->param), cpu_f32(plan, item->grad)};
    if (penalised(item)) cpu_parallel(n, UPDATE_PIECE, penalty_range, &p);
    all += n;
  }
  double square = look(&j, cpu_f32(plan, u->items[0].grad), all, &step->finite);
  if (!isfinite(step->loss)) step->finite = false;
  if (!step->finite) return;
  plan->store->version++;
  wml_optimizer_step s = wml_optimizer_prepare(&u->optimizer, step->run->learning_rate[step->index],
                                               step->run->step + step->index + 1);
  j.u.optimizer = &u->optimizer;
  j.u.step = &s;
  if (u->optimizer.accumulation) {
    j.u.g = cpu_f32(plan, u->items[0].grad);
    j.sum = cpu_f32(plan, u->items[0].slot[wml_optimizer_sum_slot(&u->optimizer)]);
    cpu_parallel(all, UPDATE_PIECE, accumulate_range, &j);
    square = look(&j, j.u.g, all, &step->finite);
    if (!step->finite) return;
  }
  double limit = (double)u->optimizer.global_clipnorm, own = (double)u->optimizer.clipnorm;
  double global = limit > 0.0 ? limit / fmax(sqrt(square), limit) : 1.0;
  if (own <= 0.0 && u->optimizer.kind != WML_LAMB) { /* nothing looks at single variables */
    for (int i = 0, next; i < u->n_items; i = next) {
      next = next_run(plan, &j, i);
      update_items(step, &j, i, next - i, global);
    }
    return;
  }
  for (int i = 0; i < u->n_items; i++) {
    int64_t n = padded(plan->tensors[u->items[i].param].entry);
    double factor = global;
    if (own > 0.0)
      factor = own / fmax(sqrt(look(&j, cpu_f32(plan, u->items[i].grad), n, &step->finite)), own);
    update_items(step, &j, i, 1, factor);
  }
}

static wml_result plan_update(wml_plan *plan, cpu_node *node) {
  int64_t all = 0;
  for (int i = 0; i < plan->graph.update.n_items; i++)
    all += padded(plan->tensors[plan->graph.update.items[i].param].entry);
  if (plan->graph.update.n_items == 0) return WML_INVALID;
  for (int i = 0; i < plan->graph.update.n_items; i++) {
    wml_constrained view;
    const wml_update_item *item = &plan->graph.update.items[i];
    if (item->constraint.kind == WML_NO_CONSTRAINT || view_of(plan, item, &view)) continue;
    node->why = "oneDNN's layout of the weights is not known to constraints";
    return WML_UNSUPPORTED;
  }
  size_t pieces = (size_t)(all / UPDATE_PIECE + 1);
  int at = (int)(node - plan->nodes);
  node->temp[0] = cpu_add_temporary(plan, pieces * sizeof(double), at);
  node->temp[1] = cpu_add_temporary(plan, pieces * sizeof(bool), at);
  node->name = "own:flat";
  node->run = run_update;
  return node->temp[0] < 0 || node->temp[1] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

const cpu_implementation cpu_update[] = {{plan_update, false}, {NULL, false}};
