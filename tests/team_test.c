/* The team of threads of a CPU device: every piece runs once, whoever is busy elsewhere. Its
 * synchronisation is what ThreadSanitizer is to look at here. */
#include "base/status.h"
#include "devices/device.h"
#include "kernels/cpu/executor.h"
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { PIECES = 1000, THREADS = 4 };

typedef struct counts {
  atomic_int piece[PIECES], thread[THREADS], wrong;
  atomic_bool busy[THREADS];
  int64_t sum[PIECES]; /* written by the pieces, read by the leader afterwards */
} counts;

static void count(void *arg, int64_t piece, int thread) {
  counts *c = arg;
  if (piece < 0 || piece >= PIECES || thread < 0 || thread >= THREADS ||
      atomic_exchange(&c->busy[thread], true)) {
    atomic_fetch_add(&c->wrong, 1);
    return;
  }
  atomic_fetch_add(&c->piece[piece], 1);
  atomic_fetch_add(&c->thread[thread], 1);
  c->sum[piece] = piece * piece;
  atomic_store(&c->busy[thread], false);
}

static void check_counts(const counts *c, int64_t n, const char *what) {
  int once = 0, others = 0;
  for (int i = 0; i < PIECES; i++) {
    once += i < n && c->piece[i] == 1 && c->sum[i] == (int64_t)i * i;
    others += i >= n && c->piece[i] != 0;
  }
  CHECKF(once == n && others == 0 && c->wrong == 0,
         "%s: %d of %lld pieces once, %d others, %d wrong", what, once, (long long)n, others,
         (int)c->wrong);
}

static void test_pieces(void) {
  cpu_team *team = cpu_team_create(&wml_library_host, THREADS);
  static counts c;
  CHECK(team != NULL);
  memset(&c, 0, sizeof c);
  cpu_for_pieces(7, count, &c); /* this thread leads no team yet */
  check_counts(&c, 7, "without a team");
  CHECK(c.thread[0] == 7);
  cpu_team_lead(team);
  static const int64_t sizes[] = {0, 1, 2, 3, 5, 64, PIECES};
  for (int round = 0; round < 200; round++)
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
      memset(&c, 0, sizeof c);
      cpu_for_pieces(sizes[i], count, &c);
      check_counts(&c, sizes[i], "a loop");
      if (round % 50 == 49) usleep(1000); /* the others fall asleep */
    }
  CHECK(cpu_team_limit(1) == THREADS);
  memset(&c, 0, sizeof c);
  cpu_for_pieces(PIECES, count, &c);
  check_counts(&c, PIECES, "limited to one thread");
  CHECK(c.thread[0] == PIECES);
  CHECK(cpu_team_limit(THREADS) == 1);
  cpu_team_leave();
  cpu_team_destroy(team);
}

/* ---- loops within pieces run on the thread that meets them ---- */

static void inner(void *arg, int64_t begin, int64_t end) {
  atomic_fetch_add((atomic_llong *)arg, end - begin);
}

static void outer(void *arg, int64_t piece, int thread) {
  (void)piece;
  (void)thread;
  cpu_parallel(1000, 10, inner, arg);
}

static void *slow_main(void *arg) {
  cpu_team_lead(arg);
  atomic_llong all = 0;
  cpu_for_pieces(50, outer, &all);
  CHECK(all == 50 * 1000);
  cpu_team_leave();
  return NULL;
}

static void test_nested(void) {
  cpu_team *team = cpu_team_create(&wml_library_host, THREADS);
  pthread_t thread;
  CHECK(team && pthread_create(&thread, NULL, slow_main, team) == 0);
  pthread_join(thread, NULL);
  cpu_team_destroy(team);
}

/* ---- ranges ---- */

static void mark(void *arg, int64_t begin, int64_t end) {
  unsigned char *marks = arg;
  CHECKF(begin % 16 == 0 && (end % 16 == 0 || end == PIECES - 1), "range [%lld, %lld)",
         (long long)begin, (long long)end);
  for (int64_t i = begin; i < end; i++) marks[i]++;
}

static void test_ranges(void) {
  cpu_team *team = cpu_team_create(&wml_library_host, THREADS);
  unsigned char marks[PIECES] = {0};
  cpu_team_lead(team);
  cpu_parallel(PIECES - 1, 16, mark, marks);
  cpu_parallel(0, 16, mark, marks);
  int once = 0;
  for (int i = 0; i < PIECES; i++) once += marks[i] == 1;
  CHECK(once == PIECES - 1 && marks[PIECES - 1] == 0);
  cpu_team_leave();
  cpu_team_destroy(team);
}

/* ---- the executor: brief jobs run within long ones ---- */

typedef struct long_job {
  void (*run)(void *arg);
  cpu_executor *executor;
  atomic_bool stop;
  atomic_int admitted; /* brief jobs so far */
} long_job;

static void run_long(void *arg) {
  long_job *j = arg;
  while (!atomic_load(&j->stop)) {
    usleep(100);
    cpu_executor_admit_brief(j->executor);
  }
}

static void *call_long(void *arg) {
  long_job *j = arg;
  CHECK(cpu_executor_call(j->executor, &(cpu_job){j->run, j, false}));
  return NULL;
}

static void slow_piece(void *arg, int64_t piece, int thread) {
  (void)arg;
  (void)piece;
  (void)thread;
  usleep(200);
}

/* One loop from start to end. */
static void run_loop(void *arg) {
  long_job *j = arg;
  while (!atomic_load(&j->stop)) cpu_for_pieces(1000, slow_piece, NULL);
}

static void run_brief(void *arg) {
  long_job *j = arg;
  atomic_llong all = 0;
  cpu_parallel(1000, 10, inner, &all);
  CHECK(all == 1000);
  atomic_fetch_add(&j->admitted, 1);
  cpu_executor_admit_brief(j->executor); /* admits nothing: no brief job in another */
  wml_library_host.error("message of a brief job");
}

static void test_brief(void (*run)(void *arg)) {
  long_job j = {.run = run, .executor = cpu_executor_create(&wml_library_host, 2)};
  pthread_t thread;
  CHECK(j.executor && pthread_create(&thread, NULL, call_long, &j) == 0);
  for (int i = 1; i <= 20; i++) {
    wml_library_host.error("%s", "");
    CHECK(cpu_executor_call(j.executor, &(cpu_job){run_brief, &j, true}));
    CHECK(j.admitted == i && !atomic_load(&j.stop));
    CHECK_ERROR("message of a brief job");
  }
  atomic_store(&j.stop, true);
  pthread_join(thread, NULL);
  cpu_executor_destroy(j.executor);
}

int main(void) {
  test_pieces();
  test_nested();
  test_ranges();
  test_brief(run_long);
  test_brief(run_loop);
  return test_report();
}
