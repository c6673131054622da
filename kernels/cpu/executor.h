/* One thread per CPU device runs all its parallel compute on one OpenMP team: two callers of
 * 2-thread primitives at once ran at 0.41 of one's throughput. */
#ifndef WML_CPU_EXECUTOR_H
#define WML_CPU_EXECUTOR_H

#include "../backend.h"

typedef struct cpu_executor cpu_executor;

cpu_executor *cpu_executor_create(const wml_host *host, int threads);
void cpu_executor_destroy(cpu_executor *executor);
/* Runs job(arg) on the executor's thread and waits. Any thread may call. false: this process is a
 * forked child, which has no executor thread. */
bool cpu_executor_call(cpu_executor *executor, void (*job)(void *arg), void *arg);

/* Splits [0, n) into one contiguous range per thread and runs body on each, on the team of the
 * executor's thread; serially elsewhere. A range is a multiple of `grain` long but for the last. */
typedef void (*cpu_body)(void *arg, int64_t begin, int64_t end);
void cpu_parallel(int64_t n, int64_t grain, cpu_body body, void *arg);

#endif
