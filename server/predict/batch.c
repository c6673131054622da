/* Putting requests together, running them, counting. */
#include "pool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What takes less than this is not worth another thread: a wake-up costs as much. */
static const double at_once_seconds = 50e-6;

double serve_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* ---- figures ---- */

/* The thread's shard, locked. */
static serve_shard *lock_shard(served *s) {
  static atomic_uint threads;
  static _Thread_local unsigned mine;
  if (!mine) mine = atomic_fetch_add(&threads, 1) + 1;
  serve_shard *shard = &s->shards[mine % SHARDS];
  pthread_mutex_lock(&shard->mutex);
  return shard;
}

static void add_time(serve_times *t, double seconds) {
  static const double bounds[] = SERVE_BOUNDS;
  int bucket = 0;
  while (bucket < SERVE_BUCKETS - 1 && seconds > bounds[bucket]) bucket++;
  t->count++;
  t->nanoseconds += (int64_t)(seconds * 1e9);
  t->buckets[bucket]++;
}

/* A run of `n` requests with `rows` rows. The mutex is held. */
static void count_run(serve_stats *x, int64_t rows, double seconds) {
  int64_t size = rows <= SERVE_MOST_BATCH ? rows : 0;
  x->runs++;
  x->batches[size]++;
  x->batch_nanoseconds[size] += (int64_t)(seconds * 1e9);
}

static void count_request(serve_stats *x, int64_t rows, double queued, double computed) {
  x->requests++;
  x->rows += rows;
  add_time(&x->queue, queued);
  add_time(&x->compute, computed);
  add_time(&x->request, queued + computed);
}

static void stamp(serve_stats *x) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME_COARSE, &t);
  x->last_ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void serve_count_call(served *s, bool ok, int64_t rows, double began) {
  double took = serve_now() - began;
  serve_shard *shard = lock_shard(s);
  if (ok) {
    count_run(&shard->stats, rows, took);
    count_request(&shard->stats, rows, 0, took);
  } else
    shard->stats.failed++;
  stamp(&shard->stats);
  pthread_mutex_unlock(&shard->mutex);
}

/* serve_stats is made of int64_t alone. */
static void add_stats(serve_stats *to, const serve_stats *from) {
  int64_t sum[sizeof *to / sizeof(int64_t)], more[sizeof *to / sizeof(int64_t)];
  int64_t last = to->last_ms > from->last_ms ? to->last_ms : from->last_ms;
  memcpy(sum, to, sizeof sum);
  memcpy(more, from, sizeof more);
  for (size_t i = 0; i < sizeof sum / sizeof *sum; i++) sum[i] += more[i];
  memcpy(to, sum, sizeof sum);
  to->last_ms = last;
}

void serve_read_stats(served *s, serve_stats *stats) {
  serve_executor *e = &s->pool->executor;
  *stats = (serve_stats){0};
  for (int i = 0; i < SHARDS; i++) {
    pthread_mutex_lock(&s->shards[i].mutex);
    add_stats(stats, &s->shards[i].stats);
    pthread_mutex_unlock(&s->shards[i].mutex);
  }
  pthread_mutex_lock(&e->mutex);
  stats->waiting = s->n_waiting;
  pthread_mutex_unlock(&e->mutex);
  stats->weights = s->weights;
  stats->holders = atomic_load(&s->holders);
  stats->bytes = (int64_t)s->bytes;
}

/* ---- one run ---- */

static webml_status compute(served *s, bool pixels, const void *inputs, int64_t n, float *outputs) {
  return pixels ? webml_predictor_run_pixels(s->predictor, inputs, n, outputs)
                : webml_predictor_run(s->predictor, inputs, n, outputs);
}

static void run_at_once(served *s, serve_job *job) {
  double began = serve_now();
  webml_status status = compute(s, job->pixels, job->inputs, job->rows, job->outputs);
  serve_count_call(s, status == WEBML_OK, job->rows, began);
  job->done(job, status == WEBML_OK ? SERVE_DONE : SERVE_FAILED, webml_last_error());
}

static bool grow(void **block, size_t *size, size_t need) {
  if (need <= *size) return true;
  free(*block);
  *block = malloc(need);
  *size = *block ? need : 0;
  return *block != NULL;
}

/* Jobs of one kind of input, `rows` rows in all, as one run. */
static webml_status run_together(serve_executor *e, served *s, serve_job *jobs, int64_t rows) {
  size_t width = (size_t)s->shape.inputs * (jobs->pixels ? 1 : sizeof(float)),
         out = (size_t)s->shape.outputs * sizeof(float);
  double began = serve_now();
  if (!grow(&e->inputs, &e->input_bytes, (size_t)rows * width) ||
      !grow((void **)&e->outputs, &e->output_bytes, (size_t)rows * out))
    return WEBML_ERROR_MEMORY;
  char *to = e->inputs;
  for (const serve_job *j = jobs; j; j = j->next) {
    memcpy(to, j->inputs, (size_t)j->rows * width);
    to += (size_t)j->rows * width;
  }
  double input = serve_now() - began;
  webml_status status = compute(s, jobs->pixels, e->inputs, rows, e->outputs);
  const char *from = (const char *)e->outputs;
  for (const serve_job *j = jobs; j && status == WEBML_OK; j = j->next) {
    memcpy(j->outputs, from, (size_t)j->rows * out);
    from += (size_t)j->rows * out;
  }
  serve_shard *shard = lock_shard(s);
  shard->stats.input_nanoseconds += (int64_t)(input * 1e9);
  pthread_mutex_unlock(&shard->mutex);
  return status;
}

static void run_jobs(serve_executor *e, served *s, serve_job *jobs) {
  int64_t rows = 0;
  for (const serve_job *j = jobs; j; j = j->next) rows += j->rows;
  double began = serve_now();
  webml_status status = jobs->next ? run_together(e, s, jobs, rows)
                                   : compute(s, jobs->pixels, jobs->inputs, rows, jobs->outputs);
  double took = serve_now() - began;
  serve_shard *shard = lock_shard(s);
  if (status == WEBML_OK) count_run(&shard->stats, rows, took);
  for (const serve_job *j = jobs; j; j = j->next) {
    if (status == WEBML_OK)
      count_request(&shard->stats, j->rows, began - j->since, took);
    else
      shard->stats.failed++;
  }
  stamp(&shard->stats);
  pthread_mutex_unlock(&shard->mutex);
  const char *error = status == WEBML_ERROR_MEMORY ? "out of memory" : webml_last_error();
  if (e->hooks.before) e->hooks.before();
  for (serve_job *j = jobs, *next; j; j = next) {
    next = j->next;
    j->done(j, status == WEBML_OK ? SERVE_DONE : SERVE_FAILED, error);
  }
  if (e->hooks.after) e->hooks.after();
}

/* ---- the queues; the executor's mutex is held ---- */

static void leave_busy(serve_executor *e, served *s) {
  for (served **p = &e->busy; *p; p = &(*p)->next_busy)
    if (*p == s) {
      *p = s->next_busy;
      break;
    }
}

/* When this model's next run may start, for the oldest request's sake. */
static double due(const served *s) {
  serve_batching b = serve_batching_of(s);
  bool full = s->rows_waiting >= b.max_batch_size;
  return s->first->since + (full ? 0.0 : (double)b.max_queue_delay_microseconds * 1e-6);
}

/* Takes the first requests of one kind that fit into a run. Those whose clients have gone come as
 * *gone. */
static serve_job *take(serve_executor *e, served *s, serve_job **gone) {
  serve_job *jobs = NULL, **last = &jobs;
  int64_t rows = 0;
  *gone = NULL;
  while (s->first) {
    serve_job *j = s->first;
    bool left = j->is_gone && j->is_gone(j);
    if (!left && jobs && (j->pixels != jobs->pixels || rows + j->rows > atomic_load(&s->max_batch)))
      break;
    s->first = j->next;
    s->n_waiting--;
    s->rows_waiting -= j->rows;
    if (left) {
      j->next = *gone;
      *gone = j;
      continue;
    }
    j->next = NULL;
    *last = j;
    last = &j->next;
    rows += j->rows;
  }
  if (!s->first) {
    s->last = &s->first;
    leave_busy(e, s);
  }
  return jobs;
}

/* The model whose turn it is; NULL: none before *until (0: none at all). */
static served *choose(const serve_executor *e, double *until) {
  served *best = NULL;
  double now = serve_now();
  *until = 0;
  for (served *s = e->busy; s; s = s->next_busy) {
    double at = due(s);
    if (at > now) {
      if (*until == 0 || at < *until) *until = at;
    } else if (!best || s->first->since < best->first->since)
      best = s;
  }
  return best;
}

static void give_up(served *s, serve_job *jobs) {
  for (serve_job *j = jobs, *next; j; j = next) {
    next = j->next;
    serve_shard *shard = lock_shard(s);
    shard->stats.cancelled++;
    pthread_mutex_unlock(&shard->mutex);
    j->done(j, SERVE_GONE, "the server stops, or the client has gone");
  }
}

static void wait_until(serve_executor *e, double until) {
  struct timespec t = {.tv_sec = (time_t)until};
  t.tv_nsec = (long)((until - (double)t.tv_sec) * 1e9);
  if (until > 0)
    pthread_cond_timedwait(&e->some, &e->mutex, &t);
  else
    pthread_cond_wait(&e->some, &e->mutex);
}

static void *execute(void *arg) {
  serve_executor *e = arg;
  pthread_mutex_lock(&e->mutex);
  while (!e->stop || e->busy) {
    double until;
    served *s = e->stop ? e->busy : choose(e, &until);
    if (!s) {
      wait_until(e, until);
      continue;
    }
    serve_job *gone, *jobs = take(e, s, &gone);
    bool stop = e->stop;
    pthread_mutex_unlock(&e->mutex);
    /* The jobs' callers hold the predictor until the last of these has been told. */
    give_up(s, gone);
    if (jobs && stop)
      give_up(s, jobs);
    else if (jobs)
      run_jobs(e, s, jobs);
    pthread_mutex_lock(&e->mutex);
  }
  pthread_mutex_unlock(&e->mutex);
  return NULL;
}

void serve_executor_start(serve_executor *e, serve_hooks hooks) {
  pthread_condattr_t attributes;
  e->hooks = hooks;
  pthread_mutex_init(&e->mutex, NULL);
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&e->some, &attributes);
  pthread_condattr_destroy(&attributes);
}

void serve_executor_stop(serve_executor *e) {
  pthread_mutex_lock(&e->mutex);
  e->stop = true;
  pthread_cond_signal(&e->some);
  pthread_mutex_unlock(&e->mutex);
  if (e->started) pthread_join(e->thread, NULL);
  pthread_mutex_destroy(&e->mutex);
  pthread_cond_destroy(&e->some);
  free(e->inputs);
  free(e->outputs);
}

/* False: the queue is full, or there is no thread for it. */
static bool enqueue(serve_executor *e, served *s, serve_job *job, int most) {
  pthread_mutex_lock(&e->mutex);
  if (!e->started && !e->stop) e->started = pthread_create(&e->thread, NULL, execute, e) == 0;
  bool room = e->started && !e->stop && s->n_waiting < most;
  if (room) {
    job->next = NULL;
    if (!s->first) {
      s->last = &s->first;
      s->next_busy = e->busy;
      e->busy = s;
    }
    *s->last = job;
    s->last = &job->next;
    s->n_waiting++;
    s->rows_waiting += job->rows;
    pthread_cond_signal(&e->some);
  }
  pthread_mutex_unlock(&e->mutex);
  return room;
}

void serve_submit(served *s, serve_job *job) {
  serve_batching b = serve_batching_of(s);
  if (b.max_queue_delay_microseconds == 0 && s->row_seconds * (double)job->rows < at_once_seconds) {
    run_at_once(s, job);
    return;
  }
  job->since = serve_now();
  if (enqueue(&s->pool->executor, s, job, b.max_queue_size)) return;
  serve_shard *shard = lock_shard(s);
  shard->stats.rejected++;
  pthread_mutex_unlock(&shard->mutex);
  job->done(job, SERVE_BUSY, "too many requests wait for this model; try again in a moment");
}
