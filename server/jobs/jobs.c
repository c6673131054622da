#include "jobs.h"

#include "bounds.h"
#include "context/events.h"
#include "context/log.h"
#include "last_error.h"
#include "process.h"
#include "store/sessions.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

typedef struct watcher {
  struct watcher *next;
  device_run run;
  jobs *jobs;
  const context *context;
  int64_t id, owner, model;
  pid_t pid; /* our child, or 0: started by a server before this one */
  int lock;
  FILE *progress;
  long told; /* up to here the file is of earlier runs: listeners have heard it */
  bool done; /* its last event says that it ended well */
  char metrics[2048];
} watcher;

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

static void tell_state(const context *c, int64_t id, int64_t owner, const char *state,
                       const char *error) {
  char object[32];
  snprintf(object, sizeof object, "%lld", (long long)id);
  log_event("session", owner, object, state);
  event_send(
      c, "session", owner, id,
      json_pack("{s:I, s:s, s:s*}", "session", (json_int_t)id, "state", state, "error", error));
}

/* ---- watching ---- */

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

/* What listeners need not hear: the whole record of a long training is a line of megabytes. */
static void pass_on(watcher *w, const char *line, bool is_new) {
  json_t *event = json_loads(line, 0, NULL);
  const char *kind = store_text(event, "event");
  if (kind && strcmp(kind, "done") == 0) w->done = is_new;
  if (kind && strcmp(kind, "epoch") == 0) keep_figures(w, event);
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

static void set_state(watcher *w, const char *state, const char *error) {
  if (session_set_ended(w->context->store, w->id, state, error, context_now()) < 0)
    log_event("session", w->owner, NULL, store_error());
  tell_state(w->context, w->id, w->owner, state, error);
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
  if (w->done && keep_weights(w))
    set_state(w, "finished", NULL);
  else if (wished == CANCEL)
    set_state(w, "cancelled", NULL);
  else if (wished == PAUSE && !error[0]) {
    session_set_paused(w->context->store, w->id);
    tell_state(w->context, w->id, w->owner, "paused", NULL);
  } else if (error[0])
    set_state(w, "failed", error);
  else if (tries >= MOST_TRIES)
    set_state(w, "failed",
              "its process was ended from outside again and again; it may need more memory than "
              "there is");
  else {
    session_set_waiting(w->context->store, w->id);
    tell_state(w->context, w->id, w->owner, "waiting",
               "it was interrupted and resumes from its checkpoint");
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
  free(w);
  return NULL;
}

static int list_runs(void *user, device_run *list, int most) {
  jobs *j = user;
  int n = 0;
  pthread_mutex_lock(&j->mutex);
  for (const watcher *w = j->list; w && n < most; w = w->next) list[n++] = w->run;
  pthread_mutex_unlock(&j->mutex);
  return n;
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

/* Takes the lock and the pid's file from here on. */
static bool start_watcher(jobs *j, const json_t *session, int lock, pid_t pid, long told) {
  char path[4096];
  pthread_t thread;
  watcher *w = calloc(1, sizeof *w);
  if (w) {
    *w = (watcher){.jobs = j,
                   .context = j->context,
                   .id = store_integer(session, "id"),
                   .owner = store_integer(session, "owner"),
                   .model = store_integer(session, "model"),
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

/* ---- starting ---- */

static int open_lock(const jobs *j, int64_t id) {
  char path[4096];
  path_of_job(j->context, id, "lock", path, sizeof path);
  return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static bool write_text(const char *path, const char *text) {
  FILE *f = fopen(path, "we");
  bool ok = f && fputs(text, f) >= 0;
  if (f && fclose(f) != 0) ok = false;
  return ok;
}

/* The parameters are options of `webml train` by their names; the API has checked them. */
static int add_parameters(const json_t *parameters, char *const *fixed, char **arguments,
                          char texts[][48], int most) {
  int n = 0, k = 0;
  const char *name;
  json_t *value;
  while (fixed[n]) arguments[n] = fixed[n], n++;
  json_object_foreach((json_t *)(uintptr_t)parameters, name, value) {
    bool own = strcmp(name, "weights") == 0; /* a number of the server's, see spawn() */
    if (n + 3 >= most || k + 2 >= most || json_is_false(value) || own) continue;
    snprintf(texts[k], 48, "--%.40s", name);
    for (char *c = texts[k]; *c; c++)
      if (*c == '_') *c = '-';
    arguments[n++] = texts[k++];
    if (json_is_true(value)) continue;
    if (json_is_string(value))
      snprintf(texts[k], 48, "%s", json_string_value(value));
    else if (json_is_integer(value))
      snprintf(texts[k], 48, "%lld", (long long)json_integer_value(value));
    else
      snprintf(texts[k], 48, "%.9g", json_number_value(value));
    arguments[n++] = texts[k++];
  }
  arguments[n] = NULL;
  return n;
}

static pid_t spawn(jobs *j, const json_t *session, int lock, char *error, size_t size) {
  enum { MOST = 64 };
  char program[4096], model[4096], data[4096], out[4096], progress[4096], errors[4096], device[96],
      folder[4096], first[4096], texts[MOST][48];
  char *arguments[MOST];
  int64_t id = store_integer(session, "id"), dataset = store_integer(session, "dataset");
  path_of_job(j->context, id, "", folder, sizeof folder);
  path_of_job(j->context, id, "model.json", model, sizeof model);
  path_of_job(j->context, id, "weights.safetensors", out, sizeof out);
  path_of_job(j->context, id, "progress", progress, sizeof progress);
  path_of_job(j->context, id, "errors", errors, sizeof errors);
  path_of_dataset(j->context, dataset, store_text(session, "file"), data, sizeof data);
  snprintf(device, sizeof device, "%s", store_text(session, "placed"));
  if (!process_beside("webml", program, sizeof program)) {
    snprintf(error, size, "the program webml is not beside the server");
    return -1;
  }
  if (!write_text(model, store_text(session, "description"))) {
    snprintf(error, size, "the job's files cannot be written: %s", strerror(errno));
    return -1;
  }
  char *const fixed[] = {program,    "train", model,        "--data", data,       "--out", out,
                         "--device", device,  "--progress", "json",   "--resume", NULL};
  json_t *parameters = json_loads(store_text(session, "parameters"), 0, NULL);
  int n = add_parameters(parameters, fixed, arguments, texts, MOST - 3);
  bool wants_first = json_object_get(parameters, "weights") != NULL;
  json_decref(parameters);
  static char detail[] = "--progress-detail", from[] = "--weights";
  path_of_job(j->context, id, JOB_FIRST_WEIGHTS, first, sizeof first);
  arguments[n++] = detail;
  if (wants_first) arguments[n++] = from, arguments[n++] = first;
  arguments[n] = NULL;
  process_spec spec = {.arguments = arguments,
                       .output = progress,
                       .appends = true,
                       .errors = errors,
                       .background = true,
                       .kept = lock};
  bounds b;
  bounds_of_training(j->context, dataset, folder, strcmp(device, "cpu") != 0, &b);
  bounds_apply(j->context, &b, &spec);
  return process_start(&spec, error, size);
}

/* The progress of earlier runs stays. A line that a kill has cut gets its end. Its size. */
static long end_progress(const jobs *j, int64_t id) {
  char path[CONTEXT_PATH], last = '\n';
  struct stat info = {0};
  path_of_job(j->context, id, "progress", path, sizeof path);
  int fd = open(path, O_RDWR | O_APPEND | O_CLOEXEC);
  if (fd < 0) return 0;
  if (fstat(fd, &info) == 0 && info.st_size && pread(fd, &last, 1, info.st_size - 1) == 1 &&
      last != '\n' && write(fd, "\n", 1) == 1)
    info.st_size++;
  close(fd);
  return (long)info.st_size;
}

static void start_session(jobs *j, const json_t *session) {
  char folder[4096], error[1024] = "", pid_path[4096], text[32];
  int64_t id = store_integer(session, "id"), owner = store_integer(session, "owner");
  path_of_job(j->context, id, "", folder, sizeof folder);
  int lock = mkdir(folder, 0700) == 0 || errno == EEXIST ? open_lock(j, id) : -1;
  pid_t pid = -1;
  long told = end_progress(j, id);
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0)
    snprintf(error, sizeof error, "the job's folder cannot be used: %s", strerror(errno));
  else if (session_set_running(j->context->store, id, store_text(session, "placed"),
                               context_now()) != 1)
    snprintf(error, sizeof error, "the store failed");
  else
    pid = spawn(j, session, lock, error, sizeof error);
  if (pid < 0) {
    if (lock >= 0) close(lock);
    session_set_ended(j->context->store, id, "failed", error, context_now());
    tell_state(j->context, id, owner, "failed", error);
    return;
  }
  /* The lock is the process's now: this description must not hold it. A new one asks for it. */
  close(lock);
  path_of_job(j->context, id, "pid", pid_path, sizeof pid_path);
  snprintf(text, sizeof text, "%d\n", (int)pid);
  write_text(pid_path, text);
  tell_state(j->context, id, owner, "running", NULL);
  lock = open_lock(j, id);
  if (lock < 0 || !start_watcher(j, session, lock, pid, told))
    log_event("session", owner, NULL, "cannot be watched; the next start does");
}

/* ---- the queue ---- */

/* One that was interrupted goes on where it was: elsewhere it would not come to the same bits. */
static device_need need_of(const json_t *session) {
  const char *placed = store_text(session, "placed"), *precision = store_text(session, "precision");
  return (device_need){.wanted = placed ? placed : store_text(session, "device"),
                       .on_cpu = store_integer(session, "need_cpu"),
                       .on_gpu = store_integer(session, "need_gpu"),
                       .bfloat16 = precision && strcmp(precision, "mixed_bfloat16") == 0};
}

/* What the session waits for, device by device. */
static void say_why(const device_state *list, int n, const device_need *need, char *out,
                    size_t size) {
  size_t at = 0;
  out[0] = '\0';
  for (int i = 0; i < n && at + 200 < size; i++) {
    char why[160];
    device_fit fit = device_fits(&list[i], need, why, sizeof why);
    if (fit == FITS || fit == NOT_WANTED) continue;
    at += (size_t)snprintf(out + at, size - at, "%s%s: %s", at ? "; " : "", list[i].name, why);
  }
  if (!at) snprintf(out, size, "there is no device \"%s\" now", need->wanted);
}

static void note_wait(jobs *j, const json_t *session, const char *why) {
  const char *before = store_text(session, "waits_for");
  int64_t id = store_integer(session, "id"), owner = store_integer(session, "owner");
  if (before && strcmp(before, why) == 0) return;
  session_set_waits_for(j->context->store, id, why);
  event_send(j->context, "session", owner, id,
             json_pack("{s:I, s:s, s:s}", "session", (json_int_t)id, "state", "waiting",
                       "waits_for", why));
}

/* The session in whose way this one would be on the device; 0: none. */
static int64_t in_the_way_of(const device_state *d, json_t *const *blocked, int n,
                             const device_need *need) {
  for (int i = 0; i < n; i++) {
    device_need theirs = need_of(blocked[i]);
    if (device_delays(d, &theirs, need)) return store_integer(blocked[i], "id");
  }
  return 0;
}

/* The device on which it may start now; -1: none, and `why`. */
static int place(const device_state *list, int n, json_t *const *blocked, int n_blocked,
                 const json_t *session, bool *ever, char *why, size_t size) {
  device_state left[CHOOSE_MOST_DEVICES];
  device_need need = need_of(session);
  int64_t other = 0;
  memcpy(left, list, (size_t)n * sizeof *left);
  for (int which; (which = device_choose(left, n, &need, ever)) >= 0;) {
    int64_t id = in_the_way_of(&list[which], blocked, n_blocked, &need);
    if (!id) return which;
    other = id;
    left[which].slots = 0;
  }
  if (other)
    snprintf(why, size, "session %lld is before it and waits, too", (long long)other);
  else
    say_why(list, n, &need, why, size);
  return -1;
}

static void give_up(jobs *j, const json_t *session, const char *why) {
  int64_t id = store_integer(session, "id");
  session_set_ended(j->context->store, id, "failed", why, context_now());
  tell_state(j->context, id, store_integer(session, "owner"), "failed", why);
}

/* True: no device will ever hold it or can compute it, not even one that is closed now. */
static bool is_hopeless(const device_state *list, int n, const device_need *need) {
  bool some = false;
  for (int i = 0; i < n; i++) {
    char why[160];
    device_fit fit = device_fits(&list[i], need, why, sizeof why);
    if (fit == FITS || fit == LATER || fit == CLOSED) return false;
    some = some || fit == NEVER || fit == UNABLE;
  }
  return some;
}

/* Starts what can be started; true: some wait on. */
static bool start_waiting(jobs *j) {
  enum { MOST_BLOCKED = 32 };
  json_t *rows = sessions_waiting(j->context->store, j->last_owner), *session,
         *blocked[MOST_BLOCKED];
  int n_blocked = 0;
  size_t i;
  json_array_foreach(rows, i, session) {
    device_state list[CHOOSE_MOST_DEVICES];
    char why[1024];
    bool ever;
    int n = monitor_states(j->monitor, list), which = -1;
    which = place(list, n, blocked, n_blocked, session, &ever, why, sizeof why);
    device_need need = need_of(session);
    if (which >= 0) {
      json_object_set_new(session, "placed",
                          json_string(list[which].gpu ? list[which].uuid : list[which].name));
      j->last_owner = store_integer(session, "owner");
      start_session(j, session);
      monitor_wake(j->monitor);
    } else if (is_hopeless(list, n, &need))
      give_up(j, session, why);
    else {
      note_wait(j, session, why);
      if (n_blocked == MOST_BLOCKED) break;
      blocked[n_blocked++] = session;
    }
  }
  json_decref(rows);
  return n_blocked > 0;
}

static void tell_rows(const jobs *j, json_t *rows, const char *state, const char *error) {
  json_t *row;
  size_t i;
  json_array_foreach(rows, i, row)
      tell_state(j->context, store_integer(row, "id"), store_integer(row, "owner"), state, error);
  json_decref(rows);
}

/* Waiting sessions that were cancelled, or whose data set is gone, need no process for it. */
static void end_waiting(jobs *j) {
  static const char gone[] = "its data set was deleted";
  tell_rows(j, sessions_cancel_waiting(j->context->store), "cancelled", NULL);
  tell_rows(j, sessions_fail_orphans(j->context->store, gone, context_now()), "failed", gone);
}

static void *schedule(void *arg) {
  jobs *j = arg;
  pthread_mutex_lock(&j->mutex);
  while (!j->stop) {
    j->again = false;
    j->starting = !j->paused;
    if (j->starting) {
      pthread_mutex_unlock(&j->mutex);
      end_waiting(j);
      bool waiting = start_waiting(j);
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
    int lock = open_lock(j, store_integer(row, "id"));
    if (lock >= 0 && start_watcher(j, row, lock, 0, 0)) continue;
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
    int lock = open_lock(j, id);
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
