/* webml-bench predict WEIGHTS [SECONDS]: rows a second in this process, by the public interface: as
 * batches of 64 of float32, and of bytes where the network takes pictures. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 64 };

typedef webml_status (*run_function)(webml_predictor *p, const void *x, float *y);

static webml_status run_floats(webml_predictor *p, const void *x, float *y) {
  return webml_predictor_run(p, x, BATCH, y);
}

static webml_status run_bytes(webml_predictor *p, const void *x, float *y) {
  return webml_predictor_run_pixels(p, x, BATCH, y);
}

/* Negative: it cannot. */
static double rate(webml_predictor *p, run_function run, const void *x, float *y, double seconds) {
  long n = 0;
  if (run(p, x, y) != WEBML_OK) return -1;
  double start = bench_now();
  for (; bench_now() - start < seconds; n += BATCH)
    if (run(p, x, y) != WEBML_OK) return -1;
  return (double)n / (bench_now() - start);
}

int bench_predict(int argc, char **argv) {
  webml_device *device = NULL;
  webml_predictor *p = NULL;
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  if (argc < 1) return fprintf(stderr, "usage: webml-bench predict WEIGHTS [SECONDS]\n"), 2;
  if (webml_device_open("cpu", 0, &device) || webml_predictor_load(argv[0], device, BATCH, &p))
    return fprintf(stderr, "webml-bench: %s\n", webml_last_error()), 1;
  size_t inputs = BATCH * webml_predictor_input_size(p);
  float *x = malloc(inputs * sizeof *x),
        *y = malloc(BATCH * webml_predictor_output_size(p) * sizeof *y);
  if (!x || !y) return 1;
  for (size_t i = 0; i < inputs; i++) x[i] = (float)(i * 7919 % 256) / 255.0f;
  printf("{\"floats\":%.1f,\"bytes\":%.1f}\n", rate(p, run_floats, x, y, seconds),
         rate(p, run_bytes, x, y, seconds));
  free(x);
  free(y);
  webml_predictor_destroy(p);
  webml_device_destroy(device);
  return 0;
}
