/* webml-bench busy [--rounds N] [--seconds S] [--json FILE]: training on a machine that others use,
 * too. For four networks, with one thread and with all of them, beside 0, 1, 2 and 4 busy loops;
 * and two trainings at once. Rounds are interleaved; ratios are of medians. */
#define _GNU_SOURCE /* prctl */
#include "bench.h"

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define DENSE(units, activation)                                                                   \
  "{\"type\":\"Dense\",\"layer\":{\"units\":" units ",\"activation\":\"" activation "\"}}"
#define TABLE(inputs, hidden)                                                                      \
  "{\"size\":[" inputs "],\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\","           \
  "\"layers\":[" DENSE(hidden, "relu") "," DENSE(hidden, "relu") "," DENSE("3", "softmax") "]}"

static const char fashion[] =
    "{\"size\":[28,28,1],\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\",\"layers\":["
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":16,\"kernel_size\":3,\"activation\":\"relu\"}},"
    "{\"type\":\"MaxPooling2D\",\"layer\":{}},"
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":32,\"kernel_size\":3,\"activation\":\"relu\"}},"
    "{\"type\":\"MaxPooling2D\",\"layer\":{}},{\"type\":\"Flatten\",\"layer\":{}}," DENSE(
        "10", "softmax") "]"
                         "}";

enum { NETWORKS = 4, LOADS = 4, TEAMS = 2 };

static const struct {
  const char *name;
  bench_network network;
} subjects[NETWORKS] = {
    {"small table", {.description = TABLE("13", "32"), .batch = 32, .floats = true}},
    {"wide table", {.description = TABLE("200", "512"), .batch = 256, .floats = true}},
    {"Fashion-MNIST", {.description = fashion, .batch = 64}},
    {"reference", {.batch = 64}},
};
static const int loads[LOADS] = {0, 1, 2, 4};

typedef struct figures {
  bench_series rate[LOADS][TEAMS]; /* samples a second; one thread, all threads */
  bench_series together, alone;    /* two trainings at once, their sum; one */
} figures;

/* Ends with this process. */
static pid_t child(void) {
  pid_t pid = fork();
  if (pid == 0) prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (pid < 0) bench_die("fork");
  return pid;
}

static void start_loops(pid_t *pids, int n) {
  for (int i = 0; i < n; i++)
    if ((pids[i] = child()) == 0)
      for (volatile unsigned long k = 0;; k++) continue;
}

static void end(const pid_t *pids, int n) {
  for (int i = 0; i < n; i++) kill(pids[i], SIGKILL);
  for (int i = 0; i < n; i++) waitpid(pids[i], NULL, 0);
}

static double rate_of(int threads, const bench_network *network, double seconds) {
  bench_rig r = {0};
  if (!bench_rig_open(&r, threads, network)) return NAN;
  int64_t each = 2, steps = 0; /* steps a run: 5 ms or more, as in a training */
  while (each < BENCH_MOST_STEPS &&
         (double)(each * network->batch) / bench_rig_round(&r, each) < 5e-3)
    each *= 2;
  double begin = bench_now(), took;
  do {
    bench_rig_round(&r, each);
    steps += each;
    took = bench_now() - begin;
  } while (took < seconds);
  bench_rig_close(&r);
  return (double)(steps * network->batch) / took;
}

/* The sum of two trainings' rates, one of them in another process. */
static double together(int threads, const bench_network *network, double seconds) {
  int ends[2];
  double theirs = NAN;
  if (pipe(ends)) bench_die("pipe");
  pid_t pid = child();
  if (pid == 0) {
    theirs = rate_of(threads, network, seconds);
    _exit(write(ends[1], &theirs, sizeof theirs) == sizeof theirs ? 0 : 1);
  }
  double own = rate_of(threads, network, seconds);
  if (read(ends[0], &theirs, sizeof theirs) != sizeof theirs) theirs = NAN;
  waitpid(pid, NULL, 0);
  close(ends[0]);
  close(ends[1]);
  return own + theirs;
}

/* ---- predictions beside a training ---- */

typedef struct brief_figures {
  bench_series alone, beside;       /* ms of a prediction, median of a round */
  bench_series alone_99, beside_99; /* 99th percentile */
  bench_series training, trained;   /* images/s without predictions, and with */
} brief_figures;

typedef struct trainer {
  bench_rig rig;
  atomic_bool stop;
  double rate;
} trainer;

static void *train(void *arg) {
  trainer *t = arg;
  double begin = bench_now();
  int64_t steps = 0;
  for (; !atomic_load(&t->stop); steps += 8) bench_rig_round(&t->rig, 8);
  t->rate = (double)(steps * t->rig.step.graph.batch) / (bench_now() - begin);
  return NULL;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

/* One every 2 ms for some seconds. */
static void predict(bench_rig *rig, double seconds, bench_series *median, bench_series *late) {
  enum { MOST = 5000 };
  static double ms[MOST];
  int n = 0;
  for (double begin = bench_now(); n < MOST && bench_now() - begin < seconds; usleep(2000)) {
    double called = bench_now();
    bench_rig_round(rig, 1);
    ms[n++] = (bench_now() - called) * 1e3;
  }
  qsort(ms, (size_t)n, sizeof *ms, compare);
  bench_add(median, ms[n / 2]);
  bench_add(late, ms[(int)(0.99 * (n - 1))]);
}

static void start_training(trainer *t, pthread_t *thread) {
  atomic_store(&t->stop, false);
  if (pthread_create(thread, NULL, train, t) != 0) bench_die("a thread");
}

static double stop_training(trainer *t, pthread_t thread) {
  atomic_store(&t->stop, true);
  pthread_join(thread, NULL);
  return t->rate;
}

static void measure_predictions(brief_figures *f, int threads, double seconds) {
  trainer t = {.rate = 0};
  bench_rig rig = {0};
  pthread_t thread;
  if (!bench_rig_open(&t.rig, threads, &(bench_network){.batch = 64}) ||
      !bench_rig_open(
          &rig, threads,
          &(bench_network){
              .description = fashion, .batch = 1, .predicts = true, .device = t.rig.device}))
    bench_die("two networks");
  predict(&rig, seconds, &f->alone, &f->alone_99);
  start_training(&t, &thread);
  usleep((useconds_t)(seconds * 1e6));
  bench_add(&f->training, stop_training(&t, thread));
  start_training(&t, &thread);
  predict(&rig, seconds, &f->beside, &f->beside_99);
  bench_add(&f->trained, stop_training(&t, thread));
  bench_rig_close(&rig);
  bench_rig_close(&t.rig);
}

static void measure(figures *f, int threads, const bench_network *network, double seconds) {
  for (int l = 0; l < LOADS; l++) {
    pid_t pids[8];
    start_loops(pids, loads[l]);
    bench_add(&f->rate[l][0], rate_of(1, network, seconds));
    bench_add(&f->rate[l][1], rate_of(threads, network, seconds));
    end(pids, loads[l]);
  }
  bench_add(&f->alone, rate_of(threads, network, seconds));
  bench_add(&f->together, together(threads, network, seconds));
}

static void print_series(FILE *json, const char *name, const bench_series *s, const char *after) {
  fprintf(json, "\"%s\": {\"median\": %.6g, \"p10\": %.6g, \"p90\": %.6g, \"runs\": %d}%s", name,
          bench_median(s), bench_quantile(s, 0.1), bench_quantile(s, 0.9), s->n, after);
}

static void print_json(const char *path, const figures *all, const brief_figures *brief,
                       int threads) {
  FILE *f = fopen(path, "w");
  if (!f) bench_die(path);
  bench_json_head(f, wml_backend_cpu.name);
  fprintf(f, "  \"unit\": \"samples/s\", \"threads\": %d", threads);
  for (int i = 0; i < NETWORKS; i++) {
    fprintf(f, ",\n  \"%s\": {", subjects[i].name);
    for (int l = 0; l < LOADS; l++) {
      fprintf(f, "\n    \"%d loops\": {", loads[l]);
      print_series(f, "one thread", &all[i].rate[l][0], ", ");
      print_series(f, "all threads", &all[i].rate[l][1], "},");
    }
    fputs("\n    ", f);
    print_series(f, "alone", &all[i].alone, ", ");
    print_series(f, "two at once", &all[i].together, "}");
  }
  fputs(",\n  \"predictions, ms\": {", f);
  print_series(f, "alone", &brief->alone, ", ");
  print_series(f, "alone, 99th percentile", &brief->alone_99, ",\n    ");
  print_series(f, "beside a training", &brief->beside, ", ");
  print_series(f, "beside a training, 99th percentile", &brief->beside_99, ",\n    ");
  print_series(f, "training without, images/s", &brief->training, ", ");
  print_series(f, "training with, images/s", &brief->trained, "}");
  fputs("\n}\n", f);
  fclose(f);
}

int bench_busy(int threads, int argc, char **argv) {
  static figures all[NETWORKS];
  static brief_figures brief;
  int rounds = 5;
  double seconds = 1;
  const char *json = NULL;
  for (int i = 0; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[i + 1]);
    if (strcmp(argv[i], "--seconds") == 0) seconds = atof(argv[i + 1]);
    if (strcmp(argv[i], "--json") == 0) json = argv[i + 1];
    if (strcmp(argv[i], "--threads") == 0) threads = atoi(argv[i + 1]);
  }
  for (int round = 0; round < rounds; round++) {
    for (int i = 0; i < NETWORKS; i++) measure(&all[i], threads, &subjects[i].network, seconds);
    measure_predictions(&brief, threads, seconds);
  }
  printf("%-14s %9s %12s %12s %7s\n", "network", "loops", "1 thread", "all threads", "ratio");
  for (int i = 0; i < NETWORKS; i++) {
    for (int l = 0; l < LOADS; l++)
      printf("%-14s %9d %10.0f/s %10.0f/s %7.2f\n", l ? "" : subjects[i].name, loads[l],
             bench_median(&all[i].rate[l][0]), bench_median(&all[i].rate[l][1]),
             bench_median(&all[i].rate[l][1]) / bench_median(&all[i].rate[l][0]));
    printf("%-14s %9s %10.0f/s %10.0f/s %7.2f\n", "", "2 at once", bench_median(&all[i].alone),
           bench_median(&all[i].together),
           bench_median(&all[i].together) / bench_median(&all[i].alone));
  }
  printf(
      "one prediction of Fashion-MNIST: %.2f ms (99%%: %.2f); beside a training of the reference "
      "network %.2f ms (99%%: %.2f), which has %.2f of its rate\n",
      bench_median(&brief.alone), bench_median(&brief.alone_99), bench_median(&brief.beside),
      bench_median(&brief.beside_99), bench_median(&brief.trained) / bench_median(&brief.training));
  if (json) print_json(json, all, &brief, threads);
  return 0;
}
