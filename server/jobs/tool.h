/* Short runs of `webml` on somebody's behalf: each in a process of its own, a few at a time. */
#ifndef SERVER_JOBS_TOOL_H
#define SERVER_JOBS_TOOL_H

#include "context/context.h"
#include "process.h"

typedef struct tools tools;

tools *tools_create(const context *c);
/* Ends those that run; later ones are not started. Whoever waits for one returns soon. */
void tools_stop(tools *t);
/* When nobody waits any more. */
void tools_destroy(tools *t);

/* Starts a process and waits for it: its exit code, 128 + the signal that ended it, 127 with a
 * sentence when it cannot be started, -1 when the server stops. After so many seconds (0: never) it
 * is ended: TOOL_TOO_SLOW, with a sentence. */
enum { TOOL_TOO_SLOW = 124 };
int tool_wait(tools *t, const process_spec *spec, uint64_t seconds, char *error, size_t error_size);

typedef enum tool_outcome {
  TOOL_DONE,
  TOOL_REFUSED, /* by the program: the sentence says what is wrong with what it was given */
  TOOL_BUSY,    /* too many at a time, or the server stops: later it may do */
  TOOL_FAILED   /* the machine's fault */
} tool_outcome;

/* A run of `webml`. */
#define TOOL_MODEL "{model}"
typedef struct tool_request {
  const char *const *words; /* at most 30, then NULL */
  const char *description;  /* is written to a file, whose path stands for the word TOOL_MODEL */
  int64_t dataset;          /* the data set that it may read; 0: none */
  const char *weights;      /* a file that it may read, too; NULL: none */
  bool gpu;                 /* it may open one */
} tool_request;

/* What it prints is in *output (free(); NULL unless DONE), with a NUL behind its *size bytes. A
 * sentence in `error` unless DONE. */
tool_outcome tool_run(tools *t, const tool_request *request, char **output, size_t *size,
                      char *error, size_t error_size);

#endif
