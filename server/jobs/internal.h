/* Inside server/jobs: what the queue, starting and watching share. */
#ifndef SERVER_JOBS_INTERNAL_H
#define SERVER_JOBS_INTERNAL_H

#include "jobs.h"

#include <pthread.h>
#include <sys/types.h>

struct jobs {
  const context *context;
  monitor *monitor;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool stop, started;
  bool again, waiting;   /* waiting: sessions that nothing fits */
  bool paused, starting; /* starting: the queue is being gone through */
  int watchers;
  struct watcher *list; /* one for each training that runs */
  int64_t last_owner;   /* whose job was started last */
};

/* Tells the owner, and the log, that a session has come to a state. error NULL: none. */
void job_tell(const context *c, int64_t session, int64_t owner, const char *state,
              const char *error);

/* spawn.c: starts the program of a row of sessions_waiting() on the device that it is placed on;
 * the session has failed where that does not work. */
void job_start(jobs *j, const json_t *session);
/* The session's lock, not taken; -1 with errno. */
int job_open_lock(const jobs *j, int64_t session);

/* watch.c: watches a training in a thread of its own until it ends, and accounts for it. pid 0:
 * started by a server before this one. told: up to there its progress was told already. Takes the
 * lock's descriptor. False: no thread or memory; the next start watches it. */
bool job_watch(jobs *j, const json_t *session, int lock, pid_t pid, long told);
/* Those that run now; at most `most` are filled in. */
int job_list(jobs *j, device_run *list, int most);

/* queue.c: starts what can be started; true: some wait on. */
bool queue_start_waiting(jobs *j);
/* Ends what waits and needs no process for its end. */
void queue_end_waiting(jobs *j);

#endif
