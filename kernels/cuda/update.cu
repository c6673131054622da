/* The update: regularisers, a look at every gradient for values that are not finite, clipping, and
 * the optimizer in one pass over flat buffers. The look comes first, so that a bad step changes no
 * weight; gradients of a few ten megabytes are still in the second-level cache when it reads them.
 * Large layers are updated on a branch beside the backward pass, before all gradients are known:
 * branch.c says how that fits. */
#include "kernel.cuh"

static const int64_t piece = 8192, max_pieces = 4096;

static bool penalised(const wml_update_item *item) {
  return item->l1 != 0.0f || item->l2 != 0.0f;
}

/* ---- sums over flat buffers: pieces first, then one block over the pieces ---- */

/* partial[b]: sum over the pieces of block b of squares. turn: NULL, or a branch's, which learns
 * what is known before the step's end. */
static __global__ void squares(const float *x, int64_t n, double *partial, const cuda_state *state,
                               cuda_turn *turn) {
  double sum = 0.0;
  for (int64_t first = (int64_t)blockIdx.x * piece; first < n;
       first += (int64_t)gridDim.x * piece) {
    int64_t end = first + piece < n ? first + piece : n;
    for (int64_t i = first + threadIdx.x; i < end; i += CUDA_THREADS)
      sum += (double)x[i] * (double)x[i]; /* in float32, 1e20 would count as infinite */
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
  if (turn && blockIdx.x == 0 && threadIdx.x == 0) {
    turn->open = state->not_finite < 0;
    turn->factor = 1.0f;
    turn->rates = state->rates[state->index];
  }
}

CUDA_FN double sum_partial(const double *partial, int64_t n) {
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += CUDA_THREADS) sum += partial[i];
  return block_sum(sum);
}

CUDA_FN float factor_of(double square, double limit) {
  return limit > 0.0 ? (float)(limit / fmax(sqrt(square), limit)) : 1.0f;
}

/* All gradients are known: the step is finite when their squares and its loss are. limit: of the
 * norm, 0 for none. */
static __global__ void end_step(const double *partial, int64_t n, double limit, cuda_state *state,
                                cuda_turn *turn, double *results, int n_results, double batch,
                                bool moves_on) {
  double square = sum_partial(partial, n);
  if (threadIdx.x != 0) return;
  bool finite = isfinite(square) && isfinite(state->loss), open = finite && state->not_finite < 0;
  turn->open = open;
  turn->factor = factor_of(square, limit);
  turn->rates = state->rates[state->index];
  if (!moves_on) return;
  if (!finite && state->not_finite < 0) state->not_finite = state->step + 1;
  if (open && n_results > 0) {
    results[WML_RESULT_LOSS] += state->loss * batch;
    results[WML_RESULT_COUNT] += batch;
  }
  if (open) state->side ^= 1;
  state->loss = 0.0;
  state->index++;
  state->step++;
}

/* The same for the norm of one variable, or of all, in a step that is known to be finite or not. */
static __global__ void clip_one(const double *partial, int64_t n, double limit, cuda_turn *turn) {
  double square = sum_partial(partial, n);
  if (threadIdx.x == 0) turn->factor = factor_of(square, limit);
}

static __global__ void keep_norm(const double *partial, int64_t n, int which, cuda_state *state) {
  double square = sum_partial(partial, n);
  if (threadIdx.x == 0) state->norm[which] = sqrt(square);
}

/* ---- elements ---- */

static __global__ void penalty_gradient(const float *w, float *g, int64_t n, float l1, float l2) {
  CUDA_EACH(i, n) g[i] += l1 * wml_sign(w[i]) + 2.0f * l2 * w[i];
}

/* One side of a range. */
typedef struct flat {
  float *w, *s0, *s1, *s2; /* absent slots are NULL */
  uint16_t *half;          /* bfloat16 copy of w, or NULL */
  float *average;          /* moving average of w, or NULL */
} flat;

CUDA_FN float clipped(const wml_optimizer *o, const cuda_turn *turn, float g) {
  g *= turn->factor;
  return o->clipvalue > 0.0f ? wml_clip(g, -o->clipvalue, o->clipvalue) : g;
}

CUDA_FN cuda_float4 load4(const float *p, int64_t i) {
  cuda_float4 zero = {{0.0f, 0.0f, 0.0f, 0.0f}};
  return p ? *(const cuda_float4 *)(p + i) : zero;
}

CUDA_FN void store4(float *p, int64_t i, const cuda_float4 &v) {
  if (p) *(cuda_float4 *)(p + i) = v;
}

CUDA_FN void finish4(const flat &from, const flat &to, const wml_optimizer_step &s, int64_t i,
                     const cuda_float4 &w) {
  store4(to.w, i, w);
  if (to.half) {
    cuda_view half = {to.half, CUDA_BF16_T};
    view_set4(half, i, w);
  }
  if (!to.average) return;
  cuda_float4 a = load4(from.average, i);
  for (int k = 0; k < 4; k++) a.v[k] = wml_optimizer_average(&s, a.v[k], w.v[k]);
  store4(to.average, i, a);
}

static __global__ void accumulate(wml_optimizer o, const cuda_turn *turn, float *gradient,
                                  float *sum, int64_t n) {
  if (!turn->open) return;
  wml_optimizer_step s = turn->rates;
  CUDA_EACH(i, n) gradient[i] = wml_optimizer_accumulate(&o, &s, gradient[i], &sum[i]);
}

/* n: a multiple of 16. from and to are one side, or two. rate: factor of the learning rate. */
static __global__ void update(wml_optimizer o, const cuda_turn *turn, const float *gradient,
                              flat from, flat to, float rate, int64_t n) {
  if (!turn->open) return;
  wml_optimizer_step s = wml_optimizer_scaled(&o, turn->rates, rate);
  CUDA_EACH(k, n / 4) {
    int64_t i = k * 4;
    cuda_float4 w = load4(from.w, i), g = load4(gradient, i);
    cuda_float4 s0 = load4(from.s0, i), s1 = load4(from.s1, i), s2 = load4(from.s2, i);
    for (int j = 0; s.updates && j < 4; j++)
      w.v[j] = wml_optimizer_element(&o, &s, w.v[j], clipped(&o, turn, g.v[j]), &s0.v[j], &s1.v[j],
                                     &s2.v[j]);
    store4(to.s0, i, s0);
    store4(to.s1, i, s1);
    store4(to.s2, i, s2);
    finish4(from, to, s, i, w);
  }
}

/* lamb: the direction takes the gradient's place, weights decay; then a step along it. */
static __global__ void lamb_direction(wml_optimizer o, const cuda_turn *turn, float *g, flat f,
                                      float rate, int64_t n) {
  if (!turn->open) return;
  wml_optimizer_step s = wml_optimizer_scaled(&o, turn->rates, rate);
  if (!s.updates) return;
  CUDA_EACH(i, n) {
    if (o.weight_decay != 0.0f) f.w[i] *= s.decay;
    g[i] = wml_optimizer_lamb(&o, &s, clipped(&o, turn, g[i]), &f.s0[i], &f.s1[i]);
  }
}

static __global__ void lamb_step(const cuda_turn *turn, const cuda_state *state,
                                 const float *direction, flat f, float factor, int64_t n) {
  if (!turn->open) return;
  wml_optimizer_step s = turn->rates;
  float rate = s.rate * factor * (float)wml_optimizer_trust(state->norm[0], state->norm[1]);
  CUDA_EACH(k, n / 4) {
    cuda_float4 w = load4(f.w, k * 4), g = load4(direction, k * 4);
    for (int j = 0; s.updates && j < 4; j++) w.v[j] -= rate * g.v[j];
    finish4(f, f, s, k * 4, w);
  }
}

static __global__ void non_negative(const cuda_turn *turn, float *w, cuda_view half, int64_t n) {
  if (!turn->open) return;
  CUDA_EACH(i, n) {
    w[i] = w[i] < 0.0f ? 0.0f : w[i];
    if (half.data) view_set(half, i, w[i]);
  }
}

/* A thread for each norm: neighbours read neighbours where the norm goes along axis 0. */
static __global__ void constrain(wml_constraint c, wml_constrained view, const cuda_turn *turn,
                                 float *w, cuda_view half, int64_t norms, int64_t each) {
  if (!turn->open) return;
  CUDA_EACH(k, norms) {
    float factor = wml_constrained_factor(&c, &view, w, k);
    int64_t base = wml_constrained_place(&view, false, k);
    for (int64_t i = 0; i < each; i++) {
      int64_t at = base + wml_constrained_place(&view, true, i);
      w[at] *= factor;
      if (half.data) view_set(half, at, w[at]);
    }
  }
}

static __global__ void settle(const cuda_state *state, float *to, const float *from, int64_t n) {
  if (state->side == 0) return;
  CUDA_EACH(k, n / 4) store4(to, k * 4, load4(from, k * 4));
}

/* ---- the operation ---- */

int64_t cuda_update_squares(int64_t n) {
  int64_t pieces = (n + piece - 1) / piece;
  return pieces > max_pieces ? max_pieces : pieces < 1 ? 1 : pieces;
}

int64_t cuda_update_length(const wml_plan *plan, const wml_update_item *item) {
  return (int64_t)(wml_round_up((size_t)plan->tensors[item->param].entry->elements * sizeof(float),
                                WML_PACKING_ALIGNMENT) /
                   sizeof(float));
}

bool cuda_update_is_apart(const wml_optimizer *o) {
  return o->kind != WML_LAMB && o->clipnorm <= 0.0f && o->global_clipnorm <= 0.0f &&
         !o->accumulation;
}

static float *side_of(const wml_plan *plan, int tensor, int side) {
  return plan->tensors[tensor].entry->data[side];
}

static flat flat_of(const wml_plan *plan, const wml_update_item *item, int side) {
  const wml_optimizer *o = &plan->graph.update.optimizer;
  int own = wml_optimizer_own_slots(o);
  flat f = {};
  f.w = side_of(plan, item->param, side);
  if (own > 0) f.s0 = side_of(plan, item->slot[0], side);
  if (own > 1) f.s1 = side_of(plan, item->slot[1], side);
  if (own > 2) f.s2 = side_of(plan, item->slot[2], side);
  f.half = (uint16_t *)plan->tensors[item->param].entry->half[side];
  if (o->use_ema) f.average = side_of(plan, item->slot[own], side);
  return f;
}

static void look(cuda_call *call, const float *x, int64_t n, double *partial, cuda_turn *turn) {
  CUDA_LAUNCH_TOGETHER(squares, cuda_update_squares(n), CUDA_THREADS, call->stream, x, n, partial,
                       call->plan->state, turn);
}

void cuda_update_look(cuda_call *call, const cuda_range *range) {
  const wml_plan *plan = call->plan;
  const wml_update_item *items = &plan->graph.update.items[range->first];
  for (int i = 0; i < range->count; i++) {
    int64_t n = cuda_update_length(plan, &items[i]);
    if (penalised(&items[i]))
      CUDA_LAUNCH(penalty_gradient, cuda_blocks(n, 8448), CUDA_THREADS, call->stream,
                  cuda_f32(plan, items[i].param), cuda_f32(plan, items[i].grad), n, items[i].l1,
                  items[i].l2);
  }
  look(call, cuda_f32(plan, items->grad), range->n, plan->squares + range->squares,
       range->node < 0 ? NULL : plan->turns + range->turn);
}

static void update_lamb(cuda_call *call, const wml_update_item *item, int64_t n) {
  const wml_plan *plan = call->plan;
  long blocks = cuda_blocks(n / 4, 8L * 132 * 8);
  int64_t pieces = cuda_update_squares(n);
  float *g = cuda_f32(plan, item->grad);
  flat f = flat_of(plan, item, 0);
  CUDA_LAUNCH(lamb_direction, blocks, CUDA_THREADS, call->stream, plan->graph.update.optimizer,
              plan->turns, g, f, item->rate_factor, n);
  look(call, f.w, n, plan->squares, NULL);
  CUDA_LAUNCH_TOGETHER(keep_norm, 1, CUDA_THREADS, call->stream, plan->squares, pieces, 0,
                       plan->state);
  look(call, g, n, plan->squares, NULL);
  CUDA_LAUNCH_TOGETHER(keep_norm, 1, CUDA_THREADS, call->stream, plan->squares, pieces, 1,
                       plan->state);
  CUDA_LAUNCH(lamb_step, blocks, CUDA_THREADS, call->stream, plan->turns, plan->state, g, f,
              item->rate_factor, n);
}

/* Items of one learning rate; n: their floats. */
static void update_plain(cuda_call *call, const wml_update_item *item, int64_t n, int turn,
                         int from, int to) {
  const wml_plan *plan = call->plan;
  CUDA_LAUNCH(update, cuda_blocks(n / 4, 8L * 132 * 8), CUDA_THREADS, call->stream,
              plan->graph.update.optimizer, plan->turns + turn, cuda_f32(plan, item->grad),
              flat_of(plan, item, from), flat_of(plan, item, to), item->rate_factor, n);
}

/* Kernels of convolutions lie [f, kh, kw, c], everything else row-major. */
static wml_constrained constrained_of(const wml_plan *plan, const wml_update_item *item) {
  const wml_tensor *t = cuda_info(plan, item->param);
  const int64_t *k = plan->tensors[item->param].entry->kernel;
  const int64_t stride[] = {k[1] * k[2], k[2], 1, k[0] * k[1] * k[2]};
  return k[0] ? wml_constrained_strided(&item->constraint, 4, k, stride)
              : wml_constrained_row_major(&item->constraint, t->rank, t->dim);
}

static void constrain_items(cuda_call *call, const wml_update_item *items, int count, int turn,
                            int side) {
  const wml_plan *plan = call->plan;
  for (int i = 0; i < count; i++) {
    const wml_update_item *item = &items[i];
    if (item->constraint.kind == WML_NO_CONSTRAINT) continue;
    float *w = side_of(plan, item->param, side);
    cuda_view half = {plan->tensors[item->param].entry->half[side], CUDA_BF16_T};
    if (item->constraint.kind == WML_NON_NEG) {
      int64_t n = plan->tensors[item->param].entry->elements;
      CUDA_LAUNCH(non_negative, cuda_blocks(n, 8448), CUDA_THREADS, call->stream,
                  plan->turns + turn, w, half, n);
      continue;
    }
    wml_constrained view = constrained_of(plan, item);
    int64_t norms = wml_constrained_count(&view, false);
    CUDA_LAUNCH(constrain, cuda_blocks(norms, 8448), CUDA_THREADS, call->stream, item->constraint,
                view, plan->turns + turn, w, half, norms, wml_constrained_count(&view, true));
  }
}

/* Neighbours of one learning rate at a time. */
static void update_neighbours(cuda_call *call, const cuda_range *range) {
  const wml_plan *plan = call->plan;
  const wml_update_item *items = &plan->graph.update.items[range->first];
  int from = range->node >= 0 ? call->side : 0, to = range->node >= 0 ? call->side ^ 1 : 0;
  for (int i = 0, next; i < range->count; i = next) {
    int64_t n = 0;
    for (next = i; next < range->count && items[next].rate_factor == items[i].rate_factor; next++)
      n += cuda_update_length(plan, &items[next]);
    update_plain(call, &items[i], n, range->turn, from, to);
  }
  constrain_items(call, items, range->count, range->turn, to);
}

void cuda_update_range(cuda_call *call, const cuda_range *range) {
  const wml_plan *plan = call->plan;
  const wml_optimizer *o = &plan->graph.update.optimizer;
  const wml_update_item *items = &plan->graph.update.items[range->first];
  if (o->kind != WML_LAMB && o->clipnorm <= 0.0f) {
    update_neighbours(call, range);
    return;
  }
  for (int i = 0; i < range->count; i++) {
    int64_t n = cuda_update_length(plan, &items[i]);
    if (o->clipnorm > 0.0f) {
      look(call, cuda_f32(plan, items[i].grad), n, plan->squares, NULL);
      CUDA_LAUNCH_TOGETHER(clip_one, 1, CUDA_THREADS, call->stream, plan->squares,
                           cuda_update_squares(n), (double)o->clipnorm, plan->turns);
    }
    if (o->kind == WML_LAMB)
      update_lamb(call, &items[i], n);
    else
      update_plain(call, &items[i], n, 0, 0, 0);
  }
  constrain_items(call, items, range->count, 0, 0);
}

void cuda_update_settle(const wml_plan *plan, float *to, const float *from, int64_t n) {
  CUDA_LAUNCH(settle, cuda_blocks(n / 4, 8L * 132 * 8), CUDA_THREADS, plan->store->stream,
              plan->state, to, from, n);
}

/* Without branches all items are one range. Norms that clip are those of the mean gradients. */
static void accumulate_range(cuda_call *call, const cuda_range *range) {
  const wml_plan *plan = call->plan;
  const wml_optimizer *o = &plan->graph.update.optimizer;
  const wml_update_item *items = &plan->graph.update.items[range->first];
  float *g = cuda_f32(plan, items->grad);
  CUDA_LAUNCH(accumulate, cuda_blocks(range->n, 8448), CUDA_THREADS, call->stream, *o, plan->turns,
              g, cuda_f32(plan, items->slot[wml_optimizer_sum_slot(o)]), range->n);
  if (o->global_clipnorm <= 0.0f) return;
  look(call, g, range->n, plan->squares, NULL);
  CUDA_LAUNCH_TOGETHER(clip_one, 1, CUDA_THREADS, call->stream, plan->squares,
                       cuda_update_squares(range->n), (double)o->global_clipnorm, plan->turns);
}

static void run_update(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  (void)node;
  for (int r = 0; r < plan->n_ranges; r++)
    if (plan->ranges[r].node < 0) cuda_update_look(call, &plan->ranges[r]);
  CUDA_LAUNCH_TOGETHER(end_step, 1, CUDA_THREADS, call->stream, plan->squares, plan->n_squares,
                       (double)plan->graph.update.optimizer.global_clipnorm, plan->state,
                       plan->turns, plan->results, plan->graph.n_results, (double)plan->graph.batch,
                       call->moves_on);
  if (plan->graph.update.optimizer.accumulation) accumulate_range(call, &plan->ranges[0]);
  for (int r = 0; r < plan->n_ranges; r++)
    if (plan->ranges[r].node < 0) cuda_update_range(call, &plan->ranges[r]);
}

static wml_result plan_update(wml_plan *plan, cuda_node *node) {
  if (plan->graph.update.n_items == 0 || node != &plan->nodes[plan->n_nodes - 1]) {
    plan->device->host.error("the update must be a graph's last operation, and have items");
    return WML_INVALID;
  }
  node->name = "own:flat";
  node->run = run_update;
  return WML_OK;
}

const cuda_implementation cuda_update[] = {{plan_update}, {NULL}};
