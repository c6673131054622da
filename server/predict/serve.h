/* Predictors that are loaded: on demand, warmed up before they count as ready, kept under a budget
 * of memory, the one that was not used for longest goes first. Any thread. */
#ifndef SERVER_PREDICT_SERVE_H
#define SERVER_PREDICT_SERVE_H

#include "api/api.h"

typedef struct served served;

bool serve_start(api *a, size_t budget); /* bytes of weights and plans */
void serve_stop(api *a);

/* The predictor of these weights, which stays as long as it is held; loads it when that is new.
 * NULL with a sentence. */
served *serve_acquire(api *a, int64_t weights, int64_t session, char *error, size_t error_size);
void serve_release(served *s);
/* Drops it when nobody holds it any more, its memory with it. False: it was not loaded. */
bool serve_unload(api *a, int64_t weights);
bool serve_is_loaded(api *a, int64_t weights);

typedef struct serve_shape {
  bool images;
  int rank; /* of a sample */
  int64_t dim[3], inputs, outputs;
} serve_shape;

const serve_shape *serve_shape_of(const served *s);

/* inputs: [n, inputs] float32, or bytes where `pixels`; outputs: [n, outputs]. False with a
 * sentence. */
bool serve_run(served *s, const void *inputs, bool pixels, int64_t n, float *outputs, char *error,
               size_t error_size);
/* Answers in the words of the data set, as JSON text: webml_free(). NULL with a sentence. */
char *serve_row(served *s, const char *row, char *error, size_t error_size);
char *serve_picture(served *s, const void *bytes, size_t size, char *error, size_t error_size);

/* Times in seconds fall into buckets with these upper bounds, and one above them. */
#define SERVE_BOUNDS                                                                               \
  { 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0 }
enum { SERVE_BUCKETS = 12 };

typedef struct serve_stats {
  int64_t weights, requests, failures, rows, holders;
  int64_t nanoseconds;            /* spent computing */
  int64_t last_ms;                /* Unix time of the last request */
  int64_t bytes;                  /* of memory, estimated */
  int64_t buckets[SERVE_BUCKETS]; /* requests by their time; not cumulative */
} serve_stats;

void serve_read_stats(const served *s, serve_stats *stats);
/* Of every predictor that is loaded; returns how many there are, at most `most` are filled. */
int serve_all_stats(api *a, serve_stats *list, int most);

#endif
