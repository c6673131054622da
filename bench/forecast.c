/* Forecasts of training steps beside what they take: the factor between the two has to stay within
 * that of webml_model_check(). Exits 1 where it does not. */
#include "bench.h"

#include "train/forecast.h"

#include <string.h>

#define CONV(filters, size)                                                                        \
  "{\"type\":\"Conv2D\",\"layer\":{\"filters\":" filters ",\"kernel_size\":" size                  \
  ",\"activation\":\"relu\",\"padding\":\"same\"}},"
#define POOL "{\"type\":\"MaxPooling2D\"},"
#define END(units)                                                                                 \
  "{\"type\":\"Dense\",\"layer\":{\"units\":" units ",\"activation\":\"softmax\"}}]}"
#define DENSE(units) "{\"type\":\"Dense\",\"layer\":{\"units\":" units ",\"activation\":\"relu\"}},"
#define HEAD "\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\",\"layers\":["

static const struct {
  const char *name;
  bench_network network;
} subjects[] = {
    {"reference", {.batch = 64}},
    {"reference, 16", {.batch = 16}},
    {"Fashion-MNIST",
     {.description = "{\"size\":[28,28,1]," HEAD CONV("32", "3") POOL CONV("64", "3") POOL
      "{\"type\":\"Flatten\"}," DENSE("128") END("10"),
      .batch = 32}},
    {"table",
     {.description = "{\"size\":[13]," HEAD DENSE("64") DENSE("64") END("3"),
      .batch = 32,
      .floats = true}},
    {"wide table",
     {.description = "{\"size\":[200]," HEAD DENSE("512") DENSE("512") END("5"),
      .batch = 256,
      .floats = true}},
    {"deep",
     {.description = "{\"size\":[32,32,3]," HEAD CONV("32", "3") CONV("32", "3")
          POOL CONV("64", "3") CONV("64", "3") POOL CONV("128", "3") POOL
      "{\"type\":\"BatchNormalization\"},{\"type\":\"Dropout\",\"layer\":{\"rate\":0.3}},"
      "{\"type\":\"Flatten\"}," DENSE("256") END("10"),
      .batch = 64}},
};

/* Seconds of a step: the median of some rounds of 30 ms and more. */
static double measure(const bench_rig *opened) {
  bench_rig r = *opened;
  bench_series s = {0};
  int64_t steps = 1;
  double batch = (double)r.step.graph.batch;
  bench_rig_round(&r, 2);
  while (steps < BENCH_MOST_STEPS && batch * (double)steps / bench_rig_round(&r, steps) < 0.03)
    steps *= 2;
  for (int i = 0; i < 7; i++) bench_add(&s, batch / bench_rig_round(&r, steps));
  return bench_median(&s);
}

int bench_forecast(int threads) {
  webml_device *device = NULL;
  webml_speed speed;
  int outside = 0;
  double begin = bench_now();
  if (webml_device_open("cpu", threads, &device) != WEBML_OK ||
      webml_device_speed(device, WEBML_FLOAT32, &speed) != WEBML_OK)
    bench_die("the speed of the device");
  printf("measured in %.2f s: convolution %.1f, first convolution %.1f, dense %.1f GFLOP/s, "
         "%.1f GB/s of weights, %.1f GB/s, %.2f us an operation\n\n%-16s %6s %12s %12s %8s\n",
         bench_now() - begin, speed.convolution / 1e9, speed.first_convolution / 1e9,
         speed.dense / 1e9, speed.weights / 1e9, speed.bytes / 1e9, speed.operation * 1e6,
         "network", "batch", "forecast ms", "measured ms", "ratio");
  webml_device_destroy(device);
  for (size_t i = 0; i < sizeof subjects / sizeof *subjects; i++) {
    bench_rig r = {0};
    wml_work work;
    if (!bench_rig_open(&r, threads, &subjects[i].network)) bench_die("a network");
    wml_work_of(&r.step.graph, &work);
    double forecast = wml_forecast(&work, &speed), took = measure(&r);
    bool inside = took >= forecast * wml_forecast_low && took <= forecast * wml_forecast_high;
    outside += !inside;
    printf("%-16s %6lld %12.3f %12.3f %8.2f%s\n", subjects[i].name, (long long)r.step.graph.batch,
           forecast * 1e3, took * 1e3, took / forecast, inside ? "" : "  outside of the interval");
    bench_rig_close(&r);
  }
  return outside ? 1 : 0;
}
