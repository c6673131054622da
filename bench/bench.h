/* webml-bench: interleaved runs, medians with spread, ratios. */
#ifndef WML_BENCH_H
#define WML_BENCH_H

#include "plan/step.h"
#include "webml.h"

#include <stdint.h>
#include <stdio.h>

enum { BENCH_MAX_ROUNDS = 64 };

typedef struct bench_series {
  int n;
  double values[BENCH_MAX_ROUNDS];
} bench_series;

double bench_now(void); /* seconds */
void bench_add(bench_series *s, double value);
double bench_median(const bench_series *s);
double bench_quantile(const bench_series *s, double q);

void bench_die(const char *what); /* with the library's last message */
void bench_machine(char *out, size_t size);
/* Opens an object: date, machine, version, device. */
void bench_json_head(FILE *json, const char *device);

/* ---- rig.c ---- */

typedef struct bench_network {
  const char *description; /* of pictures and classes; NULL: the reference network */
  wml_precision precision;
  const wml_augment *augment; /* or NULL */
  int64_t batch;              /* 0: 64 */
  bool floats;                /* rows of a table instead of pictures */
  bool predicts;              /* instead of training */
  wml_device *device;         /* to share; NULL: one of its own */
} bench_network;

/* A training step, or a prediction, on the CPU. */
typedef struct bench_rig {
  bool shares; /* the device */
  wml_device *device;
  wml_store *store;
  wml_step step;
  wml_plan *plan;
  void *samples;
  int32_t *labels;
  int64_t *rows;
} bench_rig;

/* false: the processor has not this precision. */
bool bench_rig_open(bench_rig *r, int threads, const bench_network *network);
enum { BENCH_MOST_STEPS = 64 };
/* Samples per second over so many steps, which are one run. */
double bench_rig_round(bench_rig *r, int64_t steps);
void bench_rig_close(bench_rig *r); /* also of one that was opened in part */
/* Opens, warms up, measures and closes. NAN: the processor has not this precision. */
double bench_training(int threads, const bench_network *network, int64_t steps);

/* A program that prints a rate for every line it is sent. */
typedef struct bench_peer {
  FILE *ask, *answer;
} bench_peer;

bool bench_peer_open(bench_peer *p, const char *command);
double bench_peer_round(bench_peer *p);

/* primitives.c: milliseconds of one training step of the reference network as the sum of its bare
 * oneDNN primitives, each in the faster of NHWC and oneDNN's own layout, plus one Adam pass over
 * its parameters. Sets up once, runs one round per call. */
typedef struct bench_primitives bench_primitives;
bench_primitives *bench_primitives_create(int threads, int64_t batch);
double bench_primitives_round(bench_primitives *p);
void bench_primitives_print(const bench_primitives *p);

/* The description of the reference network. */
extern const char bench_reference[];

/* precision.c */
int bench_precision(int threads, int argc, char **argv);

/* forecast.c: forecasts of training steps beside what they take; 1: one is far off. */
int bench_forecast(int threads);

/* busy.c */
int bench_busy(int threads, int argc, char **argv);

/* gpu.c: the reference network on a GPU. */
int bench_gpu(int argc, char **argv);

/* ops.c: prints a table of the operation cases of tests/cases.c. */
void bench_operations(int threads, int rounds);

/* generate.c, data.c: subcommands with their words; -1: not one of theirs. */
int bench_make(int argc, char **argv);
int bench_data(int argc, char **argv);
/* predict.c */
int bench_predict(int argc, char **argv);

#endif
