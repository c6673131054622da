#define _GNU_SOURCE /* syscall */
#include "team.h"

#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { CACHE_LINE = 64, PIECES_PER_THREAD = 4 };

/* How long a thread polls before it sleeps. Between two loops of a training pass a few
 * microseconds; waking a sleeper takes some 50. A neighbour's time slice is 3 ms and more. */
static const int64_t polling_ns = 50000;

/* A thread's share of the loop: [next, end) in the lower and the upper half. Whoever raises `next`
 * below `end` has taken a piece, of its own share or of another's. */
typedef struct share {
  _Alignas(CACHE_LINE) _Atomic uint64_t word;
} share;

typedef struct worker {
  _Alignas(CACHE_LINE) _Atomic uint32_t call; /* raised for each loop; a futex */
  _Atomic uint32_t asleep;
  cpu_team *team;
  pthread_t thread;
  int number;
} worker;

struct cpu_team {
  wml_host host;
  int threads, started; /* workers are [1, started) */
  int limit;
  bool in_loop;
  cpu_piece_body body; /* of the loop under way */
  void *arg;
  void (*between)(void *arg); /* or NULL */
  void *between_arg;
  _Alignas(CACHE_LINE) _Atomic uint32_t left; /* pieces that have not ended; a futex */
  _Atomic uint32_t leader_sleeps;
  _Alignas(CACHE_LINE) _Atomic bool stop;
  _Atomic int active; /* threads that have a share */
  share *shares;      /* [threads] */
  worker *workers;    /* [threads], the first unused */
};

static _Thread_local cpu_team *led;
static _Thread_local int openmp_threads; /* of the leader, before it led */

/* ---- waiting ---- */

static void futex_wait(_Atomic uint32_t *word, uint32_t value) {
  syscall(SYS_futex, (uint32_t *)(void *)word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) {
  syscall(SYS_futex, (uint32_t *)(void *)word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("isb");
#endif
}

int64_t cpu_now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Polls until the word differs from `value`, or is 0 with `zero`. false: not in time. */
static bool poll(_Atomic uint32_t *word, uint32_t value, bool zero) {
  int64_t end = 0;
  for (int i = 0;; i++) {
    uint32_t seen = atomic_load_explicit(word, memory_order_acquire);
    if (zero ? seen == 0 : seen != value) return true;
    if (i % 64 == 0) {
      int64_t now = cpu_now_ns();
      if (end == 0)
        end = now + polling_ns;
      else if (now >= end)
        return false;
    }
    relax();
  }
}

/* ---- pieces ---- */

static void take_pieces(cpu_team *team, int me) {
  int active = atomic_load_explicit(&team->active, memory_order_relaxed);
  for (int k = 0; k < active; k++) {
    _Atomic uint64_t *word = &team->shares[(me + k) % active].word;
    for (;;) {
      uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);
      if ((uint32_t)seen >= seen >> 32) break;
      seen = atomic_fetch_add_explicit(word, 1, memory_order_acquire);
      if ((uint32_t)seen >= seen >> 32) break;
      /* The piece is of the loop under way, which does not end before it. */
      team->body(team->arg, (int64_t)(uint32_t)seen, me);
      if (atomic_fetch_sub(&team->left, 1) == 1 && atomic_load(&team->leader_sleeps))
        futex_wake(&team->left);
      if (me == 0 && team->between) team->between(team->between_arg);
    }
  }
}

static void *worker_main(void *arg) {
  worker *w = arg;
  cpu_team *team = w->team;
  omp_set_num_threads(1); /* what oneDNN asks for */
  uint32_t seen = 0;
  for (;;) {
    if (!poll(&w->call, seen, false)) {
      atomic_store(&w->asleep, 1);
      while (atomic_load(&w->call) == seen) futex_wait(&w->call, seen);
      atomic_store(&w->asleep, 0);
    }
    seen = atomic_load(&w->call);
    if (atomic_load(&team->stop)) return NULL;
    take_pieces(team, w->number);
  }
}

static void call(worker *w) {
  atomic_fetch_add(&w->call, 1);
  if (atomic_load(&w->asleep)) futex_wake(&w->call);
}

static void start_workers(cpu_team *team, int wanted) {
  for (; team->started < wanted; team->started++) {
    worker *w = &team->workers[team->started];
    w->team = team;
    w->number = team->started;
    if (pthread_create(&w->thread, NULL, worker_main, w) != 0) {
      team->threads = team->started; /* no more are to be had */
      return;
    }
  }
}

static void wait_for_pieces(cpu_team *team) {
  if (poll(&team->left, 0, true)) return;
  atomic_store(&team->leader_sleeps, 1);
  for (uint32_t left; (left = atomic_load(&team->left)) != 0;) futex_wait(&team->left, left);
  atomic_store(&team->leader_sleeps, 0);
}

static void run_loop(cpu_team *team, int64_t n, int active, cpu_piece_body body, void *arg) {
  team->body = body;
  team->arg = arg;
  atomic_store_explicit(&team->left, (uint32_t)n, memory_order_relaxed);
  atomic_store_explicit(&team->active, active, memory_order_relaxed);
  for (int i = 0; i < active; i++) {
    uint64_t begin = (uint64_t)(n * i / active), end = (uint64_t)(n * (i + 1) / active);
    atomic_store_explicit(&team->shares[i].word, end << 32 | begin, memory_order_release);
  }
  for (int i = 1; i < active; i++) call(&team->workers[i]);
  team->in_loop = true;
  take_pieces(team, 0);
  team->in_loop = false;
  wait_for_pieces(team);
}

/* Threads that a loop of so many pieces would have. */
static int threads_for(int64_t n) {
  cpu_team *team = led;
  if (!team || team->in_loop || n < 2) return 1;
  int most = team->limit < team->threads ? team->limit : team->threads;
  int active = n < most ? (int)n : most;
  if (active > team->started) start_workers(team, active);
  return active < team->started ? active : team->started;
}

void cpu_for_pieces(int64_t n, cpu_piece_body body, void *arg) {
  int active = threads_for(n);
  if (active > 1)
    run_loop(led, n, active, body, arg);
  else
    for (int64_t i = 0; i < n; i++) body(arg, i, 0);
}

typedef struct range_loop {
  int64_t n, grain, grains, pieces;
  cpu_body body;
  void *arg;
} range_loop;

static void run_range(void *arg, int64_t piece, int thread) {
  const range_loop *r = arg;
  (void)thread;
  int64_t begin = r->grains * piece / r->pieces * r->grain,
          end = r->grains * (piece + 1) / r->pieces * r->grain;
  r->body(r->arg, begin, end < r->n ? end : r->n);
}

void cpu_parallel(int64_t n, int64_t grain, cpu_body body, void *arg) {
  range_loop r = {n, grain, (n + grain - 1) / grain, 0, body, arg};
  int threads = threads_for(r.grains);
  r.pieces = r.grains < threads * PIECES_PER_THREAD ? r.grains : threads * PIECES_PER_THREAD;
  if (threads > 1)
    run_loop(led, r.pieces, threads, run_range, &r);
  else if (n > 0)
    body(arg, 0, n);
}

/* ---- the team as a whole ---- */

cpu_team *cpu_team_create(const wml_host *host, int threads) {
  cpu_team *team = host->alloc(sizeof *team, CACHE_LINE);
  size_t n = (size_t)threads;
  share *shares = host->alloc(n * sizeof *shares, CACHE_LINE);
  worker *workers = host->alloc(n * sizeof *workers, CACHE_LINE);
  if (!team || !shares || !workers) {
    host->release(team);
    host->release(shares);
    host->release(workers);
    host->error("out of memory for the CPU device");
    return NULL;
  }
  memset(team, 0, sizeof *team);
  memset(shares, 0, n * sizeof *shares);
  memset(workers, 0, n * sizeof *workers);
  team->host = *host;
  team->threads = team->limit = threads;
  team->started = 1;
  team->shares = shares;
  team->workers = workers;
  return team;
}

void cpu_team_destroy(cpu_team *team) {
  if (!team) return;
  atomic_store(&team->stop, true);
  for (int i = 1; i < team->started; i++) {
    call(&team->workers[i]);
    pthread_join(team->workers[i].thread, NULL);
  }
  team->host.release(team->shares);
  team->host.release(team->workers);
  team->host.release(team);
}

void cpu_team_lead(cpu_team *team) {
  led = team;
  openmp_threads = omp_get_max_threads();
  omp_set_num_threads(1); /* what oneDNN asks for */
}

void cpu_team_leave(void) {
  led = NULL;
  omp_set_num_threads(openmp_threads);
}

void cpu_team_call_between(cpu_team *team, void (*between)(void *arg), void *arg) {
  team->between = between;
  team->between_arg = arg;
}

int cpu_team_limit(int threads) {
  int before = led ? led->limit : 1;
  if (led) led->limit = threads;
  return before;
}
