/* Predictions: rows go from the caller's memory through the network and back in one graph launch:
 * a copy in (the state and the rows, which lie behind each other), the operations, a copy out. */
#include "cuda.h"

#include <string.h>

enum { PART = 256 }; /* alignment of what lies in the block */

typedef struct cuda_direct {
  size_t bytes;                      /* of the block */
  size_t rows, feed[CUDA_MAX_FEEDS]; /* where they lie in it */
  uint8_t *host, *device;
  cudaGraphExec_t exec;
} cuda_direct;

bool cuda_is_direct(const wml_plan *plan) {
  return plan->graph.n_results == 0 && plan->n_ranges == 0 && plan->graph.n_outputs > 0;
}

static size_t take_part(cuda_direct *d, size_t bytes) {
  size_t at = d->bytes;
  d->bytes += wml_round_up(bytes, PART);
  return at;
}

static cuda_direct lay_out(const wml_plan *plan) {
  cuda_direct d = {0};
  (void)take_part(&d, sizeof(cuda_state)); /* comes first */
  d.rows = take_part(&d, (size_t)plan->graph.batch * sizeof(int64_t));
  for (int f = 0; f < plan->n_feeds; f++)
    d.feed[f] = take_part(&d, (size_t)plan->graph.batch * plan->feeds[f].row_bytes);
  return d;
}

size_t cuda_direct_bytes(const wml_plan *plan) {
  return lay_out(plan).bytes;
}

static wml_result record(wml_plan *plan, cudaStream_t stream, const void *what) {
  const cuda_direct *d = what;
  wml_device *device = plan->device;
  CUDA_TRY(device, cudaMemcpyAsync(d->device, d->host, d->bytes, cudaMemcpyHostToDevice, stream));
  wml_result result = cuda_record_step(plan, stream, 0);
  if (result != WML_OK) return result;
  return cuda_copy_outputs(plan);
}

wml_result cuda_direct_start(wml_plan *plan) {
  wml_device *device = plan->device;
  void *host = NULL, *on_device = NULL;
  cuda_direct *d = cuda_take(device, 1, sizeof *d);
  if (!d) return WML_OUT_OF_MEMORY;
  *d = lay_out(plan);
  plan->direct = d;
  wml_result result = cuda_pinned(device, d->bytes, &host);
  if (result == WML_OK) result = cuda_allocate(device, d->bytes, &on_device);
  d->host = host, d->device = on_device;
  if (result != WML_OK) return result;
  plan->state = on_device;
  memset(d->host, 0, d->bytes);
  cuda_state *state = host;
  int64_t *rows = (void *)(d->host + d->rows);
  *state = (cuda_state){.not_finite = -1, .sample = (void *)(d->device + d->rows)};
  for (int f = 0; f < plan->n_feeds; f++) {
    state->base[f] = d->device + d->feed[f];
    state->place[f] = (void *)(d->device + d->rows);
  }
  for (int64_t i = 0; i < plan->graph.batch; i++) rows[i] = i;
  return cuda_capture(plan, record, d, &d->exec);
}

void cuda_direct_stop(wml_plan *plan) {
  cuda_direct *d = plan->direct;
  if (!d) return;
  if (d->exec) (void)cudaGraphExecDestroy(d->exec);
  (void)cudaFreeHost(d->host);
  (void)cudaFree(d->device);
  plan->state = NULL;
  plan->device->host.release(d);
  plan->direct = NULL;
}

wml_result cuda_direct_run(wml_plan *plan, const wml_run *run) {
  const cuda_direct *d = plan->direct;
  wml_device *device = plan->device;
  int64_t batch = plan->graph.batch;
  cuda_state *state = (void *)d->host;
  state->seed = run->seed;
  state->epoch = run->epoch;
  for (int64_t step = 0; step < run->n_steps; step++) {
    state->step = run->step + step;
    for (int f = 0; f < plan->n_feeds; f++) {
      const wml_feed *feed = cuda_feed_of(plan, run, f);
      size_t bytes = plan->feeds[f].row_bytes;
      if (!feed) return WML_INVALID;
      for (int64_t i = 0; i < batch; i++)
        memcpy(d->host + d->feed[f] + (size_t)i * bytes,
               (const uint8_t *)feed->base + (size_t)wml_run_row(run, step * batch + i) * bytes,
               bytes);
    }
    CUDA_TRY(device, cudaGraphLaunch(d->exec, plan->store->stream));
    CUDA_TRY(device, cudaStreamSynchronize(plan->store->stream));
  }
  return device->profile && !plan->profiled ? cuda_profile(plan) : WML_OK;
}
