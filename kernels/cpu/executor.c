#include "executor.h"

#include <omp.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct cpu_job {
  struct cpu_job *next;
  void (*run)(void *arg);
  void *arg;
  bool done;
  pthread_cond_t finished;
  char message[1024]; /* of an error on the executor's thread */
} cpu_job;

struct cpu_executor {
  wml_host host;
  int threads;
  pid_t owner;
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t arrived;
  cpu_job *head, **tail;
  bool stop;
};

/* Threads of the team behind the current thread; 0 elsewhere than on an executor's thread. */
static _Thread_local int team_size;

static void *executor_main(void *arg) {
  cpu_executor *e = arg;
  team_size = e->threads;
  omp_set_num_threads(e->threads);
  omp_set_dynamic(0);
  pthread_mutex_lock(&e->mutex);
  for (;;) {
    while (!e->head && !e->stop) pthread_cond_wait(&e->arrived, &e->mutex);
    cpu_job *job = e->head;
    if (!job) break;
    e->head = job->next;
    if (!e->head) e->tail = &e->head;
    pthread_mutex_unlock(&e->mutex);
    e->host.error("%s", "");
    job->run(job->arg);
    snprintf(job->message, sizeof job->message, "%s", e->host.last_error());
    pthread_mutex_lock(&e->mutex);
    job->done = true;
    pthread_cond_signal(&job->finished);
  }
  pthread_mutex_unlock(&e->mutex);
  return NULL;
}

cpu_executor *cpu_executor_create(const wml_host *host, int threads) {
  cpu_executor *e = host->alloc(sizeof *e, 64);
  if (!e) {
    host->error("out of memory for the CPU device");
    return NULL;
  }
  memset(e, 0, sizeof *e);
  e->host = *host;
  e->threads = threads;
  e->owner = getpid();
  e->tail = &e->head;
  pthread_mutex_init(&e->mutex, NULL);
  pthread_cond_init(&e->arrived, NULL);
  int error = pthread_create(&e->thread, NULL, executor_main, e);
  if (error) {
    host->error("the CPU device cannot start its thread: %s", strerror(error));
    host->release(e);
    return NULL;
  }
  return e;
}

void cpu_executor_destroy(cpu_executor *e) {
  if (!e) return;
  if (getpid() == e->owner) { /* a forked child has no such thread to join */
    pthread_mutex_lock(&e->mutex);
    e->stop = true;
    pthread_cond_signal(&e->arrived);
    pthread_mutex_unlock(&e->mutex);
    pthread_join(e->thread, NULL);
    pthread_cond_destroy(&e->arrived);
    pthread_mutex_destroy(&e->mutex);
  }
  e->host.release(e);
}

bool cpu_executor_call(cpu_executor *e, void (*run)(void *arg), void *arg) {
  if (getpid() != e->owner) {
    e->host.error(
        "this process was forked after the device was opened; open a device in the child");
    return false;
  }
  cpu_job job;
  job.next = NULL;
  job.run = run;
  job.arg = arg;
  job.done = false;
  pthread_cond_init(&job.finished, NULL);
  pthread_mutex_lock(&e->mutex);
  *e->tail = &job;
  e->tail = &job.next;
  pthread_cond_signal(&e->arrived);
  while (!job.done) pthread_cond_wait(&job.finished, &e->mutex);
  pthread_mutex_unlock(&e->mutex);
  pthread_cond_destroy(&job.finished);
  if (job.message[0]) e->host.error("%s", job.message);
  return true;
}

void cpu_parallel(int64_t n, int64_t grain, cpu_body body, void *arg) {
  int64_t grains = (n + grain - 1) / grain;
  int64_t parts = grains < team_size ? grains : team_size;
  if (parts <= 1) {
    if (n > 0) body(arg, 0, n);
    return;
  }
#ifdef WML_SERIAL_TEAM /* ThreadSanitizer cannot see libgomp's barriers */
  for (int64_t i = 0; i < parts; i++) {
#else
#pragma omp parallel for num_threads((int)parts) schedule(static, 1)
  for (int64_t i = 0; i < parts; i++) {
#endif
    int64_t begin = grains * i / parts * grain, end = grains * (i + 1) / parts * grain;
    body(arg, begin, end < n ? end : n);
  }
}
