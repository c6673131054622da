/* The threads that compute a device's parallel loops.
 *
 * A loop is cut into pieces, and threads take pieces as they become free: a thread that another
 * program has pushed off its core delays the loop by the one piece it holds, never by a share. How
 * a loop is cut does not depend on how many threads there are, so results do not either.
 *
 * Waiting is bounded: a thread polls for some microseconds, then sleeps in the kernel until it is
 * woken, whatever the environment of the program says about OpenMP. oneDNN is called with one
 * thread only, inside pieces. */
#ifndef WML_CPU_TEAM_H
#define WML_CPU_TEAM_H

#include "../backend.h"

typedef struct cpu_team cpu_team;

/* threads: at least 1, the leader included. The others start with the first loop that needs them;
 * where the system refuses threads, the loops run on those there are. NULL: no memory. */
cpu_team *cpu_team_create(const wml_host *host, int threads);
void cpu_team_destroy(cpu_team *team);

/* The calling thread runs the team's loops from now on, until it leaves. One thread at a time leads
 * a team, and has one. Meanwhile the thread's own number of OpenMP threads is 1. */
void cpu_team_lead(cpu_team *team);
void cpu_team_leave(void);
/* The leader calls between(arg) after each piece that it has run, in the midst of the loop; loops
 * that `between` starts run on the leader alone. */
void cpu_team_call_between(cpu_team *team, void (*between)(void *arg), void *arg);
/* The leader's next loops use at most so many threads. Returns the limit before. */
int cpu_team_limit(int threads);

/* Runs body(arg, piece, thread) for each piece in [0, n) and returns when all are done. thread: in
 * [0, threads of the team), one piece at a time has it. On a thread that leads no team, and inside
 * of a piece, all pieces run on the caller as thread 0. */
typedef void (*cpu_piece_body)(void *arg, int64_t piece, int thread);
void cpu_for_pieces(int64_t n, cpu_piece_body body, void *arg);

/* Runs body over [0, n) in ranges whose bounds are multiples of `grain`, but for n. Where they are
 * cut depends on the number of threads: body must give the same results however it is cut. */
typedef void (*cpu_body)(void *arg, int64_t begin, int64_t end);
void cpu_parallel(int64_t n, int64_t grain, cpu_body body, void *arg);

/* Monotonic time. */
int64_t cpu_now_ns(void);

#endif
