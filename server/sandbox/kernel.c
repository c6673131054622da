#define _GNU_SOURCE /* syscall */
#include "kernel.h"

#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

int kernel_landlock(void) {
  long version =
      syscall(SYS_landlock_create_ruleset, NULL, (size_t)0, LANDLOCK_CREATE_RULESET_VERSION);
  return version > 0 ? (int)version : 0;
}

bool kernel_seccomp(void) {
#if defined __x86_64__ || defined __aarch64__
  uint32_t action = SECCOMP_RET_KILL_PROCESS;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
#else
  return false;
#endif
}

void kernel_describe(char *text, size_t size) {
  char landlock[40] = "files are not confined (no Landlock)";
  int version = kernel_landlock();
  if (version) snprintf(landlock, sizeof landlock, "files by Landlock %d", version);
  snprintf(text, size, "programs are confined: limits, no_new_privs, %s, %s", landlock,
           kernel_seccomp() ? "system calls by seccomp" : "system calls are not (no seccomp)");
}
