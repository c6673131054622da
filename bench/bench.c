/* webml-bench ops [ROUNDS]: the table of operation cases. webml-bench [--rounds N] [--json FILE]
 * [--peer COMMAND]: the reference network (64x64x3, batch 64) against PyTorch and against the sum
 * of its oneDNN primitives; a small MLP's latency; the start of `webml predict`. Everything that is
 * compared runs interleaved, medians count. */
#include "bench.h"

#include "base/status.h"
#include "plan/step.h"

#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

double bench_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_add(bench_series *s, double value) {
  if (s->n < BENCH_MAX_ROUNDS) s->values[s->n++] = value;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

double bench_quantile(const bench_series *s, double q) {
  double sorted[BENCH_MAX_ROUNDS];
  if (s->n == 0) return NAN;
  memcpy(sorted, s->values, (size_t)s->n * sizeof *sorted);
  qsort(sorted, (size_t)s->n, sizeof *sorted, compare);
  return sorted[(int)(q * (s->n - 1) + 0.5)];
}

double bench_median(const bench_series *s) {
  return bench_quantile(s, 0.5);
}

extern char **environ;

void bench_die(const char *what) {
  fprintf(stderr, "webml-bench: %s: %s\n", what, webml_last_error());
  exit(1);
}

/* ---- latency of a small MLP ---- */

static double mlp_microseconds(const char *weights) {
  webml_device *device = NULL;
  webml_predictor *predictor = NULL;
  float x[64] = {0.5f}, y[64];
  if (webml_device_open("cpu", 0, &device) || webml_predictor_load(weights, device, 1, &predictor))
    bench_die("the MLP");
  for (int i = 0; i < 1000; i++) webml_predictor_run(predictor, x, 1, y);
  enum { CALLS = 100000 };
  double start = bench_now();
  for (int i = 0; i < CALLS; i++) webml_predictor_run(predictor, x, 1, y);
  double took = (bench_now() - start) / CALLS * 1e6;
  webml_predictor_destroy(predictor);
  webml_device_destroy(device);
  return took;
}

/* Writes a 13-64-64-2 MLP by training it for a moment on a table of noise. */
static void make_mlp(const char *csv, const char *weights) {
  static const char mlp[] =
      "{\"size\":[13],\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\",\"layers\":[{"
      "\"type\":\"Dense\",\"layer\":{\"units\":64,\"activation\":\"relu\"}},"
      "{\"type\":\"Dense\",\"layer\":{\"units\":64,\"activation\":\"relu\"}},{\"type\":\"Dense\","
      "\"layer\":{\"units\":2,\"activation\":\"softmax\"}}]}";
  FILE *f = fopen(csv, "w");
  if (!f) bench_die(csv);
  for (int c = 0; c < 13; c++) fprintf(f, "c%d,", c);
  fputs("label\n", f);
  for (int r = 0; r < 100; r++) {
    for (int c = 0; c < 13; c++) fprintf(f, "%d.5,", rand() % 100);
    fputs(r % 2 ? "yes\n" : "no\n", f);
  }
  fclose(f);
  webml_model *model = NULL, *shaped = NULL;
  webml_dataset *data = NULL;
  webml_device *device = NULL;
  webml_trainer *trainer = NULL;
  webml_train_options o = {.struct_size = sizeof o, .epochs = 1, .weights_path = weights};
  if (webml_model_parse(mlp, strlen(mlp), &model) || webml_dataset_open(csv, NULL, &data) ||
      webml_model_shape_to(model, data, &shaped, NULL) || webml_device_open("cpu", 0, &device) ||
      webml_trainer_create(shaped, data, device, &o, &trainer) || webml_trainer_run(trainer))
    bench_die("the MLP");
  webml_trainer_destroy(trainer);
  webml_device_destroy(device);
  webml_dataset_destroy(data);
  webml_model_destroy(model);
  webml_model_destroy(shaped);
}

/* Milliseconds from process start to the answer of the command line beside this program. */
static double start_to_answer(const char *program, const char *weights) {
  char path[4096], row[512];
  snprintf(path, sizeof path, "%s", program);
  char *slash = strrchr(path, '/');
  snprintf(slash ? slash + 1 : path, 16, "webml");
  int n = 0;
  for (int c = 0; c < 13; c++)
    n += snprintf(row + n, sizeof row - (size_t)n, "%sc%d=1.5", c ? "," : "", c);
  posix_spawn_file_actions_t quiet; /* spawned, not forked: this process is large */
  posix_spawn_file_actions_init(&quiet);
  posix_spawn_file_actions_addopen(&quiet, 1, "/dev/null", 1 /* O_WRONLY */, 0);
  char *args[] = {path, "predict", (char *)(uintptr_t)weights, row, NULL};
  pid_t pid;
  double start = bench_now();
  if (posix_spawn(&pid, path, &quiet, NULL, args, environ) != 0) return NAN;
  int status = 0;
  waitpid(pid, &status, 0);
  double took = (bench_now() - start) * 1e3;
  posix_spawn_file_actions_destroy(&quiet);
  return status == 0 ? took : NAN;
}

void bench_machine(char *out, size_t size) {
  char line[256];
  snprintf(out, size, "unknown processor");
  FILE *f = fopen("/proc/cpuinfo", "r");
  while (f && fgets(line, sizeof line, f))
    if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
      line[strcspn(line, "\n")] = '\0';
      snprintf(out, size, "%s", strchr(line, ':') + 2);
    }
  if (f) fclose(f);
}

void bench_json_head(FILE *json, const char *device) {
  char machine[200], date[32];
  time_t now = time(NULL);
  bench_machine(machine, sizeof machine);
  strftime(date, sizeof date, "%Y-%m-%d", gmtime(&now));
  fprintf(json,
          "{\n  \"date\": \"%s\", \"machine\": \"%s\", \"version\": \"%s\", \"device\": "
          "\"%s\",\n",
          date, machine, webml_version(), device);
}

static void report(FILE *json, const char *name, const bench_series *s, const char *unit,
                   const char *after) {
  printf("%-44s %10.2f %s  (%.2f to %.2f, %d runs)\n", name, bench_median(s), unit,
         bench_quantile(s, 0.1), bench_quantile(s, 0.9), s->n);
  if (json)
    fprintf(json,
            "  \"%s\": {\"median\": %.6g, \"p10\": %.6g, \"p90\": %.6g, \"runs\": %d, \"unit\": "
            "\"%s\"}%s\n",
            name, bench_median(s), bench_quantile(s, 0.1), bench_quantile(s, 0.9), s->n, unit,
            after);
}

/* What full augmentation costs a training: the same steps with it and without, interleaved. */
static int bench_augmentation(int threads, int rounds) {
  static const wml_augment all = {.rotation = 20,
                                  .shear = 10,
                                  .zoom = 0.2f,
                                  .width_shift = 0.1f,
                                  .height_shift = 0.1f,
                                  .crop = 0.2f,
                                  .brightness = 0.2f,
                                  .flip = true};
  bench_series without = {0}, with = {0}, ratio = {0};
  for (int i = 0; i < rounds; i++) {
    double a = bench_training(threads, &(bench_network){.augment = NULL}, 8),
           b = bench_training(threads, &(bench_network){.augment = &all}, 8);
    bench_add(&without, a);
    bench_add(&with, b);
    bench_add(&ratio, b / a);
  }
  printf("{\"plain\": %.2f, \"augmented\": %.2f, \"ratio\": %.4f, \"ratio_10\": %.4f, "
         "\"ratio_90\": %.4f}\n",
         bench_median(&without), bench_median(&with), bench_median(&ratio),
         bench_quantile(&ratio, 0.1), bench_quantile(&ratio, 0.9));
  return 0;
}

int main(int argc, char **argv) {
  int rounds = 9, threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
  const char *json_path = NULL, *command = NULL;
  if (argc > 1 && strcmp(argv[1], "ops") == 0) {
    bench_operations(threads, argc > 2 ? atoi(argv[2]) : 5);
    return 0;
  }
  if (argc > 1 && strcmp(argv[1], "augmentation") == 0)
    return bench_augmentation(threads, argc > 2 ? atoi(argv[2]) : 9);
  if (argc > 1 && strcmp(argv[1], "precision") == 0)
    return bench_precision(threads, argc - 2, argv + 2);
  if (argc > 1 && strcmp(argv[1], "forecast") == 0) return bench_forecast(threads);
  if (argc > 1 && strcmp(argv[1], "busy") == 0) return bench_busy(threads, argc - 2, argv + 2);
  if (argc > 1 && strcmp(argv[1], "gpu") == 0) return bench_gpu(argc - 2, argv + 2);
  if (argc > 1 && strcmp(argv[1], "predict") == 0) return bench_predict(argc - 2, argv + 2);
  if (argc > 1 && strcmp(argv[1], "make") == 0) return bench_make(argc - 2, argv + 2);
  int data = argc > 1 ? bench_data(argc - 1, argv + 1) : -1;
  if (data >= 0) return data;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (strcmp(argv[i], "--rounds") == 0)
      rounds = atoi(argv[i + 1]);
    else if (strcmp(argv[i], "--threads") == 0)
      threads = atoi(argv[i + 1]);
    else if (strcmp(argv[i], "--json") == 0)
      json_path = argv[i + 1];
    else if (strcmp(argv[i], "--peer") == 0)
      command = argv[i + 1];
    else
      return fprintf(
                 stderr,
                 "usage: webml-bench [--rounds N] [--threads N] [--json FILE] [--peer COMMAND]\n"
                 "       webml-bench ops [ROUNDS]\n"
                 "       webml-bench precision [--rounds N] [--peer COMMAND]\n"
                 "       webml-bench forecast\n"
                 "       webml-bench busy [--rounds N] [--seconds S] [--json FILE]\n"
                 "       webml-bench gpu [--precision P] [--batch N] ...\n"
                 "       webml-bench predict WEIGHTS [SECONDS]\n"
                 "       webml-bench make churn|signs ...\n"
                 "       webml-bench encode|pack|open|bare|walk ... (see bench/data.py)\n"),
             2;
  }
  char csv[] = "/tmp/webml-bench-XXXXXX", weights[64];
  int fd = mkstemp(csv);
  if (fd >= 0) close(fd);
  snprintf(weights, sizeof weights, "%s.safetensors", csv);
  make_mlp(csv, weights);
  bench_primitives *primitives = bench_primitives_create(threads, 64);
  bench_peer other = {0};
  bool has_peer = command && bench_peer_open(&other, command);
  bench_series own = {0}, bare = {0}, theirs = {0}, mlp = {0}, start = {0};
  bench_rig r = {0};
  char device[200];
  bench_rig_open(&r, threads, &(bench_network){0});
  bench_rig_round(&r, 4);
  uint64_t before = webml_allocation_count();
  bench_rig_round(&r, 4);
  uint64_t allocated = webml_allocation_count() - before;
  snprintf(device, sizeof device, "%s", wml_backend_cpu.identity(r.device));
  bench_rig_close(&r);
  for (int i = 0; i < rounds; i++) {
    bench_add(&own, bench_training(threads, &(bench_network){0}, 8));
    bench_add(&bare, 64e3 / bench_primitives_round(primitives));
    if (has_peer) bench_add(&theirs, bench_peer_round(&other));
    bench_add(&mlp, mlp_microseconds(weights));
    bench_add(&start, start_to_answer(argv[0], weights));
  }
  char machine[200];
  bench_machine(machine, sizeof machine);
  FILE *json = json_path ? fopen(json_path, "w") : NULL;
  if (json) bench_json_head(json, device);
  printf("webml %s on %s, %d cores: %s\n\n", webml_version(), machine, threads, device);
  report(json, "reference network, training, batch 64", &own, "img/s", ",");
  report(json, "its bare oneDNN primitives and one Adam", &bare, "img/s", ",");
  bench_primitives_print(primitives);
  if (has_peer) report(json, "peer", &theirs, "img/s", ",");
  report(json, "13-64-64-2 MLP, one row", &mlp, "us", ",");
  report(json, "webml predict, start to answer", &start, "ms", ",");
  printf("\nratio to the bare primitives: %.2f\n", bench_median(&own) / bench_median(&bare));
  if (has_peer) printf("ratio to the peer: %.2f\n", bench_median(&own) / bench_median(&theirs));
  printf("allocations in 4 steps: %llu\n", (unsigned long long)allocated);
  if (json) {
    if (has_peer)
      fprintf(json, "  \"ratio_peer\": %.4g,\n", bench_median(&own) / bench_median(&theirs));
    fprintf(json, "  \"ratio_primitives\": %.4g, \"allocations\": %llu\n}\n",
            bench_median(&own) / bench_median(&bare), (unsigned long long)allocated);
    fclose(json);
  }
  unlink(csv);
  unlink(weights);
  return 0;
}
