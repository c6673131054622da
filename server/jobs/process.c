#define _GNU_SOURCE /* posix_spawn_file_actions_addchdir_np */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* GPUs in the order of their buses, as the driver's management library has them. */
static const char bus_order[] = "CUDA_DEVICE_ORDER=PCI_BUS_ID";

/* Variables that libraries read. Others may be secrets of whoever runs the server, which a program
 * that a stranger's file has taken over must not find. */
static bool is_passed_on(const char *variable) {
  static const char *const beginnings[] = {
      "PATH=",   "HOME=",  "LANG=",  "LC_",     "TZ=",   "LD_",   "GLIBC_", "MALLOC_",
      "CUDA_",   "CUDNN_", "CUBLAS", "NVIDIA_", "OMP_",  "GOMP_", "KMP_",   "DNNL_",
      "ONEDNN_", "WEBML_", "ASAN_",  "LSAN_",   "TSAN_", "UBSAN_"};
  for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
    if (strncmp(variable, beginnings[i], strlen(beginnings[i])) == 0) return true;
  return false;
}

static bool is_replaced(const char *variable, const char *by) {
  size_t name = strcspn(by, "=") + 1;
  return strncmp(variable, by, name) == 0;
}

/* One block; free(). */
static char **make_environment(const process_spec *spec) {
  static const char *const none[] = {NULL};
  const char *const *own = spec->variables ? spec->variables : none;
  size_t n = 0, n_own = 0, at = 0;
  while (environ[n]) n++;
  while (own[n_own]) n_own++;
  const char **list = malloc((n + n_own + 2) * sizeof *list);
  if (!list) return NULL;
  for (size_t i = 0; i < n; i++) {
    bool left =
        (spec->confinement && !is_passed_on(environ[i])) || is_replaced(environ[i], bus_order);
    for (size_t k = 0; k < n_own && !left; k++) left = is_replaced(environ[i], own[k]);
    if (!left) list[at++] = environ[i];
  }
  for (size_t k = 0; k < n_own; k++) list[at++] = own[k];
  list[at++] = bus_order;
  list[at] = NULL;
  return (char **)list;
}

/* A command line, with room for what its words point to. */
typedef struct command {
  char launcher[4096];
  confinement_numbers numbers;
  const char *words[1 + CONFINEMENT_WORDS + PROCESS_MOST_ARGUMENTS + 1];
} command;

/* False with a sentence. */
static bool make_command(const process_spec *spec, command *c, char *error, size_t size) {
  int n = 0;
  if (spec->confinement) {
    c->words[n++] = process_beside("webml-confined", c->launcher, sizeof c->launcher);
    if (!c->words[0]) {
      snprintf(error, size, "the program webml-confined is not beside the server");
      return false;
    }
    n += confinement_words(spec->confinement, &c->numbers, c->words + n);
  }
  for (int i = 0; i < PROCESS_MOST_ARGUMENTS && spec->arguments[i]; i++)
    c->words[n++] = spec->arguments[i];
  c->words[n] = NULL;
  return true;
}

static int add_files(posix_spawn_file_actions_t *actions, const process_spec *spec) {
  const int flags = O_WRONLY | O_CREAT | O_TRUNC,
            output = spec->appends ? O_WRONLY | O_CREAT | O_APPEND : flags;
  int failed = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  if (!failed)
    failed = posix_spawn_file_actions_addopen(actions, 1, spec->output ? spec->output : "/dev/null",
                                              output, 0600);
  if (!failed)
    failed = posix_spawn_file_actions_addopen(actions, 2, spec->errors ? spec->errors : "/dev/null",
                                              flags, 0600);
  if (!failed && spec->folder) failed = posix_spawn_file_actions_addchdir_np(actions, spec->folder);
  if (!failed && spec->kept) failed = posix_spawn_file_actions_adddup2(actions, spec->kept, 3);
  if (!failed) failed = posix_spawn_file_actions_addclosefrom_np(actions, spec->kept ? 4 : 3);
  return failed;
}

pid_t process_start(const process_spec *spec, char *error, size_t size) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  pid_t pid = -1;
  command line;
  if (!make_command(spec, &line, error, size)) return -1;
  char **environment = make_environment(spec);
  /* Blocked until the program waits for it: see cli/train.c. */
  sigemptyset(&none);
  sigaddset(&none, SIGUSR1);
  sigfillset(&all);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  /* Signals as a fresh program has them, and a group of its own: ^C at the server is not its. */
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  int failed = environment ? add_files(&actions, spec) : ENOMEM;
  if (!failed)
    failed = posix_spawn(&pid, line.words[0], &actions, &attributes,
                         (char *const *)(uintptr_t)line.words, environment);
  if (failed) {
    snprintf(error, size, "cannot start %s: %s", line.words[0], strerror(failed));
    pid = -1;
  } else if (spec->background)
    setpriority(PRIO_PROCESS, (id_t)pid, 10);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  free(environment);
  return pid;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

bool process_await(pid_t pid, uint64_t seconds) {
  siginfo_t info = {0};
  const double end = seconds ? now() + (double)seconds : 0.0;
  int fd = seconds ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
  bool ended = false, late = false;
  while (!ended && !late) {
    /* A descriptor of the process becomes readable when it ends. Kernels before 5.3 have none. */
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (seconds) poll(&wait, 1, fd < 0 ? 20 : 1000);
    int got = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT | (seconds ? WNOHANG : 0));
    ended = got == 0 ? info.si_pid == pid : errno != EINTR;
    late = seconds && now() >= end;
  }
  if (fd >= 0) close(fd);
  return ended;
}

int process_wait(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return 127;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

const char *process_beside(const char *name, char *path, size_t size) {
  ssize_t n = readlink("/proc/self/exe", path, size - 1);
  if (n < 0) return NULL;
  path[n] = '\0';
  char *slash = strrchr(path, '/');
  size_t at = slash ? (size_t)(slash + 1 - path) : 0;
  snprintf(path + at, size - at, "%s", name);
  return access(path, X_OK) == 0 ? path : NULL;
}
