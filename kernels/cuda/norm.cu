/* Normalisation by statistics of the sample itself; common/norm.h has the formulas. Statistics in
 * one pass: sums of (x - shift) and of its square, shift being the first element of a group where
 * there is a mean, so that cancellation is harmless. */
#include "reduction.cuh"

/* x: [n, positions, groups, width] */
typedef struct layout {
  wml_norm norm;
  int64_t elements, channels, width, sets; /* sets of statistics: n * groups */
} layout;

CUDA_FN int64_t set_of(const layout &l, int64_t at) {
  return at / (l.norm.positions * l.channels) * l.norm.groups + at % l.channels / l.width;
}

CUDA_FN int64_t first_of(const layout &l, int64_t set) {
  return set / l.norm.groups * l.norm.positions * l.channels + set % l.norm.groups * l.width;
}

/* ---- forward ---- */

struct statistics : sum_functor {
  static constexpr int N = 2;
  layout l;
  cuda_view x;
  float *mean, *factor;
  __device__ float shift(int64_t set) const {
    return l.norm.kind == WML_NORM_MEAN_VARIANCE ? view_get(x, first_of(l, set)) : 0.0f;
  }
  __device__ void add(int64_t set, int64_t at, float *own) const {
    float d = view_get(x, at) - shift(set);
    own[0] += d;
    own[1] += d * d;
  }
  __device__ void finish(int64_t set, const double *total) const {
    int64_t count = l.norm.positions * l.width;
    double squares = total[1];
    if (l.norm.kind == WML_NORM_MEAN_VARIANCE) {
      squares -= total[0] * total[0] / (double)count;
      if (squares < 0.0) squares = 0.0;
    }
    if (mean) mean[set] = (float)((double)shift(set) + total[0] / (double)count);
    factor[set] = (float)wml_norm_factor(&l.norm, squares, count);
  }
};

/* each: channels of a thread, 1 or 4, of one group; mean, gamma and beta may be absent */
static __global__ void normalise(layout l, cuda_view x, const float *gamma, const float *beta,
                                 const float *mean, const float *factor, cuda_view y, int each) {
  CUDA_EACH(i, l.elements / each) {
    int64_t at = i * each, c = at % l.channels, set = set_of(l, at);
    float middle = mean ? mean[set] : 0.0f, scale = factor[set];
    cuda_float4 v = view_take(x, at, each);
    CUDA_FOR(k, 4)
      if (k < each)
        v.v[k] =
            (v.v[k] - middle) * scale * (gamma ? gamma[c + k] : 1.0f) + (beta ? beta[c + k] : 0.0f);
    view_put(y, at, v, each);
  }
}

/* ---- backward ---- */

/* What the sums of the backward pass read. */
struct gradient_sums : sum_functor {
  static constexpr int N = 2;
  layout l;
  cuda_view dy, x;
  const float *gamma, *mean, *factor;
  float *first, *second; /* the results, either may be absent */
  __device__ float z(int64_t set, int64_t at) const {
    return (view_get(x, at) - (mean ? mean[set] : 0.0f)) * factor[set];
  }
  __device__ void finish(int64_t output, const double *total) const {
    if (first) first[output] = (float)total[0];
    if (second) second[output] = (float)total[1];
  }
};

/* For each set the sums of g = dy * gamma and of g * z. */
struct set_sums : gradient_sums {
  __device__ void add(int64_t set, int64_t at, float *own) const {
    float g = view_get(dy, at) * (gamma ? gamma[at % l.channels] : 1.0f);
    own[0] += g;
    own[1] += g * z(set, at);
  }
};

/* For each channel those of dy * z and of dy. */
struct channel_sums : gradient_sums {
  __device__ void add(int64_t, int64_t at, float *own) const {
    float d = view_get(dy, at);
    own[0] += d * z(set_of(l, at), at);
    own[1] += d;
  }
};

/* sums: [2, sets] */
static __global__ void input_gradient(layout l, cuda_view dy, cuda_view x, const float *gamma,
                                      const float *mean, const float *factor, const float *sums,
                                      cuda_view dx, int each) {
  int64_t count = l.norm.positions * l.width;
  CUDA_EACH(i, l.elements / each) {
    int64_t at = i * each, c = at % l.channels, set = set_of(l, at);
    float middle = mean ? mean[set] : 0.0f, scale = factor[set];
    float along = sums[l.sets + set] * wml_norm_share(&l.norm, scale, count);
    float level = l.norm.kind == WML_NORM_MEAN_VARIANCE ? sums[set] / (float)count : 0.0f;
    cuda_float4 d = view_take(dy, at, each), v = view_take(x, at, each);
    CUDA_FOR(k, 4) {
      if (k >= each) break;
      float z = (v.v[k] - middle) * scale;
      d.v[k] = scale * (d.v[k] * (gamma ? gamma[c + k] : 1.0f) - level - z * along);
    }
    view_put(dx, at, d, each);
  }
}

/* ---- the operations ---- */

static layout layout_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  const wml_tensor *x = cuda_info(plan, op->in[op->kind == WML_OP_NORM ? 0 : 1]);
  const wml_norm *norm = &op->u.norm;
  int64_t n = wml_elements(x), channels = x->dim[x->rank - 1];
  return layout{*norm, n, channels, channels / norm->groups,
                n / (norm->positions * channels) * norm->groups};
}

/* of_channels: every channel is kept, else every set of statistics. */
static reduction sums_of(const layout &l, bool of_channels) {
  const int64_t dim[4] = {l.sets / l.norm.groups, l.norm.positions, l.norm.groups, l.width};
  const bool sets[4] = {false, true, false, true}, channels[4] = {true, true, false, false};
  return reduction_of(4, dim, of_channels ? channels : sets);
}

static int elements_at_once(const layout &l) {
  return l.width % 4 ? 1 : 4;
}

static void run_forward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  statistics s;
  s.l = layout_of(plan, node);
  s.x = cuda_view_of(plan, op->in[0]);
  float *own = cuda_f32(plan, node->temp[1]); /* what the caller does not want */
  s.factor = op->out[2] >= 0 ? cuda_f32(plan, op->out[2]) : own;
  s.mean = NULL;
  if (s.l.norm.kind == WML_NORM_MEAN_VARIANCE)
    s.mean = op->out[1] >= 0 ? cuda_f32(plan, op->out[1]) : own + s.l.sets;
  reduction_run(call->stream, sums_of(s.l, false), s, cuda_view_of(plan, node->temp[0]).data);
  int each = elements_at_once(s.l);
  CUDA_LAUNCH(normalise, cuda_blocks(s.l.elements / each, 65536), CUDA_THREADS, call->stream, s.l,
              s.x, cuda_f32(plan, op->in[1]), cuda_f32(plan, op->in[2]), s.mean, s.factor,
              cuda_view_of(plan, op->out[0]), each);
}

template <typename F> static F gradient_sums_of(const wml_plan *plan, const cuda_node *node) {
  const wml_op *op = &node->op;
  F f;
  f.l = layout_of(plan, node);
  f.dy = cuda_view_of(plan, op->in[0]), f.x = cuda_view_of(plan, op->in[1]);
  f.gamma = cuda_f32(plan, op->in[2]);
  f.mean = cuda_f32(plan, op->in[3]), f.factor = cuda_f32(plan, op->in[4]);
  return f;
}

static void run_backward(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_op *op = &node->op;
  void *partial = cuda_view_of(plan, node->temp[0]).data;
  layout l = layout_of(plan, node);
  if (op->out[1] >= 0 || op->out[2] >= 0) {
    channel_sums f = gradient_sums_of<channel_sums>(plan, node);
    f.first = cuda_f32(plan, op->out[1]), f.second = cuda_f32(plan, op->out[2]);
    reduction_run(call->stream, sums_of(l, true), f, partial);
  }
  if (op->out[0] < 0) return;
  set_sums f = gradient_sums_of<set_sums>(plan, node);
  f.first = cuda_f32(plan, node->temp[1]), f.second = f.first + l.sets;
  reduction_run(call->stream, sums_of(l, false), f, partial);
  int each = elements_at_once(l);
  CUDA_LAUNCH(input_gradient, cuda_blocks(l.elements / each, 65536), CUDA_THREADS, call->stream, l,
              f.dy, f.x, f.gamma, f.mean, f.factor, f.first, cuda_view_of(plan, op->out[0]), each);
}

static wml_result plan_forward(wml_plan *plan, cuda_node *node) {
  layout l = layout_of(plan, node);
  reduction r = sums_of(l, false);
  node->name = "own:pieces";
  node->run = run_forward;
  wml_result result = cuda_take_temporary(plan, node, 0, reduction_bytes(&r, statistics::N));
  bool wanted =
      node->op.out[2] >= 0 && (node->op.out[1] >= 0 || l.norm.kind != WML_NORM_MEAN_VARIANCE);
  if (result != WML_OK || wanted) return result;
  return cuda_take_temporary(plan, node, 1, 2 * (size_t)l.sets * sizeof(float));
}

static wml_result plan_backward(wml_plan *plan, cuda_node *node) {
  layout l = layout_of(plan, node);
  reduction sets = sums_of(l, false), channels = sums_of(l, true);
  size_t a = reduction_bytes(&sets, gradient_sums::N),
         b = reduction_bytes(&channels, gradient_sums::N);
  node->name = "own:pieces";
  node->run = run_backward;
  wml_result result = cuda_take_temporary(plan, node, 0, a > b ? a : b); /* one after the other */
  if (result != WML_OK || node->op.out[0] < 0) return result;
  return cuda_take_temporary(plan, node, 1, 2 * (size_t)l.sets * sizeof(float));
}

const cuda_implementation cuda_norm[] = {{plan_forward}, {NULL}};
const cuda_implementation cuda_norm_bwd[] = {{plan_backward}, {NULL}};
