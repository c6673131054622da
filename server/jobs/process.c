#define _GNU_SOURCE /* posix_spawn_file_actions_addchdir_np */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* The server's environment, with GPUs in the order of their buses as the driver's management
 * library has them. One block; free(). */
static char **make_environment(void) {
  static char order[] = "CUDA_DEVICE_ORDER=PCI_BUS_ID";
  size_t n = 0;
  while (environ[n]) n++;
  char **list = malloc((n + 2) * sizeof *list);
  if (!list) return NULL;
  size_t at = 0;
  for (size_t i = 0; i < n; i++)
    if (strncmp(environ[i], "CUDA_DEVICE_ORDER=", 18) != 0) list[at++] = environ[i];
  list[at++] = order;
  list[at] = NULL;
  return list;
}

static int add_files(posix_spawn_file_actions_t *actions, const process_spec *spec) {
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  int failed = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
  if (!failed)
    failed = posix_spawn_file_actions_addopen(actions, 1, spec->output ? spec->output : "/dev/null",
                                              flags, 0600);
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
  char **environment = make_environment();
  sigemptyset(&none);
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
    failed =
        posix_spawn(&pid, spec->arguments[0], &actions, &attributes, spec->arguments, environment);
  if (failed) {
    snprintf(error, size, "cannot start %s: %s", spec->arguments[0], strerror(failed));
    pid = -1;
  } else if (spec->background)
    setpriority(PRIO_PROCESS, (id_t)pid, 10);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  free(environment);
  return pid;
}

int process_await(pid_t pid) {
  siginfo_t info;
  while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0)
    if (errno != EINTR) break;
  return 0;
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
