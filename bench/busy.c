/* webml-bench busy [--rounds N] [--seconds S] [--json FILE]: training on a machine that others use,
 * too. For four networks, with one thread and with all of them, beside 0, 1, 2 and 4 busy loops;
 * and two trainings at once. Rounds are interleaved; ratios are of medians. */
#define _GNU_SOURCE /* prctl */
#include "bench.h"

#include <math.h>
#include <signal.h>
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

static void print_json(const char *path, const figures *all, int threads) {
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
  fputs("\n}\n", f);
  fclose(f);
}

int bench_busy(int threads, int argc, char **argv) {
  static figures all[NETWORKS];
  int rounds = 5;
  double seconds = 1;
  const char *json = NULL;
  for (int i = 0; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--rounds") == 0) rounds = atoi(argv[i + 1]);
    if (strcmp(argv[i], "--seconds") == 0) seconds = atof(argv[i + 1]);
    if (strcmp(argv[i], "--json") == 0) json = argv[i + 1];
    if (strcmp(argv[i], "--threads") == 0) threads = atoi(argv[i + 1]);
  }
  for (int round = 0; round < rounds; round++)
    for (int i = 0; i < NETWORKS; i++) measure(&all[i], threads, &subjects[i].network, seconds);
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
  if (json) print_json(json, all, threads);
  return 0;
}
