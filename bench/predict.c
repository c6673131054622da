/* webml-bench predict WEIGHTS [SECONDS [BATCH]]: rows a second in this process, by the public
 * interface: batches (of 64) of float32, and of bytes where the network takes pictures. */
#include "bench.h"

#include <stdio.h>
#include <stdlib.h>

typedef webml_status (*run_function)(webml_predictor *p, const void *x, int64_t n, float *y);

static webml_status run_floats(webml_predictor *p, const void *x, int64_t n, float *y) {
  return webml_predictor_run(p, x, n, y);
}

static webml_status run_bytes(webml_predictor *p, const void *x, int64_t n, float *y) {
  return webml_predictor_run_pixels(p, x, n, y);
}

/* Negative: it cannot. */
static double rate(webml_predictor *p, run_function run, const void *x, int64_t batch, float *y,
                   double seconds) {
  int64_t n = 0;
  if (run(p, x, batch, y) != WEBML_OK) return -1;
  double start = bench_now();
  for (; bench_now() - start < seconds; n += batch)
    if (run(p, x, batch, y) != WEBML_OK) return -1;
  return (double)n / (bench_now() - start);
}

int bench_predict(int argc, char **argv) {
  webml_device *device = NULL;
  webml_predictor *p = NULL;
  double seconds = argc > 1 ? atof(argv[1]) : 1;
  int64_t batch = argc > 2 ? atoi(argv[2]) : 64;
  if (argc < 1 || batch < 1)
    return fprintf(stderr, "usage: webml-bench predict WEIGHTS [SECONDS [BATCH]]\n"), 2;
  if (webml_device_open("cpu", 0, &device) || webml_predictor_load(argv[0], device, batch, &p))
    return fprintf(stderr, "webml-bench: %s\n", webml_last_error()), 1;
  size_t inputs = (size_t)batch * webml_predictor_input_size(p);
  float *x = malloc(inputs * sizeof *x),
        *y = malloc((size_t)batch * webml_predictor_output_size(p) * sizeof *y);
  if (!x || !y) return 1;
  for (size_t i = 0; i < inputs; i++) x[i] = (float)(i * 7919 % 256) / 255.0f;
  printf("{\"floats\":%.1f,\"bytes\":%.1f}\n", rate(p, run_floats, x, batch, y, seconds),
         rate(p, run_bytes, x, batch, y, seconds));
  free(x);
  free(y);
  webml_predictor_destroy(p);
  webml_device_destroy(device);
  return 0;
}
