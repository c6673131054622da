/* Predictors that are loaded: on demand, warmed up before they count as ready, kept under a budget
 * of memory, the one that was not used for longest goes first. Any thread. */
#ifndef SERVER_PREDICT_SERVE_H
#define SERVER_PREDICT_SERVE_H

#include "context/context.h"

typedef struct serve_pool serve_pool;
typedef struct served served;

/* Called by the executor before and after the answers of one run: what they send may be gathered
 * and sent together. */
typedef struct serve_hooks {
  void (*before)(void), (*after)(void); /* NULL: nothing */
} serve_hooks;

/* budget: bytes of weights and plans. NULL: no memory. */
serve_pool *serve_create(const context *c, size_t budget, serve_hooks hooks);
/* Answers what waits with SERVE_GONE, and frees everything. */
void serve_destroy(serve_pool *p);

/* How requests of one model are put together. */
typedef struct serve_batching {
  int max_batch_size;                   /* rows in one run; 1 to SERVE_MOST_BATCH */
  int64_t max_queue_delay_microseconds; /* how long a request may wait for others; 0: not at all */
  int max_queue_size;                   /* requests that may wait */
} serve_batching;

enum { SERVE_MOST_BATCH = 64, SERVE_QUEUE = 1024 };

/* The predictor of these weights, whose file is at `path`, which stays as long as it is held; loads
 * it when that is new, which takes time. batching: from now on; NULL: as it was. NULL with a
 * sentence. */
served *serve_acquire(serve_pool *p, int64_t weights, const char *path,
                      const serve_batching *batching, char *error, size_t error_size);
/* The same when it is loaded already, else NULL. Never blocks for long. */
served *serve_find(serve_pool *p, int64_t weights, const serve_batching *batching);
void serve_release(served *s);
/* Drops it when nobody holds it any more, its memory with it. False: it was not loaded. */
bool serve_unload(serve_pool *p, int64_t weights);
void serve_unload_all(serve_pool *p);
/* Drops those whose weights are not in the store any more. */
void serve_unload_gone(serve_pool *p);
bool serve_is_loaded(serve_pool *p, int64_t weights);

typedef struct serve_shape {
  bool images;
  int rank; /* of a sample */
  int64_t dim[3], inputs, outputs;
} serve_shape;

const serve_shape *serve_shape_of(const served *s);
serve_batching serve_batching_of(const served *s);

/* ---- dynamic batching (batch.c) ----
 *
 * Small work is done at once, by the thread that brings it. Everything else waits in its model's
 * queue; when the executor is free it takes the model whose oldest request waits for longest, and
 * of its requests as many as fit into one run. With a delay it waits until a run is full or the
 * oldest request's delay is over. */

typedef enum serve_outcome {
  SERVE_DONE,
  SERVE_FAILED, /* the engine; `error` says why */
  SERVE_BUSY,   /* max_queue_size requests wait already */
  SERVE_GONE    /* nobody waits for it any more */
} serve_outcome;

typedef struct serve_job {
  const void *inputs; /* [rows, inputs] float32, or bytes where `pixels` */
  bool pixels;
  int64_t rows;
  float *outputs; /* [rows, outputs] */
  /* Called once, by any thread, perhaps before serve_submit() returns; the job is the caller's
   * again then. `error` lives until it returns. */
  void (*done)(struct serve_job *job, serve_outcome outcome, const char *error);
  /* True: nobody waits for the answer any more, it need not be computed. NULL: never. */
  bool (*is_gone)(const struct serve_job *job);
  /* The queue's. */
  struct serve_job *next;
  double since;
} serve_job;

/* The predictor must be held until done() was called. */
void serve_submit(served *s, serve_job *job);

/* Answers in the words of the data set, as JSON text: webml_free(). NULL with a sentence. Block. */
char *serve_row(served *s, const char *row, char *error, size_t error_size);
char *serve_picture(served *s, const void *bytes, size_t size, char *error, size_t error_size);

/* ---- figures ---- */

/* Times in seconds fall into buckets with these upper bounds, and one above them. */
#define SERVE_BOUNDS                                                                               \
  { 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0 }
enum { SERVE_BUCKETS = 12 };

typedef struct serve_times {
  int64_t count, nanoseconds;
  int64_t buckets[SERVE_BUCKETS]; /* not cumulative */
} serve_times;

typedef struct serve_stats {
  int64_t weights, holders;
  int64_t requests, rows, runs;        /* answered; runs of the engine */
  int64_t failed, rejected, cancelled; /* requests: by the engine, by a full queue, by the client */
  int64_t waiting;                     /* requests in the queue now */
  serve_times request, queue, compute; /* per request; compute: of the run that it was in */
  int64_t input_nanoseconds;           /* putting batches together */
  int64_t batches[SERVE_MOST_BATCH + 1]; /* runs by their rows; larger ones in [0] */
  int64_t batch_nanoseconds[SERVE_MOST_BATCH + 1];
  int64_t last_ms; /* Unix time of the last request */
  int64_t bytes;   /* of memory, estimated */
} serve_stats;

void serve_read_stats(served *s, serve_stats *stats);
/* Of every predictor that is loaded; returns how many there are, at most `most` are filled. */
int serve_all_stats(serve_pool *p, serve_stats *list, int most);

#endif
