/* Dropout and noise: what is drawn is a function of seed, step, stream and element. */
#include "kernel.cuh"

static __global__ void dropout(const cuda_state *state, uint32_t stream, float rate, cuda_view x,
                               cuda_view y, int64_t n) {
  float scale = wml_dropout_scale(rate);
  uint32_t lane = wml_random_lane(WML_RANDOM_DROPOUT, stream);
  CUDA_EACH(i, n / 4) {
    wml_philox r = wml_philox_at(state->seed, lane, (uint32_t)state->step, (uint64_t)i);
    cuda_float4 v = view_get4(x, i * 4);
    for (int k = 0; k < 4; k++) v.v[k] = wml_uniform(r.word[k]) >= rate ? v.v[k] * scale : 0.0f;
    view_set4(y, i * 4, v);
  }
  CUDA_EACH(i, n % 4) {
    int64_t at = n - 1 - i;
    bool keeps = wml_dropout_keeps(state->seed, state->step, stream, rate, (uint64_t)at);
    view_set(y, at, keeps ? view_get(x, at) * scale : 0.0f);
  }
}

/* x: [samples, places, channels]; one draw for each sample and channel. */
static __global__ void dropout_channels(const cuda_state *state, uint32_t stream, float rate,
                                        cuda_view x, cuda_view y, int64_t n, int64_t places,
                                        int64_t channels) {
  float scale = wml_dropout_scale(rate);
  uint32_t lane = wml_random_lane(WML_RANDOM_DROPOUT, stream);
  if (channels % 4 == 0) {
    CUDA_EACH(i, n / 4) {
      int64_t fours = channels / 4, element = i / fours / places * fours + i % fours;
      wml_philox r = wml_philox_at(state->seed, lane, (uint32_t)state->step, (uint64_t)element);
      cuda_float4 v = view_get4(x, i * 4);
      for (int k = 0; k < 4; k++) v.v[k] = wml_uniform(r.word[k]) >= rate ? v.v[k] * scale : 0.0f;
      view_set4(y, i * 4, v);
    }
    return;
  }
  CUDA_EACH(i, n) {
    int64_t element = i / channels / places * channels + i % channels;
    bool keeps = wml_dropout_keeps(state->seed, state->step, stream, rate, (uint64_t)element);
    view_set(y, i, keeps ? view_get(x, i) * scale : 0.0f);
  }
}

static __global__ void noisy(const cuda_state *state, wml_noise noise, cuda_view x, cuda_view y,
                             int64_t n) {
  CUDA_EACH(i, (n + 3) / 4) {
    wml_noise_draw draw = wml_noise_draw_at(&noise, state->seed, state->step, (uint64_t)i);
    if (i < n / 4) {
      cuda_float4 v = view_get4(x, i * 4);
      for (int k = 0; k < 4; k++) v.v[k] = wml_noise_value(&noise, v.v[k], draw.number[k]);
      view_set4(y, i * 4, v);
    } else
      for (int k = 0; i * 4 + k < n; k++)
        view_set(y, i * 4 + k, wml_noise_value(&noise, view_get(x, i * 4 + k), draw.number[k]));
  }
}

static void run_dropout(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  const wml_tensor *t = cuda_info(plan, node->op.in[0]);
  int64_t n = wml_elements(t), channels = t->dim[t->rank - 1];
  cuda_view x = cuda_view_of(plan, node->op.in[0]), y = cuda_view_of(plan, node->op.out[0]);
  uint32_t stream = node->op.u.dropout.stream;
  float rate = node->op.u.dropout.rate;
  if (node->op.u.dropout.per_channel)
    CUDA_LAUNCH(dropout_channels, cuda_blocks(channels % 4 ? n : n / 4, 65536), CUDA_THREADS,
                call->stream, plan->state, stream, rate, x, y, n, n / channels / t->dim[0],
                channels);
  else
    CUDA_LAUNCH(dropout, cuda_blocks(n / 4, 16384), CUDA_THREADS, call->stream, plan->state, stream,
                rate, x, y, n);
}

static void run_noise(cuda_call *call, const cuda_node *node) {
  const wml_plan *plan = call->plan;
  int64_t n = wml_elements(cuda_info(plan, node->op.in[0]));
  CUDA_LAUNCH(noisy, cuda_blocks(n / 4, 16384), CUDA_THREADS, call->stream, plan->state,
              node->op.u.noise, cuda_view_of(plan, node->op.in[0]),
              cuda_view_of(plan, node->op.out[0]), n);
}

static wml_result plan_dropout(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_dropout;
  return WML_OK;
}

static wml_result plan_noise(wml_plan *plan, cuda_node *node) {
  (void)plan;
  node->name = "own";
  node->run = run_noise;
  return WML_OK;
}

const cuda_implementation cuda_dropout[] = {{plan_dropout}, {NULL}};
const cuda_implementation cuda_noise[] = {{plan_noise}, {NULL}};
