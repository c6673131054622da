/* Starting jobs: `webml train` or `webml evaluate` in a folder and a process of its own. */
#include "bounds.h"
#include "context/log.h"
#include "internal.h"
#include "process.h"
#include "store/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int job_open_lock(const jobs *j, int64_t id) {
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

/* The parameters are options of `webml` by their names; the API has checked them. */
static int add_parameters(const json_t *parameters, char *const *fixed, char **arguments,
                          char texts[][48], int most) {
  int n = 0, k = 0;
  const char *name;
  json_t *value;
  while (fixed[n]) arguments[n] = fixed[n], n++;
  json_object_foreach((json_t *)(uintptr_t)parameters, name, value) {
    bool own = strcmp(name, "weights") == 0; /* a number of the server's, see train() */
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

enum { MOST = 64 };

/* The words of a program with the texts that they point to. */
typedef struct command {
  char program[CONTEXT_PATH], model[CONTEXT_PATH], data[CONTEXT_PATH], out[CONTEXT_PATH],
      first[CONTEXT_PATH], device[96], texts[MOST][48];
  char *words[MOST];
} command;

static void train(command *c, const json_t *parameters) {
  char *const fixed[] = {c->program,
                         "train",
                         c->model,
                         "--data",
                         c->data,
                         "--out",
                         c->out,
                         "--device",
                         c->device,
                         "--progress",
                         "json",
                         "--resume",
                         "--progress-detail",
                         NULL};
  int n = add_parameters(parameters, fixed, c->words, c->texts, MOST - 2);
  static char from[] = "--weights";
  if (json_object_get(parameters, "weights")) c->words[n++] = from, c->words[n++] = c->first;
  c->words[n] = NULL;
}

static void evaluate(command *c, const json_t *parameters) {
  char *const fixed[] = {c->program, "evaluate", c->first,     "--data", c->data,
                         "--device", c->device,  "--progress", "json",   NULL};
  add_parameters(parameters, fixed, c->words, c->texts, MOST);
}

/* False with a sentence: a file of the job cannot be written, or the program is not there. */
static bool prepare(jobs *j, const json_t *session, command *c, char *error, size_t size) {
  int64_t id = store_integer(session, "id");
  bool trains = !store_integer(session, "evaluates");
  path_of_job(j->context, id, "model.json", c->model, sizeof c->model);
  path_of_job(j->context, id, "weights.safetensors", c->out, sizeof c->out);
  path_of_job(j->context, id, JOB_FIRST_WEIGHTS, c->first, sizeof c->first);
  path_of_dataset(j->context, store_integer(session, "dataset"), store_text(session, "file"),
                  c->data, sizeof c->data);
  snprintf(c->device, sizeof c->device, "%s", store_text(session, "placed"));
  if (!process_beside("webml", c->program, sizeof c->program)) {
    snprintf(error, size, "the program webml is not beside the server");
    return false;
  }
  if (trains && !write_text(c->model, store_text(session, "description"))) {
    snprintf(error, size, "the job's files cannot be written: %s", strerror(errno));
    return false;
  }
  json_t *parameters = json_loads(store_text(session, "parameters"), 0, NULL);
  (trains ? train : evaluate)(c, parameters);
  json_decref(parameters);
  return true;
}

static pid_t spawn(jobs *j, const json_t *session, int lock, char *error, size_t size) {
  char folder[CONTEXT_PATH], progress[CONTEXT_PATH], errors[CONTEXT_PATH];
  int64_t id = store_integer(session, "id");
  command c;
  if (!prepare(j, session, &c, error, size)) return -1;
  path_of_job(j->context, id, "", folder, sizeof folder);
  path_of_job(j->context, id, "progress", progress, sizeof progress);
  path_of_job(j->context, id, "errors", errors, sizeof errors);
  process_spec spec = {.arguments = c.words,
                       .output = progress,
                       .appends = true,
                       .errors = errors,
                       .background = true,
                       .kept = lock};
  bounds b;
  bounds_of_training(j->context, store_integer(session, "dataset"), folder,
                     strcmp(c.device, "cpu") != 0, &b);
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

void job_start(jobs *j, const json_t *session) {
  char folder[4096], error[1024] = "", pid_path[4096], text[32];
  int64_t id = store_integer(session, "id"), owner = store_integer(session, "owner");
  path_of_job(j->context, id, "", folder, sizeof folder);
  int lock = mkdir(folder, 0700) == 0 || errno == EEXIST ? job_open_lock(j, id) : -1;
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
    job_tell(j->context, id, owner, "failed", error);
    return;
  }
  /* The lock is the process's now: this description must not hold it. A new one asks for it. */
  close(lock);
  path_of_job(j->context, id, "pid", pid_path, sizeof pid_path);
  snprintf(text, sizeof text, "%d\n", (int)pid);
  write_text(pid_path, text);
  job_tell(j->context, id, owner, "running", NULL);
  lock = job_open_lock(j, id);
  if (lock < 0 || !job_watch(j, session, lock, pid, told))
    log_event("session", owner, NULL, "cannot be watched; the next start does");
}
