#include "executor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct queued {
  struct queued *next;
  const cpu_job *job;
  bool done;
  pthread_cond_t finished;
  char message[1024]; /* of an error on the executor's thread */
} queued;

struct cpu_executor {
  wml_host host;
  cpu_team *team;
  pid_t owner;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t arrived;
  queued *head, **tail;
  atomic_int brief; /* how many wait */
  bool stop;
  /* Of the executor's thread: when the job under way began, and what brief ones have taken of it.
   */
  int64_t began_ns, brief_ns;
  bool admits; /* the job under way is a long one, and no brief one runs within it */
};

static int64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The first job, or the first brief one; NULL when there is none. With the mutex held. */
static queued *take(cpu_executor *e, bool brief) {
  queued **at = &e->head;
  while (*at && brief && !(*at)->job->brief) at = &(*at)->next;
  queued *q = *at;
  if (!q) return NULL;
  *at = q->next;
  if (!q->next) e->tail = at;
  if (q->job->brief) atomic_fetch_sub(&e->brief, 1);
  return q;
}

/* With the mutex held, which is free while the job runs. */
static void run(cpu_executor *e, queued *q) {
  pthread_mutex_unlock(&e->mutex);
  e->host.error("%s", "");
  q->job->run(q->job->arg);
  snprintf(q->message, sizeof q->message, "%s", e->host.last_error());
  pthread_mutex_lock(&e->mutex);
  q->done = true;
  pthread_cond_signal(&q->finished);
}

static void admit_between(void *arg) {
  cpu_executor_admit_brief(arg);
}

static void *executor_main(void *arg) {
  cpu_executor *e = arg;
  cpu_team_lead(e->team);
  cpu_team_call_between(e->team, admit_between, e);
  pthread_mutex_lock(&e->mutex);
  for (;;) {
    while (!e->head && !e->stop) pthread_cond_wait(&e->arrived, &e->mutex);
    queued *q = take(e, false);
    if (!q) break;
    e->began_ns = now_ns();
    e->brief_ns = 0;
    e->admits = !q->job->brief;
    run(e, q);
  }
  pthread_mutex_unlock(&e->mutex);
  return NULL;
}

void cpu_executor_admit_brief(cpu_executor *e) {
  if (!e->admits || atomic_load_explicit(&e->brief, memory_order_relaxed) == 0) return;
  e->admits = false;
  int limit = cpu_team_limit(1 << 30);
  pthread_mutex_lock(&e->mutex);
  for (;;) {
    int64_t begin = now_ns();
    if (2 * e->brief_ns > begin - e->began_ns) break;
    queued *q = take(e, true);
    if (!q) break;
    run(e, q);
    e->brief_ns += now_ns() - begin;
  }
  pthread_mutex_unlock(&e->mutex);
  cpu_team_limit(limit);
  e->admits = true;
}

cpu_executor *cpu_executor_create(const wml_host *host, int threads) {
  cpu_executor *e = host->alloc(sizeof *e, 64);
  if (!e) {
    host->error("out of memory for the CPU device");
    return NULL;
  }
  memset(e, 0, sizeof *e);
  e->host = *host;
  e->owner = getpid();
  e->tail = &e->head;
  e->team = cpu_team_create(host, threads);
  if (!e->team) {
    host->release(e);
    return NULL;
  }
  pthread_mutex_init(&e->mutex, NULL);
  pthread_cond_init(&e->arrived, NULL);
  int error = pthread_create(&e->thread, NULL, executor_main, e);
  if (error) {
    host->error("the CPU device cannot start its thread: %s", strerror(error));
    cpu_team_destroy(e->team);
    host->release(e);
    return NULL;
  }
  return e;
}

void cpu_executor_destroy(cpu_executor *e) {
  if (!e) return;
  if (getpid() == e->owner) { /* a forked child has no such threads to join */
    pthread_mutex_lock(&e->mutex);
    e->stop = true;
    pthread_cond_signal(&e->arrived);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->arrived);
    pthread_mutex_destroy(&e->mutex);
    cpu_team_destroy(e->team);
  }
  e->host.release(e);
}

bool cpu_executor_call(cpu_executor *e, const cpu_job *job) {
  if (getpid() != e->owner) {
    e->host.error(
        "this process was forked after the device was opened; open a device in the child");
    return false;
  }
  queued q;
  q.next = NULL;
  q.job = job;
  q.done = false;
  q.message[0] = '\0';
  pthread_cond_init(&q.finished, NULL);
  pthread_mutex_lock(&e->mutex);
  *e->tail = &q;
  e->tail = &q.next;
  if (job->brief) atomic_fetch_add(&e->brief, 1);
  pthread_cond_signal(&e->arrived);
  while (!q.done) pthread_cond_wait(&q.finished, &e->mutex);
  pthread_mutex_unlock(&e->mutex);
  pthread_cond_destroy(&q.finished);
  if (q.message[0]) e->host.error("%s", q.message);
  return true;
}
