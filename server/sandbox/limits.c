#define _GNU_SOURCE /* syscall */
#include "kernel.h"
#include "steps.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  MOST_FILES = 1024,
  STACK = 8 << 20,
  MOST_STACK = 64 << 20,
  MOST_TASKS = 16384,
  OOM_SCORE = 500
};

/* Both limits, or less where there is less already. */
static bool set(int which, uint64_t most, uint64_t beyond) {
  struct rlimit limit;
  if (getrlimit(which, &limit) != 0) return false;
  if (limit.rlim_max > beyond) limit.rlim_max = beyond;
  if (limit.rlim_cur > most) limit.rlim_cur = most;
  if (limit.rlim_cur > limit.rlim_max) limit.rlim_cur = limit.rlim_max;
  return setrlimit(which, &limit) == 0;
}

/* The system counts tasks by user, the server's among them: half of what the user may have, so that
 * the server can always start a thread. */
static bool limit_tasks(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NPROC, &limit) != 0) return false;
  uint64_t most = limit.rlim_max == RLIM_INFINITY ? MOST_TASKS : limit.rlim_max / 2;
  return set(RLIMIT_NPROC, most, most);
}

/* When memory is short the system ends this one rather than the server. It is no failure where it
 * cannot be said. */
static void offer_to_be_killed(void) {
  static const char score[] = "500";
  _Static_assert(OOM_SCORE == 500, "the same number");
  int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (write(fd, score, sizeof score - 1) < 0) errno = 0;
  close(fd);
}

const char *limit_resources(const confinement *c) {
  offer_to_be_killed();
  /* Not RLIMIT_AS: CUDA reserves as many addresses as all memory and all GPUs have, and data sets
   * are mapped, which takes no memory. What is written to without being a file's counts. */
  if (c->memory && !STEPS_SANITIZED && !set(RLIMIT_DATA, c->memory, c->memory)) return "memory";
  if (c->file_size && !set(RLIMIT_FSIZE, c->file_size, c->file_size)) return "file size";
  /* The first is a signal, which can be ignored; the second is the end. */
  if (c->cpu_seconds && !set(RLIMIT_CPU, c->cpu_seconds, c->cpu_seconds + 1)) return "CPU time";
  if (!set(RLIMIT_CORE, 0, 0)) return "core files";
  if (!set(RLIMIT_NOFILE, MOST_FILES, MOST_FILES)) return "open files";
  /* The C library gives each thread as much as the first of these, which counts as memory. */
  if (!set(RLIMIT_STACK, STACK, MOST_STACK)) return "stack";
  if (!limit_tasks()) return "threads";
  /* A write beyond the limit is an error that the program reports, not its end. */
  signal(SIGXFSZ, SIG_IGN);
  /* Timers outlive exec(). The server waits no longer than this, either; this is for when it has
   * been killed. */
  if (c->seconds) alarm(c->seconds < INT32_MAX ? (unsigned)c->seconds : INT32_MAX);
  return NULL;
}

/* Root keeps access to the server's folder where that belongs to somebody else, as folders mounted
 * into containers do; Landlock says to what. */
static bool is_kept(int capability) {
  return capability == CAP_DAC_OVERRIDE && kernel_landlock();
}

const char *drop_privileges(void) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct sets[2] = {0};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return "no_new_privs";
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); /* since Linux 4.3 */
  if (syscall(SYS_capget, &header, sets) != 0) return "capabilities";
  /* What root is given by exec() is what the bounding set leaves. */
  bool may = (sets[0].effective >> CAP_SETPCAP) & 1;
  for (int i = 0; may && prctl(PR_CAPBSET_READ, i, 0, 0, 0) >= 0; i++)
    if (!is_kept(i) && prctl(PR_CAPBSET_DROP, i, 0, 0, 0) != 0) return "capabilities";
  for (int i = 0; i < 2; i++) {
    uint32_t kept = i == 0 && is_kept(CAP_DAC_OVERRIDE) ? 1u << CAP_DAC_OVERRIDE : 0;
    sets[i].permitted &= kept;
    sets[i].effective &= kept;
    sets[i].inheritable = 0;
  }
  return syscall(SYS_capset, &header, sets) == 0 ? NULL : "capabilities";
}
