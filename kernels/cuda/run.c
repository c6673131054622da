/* Running a plan: captured graphs of one step and of several, chunks of steps, and the data they
 * read.
 *
 * The rows of a data set that stays where it is lie on the device, and a chunk sends row numbers
 * only; other rows are gathered into pinned memory while the device works on the chunk before. */
#include "cuda.h"

#include <string.h>

enum { STREAMED_BYTES = 32 << 20 }; /* of rows that a chunk sends, at most (one step at least) */

/* Host side of a chunk, one of two that take turns. */
typedef struct cuda_buffer {
  cuda_state *state;            /* pinned */
  int64_t *rows;                /* pinned: [chunk * batch] */
  wml_optimizer_step *rates;    /* pinned: [chunk] */
  void *sent[CUDA_MAX_FEEDS];   /* pinned rows of feeds that are not resident */
  void *device[CUDA_MAX_FEEDS]; /* where they go */
  int64_t *identity;            /* device: 0, 1, 2, ...: their places */
  cudaEvent_t done;             /* the device has read this buffer */
} cuda_buffer;

typedef struct cuda_staging {
  cuda_buffer buffer[CUDA_BUFFERS];
  double *results;        /* pinned: [n_results] */
  cuda_state *end;        /* pinned: the state after the last step */
  int64_t streamed_steps; /* steps of a chunk when rows are sent */
} cuda_staging;

/* ---- graphs of steps ---- */

static wml_result check_launch(const cuda_call *call, const char *what) {
  cudaError_t error = cudaGetLastError();
  if (call->result != WML_OK) return call->result;
  return cuda_check(call->plan->device, error, what);
}

static bool updates(const wml_plan *plan) {
  return plan->n_ranges > 0;
}

static wml_result record_node(cuda_call *call, int k) {
  const cuda_node *node = &call->plan->nodes[k];
  wml_result result = cuda_branch_before(call, k);
  if (result == WML_OK) result = cuda_aside_before(call, k);
  if (result != WML_OK) return result;
  node->run(call, node);
  result = check_launch(call, node->name);
  if (result == WML_OK) result = cuda_branch_after(call, k);
  return result == WML_OK ? cuda_aside_after(call, k) : result;
}

wml_result cuda_record_step(wml_plan *plan, cudaStream_t stream, int side) {
  cuda_call call = {.plan = plan,
                    .stream = stream,
                    .side = side,
                    .moves_on = true,
                    .joined = -1,
                    .result = WML_OK};
  cuda_face(plan, side);
  wml_result result = cuda_branch_before(&call, -1);
  if (result == WML_OK) cuda_penalty(&call);
  for (int k = 0; k < plan->n_nodes && result == WML_OK; k++) result = record_node(&call, k);
  if (result == WML_OK) result = cuda_aside_before(&call, plan->n_nodes);
  if (result != WML_OK || updates(plan)) return result;
  cuda_end_pass(&call);
  return check_launch(&call, "the end of a step");
}

typedef struct cuda_steps {
  int side; /* that the first one reads */
  int64_t n;
} cuda_steps;

static wml_result record_steps(wml_plan *plan, cudaStream_t stream, const void *what) {
  const cuda_steps *steps = what;
  cuda_call call = {.plan = plan, .stream = stream, .result = WML_OK};
  wml_result result = WML_OK;
  for (int r = 0; r < plan->n_ranges; r++) plan->ranges[r].pending = false;
  for (int64_t i = 0; i < steps->n && result == WML_OK; i++)
    result = cuda_record_step(plan, stream, (int)((steps->side + i) % 2));
  cuda_face(plan, 0);
  return result == WML_OK ? cuda_branch_join(&call) : result;
}

wml_result cuda_capture(wml_plan *plan,
                        wml_result (*record)(wml_plan *, cudaStream_t, const void *),
                        const void *what, cudaGraphExec_t *exec) {
  wml_device *device = plan->device;
  cudaStream_t stream = plan->store->stream;
  cudaGraph_t graph = NULL;
  CUDA_TRY(device, cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  wml_result result = record(plan, stream, what);
  cudaError_t error = cudaStreamEndCapture(stream, &graph);
  if (result == WML_OK) /* else the first error is the one to tell */
    result = cuda_check(device, error, "cudaStreamEndCapture");
  else
    (void)cudaGetLastError();
  if (result == WML_OK)
    result = cuda_check(device,
                        cudaGraphInstantiate(exec, graph, cudaGraphInstantiateFlagUseNodePriority),
                        "cudaGraphInstantiate");
  if (graph) (void)cudaGraphDestroy(graph);
  return result;
}

static wml_result capture_steps(wml_plan *plan, int side, int64_t n, cudaGraphExec_t *exec) {
  cuda_steps steps = {side, n};
  return cuda_capture(plan, record_steps, &steps, exec);
}

/* What a run of n steps needs beyond what there is. */
static wml_result capture_for(wml_plan *plan, int64_t n) {
  wml_result result = WML_OK;
  int64_t many = plan->device->graph_steps;
  if (!plan->step_exec[0]) result = capture_steps(plan, 0, 1, &plan->step_exec[0]);
  if (result == WML_OK && n > 1 && plan->n_turns > 1 && !plan->step_exec[1])
    result = capture_steps(plan, 1, 1, &plan->step_exec[1]);
  if (result == WML_OK && many > 1 && n >= 2 * many && !plan->steps_exec)
    result = capture_steps(plan, 0, many, &plan->steps_exec);
  return result;
}

/* Steps [first, first + n) of a run. */
static wml_result launch(wml_plan *plan, int64_t first, int64_t n) {
  wml_device *device = plan->device;
  cudaStream_t stream = plan->store->stream;
  int64_t many = device->graph_steps;
  for (int64_t i = 0; i < n;) {
    int side = plan->n_turns > 1 ? (int)((first + i) % 2) : 0;
    bool long_graph = plan->steps_exec && side == 0 && n - i >= many;
    CUDA_TRY(device,
             cudaGraphLaunch(long_graph ? plan->steps_exec : plan->step_exec[side], stream));
    i += long_graph ? many : 1;
  }
  return WML_OK;
}

/* ---- buffers ---- */

wml_result cuda_pinned(wml_device *device, size_t bytes, void **out) {
  CUDA_TRY(device, cudaMallocHost(out, bytes ? bytes : 1));
  return WML_OK;
}

static int64_t streamed_steps(const wml_plan *plan) {
  size_t step = 1;
  for (int f = 0; f < plan->n_feeds; f++)
    step += plan->feeds[f].row_bytes * (size_t)plan->graph.batch;
  int64_t steps = (int64_t)(STREAMED_BYTES / step);
  return steps < 1 ? 1 : steps > plan->chunk ? plan->chunk : steps;
}

static wml_result start_buffer(wml_plan *plan, int which) {
  wml_device *device = plan->device;
  cuda_buffer *b = &plan->staging->buffer[which];
  size_t rows = (size_t)(plan->chunk * plan->graph.batch) * sizeof(int64_t),
         rates = (size_t)plan->chunk * sizeof *b->rates;
  void *p[5] = {NULL};
  wml_result result = cuda_pinned(device, sizeof *b->state, &p[0]);
  if (result == WML_OK) result = cuda_pinned(device, rows, &p[1]);
  if (result == WML_OK) result = cuda_pinned(device, rates, &p[2]);
  if (result == WML_OK) result = cuda_allocate(device, rows, &p[3]);
  if (result == WML_OK) result = cuda_allocate(device, rates, &p[4]);
  b->state = p[0], b->rows = p[1], b->rates = p[2];
  plan->rows[which] = p[3], plan->rates[which] = p[4];
  if (result != WML_OK) return result;
  return cuda_new_event(device, &b->done);
}

static wml_result start_outputs(wml_plan *plan) {
  void *host = NULL;
  if (plan->output_bytes == 0) return WML_OK;
  wml_result result = cuda_pinned(plan->device, plan->output_bytes, &host);
  plan->host_outputs = host;
  for (int i = 0; i < plan->graph.n_outputs && result == WML_OK; i++) {
    cuda_tensor *t = &plan->tensors[plan->outputs[i]];
    t->host = plan->host_outputs + ((uint8_t *)t->data - plan->arena) - plan->output_offset;
  }
  return result;
}

static wml_result start_chunks(wml_plan *plan) {
  wml_device *device = plan->device;
  size_t results = (size_t)plan->graph.n_results * sizeof *plan->results;
  void *p[5] = {NULL};
  wml_result result = WML_OK;
  plan->staging = cuda_take(device, 1, sizeof *plan->staging);
  if (!plan->staging) return WML_OUT_OF_MEMORY;
  plan->staging->streamed_steps = streamed_steps(plan);
  for (int i = 0; i < CUDA_BUFFERS && result == WML_OK; i++) result = start_buffer(plan, i);
  if (result == WML_OK) result = cuda_pinned(device, results, &p[0]);
  if (result == WML_OK) result = cuda_pinned(device, sizeof *plan->state, &p[1]);
  if (result == WML_OK) result = cuda_allocate(device, results, &p[2]);
  if (result == WML_OK) result = cuda_allocate(device, sizeof *plan->state, &p[3]);
  if (result == WML_OK)
    result = cuda_allocate(device, CUDA_PENALTY_BLOCKS * sizeof *plan->penalty, &p[4]);
  plan->staging->results = p[0], plan->staging->end = p[1];
  plan->results = p[2], plan->state = p[3], plan->penalty = p[4];
  return result == WML_OK ? capture_for(plan, 1) : result;
}

wml_result cuda_plan_start(wml_plan *plan) {
  wml_result result = start_outputs(plan);
  if (result != WML_OK) return result;
  return cuda_is_direct(plan) ? cuda_direct_start(plan) : start_chunks(plan);
}

static void stop_chunks(wml_plan *plan) {
  cuda_staging *s = plan->staging;
  if (!s) return;
  cudaGraphExec_t exec[] = {plan->step_exec[0], plan->step_exec[1], plan->steps_exec};
  for (int i = 0; i < 3; i++)
    if (exec[i]) (void)cudaGraphExecDestroy(exec[i]);
  for (int i = 0; i < CUDA_BUFFERS; i++) {
    cuda_buffer *b = &s->buffer[i];
    (void)cudaFreeHost(b->state);
    (void)cudaFreeHost(b->rows);
    (void)cudaFreeHost(b->rates);
    for (int f = 0; f < CUDA_MAX_FEEDS; f++) {
      (void)cudaFreeHost(b->sent[f]);
      (void)cudaFree(b->device[f]);
    }
    (void)cudaFree(b->identity);
    if (b->done) (void)cudaEventDestroy(b->done);
    (void)cudaFree(plan->rows[i]);
    (void)cudaFree(plan->rates[i]);
  }
  (void)cudaFreeHost(s->results);
  (void)cudaFreeHost(s->end);
  (void)cudaFree(plan->results);
  (void)cudaFree(plan->state);
  (void)cudaFree(plan->penalty);
  plan->device->host.release(s);
  plan->staging = NULL;
}

void cuda_plan_stop(wml_plan *plan) {
  if (plan->store->stream) (void)cudaStreamSynchronize(plan->store->stream);
  cuda_direct_stop(plan);
  stop_chunks(plan);
  (void)cudaFreeHost(plan->host_outputs);
}

/* ---- data ---- */

const wml_feed *cuda_feed_of(const wml_plan *plan, const wml_run *run, int feed) {
  for (int i = 0; i < run->n_feeds; i++)
    if (run->feeds[i].tensor == plan->feeds[feed].tensor) return &run->feeds[i];
  plan->device->host.error("a run lacks the rows of a feed");
  return NULL;
}

/* Half of the free memory is for others: predictors and other plans want some, too. */
static bool may_keep(size_t bytes, size_t available) {
  return bytes <= available / 2;
}

size_t cuda_feed_memory(const wml_plan *plan, const wml_feed *feed, size_t available, bool *kept) {
  size_t row_bytes = 0, rows = (size_t)(streamed_steps(plan) * plan->graph.batch);
  for (int f = 0; f < plan->n_feeds; f++)
    if (plan->feeds[f].tensor == feed->tensor) row_bytes = plan->feeds[f].row_bytes;
  *kept = feed->rows > 0 && may_keep(row_bytes * (size_t)feed->rows, available);
  if (*kept) return row_bytes * (size_t)feed->rows;
  return CUDA_BUFFERS * rows * (row_bytes + sizeof(int64_t)); /* with their places */
}

/* The copy of an array that stays as it is; data is NULL where it may not be kept. */
static wml_result find_resident(wml_plan *plan, const wml_feed *feed, size_t row_bytes,
                                cuda_resident **out) {
  wml_store *store = plan->store;
  wml_device *device = plan->device;
  size_t bytes = row_bytes * (size_t)feed->rows, available = 0, total = 0;
  for (cuda_resident *r = store->residents; r; r = r->next)
    if (r->base == feed->base && r->bytes == bytes) {
      *out = r;
      return WML_OK;
    }
  cuda_resident *r = cuda_take(device, 1, sizeof *r);
  if (!r) return WML_OUT_OF_MEMORY;
  r->base = feed->base;
  r->bytes = bytes;
  r->next = store->residents;
  store->residents = *out = r;
  CUDA_TRY(device, cudaMemGetInfo(&available, &total));
  if (!may_keep(bytes, available)) return WML_OK;
  CUDA_TRY(device, cudaMalloc(&r->data, bytes ? bytes : 1));
  CUDA_TRY(device, cudaMemcpyAsync(r->data, r->base, bytes, cudaMemcpyHostToDevice, store->stream));
  CUDA_TRY(device, cudaStreamSynchronize(store->stream));
  return WML_OK;
}

/* Memory for rows that are sent, made when the first run needs it. */
static wml_result prepare_sending(wml_plan *plan, int feed) {
  wml_device *device = plan->device;
  cuda_staging *s = plan->staging;
  size_t rows = (size_t)(s->streamed_steps * plan->graph.batch);
  for (int i = 0; i < CUDA_BUFFERS; i++) {
    cuda_buffer *b = &s->buffer[i];
    if (!b->identity) {
      void *identity = NULL;
      wml_result result = cuda_allocate(device, rows * sizeof *b->identity, &identity);
      if (result != WML_OK) return result;
      b->identity = identity;
      for (size_t k = 0; k < rows; k++) b->rows[k] = (int64_t)k;
      CUDA_TRY(device, cudaMemcpyAsync(b->identity, b->rows, rows * sizeof *b->rows,
                                       cudaMemcpyHostToDevice, plan->store->stream));
      CUDA_TRY(device, cudaStreamSynchronize(plan->store->stream));
    }
    if (b->sent[feed]) continue;
    wml_result result = cuda_pinned(device, rows * plan->feeds[feed].row_bytes, &b->sent[feed]);
    if (result == WML_OK)
      result = cuda_allocate(device, rows * plan->feeds[feed].row_bytes, &b->device[feed]);
    if (result != WML_OK) return result;
  }
  return WML_OK;
}

typedef struct cuda_sources {
  const wml_feed *feed[CUDA_MAX_FEEDS];
  const cuda_resident *resident[CUDA_MAX_FEEDS]; /* NULL: rows are sent */
  int64_t chunk;
} cuda_sources;

static wml_result find_sources(wml_plan *plan, const wml_run *run, cuda_sources *out) {
  cuda_staging *s = plan->staging;
  *out = (cuda_sources){.chunk = plan->chunk};
  for (int f = 0; f < plan->n_feeds; f++) {
    const wml_feed *feed = cuda_feed_of(plan, run, f);
    cuda_resident *r = NULL;
    wml_result result = WML_OK;
    if (!feed) return WML_INVALID;
    out->feed[f] = feed;
    if (feed->rows > 0) result = find_resident(plan, feed, plan->feeds[f].row_bytes, &r);
    if (result != WML_OK) return result;
    if (r && r->data)
      out->resident[f] = r;
    else {
      result = prepare_sending(plan, f);
      if (result != WML_OK) return result;
      out->chunk = s->streamed_steps;
    }
  }
  return WML_OK;
}

static wml_result send(wml_plan *plan, void *to, const void *from, size_t bytes) {
  CUDA_TRY(plan->device,
           cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, plan->store->stream));
  return WML_OK;
}

/* Fills buffer `which` for steps [first, first + n) and sends it. */
static wml_result fill(wml_plan *plan, const wml_run *run, const cuda_sources *sources, int which,
                       int64_t first, int64_t n) {
  cuda_staging *s = plan->staging;
  cuda_buffer *b = &s->buffer[which];
  int64_t batch = plan->graph.batch, rows = n * batch;
  wml_result result = WML_OK;
  CUDA_TRY(plan->device, cudaEventSynchronize(b->done));
  for (int64_t i = 0; i < rows; i++) b->rows[i] = wml_run_row(run, first * batch + i);
  cuda_state *state = b->state;
  *state = (cuda_state){.step = run->step + first,
                        .seed = run->seed,
                        .epoch = run->epoch,
                        .not_finite = -1,
                        .sample = plan->rows[which],
                        .rates = plan->rates[which]};
  for (int f = 0; f < plan->n_feeds && result == WML_OK; f++) {
    size_t bytes = plan->feeds[f].row_bytes;
    if (sources->resident[f]) {
      state->base[f] = sources->resident[f]->data;
      state->place[f] = plan->rows[which];
      continue;
    }
    const uint8_t *base = sources->feed[f]->base;
    for (int64_t i = 0; i < rows; i++)
      memcpy((uint8_t *)b->sent[f] + (size_t)i * bytes, base + (size_t)b->rows[i] * bytes, bytes);
    state->base[f] = b->device[f];
    state->place[f] = b->identity;
    result = send(plan, b->device[f], b->sent[f], (size_t)rows * bytes);
  }
  if (result == WML_OK)
    result = send(plan, plan->rows[which], b->rows, (size_t)rows * sizeof *b->rows);
  if (result == WML_OK && run->learning_rate) {
    for (int64_t i = 0; i < n; i++)
      b->rates[i] = wml_optimizer_prepare(&plan->graph.update.optimizer,
                                          run->learning_rate[first + i], run->step + first + i + 1);
    result = send(plan, plan->rates[which], b->rates, (size_t)n * sizeof *b->rates);
  }
  /* What belongs to the whole run stays as earlier chunks left it. */
  if (result == WML_OK && first == 0)
    result = send(plan, plan->state, state, sizeof *state);
  else if (result == WML_OK) {
    size_t head = offsetof(cuda_state, side), tail = offsetof(cuda_state, loss);
    result = send(plan, plan->state, state, head);
    if (result == WML_OK)
      result = send(plan, (uint8_t *)plan->state + tail, (const uint8_t *)state + tail,
                    sizeof *state - tail);
  }
  return result;
}

static wml_result run_chunks(wml_plan *plan, const wml_run *run, const cuda_sources *sources) {
  wml_device *device = plan->device;
  cudaStream_t stream = plan->store->stream;
  int which = 0;
  for (int64_t first = 0; first < run->n_steps; first += sources->chunk, which ^= 1) {
    int64_t left = run->n_steps - first, n = left < sources->chunk ? left : sources->chunk;
    wml_result result = fill(plan, run, sources, which, first, n);
    if (result != WML_OK) return result;
    result = launch(plan, first, n);
    if (result != WML_OK) return result;
    CUDA_TRY(device, cudaEventRecord(plan->staging->buffer[which].done, stream));
  }
  return WML_OK;
}

wml_result cuda_copy_outputs(wml_plan *plan) {
  if (plan->output_bytes > 0)
    CUDA_TRY(plan->device,
             cudaMemcpyAsync(plan->host_outputs, plan->arena + plan->output_offset,
                             plan->output_bytes, cudaMemcpyDeviceToHost, plan->store->stream));
  return WML_OK;
}

wml_result cuda_plan_run(wml_plan *plan, wml_run *run) {
  wml_device *device = plan->device;
  cudaStream_t stream = plan->store->stream;
  cuda_staging *s = plan->staging;
  cuda_sources sources;
  size_t results = (size_t)plan->graph.n_results * sizeof *plan->results;
  run->not_finite = -1;
  if (!plan->prepared) {
    device->host.error("a plan must be prepared before it runs");
    return WML_INVALID;
  }
  if (run->n_steps < 1) return WML_OK;
  if (plan->direct) return cuda_direct_run(plan, run);
  wml_result result = find_sources(plan, run, &sources);
  if (result == WML_OK) result = capture_for(plan, run->n_steps);
  if (result != WML_OK) return result;
  CUDA_TRY(device, cudaMemsetAsync(plan->results, 0, results, stream));
  result = run_chunks(plan, run, &sources);
  if (result != WML_OK) return result;
  cuda_branch_settle(plan);
  CUDA_TRY(device, cudaGetLastError());
  CUDA_TRY(device,
           cudaMemcpyAsync(s->results, plan->results, results, cudaMemcpyDeviceToHost, stream));
  CUDA_TRY(device,
           cudaMemcpyAsync(s->end, plan->state, sizeof *s->end, cudaMemcpyDeviceToHost, stream));
  result = cuda_copy_outputs(plan);
  if (result != WML_OK) return result;
  CUDA_TRY(device, cudaStreamSynchronize(stream));
  run->not_finite = s->end->not_finite;
  if (device->profile && !plan->profiled) { /* the first chunk's rows are there again */
    int64_t n = run->n_steps < sources.chunk ? run->n_steps : sources.chunk;
    result = fill(plan, run, &sources, 0, 0, n);
    if (result == WML_OK) result = cuda_profile(plan);
    if (result != WML_OK) return result;
  }
  for (int i = 0; i < plan->graph.n_results && run->results && run->not_finite < 0; i++)
    run->results[i] += s->results[i];
  return WML_OK;
}
