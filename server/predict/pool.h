/* Inside server/predict: what loading and running share. */
#ifndef SERVER_PREDICT_POOL_H
#define SERVER_PREDICT_POOL_H

#include "serve.h"

#include <pthread.h>
#include <stdatomic.h>
#include <webml.h>

/* Figures are counted in several places, so that threads seldom meet at one. */
enum { SHARDS = 8 };

typedef struct serve_shard {
  pthread_mutex_t mutex;
  serve_stats stats;
} serve_shard;

struct served {
  served *next;
  serve_pool *pool;
  int64_t weights;
  webml_predictor *predictor;
  serve_shape shape;
  size_t bytes;
  double row_seconds; /* of one row alone, measured when it was warmed up */
  atomic_int holders;
  atomic_bool doomed; /* goes with its last holder */
  _Atomic double used;
  atomic_int max_batch, max_queue;
  atomic_int_fast64_t delay; /* microseconds */
  serve_shard shards[SHARDS];
  /* Under the executor's mutex: */
  serve_job *first, **last;
  int n_waiting;
  int64_t rows_waiting;
  served *next_busy; /* in the list of those with requests that wait */
};

typedef struct serve_executor {
  serve_hooks hooks;
  pthread_mutex_t mutex;
  pthread_cond_t some;
  pthread_t thread;
  bool started, stop;
  served *busy;
  void *inputs; /* of one run, grown as needed */
  float *outputs;
  size_t input_bytes, output_bytes;
} serve_executor;

struct serve_pool {
  const context *context;
  pthread_rwlock_t lock;   /* of the list; who frees a predictor holds it for writing */
  pthread_mutex_t loading; /* one at a time: two loads at once would pass the budget by */
  webml_device *device;
  served *list;
  size_t budget, bytes;
  serve_executor executor;
};

double serve_now(void);
void serve_executor_start(serve_executor *e, serve_hooks hooks);
void serve_executor_stop(serve_executor *e);
/* One call of the engine that did not go through the queue. */
void serve_count_call(served *s, bool ok, int64_t rows, double began);

#endif
