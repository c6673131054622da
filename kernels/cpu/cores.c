/* How many cores this process may use: by affinity, and by the quota of its control group. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "cpu.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>

/* Cores' worth of time by cpu.max ("max 100000" or "150000 100000") of one group; 0: no bound. */
static double quota_of(const char *group) {
  char path[4352], quota[32];
  double period;
  snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", group);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  bool bounded = fscanf(f, "%31s %lf", quota, &period) == 2 && strcmp(quota, "max") != 0;
  double q = 0;
  bounded = bounded && sscanf(quota, "%lf", &q) == 1 && period > 0;
  fclose(f);
  return bounded ? q / period : 0;
}

/* The least of the groups that this process is in (version 2, "0::/a/b"). */
static double least_quota(void) {
  char line[4096], *group = NULL;
  double least = 0;
  FILE *f = fopen("/proc/self/cgroup", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, "0::", 3) == 0) {
      group = line + 3;
      group[strcspn(group, "\n")] = '\0';
      break;
    }
  if (f) fclose(f);
  for (char *slash; group; *slash = '\0') {
    double quota = quota_of(group);
    if (quota > 0 && (least <= 0 || quota < least)) least = quota;
    slash = strrchr(group, '/');
    if (!slash) break;
  }
  return least;
}

int cpu_cores(void) {
  cpu_set_t set;
  int cores = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  double quota = least_quota();
  int whole = (int)(quota + 0.999);
  if (quota > 0 && whole < cores) cores = whole;
  return cores > 0 ? cores : 1;
}
