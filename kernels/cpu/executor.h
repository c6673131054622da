/* Whose turn it is on a CPU device: one caller at a time computes, on its own thread, as the leader
 * of the device's team. Two callers with two threads each ran at 0.41 of one's throughput. */
#ifndef WML_CPU_EXECUTOR_H
#define WML_CPU_EXECUTOR_H

#include "../backend.h"
#include "team.h"

typedef struct cpu_executor cpu_executor;

/* threads: of the team. NULL: no memory. */
cpu_executor *cpu_executor_create(const wml_host *host, int threads);
void cpu_executor_destroy(cpu_executor *executor);

typedef struct cpu_job {
  void (*run)(void *arg);
  void *arg;
  bool brief; /* may run between two operations of a longer job */
} cpu_job;

/* Returns when the job is done. Any thread may call; it computes as soon as the jobs that arrived
 * before it are done, but a brief job may be run by the thread whose turn it is, within a long one.
 * false: this process is a forked child, where the team has no threads. */
bool cpu_executor_call(cpu_executor *executor, const cpu_job *job);

/* A long job calls this between its operations, and its loops do so between their pieces: brief
 * jobs that are waiting run here, as long as they take no more time than the job itself. */
void cpu_executor_admit_brief(cpu_executor *executor);

#endif
