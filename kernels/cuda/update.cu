/* The update: regularisers, a look at every gradient for values that are not finite, clipping, and
 * the optimizer in one pass over flat buffers. The look comes first, so that a bad step changes no
 * weight; gradients of a few ten megabytes are still in the second-level cache when it reads them.
 */
#include "kernel.cuh"

static const int64_t piece = 8192, max_pieces = 4096;

/* What a parameter occupies in the flat buffers, in floats. */
static int64_t padded(const wml_plan *plan, int tensor) {
  return (int64_t)(wml_round_up((size_t)plan->tensors[tensor].entry->elements * sizeof(float),
                                WML_PACKING_ALIGNMENT) /
                   sizeof(float));
}

static bool penalised(const wml_update_item *item) {
  return item->l1 != 0.0f || item->l2 != 0.0f;
}

/* ---- sums over flat buffers: pieces first, then one block over the pieces ---- */

/* partial[b]: sum over the pieces of block b of squares (or of the penalty of weights). */
static __global__ void squares(const float *x, int64_t n, double *partial) {
  double sum = 0.0;
  for (int64_t first = (int64_t)blockIdx.x * piece; first < n;
       first += (int64_t)gridDim.x * piece) {
    int64_t end = first + piece < n ? first + piece : n;
    for (int64_t i = first + threadIdx.x; i < end; i += CUDA_THREADS)
      sum += (double)x[i] * (double)x[i]; /* in float32, 1e20 would count as infinite */
  }
  sum = block_sum(sum);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

static __global__ void penalty(const float *w, int64_t n, float l1, float l2, double *partial) {
  double one = 0.0, two = 0.0;
  CUDA_EACH(i, n) {
    one += (double)fabsf(w[i]);
    two += (double)w[i] * (double)w[i];
  }
  one = block_sum(one);
  two = block_sum(two);
  if (threadIdx.x == 0) partial[blockIdx.x] = (double)l1 * one + (double)l2 * two;
}

CUDA_FN double sum_partial(const double *partial, int n) {
  double sum = 0.0;
  for (int i = (int)threadIdx.x; i < n; i += CUDA_THREADS) sum += partial[i];
  return block_sum(sum);
}

static __global__ void add_penalty(const double *partial, int n, cuda_state *state) {
  double sum = sum_partial(partial, n);
  if (threadIdx.x == 0) state->loss += sum;
}

/* The step is finite when the squares of its gradients and its loss are. limit: of the norm, 0 for
 * none. `first`: the whole gradient is looked at; else one variable, whose finiteness is known. */
static __global__ void judge(const double *partial, int n, double limit, bool first,
                             cuda_state *state) {
  double square = sum_partial(partial, n);
  if (threadIdx.x != 0) return;
  if (first) state->finite = isfinite(square) && isfinite(state->loss);
  state->factor = limit > 0.0 ? limit / fmax(sqrt(square), limit) : 1.0;
}

static __global__ void keep_norm(const double *partial, int n, int which, cuda_state *state) {
  double square = sum_partial(partial, n);
  if (threadIdx.x == 0) state->norm[which] = sqrt(square);
}

/* ---- elements ---- */

static __global__ void penalty_gradient(const float *w, float *g, int64_t n, float l1, float l2) {
  CUDA_EACH(i, n) g[i] += l1 * wml_sign(w[i]) + 2.0f * l2 * w[i];
}

typedef struct flat {
  float *w, *g, *s0, *s1, *s2; /* absent slots are NULL */
  uint16_t *half;              /* bfloat16 copy of w, or NULL */
  float *average;              /* moving average of w, or NULL */
  int64_t n;                   /* a multiple of 16 */
} flat;

CUDA_FN bool is_open(const cuda_state *state) {
  return state->finite && state->not_finite < 0;
}

CUDA_FN float clipped(const wml_optimizer *o, const cuda_state *state, float g) {
  g *= (float)state->factor;
  return o->clipvalue > 0.0f ? wml_clip(g, -o->clipvalue, o->clipvalue) : g;
}

CUDA_FN cuda_float4 load4(const float *p, int64_t i) {
  cuda_float4 zero = {{0.0f, 0.0f, 0.0f, 0.0f}};
  return p ? *(const cuda_float4 *)(p + i) : zero;
}

CUDA_FN void store4(float *p, int64_t i, const cuda_float4 &v) {
  if (p) *(cuda_float4 *)(p + i) = v;
}

CUDA_FN void finish4(const flat &f, const wml_optimizer_step &s, int64_t i, const cuda_float4 &w) {
  store4(f.w, i, w);
  if (f.half) {
    cuda_view half = {f.half, CUDA_BF16_T};
    view_set4(half, i, w);
  }
  if (!f.average) return;
  cuda_float4 a = load4(f.average, i);
  for (int k = 0; k < 4; k++) a.v[k] = wml_optimizer_average(&s, a.v[k], w.v[k]);
  store4(f.average, i, a);
}

static __global__ void update(wml_optimizer o, const cuda_state *state, flat f) {
  if (!is_open(state)) return;
  wml_optimizer_step s = state->rates[state->index];
  CUDA_EACH(k, f.n / 4) {
    int64_t i = k * 4;
    cuda_float4 w = load4(f.w, i), g = load4(f.g, i);
    cuda_float4 s0 = load4(f.s0, i), s1 = load4(f.s1, i), s2 = load4(f.s2, i);
    for (int j = 0; j < 4; j++)
      w.v[j] = wml_optimizer_element(&o, &s, w.v[j], clipped(&o, state, g.v[j]), &s0.v[j], &s1.v[j],
                                     &s2.v[j]);
    store4(f.s0, i, s0);
    store4(f.s1, i, s1);
    store4(f.s2, i, s2);
    finish4(f, s, i, w);
  }
}

/* lamb: the direction takes the gradient's place, weights decay; then a step along it. */
static __global__ void lamb_direction(wml_optimizer o, const cuda_state *state, flat f) {
  if (!is_open(state)) return;
  wml_optimizer_step s = state->rates[state->index];
  CUDA_EACH(i, f.n) {
    if (o.weight_decay != 0.0f) f.w[i] *= s.decay;
    f.g[i] = wml_optimizer_lamb(&o, &s, clipped(&o, state, f.g[i]), &f.s0[i], &f.s1[i]);
  }
}

static __global__ void lamb_step(const cuda_state *state, flat f) {
  if (!is_open(state)) return;
  wml_optimizer_step s = state->rates[state->index];
  float rate = s.rate * (float)wml_optimizer_trust(state->norm[0], state->norm[1]);
  CUDA_EACH(k, f.n / 4) {
    cuda_float4 w = load4(f.w, k * 4), g = load4(f.g, k * 4);
    for (int j = 0; j < 4; j++) w.v[j] -= rate * g.v[j];
    finish4(f, s, k * 4, w);
  }
}

/* ---- the operation ---- */

static long pieces_of(int64_t n) {
  int64_t pieces = (n + piece - 1) / piece;
  return (long)(pieces > max_pieces ? max_pieces : pieces < 1 ? 1 : pieces);
}

static int64_t length_of(const wml_plan *plan, int first, int count) {
  int64_t n = 0;
  for (int i = 0; i < count; i++) n += padded(plan, plan->graph.update.items[first + i].param);
  return n;
}

static flat flat_of(const wml_plan *plan, int first, int count) {
  const wml_update *u = &plan->graph.update;
  const wml_update_item *item = &u->items[first];
  int own = wml_optimizer_own_slots(&u->optimizer);
  flat f = {cuda_f32(plan, item->param),  cuda_f32(plan, item->grad), NULL, NULL, NULL, NULL, NULL,
            length_of(plan, first, count)};
  if (own > 0) f.s0 = cuda_f32(plan, item->slot[0]);
  if (own > 1) f.s1 = cuda_f32(plan, item->slot[1]);
  if (own > 2) f.s2 = cuda_f32(plan, item->slot[2]);
  f.half = (uint16_t *)plan->tensors[item->param].entry->half;
  if (u->optimizer.use_ema) f.average = cuda_f32(plan, item->slot[own]);
  return f;
}

static void look(cuda_call *call, const float *x, int64_t n, double *partial) {
  CUDA_LAUNCH_TOGETHER(squares, pieces_of(n), CUDA_THREADS, call->stream, x, n, partial);
}

static void update_items(cuda_call *call, double *partial, int first, int count) {
  const wml_plan *plan = call->plan;
  const wml_optimizer *o = &plan->graph.update.optimizer;
  flat f = flat_of(plan, first, count);
  long blocks = cuda_blocks(f.n / 4, 8L * 132 * 8);
  if (o->kind != WML_LAMB) {
    CUDA_LAUNCH(update, blocks, CUDA_THREADS, call->stream, *o, plan->state, f);
    return;
  }
  int pieces = (int)pieces_of(f.n);
  CUDA_LAUNCH(lamb_direction, blocks, CUDA_THREADS, call->stream, *o, plan->state, f);
  look(call, f.w, f.n, partial);
  CUDA_LAUNCH_TOGETHER(keep_norm, 1, CUDA_THREADS, call->stream, partial, pieces, 0, plan->state);
  look(call, f.g, f.n, partial);
  CUDA_LAUNCH_TOGETHER(keep_norm, 1, CUDA_THREADS, call->stream, partial, pieces, 1, plan->state);
  CUDA_LAUNCH(lamb_step, blocks, CUDA_THREADS, call->stream, plan->state, f);
}

static void run_update(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_update *u = &plan->graph.update;
  double *partial = (double *)plan->tensors[node->temp[0]].data;
  for (int i = 0; i < u->n_items; i++) {
    const wml_update_item *item = &u->items[i];
    int64_t n = padded(plan, item->param);
    if (penalised(item))
      CUDA_LAUNCH(penalty_gradient, cuda_blocks(n, 8448), CUDA_THREADS, call->stream,
                  cuda_f32(plan, item->param), cuda_f32(plan, item->grad), n, item->l1, item->l2);
  }
  int64_t all = length_of(plan, 0, u->n_items);
  look(call, cuda_f32(plan, u->items[0].grad), all, partial);
  CUDA_LAUNCH_TOGETHER(judge, 1, CUDA_THREADS, call->stream, partial, (int)pieces_of(all),
                       (double)u->optimizer.global_clipnorm, true, plan->state);
  double own = (double)u->optimizer.clipnorm;
  if (own <= 0.0 && u->optimizer.kind != WML_LAMB) { /* nothing looks at single variables */
    update_items(call, partial, 0, u->n_items);
    return;
  }
  for (int i = 0; i < u->n_items; i++) {
    int64_t n = padded(plan, u->items[i].param);
    if (own > 0.0) {
      look(call, cuda_f32(plan, u->items[i].grad), n, partial);
      CUDA_LAUNCH_TOGETHER(judge, 1, CUDA_THREADS, call->stream, partial, (int)pieces_of(n), own,
                           false, plan->state);
    }
    update_items(call, partial, i, 1);
  }
}

static wml_result plan_update(wml_plan *plan, cuda_node *node) {
  if (plan->graph.update.n_items == 0) return WML_INVALID;
  node->temp[0] =
      cuda_add_temporary(plan, (size_t)max_pieces * sizeof(double), (int)(node - plan->nodes));
  node->name = "own:flat";
  node->run = run_update;
  return node->temp[0] < 0 ? WML_OUT_OF_MEMORY : WML_OK;
}

void cuda_penalty(cuda_call *call) {
  const wml_plan *plan = call->plan;
  for (int i = 0; i < plan->graph.update.n_items; i++) {
    const wml_update_item *item = &plan->graph.update.items[i];
    if (!penalised(item)) continue;
    int64_t n = plan->tensors[item->param].entry->elements;
    long blocks = cuda_blocks(n, CUDA_PENALTY_BLOCKS);
    CUDA_LAUNCH_TOGETHER(penalty, blocks, CUDA_THREADS, call->stream, cuda_f32(plan, item->param),
                         n, item->l1, item->l2, plan->penalty);
    CUDA_LAUNCH_TOGETHER(add_penalty, 1, CUDA_THREADS, call->stream, plan->penalty, (int)blocks,
                         plan->state);
  }
}

const cuda_implementation cuda_update[] = {{plan_update}, {NULL}};
