/* The bounds of processes that read somebody's data set: what they may open, and how much time,
 * memory and disk they may take. */
#ifndef SERVER_JOBS_BOUNDS_H
#define SERVER_JOBS_BOUNDS_H

#include "context/context.h"
#include "process.h"

/* Points into itself: it stays where it was made. */
typedef struct bounds {
  confinement confinement;
  uint64_t seconds; /* of the clock; 0: any number */
  char data[CONTEXT_PATH], folder[CONTEXT_PATH], cache[CONTEXT_PATH], cache_variable[CONTEXT_PATH];
  char folder_variable[CONTEXT_PATH];
  const char *variables[3];
} bounds;

/* A short run: time and files by the size of the data set (0: none), half of the memory. folder:
 * where it works, NULL: nowhere. Makes the data set's cache folder. */
void bounds_of_run(const context *c, int64_t dataset, const char *folder, bounds *b);
/* A training: all of the memory, and of the disk what is free now; any time. folder: the
 * session's. */
void bounds_of_training(const context *c, int64_t dataset, const char *folder, bool gpu, bounds *b);
/* One more file that may be read; the path is the caller's. */
void bounds_add_readable(bounds *b, const char *path);
/* Puts them into what is to be started. */
void bounds_apply(const context *c, const bounds *b, process_spec *spec);

#endif
