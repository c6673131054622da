/* webml-bench: interleaved runs, medians with spread, ratios. */
#ifndef WML_BENCH_H
#define WML_BENCH_H

#include "kernels/backend.h"
#include "webml.h"

#include <stdint.h>

enum { BENCH_MAX_ROUNDS = 64 };

typedef struct bench_series {
  int n;
  double values[BENCH_MAX_ROUNDS];
} bench_series;

double bench_now(void); /* seconds */
void bench_add(bench_series *s, double value);
double bench_median(const bench_series *s);
double bench_quantile(const bench_series *s, double q);

/* primitives.c: milliseconds of one training step of the reference network as the sum of its bare
 * oneDNN primitives, each in the faster of NHWC and oneDNN's own layout, plus one Adam pass over
 * its parameters. Sets up once, runs one round per call. */
typedef struct bench_primitives bench_primitives;
bench_primitives *bench_primitives_create(int threads, int64_t batch);
double bench_primitives_round(bench_primitives *p);
void bench_primitives_print(const bench_primitives *p);

/* The description of the reference network. */
extern const char bench_reference[];

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
