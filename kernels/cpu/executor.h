/* One thread per CPU device runs all its parallel compute, as the leader of its team: two callers
 * with two threads each ran at 0.41 of one's throughput. */
#ifndef WML_CPU_EXECUTOR_H
#define WML_CPU_EXECUTOR_H

#include "../backend.h"
#include "team.h"

typedef struct cpu_executor cpu_executor;

/* threads: of the team. NULL: no memory, or the system refuses a thread. */
cpu_executor *cpu_executor_create(const wml_host *host, int threads);
void cpu_executor_destroy(cpu_executor *executor);

typedef struct cpu_job {
  void (*run)(void *arg);
  void *arg;
  bool brief; /* may run between two operations of a longer job */
} cpu_job;

/* Runs the job on the executor's thread and returns when it is done. Any thread may call. Jobs run
 * in the order in which they arrive, but for brief ones. false: this process is a forked child,
 * which has no executor thread. */
bool cpu_executor_call(cpu_executor *executor, const cpu_job *job);

/* A long job calls this between its operations, and its loops do so between their pieces: brief
 * jobs that are waiting run here, as long as they take no more time than the job itself. */
void cpu_executor_admit_brief(cpu_executor *executor);

#endif
