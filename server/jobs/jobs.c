#include "jobs.h"

#include "context/events.h"
#include "context/log.h"
#include "internal.h"
#include "store/sessions.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void jobs_remove(const jobs *j, int64_t session) {
  char folder[2048];
  path_of_job(j->context, session, "", folder, sizeof folder);
  folder_remove(folder);
}

void jobs_wake(jobs *j) {
  pthread_mutex_lock(&j->mutex);
  j->again = true;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
}

static void on_devices_changed(void *user) {
  jobs *j = user;
  pthread_mutex_lock(&j->mutex);
  bool waiting = j->waiting;
  pthread_mutex_unlock(&j->mutex);
  if (waiting) jobs_wake(j);
}

static int list_runs(void *user, device_run *list, int most) {
  return job_list(user, list, most);
}

void job_tell(const context *c, int64_t id, int64_t owner, const char *state, const char *error) {
  char object[32];
  snprintf(object, sizeof object, "%lld", (long long)id);
  log_event("session", owner, object, state);
  event_send(
      c, "session", owner, id,
      json_pack("{s:I, s:s, s:s*}", "session", (json_int_t)id, "state", state, "error", error));
}

bool jobs_pause(jobs *j) {
  pthread_mutex_lock(&j->mutex);
  j->paused = true;
  while (j->starting) pthread_cond_wait(&j->changed, &j->mutex);
  bool idle = j->watchers == 0;
  j->paused = idle;
  pthread_mutex_unlock(&j->mutex);
  return idle;
}

void jobs_resume(jobs *j) {
  pthread_mutex_lock(&j->mutex);
  j->paused = false;
  pthread_mutex_unlock(&j->mutex);
  jobs_wake(j);
}

static void *schedule(void *arg) {
  jobs *j = arg;
  pthread_mutex_lock(&j->mutex);
  while (!j->stop) {
    j->again = false;
    j->starting = !j->paused;
    if (j->starting) {
      pthread_mutex_unlock(&j->mutex);
      queue_end_waiting(j);
      bool waiting = queue_start_waiting(j);
      pthread_mutex_lock(&j->mutex);
      j->waiting = waiting;
      j->starting = false;
      pthread_cond_broadcast(&j->changed); /* for jobs_pause() */
    }
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 5; /* a failed start is tried again */
    if (!j->stop && !j->again) pthread_cond_timedwait(&j->changed, &j->mutex, &until);
  }
  pthread_mutex_unlock(&j->mutex);
  return NULL;
}

/* ---- after a start ---- */

static bool take_up(jobs *j) {
  json_t *row, *rows = sessions_running(j->context->store);
  size_t i;
  json_array_foreach(rows, i, row) {
    int lock = job_open_lock(j, store_integer(row, "id"));
    if (lock >= 0 && job_watch(j, row, lock, 0, 0)) continue;
    session_set_waiting(j->context->store, store_integer(row, "id"));
  }
  bool ok = rows != NULL;
  json_decref(rows);
  return ok;
}

void jobs_tidy(jobs *j) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s/jobs", j->context->data_dir);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    int64_t id = strtoll(e->d_name, NULL, 10);
    if (id < 1 || session_is_needed(j->context->store, id)) continue;
    int lock = job_open_lock(j, id);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) jobs_remove(j, id);
    if (lock >= 0) close(lock);
  }
  if (d) closedir(d);
}

jobs *jobs_create(const context *c, monitor *m) {
  char folder[CONTEXT_PATH];
  jobs *j = calloc(1, sizeof *j);
  snprintf(folder, sizeof folder, "%s/jobs", c->data_dir);
  if (!j || (mkdir(folder, 0700) != 0 && errno != EEXIST)) {
    free(j);
    return NULL;
  }
  j->context = c;
  j->monitor = m;
  pthread_mutex_init(&j->mutex, NULL);
  pthread_cond_init(&j->changed, NULL);
  monitor_set_source(m, (monitor_source){list_runs, on_devices_changed, j});
  jobs_tidy(j);
  j->started = take_up(j) && pthread_create(&j->thread, NULL, schedule, j) == 0;
  if (j->started) return j;
  jobs_destroy(j);
  return NULL;
}

void jobs_destroy(jobs *j) {
  if (!j) return;
  pthread_mutex_lock(&j->mutex);
  j->stop = true;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
  if (j->started) pthread_join(j->thread, NULL);
  pthread_mutex_lock(&j->mutex);
  while (j->watchers > 0) pthread_cond_wait(&j->changed, &j->mutex);
  pthread_mutex_unlock(&j->mutex);
  monitor_set_source(j->monitor, (monitor_source){0});
  pthread_mutex_destroy(&j->mutex);
  pthread_cond_destroy(&j->changed);
  free(j);
}
