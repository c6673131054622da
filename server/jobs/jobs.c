#include "jobs.h"

#include "api/events.h"
#include "devices/monitor.h"
#include "folder.h"
#include "process.h"

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
  pthread_t thread;
  pthread_mutex_t mutex;
  pthread_cond_t changed;
  bool stop, started;
  bool again, waiting; /* waiting: sessions that nothing fits */
  bool paused, starting; /* starting: the queue is being gone through */
  int watchers;
  struct watcher *list; /* one for each training that runs */
  int64_t last_owner;   /* whose job was started last */
};

typedef struct watcher {
  struct watcher *next;
  job_run run;
  api *a;
  int64_t id, owner, model;
  pid_t pid; /* our child, or 0: started by a server before this one */
  int lock;
  FILE *progress;
  bool done; /* its last event says that it ended well */
  char metrics[2048];
} watcher;

void jobs_path(const api *a, int64_t session, const char *file, char *path, size_t size) {
  snprintf(path, size, "%s/jobs/%lld/%s", a->data_dir, (long long)session, file);
}

void jobs_remove(const api *a, int64_t session) {
  char folder[2048];
  jobs_path(a, session, "", folder, sizeof folder);
  folder_remove(folder);
}

void jobs_wake(api *a) {
  if (!a->jobs) return;
  pthread_mutex_lock(&a->jobs->mutex);
  a->jobs->again = true;
  pthread_cond_broadcast(&a->jobs->changed);
  pthread_mutex_unlock(&a->jobs->mutex);
}

void jobs_devices_changed(api *a) {
  struct jobs *j = a->jobs;
  if (!j) return;
  pthread_mutex_lock(&j->mutex);
  bool waiting = j->waiting;
  pthread_mutex_unlock(&j->mutex);
  if (waiting) jobs_wake(a);
}

static void tell_state(api *a, int64_t id, int64_t owner, const char *state, const char *error) {
  char object[32];
  snprintf(object, sizeof object, "%lld", (long long)id);
  api_log("session", NULL, owner, object, state);
  event_send(
      a, "session", owner, id,
      json_pack("{s:I, s:s, s:s*}", "session", (json_int_t)id, "state", state, "error", error));
}

/* ---- watching ---- */

/* Passes on whole lines that are new. */
static void read_progress(watcher *w) {
  char line[8192];
  for (;;) {
    long at = ftell(w->progress);
    if (!fgets(line, sizeof line, w->progress)) break;
    if (!strchr(line, '\n')) { /* half a line: it is read again */
      fseek(w->progress, at, SEEK_SET);
      break;
    }
    json_t *event = json_loads(line, 0, NULL);
    const char *kind = json_string_value(json_object_get(event, "event"));
    if (kind && strcmp(kind, "done") == 0) w->done = true;
    if (kind && strcmp(kind, "epoch") == 0)
      snprintf(w->metrics, sizeof w->metrics, "%.2000s", line);
    if (kind) {
      json_object_set_new(event, "session", json_integer(w->id));
      event_send(w->a, "progress", w->owner, w->id, json_incref(event));
    }
    json_decref(event);
  }
  clearerr(w->progress);
}

/* The process has ended: nobody else holds the lock. */
static bool has_ended(watcher *w) {
  int status;
  if (w->pid > 0 && waitpid(w->pid, &status, WNOHANG) == w->pid) w->pid = 0;
  return flock(w->lock, LOCK_EX | LOCK_NB) == 0;
}

static bool is_cancelled(watcher *w) {
  bool found;
  json_t *row =
      store_row(w->a->store, &found, "SELECT cancelled FROM sessions WHERE id = ?", "i", w->id);
  bool yes = (!row && !found) || json_integer_value(json_object_get(row, "cancelled"));
  json_decref(row);
  return yes; /* a session that was deleted counts as cancelled */
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
  jobs_path(w->a, w->id, "pid", path, sizeof path);
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

/* Asks the process to end. */
static void interrupt(const watcher *w) {
  int64_t pid = w->pid > 0 ? w->pid : find_process(w);
  if (pid > 1) kill((pid_t)pid, SIGINT);
}

static void last_error(const watcher *w, char *out, size_t size) {
  char path[4096];
  jobs_path(w->a, w->id, "errors", path, sizeof path);
  folder_last_error(path, out, size);
  api_hide_paths(w->a, out);
}

static bool keep_weights(watcher *w) {
  char path[4096];
  struct stat info;
  jobs_path(w->a, w->id, "weights.safetensors", path, sizeof path);
  if (stat(path, &info) != 0) return false;
  int64_t id = store_insert(w->a->store,
                            "INSERT INTO weights (owner, model, session, bytes, metrics, created) "
                            "VALUES (?, ?, ?, ?, ?, ?)",
                            "iiiisi", w->owner, w->model, w->id, (int64_t)info.st_size,
                            w->metrics[0] ? w->metrics : "{}", api_now());
  if (id < 0 && id != STORE_EXISTS) return false;
  jobs_path(w->a, w->id, "weights.safetensors.checkpoint", path, sizeof path);
  unlink(path);
  return true;
}

static void set_state(watcher *w, const char *state, const char *error) {
  if (store_run(w->a->store, "UPDATE sessions SET state = ?, error = ?, ended = ? WHERE id = ?",
                "ssii", state, error, api_now(), w->id) < 0)
    api_log("session", NULL, w->owner, NULL, store_error());
  tell_state(w->a, w->id, w->owner, state, error);
}

/* What came of the process, by what it left. Interrupted ones (killed, out of memory) wait again.
 */
static void account(watcher *w) {
  char error[1024];
  bool found, cancelled = is_cancelled(w);
  last_error(w, error, sizeof error);
  json_t *row =
      store_row(w->a->store, &found, "SELECT tries FROM sessions WHERE id = ?", "i", w->id);
  int64_t tries = json_integer_value(json_object_get(row, "tries"));
  json_decref(row);
  if (!row && !found) {
    jobs_remove(w->a, w->id); /* deleted meanwhile */
    return;
  }
  if (w->done && keep_weights(w))
    set_state(w, "finished", NULL);
  else if (cancelled)
    set_state(w, "cancelled", NULL);
  else if (error[0])
    set_state(w, "failed", error);
  else if (tries >= MOST_TRIES)
    set_state(w, "failed",
              "its process was ended from outside again and again; it may need more memory than "
              "there is");
  else {
    store_run(w->a->store, "UPDATE sessions SET state = 'waiting' WHERE id = ?", "i", w->id);
    tell_state(w->a, w->id, w->owner, "waiting",
               "it was interrupted and resumes from its checkpoint");
  }
}

static void *watch(void *arg) {
  watcher *w = arg;
  struct jobs *j = w->a->jobs;
  bool asked = false;
  for (int round = 0;; round++) {
    bool ended = has_ended(w);
    read_progress(w);
    if (ended) break;
    pthread_mutex_lock(&j->mutex);
    bool stop = j->stop;
    pthread_mutex_unlock(&j->mutex);
    if (stop) goto leave; /* the process goes on; the next server looks after it */
    if (!asked && round % 3 == 0 && is_cancelled(w)) interrupt(w), asked = true;
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

int jobs_running(api *a, job_run *list, int most) {
  struct jobs *j = a->jobs;
  int n = 0;
  if (!j) return 0;
  pthread_mutex_lock(&j->mutex);
  for (const watcher *w = j->list; w && n < most; w = w->next) list[n++] = w->run;
  pthread_mutex_unlock(&j->mutex);
  return n;
}

bool jobs_pause(api *a) {
  struct jobs *j = a->jobs;
  pthread_mutex_lock(&j->mutex);
  j->paused = true;
  while (j->starting) pthread_cond_wait(&j->changed, &j->mutex);
  bool idle = j->watchers == 0;
  j->paused = idle;
  pthread_mutex_unlock(&j->mutex);
  return idle;
}

void jobs_resume(api *a) {
  pthread_mutex_lock(&a->jobs->mutex);
  a->jobs->paused = false;
  pthread_mutex_unlock(&a->jobs->mutex);
  jobs_wake(a);
}

/* Takes the lock and the pid's file from here on. */
static bool start_watcher(api *a, const json_t *session, int lock, pid_t pid) {
  char path[4096];
  pthread_t thread;
  watcher *w = calloc(1, sizeof *w);
  if (w) {
    *w = (watcher){.a = a,
                   .id = json_integer_value(json_object_get(session, "id")),
                   .owner = json_integer_value(json_object_get(session, "owner")),
                   .model = json_integer_value(json_object_get(session, "model")),
                   .pid = pid,
                   .lock = lock};
    w->run = (job_run){.session = w->id,
                       .owner = w->owner,
                       .pid = pid > 0 ? pid : find_process(w),
                       .need_cpu = store_integer(session, "need_cpu"),
                       .need_gpu = store_integer(session, "need_gpu")};
    snprintf(w->run.device, sizeof w->run.device, "%s",
             json_string_value(json_object_get(session, "placed")));
    jobs_path(a, w->id, "progress", path, sizeof path);
    w->progress = fopen(path, "re");
  }
  pthread_mutex_lock(&a->jobs->mutex);
  bool ok = w && w->progress && pthread_create(&thread, NULL, watch, w) == 0;
  if (ok) {
    pthread_detach(thread);
    w->next = a->jobs->list;
    a->jobs->list = w;
    a->jobs->watchers++;
  }
  pthread_mutex_unlock(&a->jobs->mutex);
  if (ok) return true;
  if (w && w->progress) fclose(w->progress);
  free(w);
  close(lock);
  return false;
}

/* ---- starting ---- */

static int open_lock(const api *a, int64_t id) {
  char path[4096];
  jobs_path(a, id, "lock", path, sizeof path);
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
    if (n + 3 >= most || k + 2 >= most || json_is_false(value)) continue;
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

static pid_t spawn(api *a, const json_t *session, int lock, char *error, size_t size) {
  enum { MOST = 64 };
  char program[4096], model[4096], data[4096], out[4096], progress[4096], errors[4096], device[96],
      texts[MOST][48];
  char *arguments[MOST];
  int64_t id = json_integer_value(json_object_get(session, "id"));
  jobs_path(a, id, "model.json", model, sizeof model);
  jobs_path(a, id, "weights.safetensors", out, sizeof out);
  jobs_path(a, id, "progress", progress, sizeof progress);
  jobs_path(a, id, "errors", errors, sizeof errors);
  snprintf(data, sizeof data, "%s/datasets/%lld/%s", a->data_dir,
           (long long)json_integer_value(json_object_get(session, "dataset")),
           json_string_value(json_object_get(session, "file")));
  snprintf(device, sizeof device, "%s", json_string_value(json_object_get(session, "placed")));
  if (!process_beside("webml", program, sizeof program)) {
    snprintf(error, size, "the program webml is not beside the server");
    return -1;
  }
  if (!write_text(model, json_string_value(json_object_get(session, "description")))) {
    snprintf(error, size, "the job's files cannot be written: %s", strerror(errno));
    return -1;
  }
  char *const fixed[] = {program,    "train", model,        "--data", data,       "--out", out,
                         "--device", device,  "--progress", "json",   "--resume", NULL};
  json_t *parameters =
      json_loads(json_string_value(json_object_get(session, "parameters")), 0, NULL);
  add_parameters(parameters, fixed, arguments, texts, MOST);
  json_decref(parameters);
  process_spec spec = {.arguments = arguments,
                       .output = progress,
                       .errors = errors,
                       .background = true,
                       .kept = lock};
  return process_start(&spec, error, size);
}

static void start_session(api *a, const json_t *session) {
  char folder[4096], error[1024] = "", pid_path[4096], text[32];
  int64_t id = json_integer_value(json_object_get(session, "id")),
          owner = json_integer_value(json_object_get(session, "owner"));
  jobs_path(a, id, "", folder, sizeof folder);
  int lock = mkdir(folder, 0700) == 0 || errno == EEXIST ? open_lock(a, id) : -1;
  pid_t pid = -1;
  if (lock < 0 || flock(lock, LOCK_EX | LOCK_NB) != 0)
    snprintf(error, sizeof error, "the job's folder cannot be used: %s", strerror(errno));
  else if (store_run(a->store,
                     "UPDATE sessions SET state = 'running', started = COALESCE(started, ?), tries "
                     "= tries + 1, placed = ?, waits_for = NULL WHERE id = ?",
                     "isi", api_now(), json_string_value(json_object_get(session, "placed")),
                     id) != 1)
    snprintf(error, sizeof error, "the store failed");
  else
    pid = spawn(a, session, lock, error, sizeof error);
  if (pid < 0) {
    if (lock >= 0) close(lock);
    store_run(a->store, "UPDATE sessions SET state = 'failed', error = ?, ended = ? WHERE id = ?",
              "sii", error, api_now(), id);
    tell_state(a, id, owner, "failed", error);
    return;
  }
  /* The lock is the process's now: this description must not hold it. A new one asks for it. */
  close(lock);
  jobs_path(a, id, "pid", pid_path, sizeof pid_path);
  snprintf(text, sizeof text, "%d\n", (int)pid);
  write_text(pid_path, text);
  tell_state(a, id, owner, "running", NULL);
  lock = open_lock(a, id);
  if (lock < 0 || !start_watcher(a, session, lock, pid))
    api_log("session", NULL, owner, NULL, "cannot be watched; the next start does");
}

/* ---- the queue ---- */

static const char columns[] =
    "SELECT s.id AS id, s.owner AS owner, s.model AS model, s.dataset AS dataset, s.device AS "
    "device, s.placed AS placed, s.waits_for AS waits_for, s.need_cpu AS need_cpu,"
    " s.need_gpu AS need_gpu,"
    " s.parameters AS parameters, json_extract(s.parameters, '$.precision') AS precision,"
    " m.description AS description, d.file AS file"
    " FROM sessions s JOIN models m ON m.id = s.model JOIN datasets d ON d.id = s.dataset";

/* Those that wait: everybody's first, beginning behind the user whose turn it was last, then
 * everybody's second, ... */
static json_t *waiting_in_order(api *a) {
  char sql[1600];
  snprintf(sql, sizeof sql,
           "SELECT *, ROW_NUMBER() OVER (PARTITION BY owner ORDER BY id) AS turn FROM (%s WHERE "
           "s.state = 'waiting' AND NOT s.cancelled) ORDER BY turn, owner <= ?, owner LIMIT 256",
           columns);
  return store_rows(a->store, sql, "i", a->jobs->last_owner);
}

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

static void note_wait(api *a, const json_t *session, const char *why) {
  const char *before = store_text(session, "waits_for");
  int64_t id = store_integer(session, "id"), owner = store_integer(session, "owner");
  if (before && strcmp(before, why) == 0) return;
  store_run(a->store, "UPDATE sessions SET waits_for = ? WHERE id = ? AND state = 'waiting'", "si",
            why, id);
  event_send(a, "session", owner, id,
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

static void give_up(api *a, const json_t *session, const char *why) {
  int64_t id = store_integer(session, "id");
  store_run(a->store, "UPDATE sessions SET state = 'failed', error = ?, ended = ? WHERE id = ?",
            "sii", why, api_now(), id);
  tell_state(a, id, store_integer(session, "owner"), "failed", why);
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
static bool start_waiting(api *a) {
  enum { MOST_BLOCKED = 32 };
  json_t *rows = waiting_in_order(a), *session, *blocked[MOST_BLOCKED];
  int n_blocked = 0;
  size_t i;
  json_array_foreach(rows, i, session) {
    device_state list[CHOOSE_MOST_DEVICES];
    char why[1024];
    bool ever;
    int n = monitor_states(a, list), which = -1;
    which = place(list, n, blocked, n_blocked, session, &ever, why, sizeof why);
    device_need need = need_of(session);
    if (which >= 0) {
      json_object_set_new(session, "placed",
                          json_string(list[which].gpu ? list[which].uuid : list[which].name));
      a->jobs->last_owner = store_integer(session, "owner");
      start_session(a, session);
      monitor_wake(a);
    } else if (is_hopeless(list, n, &need))
      give_up(a, session, why);
    else {
      note_wait(a, session, why);
      if (n_blocked == MOST_BLOCKED) break;
      blocked[n_blocked++] = session;
    }
  }
  json_decref(rows);
  return n_blocked > 0;
}

/* Waiting sessions that were cancelled need no process for it. */
static void cancel_waiting(api *a) {
  json_t *rows = store_rows(a->store,
                            "UPDATE sessions SET state = 'cancelled', ended = created WHERE state "
                            "= 'waiting' AND cancelled"
                            " RETURNING id, owner",
                            ""),
         *row;
  size_t i;
  json_array_foreach(rows, i, row)
      tell_state(a, json_integer_value(json_object_get(row, "id")),
                 json_integer_value(json_object_get(row, "owner")), "cancelled", NULL);
  json_decref(rows);
}

static void *schedule(void *arg) {
  api *a = arg;
  struct jobs *j = a->jobs;
  pthread_mutex_lock(&j->mutex);
  while (!j->stop) {
    j->again = false;
    j->starting = !j->paused;
    if (j->starting) {
      pthread_mutex_unlock(&j->mutex);
      cancel_waiting(a);
      bool waiting = start_waiting(a);
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

static bool take_up(api *a) {
  char sql[1024];
  json_t *row;
  size_t i;
  snprintf(sql, sizeof sql, "%s WHERE s.state = 'running'", columns);
  json_t *rows = store_rows(a->store, sql, "");
  json_array_foreach(rows, i, row) {
    int lock = open_lock(a, json_integer_value(json_object_get(row, "id")));
    if (lock >= 0 && start_watcher(a, row, lock, 0)) continue;
    store_run(a->store, "UPDATE sessions SET state = 'waiting' WHERE id = ?", "i",
              json_integer_value(json_object_get(row, "id")));
  }
  bool ok = rows != NULL;
  json_decref(rows);
  return ok;
}

void jobs_tidy(api *a) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s/jobs", a->data_dir);
  DIR *d = opendir(folder);
  for (struct dirent *e; d && (e = readdir(d));) {
    bool found;
    int64_t id = strtoll(e->d_name, NULL, 10);
    if (id < 1) continue;
    json_t *row = store_row(a->store, &found,
                            "SELECT 1 AS one FROM sessions WHERE id = ?1 UNION SELECT 1 FROM "
                            "weights WHERE session = ?1",
                            "i", id);
    json_decref(row);
    if (found) continue;
    int lock = open_lock(a, id);
    if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0) jobs_remove(a, id);
    if (lock >= 0) close(lock);
  }
  if (d) closedir(d);
}

bool jobs_start(api *a) {
  char folder[4096];
  struct jobs *j = calloc(1, sizeof *j);
  snprintf(folder, sizeof folder, "%s/jobs", a->data_dir);
  if (!j || (mkdir(folder, 0700) != 0 && errno != EEXIST)) {
    free(j);
    return false;
  }
  pthread_mutex_init(&j->mutex, NULL);
  pthread_cond_init(&j->changed, NULL);
  a->jobs = j;
  jobs_tidy(a);
  j->started = take_up(a) && pthread_create(&j->thread, NULL, schedule, a) == 0;
  return j->started;
}

void jobs_stop(api *a) {
  struct jobs *j = a->jobs;
  if (!j) return;
  pthread_mutex_lock(&j->mutex);
  j->stop = true;
  pthread_cond_broadcast(&j->changed);
  pthread_mutex_unlock(&j->mutex);
  if (j->started) pthread_join(j->thread, NULL);
  pthread_mutex_lock(&j->mutex);
  while (j->watchers > 0) pthread_cond_wait(&j->changed, &j->mutex);
  pthread_mutex_unlock(&j->mutex);
  pthread_mutex_destroy(&j->mutex);
  pthread_cond_destroy(&j->changed);
  free(j);
  a->jobs = NULL;
}
