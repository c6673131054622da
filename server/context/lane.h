/* A lane: threads that run tasks, taking turns over those who brought them. Whoever brings a
 * thousand delays nobody else by more than the task that is running. Any thread. */
#ifndef SERVER_CONTEXT_LANE_H
#define SERVER_CONTEXT_LANE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lane lane;

/* The beginning of whatever is to be done; the caller's memory until run() is called. */
typedef struct lane_task {
  struct lane_task *next;
  void (*run)(struct lane_task *task); /* on a thread of the lane; may free the task */
} lane_task;

typedef struct lane_options {
  int threads;
  int most;            /* tasks that may wait, of all */
  int most_per_key;    /* tasks that may wait, of one key */
  int running_per_key; /* tasks of one key that may run at once; 0: any number */
  bool background;     /* the threads yield to others (nice) */
} lane_options;

/* NULL: no memory, or no threads. */
lane *lane_create(const lane_options *o);
/* Takes no more tasks; those that wait are run all the same, then its threads end. */
void lane_stop(lane *l);
void lane_destroy(lane *l);

/* key: whose task it is. False: too many of that key, or of all, wait already; the task is the
 * caller's again. */
bool lane_put(lane *l, int64_t key, lane_task *task);

#endif
