#include "tool.h"

#include "bounds.h"
#include "last_error.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 64, AT_ONCE = 4, MOST_WAITING = 4, MOST_OUTPUT = 64 << 20 };

struct tools {
  const context *context;
  pthread_mutex_t mutex;
  pthread_cond_t ended;
  pid_t running[MOST];  /* 0: free */
  int at_once, waiting; /* runs for requests, and those that would like to */
  bool stop;
};

/* What a killed server left. */
static void remove_leavings(const context *c) {
  char path[4096];
  DIR *d = opendir(c->data_dir);
  for (struct dirent *e; d && (e = readdir(d));) {
    if (strncmp(e->d_name, "work-", 5) != 0) continue;
    snprintf(path, sizeof path, "%s/%s", c->data_dir, e->d_name);
    folder_remove(path);
  }
  if (d) closedir(d);
}

tools *tools_create(const context *c) {
  tools *t = calloc(1, sizeof *t);
  if (!t) return NULL;
  remove_leavings(c);
  t->context = c;
  pthread_mutex_init(&t->mutex, NULL);
  pthread_cond_init(&t->ended, NULL);
  return t;
}

void tools_stop(tools *t) {
  if (!t) return;
  pthread_mutex_lock(&t->mutex);
  t->stop = true;
  for (int i = 0; i < MOST; i++)
    if (t->running[i] > 0) kill(t->running[i], SIGKILL); /* not waited for: the number is its own */
  pthread_cond_broadcast(&t->ended);
  pthread_mutex_unlock(&t->mutex);
}

void tools_destroy(tools *t) {
  if (!t) return;
  pthread_mutex_destroy(&t->mutex);
  pthread_cond_destroy(&t->ended);
  free(t);
}

/* A free place; -1: the server stops. The mutex is held. */
static int find_place(tools *t) {
  for (;;) {
    if (t->stop) return -1;
    for (int i = 0; i < MOST; i++)
      if (t->running[i] == 0) return i;
    pthread_cond_wait(&t->ended, &t->mutex);
  }
}

/* Waits for the process without reaping it: until it is taken out of the list its number is its
 * own. False: it had to be ended. */
static bool await(pid_t pid, uint64_t seconds, char *error, size_t size) {
  if (process_await(pid, seconds)) return true;
  kill(pid, SIGKILL);
  process_await(pid, 0);
  snprintf(error, size, "it took longer than the %llu seconds that a file of this size may take",
           (unsigned long long)seconds);
  return false;
}

int tool_wait(tools *t, const process_spec *spec, uint64_t seconds, char *error, size_t size) {
  pthread_mutex_lock(&t->mutex);
  int place = find_place(t);
  pid_t pid = place >= 0 ? process_start(spec, error, size) : -1;
  if (place >= 0 && pid > 0) t->running[place] = pid;
  pthread_mutex_unlock(&t->mutex);
  if (place < 0) return -1;
  bool in_time = pid <= 0 || await(pid, seconds, error, size);
  pthread_mutex_lock(&t->mutex);
  t->running[place] = 0;
  int code = pid > 0 ? process_wait(pid) : 127;
  if (!in_time) code = TOOL_TOO_SLOW;
  if (t->stop) code = -1;
  pthread_cond_broadcast(&t->ended);
  pthread_mutex_unlock(&t->mutex);
  return code;
}

static bool write_model(const char *path, const char *text) {
  FILE *f = fopen(path, "we");
  bool ok = f && fputs(text, f) >= 0;
  if (f && fclose(f) != 0) ok = false;
  return ok;
}

static char *read_whole(const char *path, size_t *size) {
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  char *bytes = NULL;
  if (fd >= 0 && fstat(fd, &info) == 0 && info.st_size <= MOST_OUTPUT &&
      (bytes = malloc((size_t)info.st_size + 1))) {
    ssize_t n = read(fd, bytes, (size_t)info.st_size);
    *size = n > 0 ? (size_t)n : 0;
    bytes[*size] = '\0';
  }
  if (fd >= 0) close(fd);
  return bytes;
}

/* Only so many at a time: each takes a processor, and a thread that others need. */
static bool enter(tools *t) {
  pthread_mutex_lock(&t->mutex);
  bool ok = t->at_once < AT_ONCE || t->waiting < MOST_WAITING;
  t->waiting += ok;
  while (ok && t->at_once >= AT_ONCE && !t->stop) pthread_cond_wait(&t->ended, &t->mutex);
  t->waiting -= ok;
  ok = ok && !t->stop;
  t->at_once += ok;
  pthread_mutex_unlock(&t->mutex);
  return ok;
}

static void leave(tools *t) {
  pthread_mutex_lock(&t->mutex);
  t->at_once--;
  pthread_cond_broadcast(&t->ended);
  pthread_mutex_unlock(&t->mutex);
}

/* The process of a request, in a folder of its own. */
static int start_and_wait(tools *t, const tool_request *request, const char *folder,
                          process_spec *spec, char *error, size_t size) {
  bounds b;
  bounds_of_run(t->context, request->dataset, folder, &b);
  if (request->weights) bounds_add_readable(&b, request->weights);
  b.confinement.gpu = request->gpu;
  bounds_apply(t->context, &b, spec);
  return tool_wait(t, spec, b.seconds, error, size);
}

static int run_in(tools *t, const char *folder, const tool_request *request, char **output,
                  size_t *size, char *error, size_t error_size) {
  char program[4096], model[4096], out[4096], errors[4096];
  char *arguments[32] = {program};
  const char *const *words = request->words;
  snprintf(model, sizeof model, "%s/model.json", folder);
  snprintf(out, sizeof out, "%s/output", folder);
  snprintf(errors, sizeof errors, "%s/errors", folder);
  for (int i = 0; i < 30 && words[i]; i++)
    arguments[i + 1] = strcmp(words[i], TOOL_MODEL) == 0 ? model : (char *)(uintptr_t)words[i];
  if (!process_beside("webml", program, sizeof program)) {
    snprintf(error, error_size, "the program webml is not beside the server");
    return 127;
  }
  if (request->description && !write_model(model, request->description)) {
    snprintf(error, error_size, "there is no room to work in");
    return 127;
  }
  process_spec spec = {.arguments = arguments, .output = out, .errors = errors, .background = true};
  int code = start_and_wait(t, request, folder, &spec, error, error_size);
  if (code == 0) *output = read_whole(out, size);
  if (code != 0 && !error[0]) last_error_of(errors, error, error_size);
  return code;
}

tool_outcome tool_run(tools *t, const tool_request *request, char **output, size_t *size,
                      char *error, size_t error_size) {
  char folder[3000];
  *output = NULL;
  *size = 0;
  error[0] = '\0';
  snprintf(folder, sizeof folder, "%s/work-XXXXXX", t->context->data_dir);
  if (!enter(t)) {
    snprintf(error, error_size, "too much of this kind is under way; try again in a moment");
    return TOOL_BUSY;
  }
  if (!mkdtemp(folder)) {
    leave(t);
    snprintf(error, error_size, "there is no room to work in");
    return TOOL_FAILED;
  }
  int code = run_in(t, folder, request, output, size, error, error_size);
  folder_remove(folder);
  leave(t);
  hide_paths(t->context, error);
  if (*output) return TOOL_DONE;
  if (!error[0])
    snprintf(error, error_size,
             code < 0 ? "the server stops"
                      : "it ended with %d: it may need more memory than there is",
             code);
  return code == 1 || code == TOOL_TOO_SLOW ? TOOL_REFUSED : code < 0 ? TOOL_BUSY : TOOL_FAILED;
}
