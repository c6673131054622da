/* Watching jobs: passing on what they say, and accounting for what they left. */
#include "context/events.h"
#include "context/log.h"
#include "internal.h"
#include "last_error.h"
#include "process.h"
#include "store/sessions.h"

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_TRIES = 5, LOOK_MS = 100 };

typedef struct watcher {
  struct watcher *next;
  device_run run;
  jobs *jobs;
  const context *context;
  int64_t id, owner, model, evaluates; /* evaluates: 0: it is a training */
  pid_t pid;                           /* our child, or 0: started by a server before this one */
  int lock;
  FILE *progress;
  long told; /* up to here the file is of earlier runs: listeners have heard it */
  bool done; /* its last event says that it ended well */
  char metrics[2048];
  char *report; /* JSON; of an evaluation */
  double share; /* of its work, that is done; NAN: not known. The jobs' mutex is its */
} watcher;

/* The figures of the last epoch, as the weights will have them; without what is about its progress.
 */
static void keep_figures(watcher *w, const json_t *event) {
  static const char *const other[] = {
      "event", "epochs", "step", "steps", "seconds", "seconds_left", "samples_per_second"};
  json_t *figures = json_copy((json_t *)(uintptr_t)event);
  for (size_t i = 0; i < sizeof other / sizeof *other; i++) json_object_del(figures, other[i]);
  char *text = json_dumps(figures, JSON_COMPACT | JSON_REAL_PRECISION(9));
  json_decref(figures);
  if (text && strlen(text) < sizeof w->metrics) strcpy(w->metrics, text);
  free(text);
}

static void keep_report(watcher *w, const json_t *event) {
  free(w->report);
  w->report =
      json_dumps(json_object_get(event, "evaluation"), JSON_COMPACT | JSON_REAL_PRECISION(9));
}

static double part(const json_t *event, const char *done, const char *all) {
  double of = (double)store_integer(event, all);
  return of > 0 ? (double)store_integer(event, done) / of : 0;
}

static void keep_share(watcher *w, const json_t *event) {
  double epochs = (double)store_integer(event, "epochs"),
         before = epochs > 0 ? (double)(store_integer(event, "epoch") - 1) / epochs : 0;
  double share = w->evaluates ? part(event, "done", "samples")
                 : epochs > 0 ? before + part(event, "step", "steps") / epochs
                              : NAN;
  pthread_mutex_lock(&w->jobs->mutex);
  w->share = share;
  pthread_mutex_unlock(&w->jobs->mutex);
}

static bool is_kind(const char *kind, const char *wanted) {
  return kind && strcmp(kind, wanted) == 0;
}

/* What listeners need not hear: the whole record of a long training is a line of megabytes. */
static void pass_on(watcher *w, const char *line, bool is_new) {
  json_t *event = json_loads(line, 0, NULL);
  const char *kind = store_text(event, "event");
  if (is_kind(kind, w->evaluates ? "evaluation" : "done")) w->done = is_new;
  if (is_kind(kind, "epoch")) keep_figures(w, event);
  if (is_kind(kind, "evaluation") && w->evaluates) keep_report(w, event);
  if (is_kind(kind, "epoch") || is_kind(kind, "progress")) keep_share(w, event);
  if (kind && is_new) {
    json_object_del(event, "record");
    json_object_set_new(event, "session", json_integer(w->id));
    event_send(w->context, "progress", w->owner, w->id, json_incref(event));
  }
  json_decref(event);
}

/* Passes on whole lines that are new. */
static void read_progress(watcher *w) {
  char *line = NULL;
  size_t room = 0;
  for (;;) {
    long at = ftell(w->progress);
    ssize_t n = getline(&line, &room, w->progress);
    if (n <= 0) break;
    if (line[n - 1] != '\n') { /* half a line: it is read again */
      fseek(w->progress, at, SEEK_SET);
      break;
    }
    hide_paths(w->context, line);
    pass_on(w, line, at >= w->told);
  }
  free(line);
  clearerr(w->progress);
}

/* The process has ended: nobody else holds the lock. */
static bool has_ended(watcher *w) {
  int status;
  if (w->pid > 0 && waitpid(w->pid, &status, WNOHANG) == w->pid) w->pid = 0;
  return flock(w->lock, LOCK_EX | LOCK_NB) == 0;
}

typedef enum wish { NO_WISH, CANCEL, STOP, PAUSE } wish;

/* What its owner wishes; a session that was deleted counts as cancelled. */
static wish wish_of(const watcher *w) {
  const char *text = session_wish_of(w->context->store, w->id);
  return !text                        ? NO_WISH
         : strcmp(text, "stop") == 0  ? STOP
         : strcmp(text, "pause") == 0 ? PAUSE
                                      : CANCEL;
}

/* Whether the process has the session's lock as its descriptor 3, as process_start() gave it. */
static bool holds_lock(const watcher *w, int64_t pid) {
  char path[64];
  struct stat ours, theirs;
  snprintf(path, sizeof path, "/proc/%lld/fd/3", (long long)pid);
  return fstat(w->lock, &ours) == 0 && stat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
         ours.st_ino == theirs.st_ino;
}

/* The process of a session that an earlier server started: the number that it wrote down, or, where
 * it was killed before it could, found by the lock. 0: none. */
static int64_t find_process(const watcher *w) {
  char path[4096];
  long long pid = 0;
  path_of_job(w->context, w->id, "pid", path, sizeof path);
  FILE *f = fopen(path, "re");
  if (f && fscanf(f, "%lld", &pid) != 1) pid = 0;
  if (f) fclose(f);
  if (pid > 1 && holds_lock(w, pid)) return pid;
  DIR *d = opendir("/proc");
  pid = 0;
  for (struct dirent *e; d && !pid && (e = readdir(d));) {
    long long number = strtoll(e->d_name, NULL, 10);
    if (number > 1 && number != getpid() && holds_lock(w, number)) pid = number;
  }
  if (d) closedir(d);
  return pid;
}

/* Asks the process to end: with the best weights so far, or with a checkpoint. */
static void ask(const watcher *w, wish what) {
  int64_t pid = w->pid > 0 ? w->pid : find_process(w);
  if (pid > 1) kill((pid_t)pid, what == STOP ? SIGUSR1 : SIGINT);
}

static void read_last_error(const watcher *w, char *out, size_t size) {
  char path[4096];
  path_of_job(w->context, w->id, "errors", path, sizeof path);
  last_error_of(path, out, size);
  hide_paths(w->context, out);
}

static bool keep_weights(watcher *w) {
  char path[4096];
  struct stat info;
  path_of_job(w->context, w->id, "weights.safetensors", path, sizeof path);
  if (stat(path, &info) != 0) return false;
  int64_t id = weights_add(w->context->store, w->owner, w->model, w->id, (int64_t)info.st_size,
                           w->metrics[0] ? w->metrics : "{}", context_now());
  if (id < 0 && id != STORE_EXISTS) return false;
  path_of_job(w->context, w->id, "weights.safetensors.checkpoint", path, sizeof path);
  unlink(path);
  return true;
}

static bool keep_result(watcher *w) {
  if (!w->evaluates) return keep_weights(w);
  return w->report && session_set_report(w->context->store, w->id, w->report) == 1;
}

/* Weights that were evaluated need not outlive their own row. */
static void drop_evaluated(const watcher *w) {
  char path[CONTEXT_PATH];
  path_of_job(w->context, w->id, JOB_FIRST_WEIGHTS, path, sizeof path);
  if (w->evaluates) unlink(path);
}

static void set_state(watcher *w, const char *state, const char *error) {
  drop_evaluated(w);
  if (session_set_ended(w->context->store, w->id, state, error, context_now()) < 0)
    log_event("session", w->owner, NULL, store_error());
  job_tell(w->context, w->id, w->owner, state, error);
}

/* What came of the process, by what it left. Interrupted ones (killed, out of memory) wait again.
 */
static void account(watcher *w) {
  char error[1024];
  bool gone;
  wish wished = wish_of(w);
  read_last_error(w, error, sizeof error);
  int64_t tries = session_tries(w->context->store, w->id, &gone);
  if (gone) {
    jobs_remove(w->jobs, w->id); /* deleted meanwhile */
    return;
  }
  if (w->done && keep_result(w))
    set_state(w, "finished", NULL);
  else if (wished == CANCEL)
    set_state(w, "cancelled", NULL);
  else if (wished == PAUSE && !error[0]) {
    session_set_paused(w->context->store, w->id);
    job_tell(w->context, w->id, w->owner, "paused", NULL);
  } else if (error[0])
    set_state(w, "failed", error);
  else if (tries >= MOST_TRIES)
    set_state(w, "failed",
              "its process was ended from outside again and again; it may need more memory than "
              "there is");
  else {
    session_set_waiting(w->context->store, w->id);
    job_tell(w->context, w->id, w->owner, "waiting",
             w->evaluates ? "it was interrupted and starts again"
                          : "it was interrupted and resumes from its checkpoint");
  }
}

static void *watch(void *arg) {
  watcher *w = arg;
  struct jobs *j = w->jobs;
  wish asked = NO_WISH;
  for (int round = 0;; round++) {
    bool ended = has_ended(w);
    read_progress(w);
    if (ended) break;
    pthread_mutex_lock(&j->mutex);
    bool stop = j->stop;
    pthread_mutex_unlock(&j->mutex);
    if (stop) goto leave; /* the process goes on; the next server looks after it */
    wish wished = round % 3 == 0 ? wish_of(w) : NO_WISH;
    if (wished != NO_WISH && wished != asked) ask(w, asked = wished);
    nanosleep(&(struct timespec){0, LOOK_MS * 1000000L}, NULL);
  }
  if (w->pid > 0) process_wait(w->pid);
  /* Before the session may wait again: the next process needs the lock. */
  close(w->lock);
  w->lock = -1;
  account(w);
leave:
  fclose(w->progress);
  if (w->lock >= 0) close(w->lock);
  pthread_mutex_lock(&j->mutex);
  for (watcher **p = &j->list; *p; p = &(*p)->next)
    if (*p == w) {
      *p = w->next;
      break;
    }
  j->watchers--;
  j->again = true;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
  free(w->report);
  free(w);
  return NULL;
}

double jobs_progress(jobs *j, int64_t session) {
  double share = NAN;
  pthread_mutex_lock(&j->mutex);
  for (const watcher *w = j->list; w; w = w->next)
    if (w->id == session) share = w->share;
  pthread_mutex_unlock(&j->mutex);
  return share;
}

int job_list(jobs *j, device_run *list, int most) {
  int n = 0;
  pthread_mutex_lock(&j->mutex);
  for (const watcher *w = j->list; w && n < most; w = w->next) list[n++] = w->run;
  pthread_mutex_unlock(&j->mutex);
  return n;
}

/* Takes the lock and the pid's file from here on. */
bool job_watch(jobs *j, const json_t *session, int lock, pid_t pid, long told) {
  char path[4096];
  pthread_t thread;
  watcher *w = calloc(1, sizeof *w);
  if (w) {
    *w = (watcher){.jobs = j,
                   .context = j->context,
                   .id = store_integer(session, "id"),
                   .owner = store_integer(session, "owner"),
                   .model = store_integer(session, "model"),
                   .evaluates = store_integer(session, "evaluates"),
                   .share = NAN,
                   .pid = pid,
                   .told = told,
                   .lock = lock};
    w->run = (device_run){.session = w->id,
                          .owner = w->owner,
                          .pid = pid > 0 ? pid : find_process(w),
                          .need_cpu = store_integer(session, "need_cpu"),
                          .need_gpu = store_integer(session, "need_gpu")};
    snprintf(w->run.device, sizeof w->run.device, "%s", store_text(session, "placed"));
    path_of_job(j->context, w->id, "progress", path, sizeof path);
    w->progress = fopen(path, "re");
  }
  pthread_mutex_lock(&j->mutex);
  bool ok = w && w->progress && pthread_create(&thread, NULL, watch, w) == 0;
  if (ok) {
    pthread_detach(thread);
    w->next = j->list;
    j->list = w;
    j->watchers++;
  }
  pthread_mutex_unlock(&j->mutex);
  if (ok) return true;
  if (w && w->progress) fclose(w->progress);
  free(w);
  close(lock);
  return false;
}
