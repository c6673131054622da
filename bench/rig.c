/* A training step of a described network on synthetic samples, without a data set; and peers. */
#include "bench.h"

#include "base/status.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SAMPLES = 1024, USUAL_BATCH = 64 };

const char bench_reference[] =
    "{\"size\":[64,64,3],\"optimizer\":\"adam\",\"loss\":\"categorical_crossentropy\",\"layers\":["
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":64,\"kernel_size\":3,\"activation\":\"relu\"}},{"
    "\"type\":\"MaxPooling2D\",\"layer\":{}},"
    "{\"type\":\"Conv2D\",\"layer\":{\"filters\":32,\"kernel_size\":2,\"activation\":\"relu\"}},{"
    "\"type\":\"Flatten\",\"layer\":{}},"
    "{\"type\":\"Dense\",\"layer\":{\"units\":256,\"activation\":\"relu\"}},{\"type\":\"Dense\","
    "\"layer\":{\"units\":43,\"activation\":\"softmax\"}}]}";

static const wml_tensor *input_of(const bench_rig *r) {
  return &r->step.graph.tensors[r->step.inputs[0]];
}

static void put_weights(bench_rig *r) {
  for (int i = 0; i < r->step.graph.n_tensors; i++) {
    const wml_tensor *t = &r->step.graph.tensors[i];
    if (t->role != WML_ROLE_PARAM) continue;
    int64_t n = wml_elements(t);
    float *w = malloc((size_t)n * sizeof *w),
          limit = sqrtf(6.0f / (float)(n / t->dim[t->rank - 1] + t->dim[t->rank - 1]));
    for (int64_t k = 0; k < n; k++)
      w[k] = t->rank == 1 ? 0.0f : limit * (2.0f * (float)rand() / (float)RAND_MAX - 1.0f);
    wml_backend_cpu.put(r->store, t->name, w);
    free(w);
  }
}

bool bench_rig_open(bench_rig *r, int threads, const bench_network *network) {
  const char *description = network->description ? network->description : bench_reference;
  webml_model *model = NULL;
  wml_device_config config = {.threads = threads};
  if (webml_model_parse(description, strlen(description), &model) != WEBML_OK)
    bench_die("the model");
  wml_step_spec spec = {.model = model,
                        .mode = network->predicts ? WML_MODE_PREDICT : WML_MODE_TRAIN,
                        .batch = network->batch ? network->batch : USUAL_BATCH,
                        .inputs = {{.type = network->floats ? WML_F32 : WML_U8}},
                        .targets = {{.type = WML_I32, .width = 1}},
                        .precision = network->precision};
  if (network->augment) spec.augment = *network->augment;
  const wml_backend *b = &wml_backend_cpu;
  r->shares = network->device != NULL;
  r->device = network->device;
  if ((!r->shares && b->open(&wml_library_host, &config, &r->device)) ||
      b->store_create(r->device, &r->store) || wml_step_build(&spec, &r->step))
    bench_die("a network");
  wml_result result = b->compile(r->store, &r->step.graph, &r->plan);
  webml_model_destroy(model);
  if (result == WML_UNSUPPORTED) return false;
  if (result != WML_OK || b->prepare(r->plan) != WML_OK) bench_die("a network");
  srand(1);
  put_weights(r);
  int64_t elements = SAMPLES * wml_row_elements(input_of(r)), rows = BENCH_MOST_STEPS * spec.batch;
  r->samples = malloc((size_t)elements * wml_dtype_size(spec.inputs[0].type));
  r->labels = malloc(SAMPLES * sizeof *r->labels);
  r->rows = malloc((size_t)rows * sizeof *r->rows);
  for (int64_t i = 0; i < elements; i++)
    if (network->floats)
      ((float *)r->samples)[i] = (float)rand() / (float)RAND_MAX;
    else
      ((uint8_t *)r->samples)[i] = (uint8_t)rand();
  const wml_tensor *out = &r->step.graph.tensors[r->step.outputs[0]];
  for (int i = 0; i < SAMPLES; i++) r->labels[i] = rand() % (int)out->dim[out->rank - 1];
  for (int64_t i = 0; i < rows; i++) r->rows[i] = rand() % SAMPLES;
  return true;
}

double bench_rig_round(bench_rig *r, int64_t steps) {
  float rates[BENCH_MOST_STEPS];
  double results[2] = {0};
  for (int i = 0; i < BENCH_MOST_STEPS; i++) rates[i] = 1e-4f;
  wml_feed feeds[] = {{.tensor = r->step.inputs[0], .base = r->samples},
                      {.tensor = r->step.targets[0], .base = r->labels}};
  wml_run run = {.n_steps = steps,
                 .step = 100,
                 .rows = r->rows,
                 .n_feeds = r->step.targets[0] >= 0 ? 2 : 1,
                 .feeds = feeds,
                 .learning_rate = rates,
                 .results = r->step.graph.n_results > 0 ? results : NULL};
  double start = bench_now();
  if (wml_backend_cpu.run(r->plan, &run) != WML_OK || run.not_finite >= 0) bench_die("a step");
  return (double)(r->step.graph.batch * steps) / (bench_now() - start);
}

void bench_rig_close(bench_rig *r) {
  const wml_backend *b = &wml_backend_cpu;
  b->plan_destroy(r->plan);
  wml_step_free(&r->step);
  b->store_destroy(r->store);
  if (!r->shares) b->close(r->device);
  free(r->samples);
  free(r->labels);
  free(r->rows);
  *r = (bench_rig){0};
}

double bench_training(int threads, const bench_network *network, int64_t steps) {
  bench_rig r = {0};
  double rate = NAN;
  if (bench_rig_open(&r, threads, network)) {
    bench_rig_round(&r, 3);
    rate = bench_rig_round(&r, steps);
  }
  bench_rig_close(&r);
  return rate;
}

bool bench_peer_open(bench_peer *p, const char *command) {
  int to[2], from[2];
  if (pipe(to) || pipe(from)) return false;
  if (fork() == 0) {
    dup2(to[0], 0);
    dup2(from[1], 1);
    close(to[1]);
    close(from[0]);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
  }
  close(to[0]);
  close(from[1]);
  p->ask = fdopen(to[1], "w");
  p->answer = fdopen(from[0], "r");
  return true;
}

double bench_peer_round(bench_peer *p) {
  char line[256];
  fputs("go\n", p->ask);
  fflush(p->ask);
  return fgets(line, sizeof line, p->answer) ? atof(line) : NAN;
}
