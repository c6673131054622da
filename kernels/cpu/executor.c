#include "executor.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A caller that waits. */
typedef struct queued {
  struct queued *next;
  const cpu_job *job;
  bool leads; /* its turn has come */
  bool done;  /* another thread has run its job */
  pthread_cond_t changed;
  char message[1024]; /* of an error on that thread */
} queued;

struct cpu_executor {
  wml_host host;
  cpu_team *team;
  pid_t owner;
  pthread_mutex_t mutex;
  bool busy; /* some caller has its turn */
  queued *head, **tail;
  atomic_int brief; /* how many wait */
  /* Of the leader: when its job began, and what brief ones have taken of it. */
  int64_t began_ns, brief_ns;
  bool admits; /* its job is a long one, and no brief one runs within it */
};

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

/* A brief job of another thread. With the mutex held, which is free while the job runs. */
static void run_for(cpu_executor *e, queued *q) {
  char own[sizeof q->message]; /* this thread's last message stays as it is */
  pthread_mutex_unlock(&e->mutex);
  snprintf(own, sizeof own, "%s", e->host.last_error());
  e->host.error("%s", "");
  q->job->run(q->job->arg);
  snprintf(q->message, sizeof q->message, "%s", e->host.last_error());
  e->host.error("%s", own);
  pthread_mutex_lock(&e->mutex);
  q->done = true;
  pthread_cond_signal(&q->changed);
}

static void admit_between(void *arg) {
  cpu_executor_admit_brief(arg);
}

void cpu_executor_admit_brief(cpu_executor *e) {
  if (!e->admits || atomic_load_explicit(&e->brief, memory_order_relaxed) == 0) return;
  e->admits = false;
  int limit = cpu_team_limit(1 << 30);
  pthread_mutex_lock(&e->mutex);
  for (;;) {
    int64_t begin = cpu_now_ns();
    if (2 * e->brief_ns > begin - e->began_ns) break;
    queued *q = take(e, true);
    if (!q) break;
    run_for(e, q);
    e->brief_ns += cpu_now_ns() - begin;
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
  cpu_team_call_between(e->team, admit_between, e);
  return e;
}

void cpu_executor_destroy(cpu_executor *e) {
  if (!e) return;
  if (getpid() == e->owner) { /* a forked child has no such threads to join */
    pthread_mutex_destroy(&e->mutex);
    cpu_team_destroy(e->team);
  }
  e->host.release(e);
}

/* Waits until the job's turn has come. false: it is done already. */
static bool take_turn(cpu_executor *e, const cpu_job *job) {
  queued q = {.job = job};
  pthread_mutex_lock(&e->mutex);
  if (e->busy) {
    pthread_cond_init(&q.changed, NULL);
    *e->tail = &q;
    e->tail = &q.next;
    if (job->brief) atomic_fetch_add(&e->brief, 1);
    while (!q.leads && !q.done) pthread_cond_wait(&q.changed, &e->mutex);
    pthread_cond_destroy(&q.changed);
  }
  if (!q.done) {
    e->busy = true;
    e->began_ns = cpu_now_ns();
    e->brief_ns = 0;
    e->admits = !job->brief;
  }
  pthread_mutex_unlock(&e->mutex);
  if (q.done && q.message[0]) e->host.error("%s", q.message);
  return !q.done;
}

static void pass_turn(cpu_executor *e) {
  pthread_mutex_lock(&e->mutex);
  queued *next = take(e, false);
  if (next) {
    next->leads = true;
    pthread_cond_signal(&next->changed);
  } else
    e->busy = false;
  pthread_mutex_unlock(&e->mutex);
}

bool cpu_executor_call(cpu_executor *e, const cpu_job *job) {
  if (getpid() != e->owner) {
    e->host.error(
        "this process was forked after the device was opened; open a device in the child");
    return false;
  }
  if (!take_turn(e, job)) return true; /* another thread has run it */
  cpu_team_lead(e->team);
  job->run(job->arg);
  cpu_team_leave();
  pass_turn(e);
  return true;
}
